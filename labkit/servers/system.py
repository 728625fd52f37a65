"""What this machine's system gives a lab: files and disk; and what it means if it does not.

Sizes are in bytes.
"""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.errors import BackendError, ConfigError

MEGABYTE = 1_000_000

_MANY_FILES = (65_536, 10_240)  # macOS grants no more than the second
_LEAST_SPACE = 4 * MEGABYTE  # ZooKeeper's log alone grows by one at a time


def raise_file_limit() -> int:
    """Let this process, and those that it starts, open many files; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in _MANY_FILES:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= most:
            break
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def require_files(needed: int, what: str) -> None:
    """Raise `ConfigError` if a process may not open so many files."""
    allowed = raise_file_limit()
    if allowed not in (resource.RLIM_INFINITY, -1) and needed > allowed:
        raise ConfigError(
            f"Too few open files for {what}: one process needs {needed}, the system allows "
            f"{allowed}. Raise its limit before Jupyter or labkit starts (`ulimit -n {needed}`; an "
            "administrator may have to raise the hard limit first), or start fewer nodes."
        )


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: others may be reading it. Raises `OSError`."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(data)
    draft.replace(path)


def require_space() -> None:
    """Raise `BackendError` if the disk with the labs' files is full."""
    disk = os.statvfs(tempfile.gettempdir())
    if disk.f_bavail * disk.f_frsize < _LEAST_SPACE:
        raise BackendError(_disk_full())


def _disk_full() -> str:
    return (
        f"The disk with the labs' files, in {tempfile.gettempdir()}, is full. Remove something "
        "there, or set TMPDIR to a directory on another disk before Python starts."
    )


@contextmanager
def explained() -> Iterator[None]:
    """Turn the system's refusals into the lab's errors."""
    try:
        yield
    except OSError as error:
        raise BackendError(_explain(error)) from error


def _explain(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full()
    if error.errno in (errno.EMFILE, errno.ENFILE):
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"The system opens no more files for this process, which may have {allowed}. Close "
            "other labs, or raise the limit before Jupyter or labkit starts (`ulimit -n 4096`)."
        )
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return (
            f"The system starts no more processes ({error.strerror}). Close other labs "
            "(`labkit ps` lists them) or programs, or start fewer nodes."
        )
    at = f": {error.filename}" if error.filename else ""
    return f"The system refuses a file of the lab ({error.strerror or error}{at})."
