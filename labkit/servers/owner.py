"""Whether the owner of something on disk still lives: a lock says so, which dies with its owner.

Process ids and times of the clock mean nothing in another container, on another machine, or after
a sleep. A lock is released by the system when its owner ends, however it ends.
"""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_held: dict[Path, int] = {}  # by this process: its open files


def hold(file: Path) -> None:
    """Lock the file as its owner, until `release` or the end of this process. Idempotent.

    A fork of this process goes on holding it. Raises `OSError` if the file can't be made; where a
    file system has no locks, nobody will ever know that the owner has ended.
    """
    if file in _held:
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # somebody may just be looking
    except OSError:
        os.close(descriptor)
        return
    _held[file] = descriptor
    os.truncate(descriptor, 0)
    os.write(descriptor, _identity(descriptor).encode())  # last: until then nobody can know


def release(file: Path) -> None:
    """Own it no longer, and remove the file. Idempotent."""
    file.unlink(missing_ok=True)
    if (descriptor := _held.pop(file, None)) is not None:
        os.close(descriptor)


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Own it for as long as this lasts."""
    hold(file)
    try:
        yield
    finally:
        release(file)


def has_ended(file: Path) -> bool:
    """Whether the owner is known to be dead. What can't be known is no reason to remove anything.

    It is known only where the owner's locks can be seen: on the same running system, and from the
    same file and not a copy.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not _boot() or os.read(descriptor, 1000).decode() != _identity(descriptor):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (OSError, ValueError):
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def place() -> str:
    """Where a process id means a process: this running system, and on Linux the pid namespace."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{_boot()} {space}".strip()


def _identity(descriptor: int) -> str:
    found = os.fstat(descriptor)
    return f"{_boot()} {found.st_dev}:{found.st_ino}\n"


@functools.cache
def _boot() -> str:
    """The running system, from its start to its end; "" if it has no name."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    return ""
