"""How much memory a lab can have, and whether a program ended for want of it. Sizes in bytes."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from labkit.errors import ConfigError
from labkit.servers.system import MEGABYTE


class _Files(NamedTuple):
    """What a control group's files are called: limit, usage, and the parts of the usage that the
    kernel takes back when somebody needs the room. Source: the kernel's documentation.
    """

    top: str
    limit: str
    usage: str
    cache: tuple[str, ...]


_VERSIONS = {  # by the name of the controller in /proc/self/cgroup; version 2 has one for all
    "": _Files(
        *("sys/fs/cgroup", "memory.max", "memory.current"),
        ("inactive_file", "active_file", "slab_reclaimable"),
    ),
    "memory": _Files(
        *("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ("total_inactive_file", "total_active_file"),
    ),
}

# Messages of programs that get no memory: Java, its library, Python, the system.
_SHORTAGE = re.compile(
    r".*(?:OutOfMemoryError|[Cc]ould not (?:reserve|allocate)|insufficient memory|MemoryError|"
    r"Cannot allocate memory|[Oo]ut of memory|[Uu]nable to (?:allocate|create (?:new )?native)|"
    r"Failed to (?:start thread|reserve memory|allocate)|Too small (?:initial|maximum) heap|"
    r"GC overhead limit).*"
)


def require(needed: int, what: str, free: int) -> None:
    """Raise `ConfigError` if there is not so much memory."""
    if needed > free:
        raise ConfigError(
            f"Too little memory for {what}: about {needed // MEGABYTE:,} MB are needed, and "
            f"{free // MEGABYTE:,} MB are free. Close other labs (`labkit ps` lists them) or "
            "programs, or start fewer nodes."
        )


def free(root: Path = Path("/")) -> int:
    """What can still be used, on this machine and within the limits of this process's control
    groups. What the kernel keeps of files, as long as nobody needs the room, is free.
    """
    here: int = psutil.virtual_memory().available
    return max(min([here, *(limit - used for limit, used in _groups(root))]), 0)


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, use) of the control groups with a limit, from the innermost out."""
    for files, group in _memberships(root):
        top = root / files.top
        inner = top / group.lstrip("/")
        for place in (inner, *(path for path in inner.parents if path.is_relative_to(top))):
            with suppress(OSError, ValueError):  # "max": no limit
                limit = int((place / files.limit).read_text())
                lines = (place / "memory.stat").read_text().splitlines()
                parts = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
                cache = sum(int(parts.get(name, 0)) for name in files.cache)
                yield limit, int((place / files.usage).read_text()) - cache


def _memberships(root: Path) -> Iterator[tuple[_Files, str]]:
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for name in controllers.split(","):
                if name in _VERSIONS:
                    yield _VERSIONS[name], group


def shortage(log: str, killed_before: int) -> str:
    """That a program got too little memory, by the end of its log, and why; "" if it did not.

    `killed_before` is what `killed` was when it was started.
    """
    said = next((line for line in reversed(log.splitlines()) if _SHORTAGE.fullmatch(line)), "")
    if not said and killed() <= killed_before:
        return ""
    why = f"it said “{said.strip()[:200]}”" if said else "the system has ended a program for that"
    return (
        f"Memory was short: {why}. {_limits()} Close other labs (`labkit ps` lists them) or "
        "programs, start fewer nodes, or have the limit raised."
    )


def _limits() -> str:
    """What limits the memory of a program that is started here."""
    found = [f"{free() // MEGABYTE:,} MB are free"]
    for kind, option in ((resource.RLIMIT_AS, "v"), (resource.RLIMIT_DATA, "d")):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            found.append(f"one process may ask for {soft // MEGABYTE:,} MB (`ulimit -{option}`)")
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if processes != resource.RLIM_INFINITY:
        found.append(f"there may be {processes:,} threads (`ulimit -u`)")
    limits = [limit for limit, _ in _groups(Path("/")) if limit < psutil.virtual_memory().total]
    if limits:
        found.append(f"this container may use {min(limits) // MEGABYTE:,} MB in all")
    return f"{'; '.join(found)}."


def killed() -> int:
    """How many programs this system has ended since its start because memory was short."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0
