"""Removes a lab whose owner has died, in a process of its own.

A kernel can be killed at any moment, also while it starts a server, so nothing here relies on what
the kernel managed to write down: processes are found by the `LABKIT_LAB` in their environment,
containers and networks by their label.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import psutil

from labkit.errors import BackendError
from labkit.servers import owner
from labkit.servers.base import LEFTOVERS, REMOVAL
from labkit.servers.helper import LAB_VARIABLE
from labkit.servers.registry import CLOSED, Registration, directory, owner_file, registered

_TIMEOUT = 600.0  # seconds that a watchdog waits for an engine


def remove(
    lab_id: str, backend: str, engines: Sequence[str] = (), timeout: float = REMOVAL
) -> None:
    """Remove whatever a lab has left: processes or containers, networks, its directory.

    Raises `BackendError` when nothing has gone for `timeout` seconds.
    """
    if backend in ("docker", "swarm"):
        from labkit.servers.docker.leftovers import remove_lab

        kill_processes(lab_id)  # those that carry requests to machines
        remove_lab(lab_id, engines, timeout)
    else:
        kill_processes(lab_id)
    shutil.rmtree(directory(lab_id), ignore_errors=True)
    owner.release(owner_file(lab_id))


def remove_leftovers() -> list[str]:
    """Remove the labs whose owners are known to be dead; the ids of those that are gone now.

    What cannot be removed now, because its engine does not answer or does not let it go, is left
    for the next time, and keeps nobody waiting.
    """
    dead = [entry for entry in registered() if entry.orphaned]
    return [lab_id for lab_id, error in remove_each(dead, LEFTOVERS) if error is None]


def remove_each(
    labs: Iterable[Registration], timeout: float = REMOVAL
) -> Iterator[tuple[str, BackendError | None]]:
    """Remove labs; yields each one's id, and why it could not be removed, if it could not."""
    for entry in labs:
        try:
            _require_sight(entry)
            remove(entry.lab_id, entry.backend, entry.engines, timeout)
        except BackendError as error:
            yield entry.lab_id, error
        else:
            yield entry.lab_id, None


def _require_sight(entry: Registration) -> None:
    """Raise `BackendError` if the lab may have processes that this one can't see."""
    if entry.backend == "process" and not entry.is_here and not entry.orphaned:
        raise BackendError(
            "It was started in another container or on another machine, or before this one was "
            "started last, so its processes can't be seen from here. Run `labkit down` there; if "
            f"it runs no more, remove {directory(entry.lab_id)}."
        )


def kill_processes(lab_id: str) -> None:
    """SIGKILL every process that carries the lab's id in its environment, until none is left."""
    for _ in range(20):  # a process that was being forked meanwhile is found the next time
        victims = processes_of(lab_id)
        if not victims:
            return
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=1)


def processes_of(lab_id: str) -> list[psutil.Process]:
    """Every living process that carries the lab's id in its environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            mine = process.environ().get(LAB_VARIABLE) == lab_id
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _owner_died(parent: int) -> bool:
    """Wait for the owner's end: True if it died, False if it had closed the lab before."""
    while os.getppid() == parent:  # the system gives the child of a dead process to another one
        readable, _, _ = select.select([sys.stdin], [], [], 1.0)
        if readable:
            return os.read(sys.stdin.fileno(), 1) != CLOSED
    return True


def main() -> None:
    """Watch over a lab. Arguments: its owner's process id, its own id, its backend and engines."""
    parent, lab_id, backend, *engines = sys.argv[1:]
    if not _owner_died(int(parent)):
        return
    for _ in range(2):  # once more after a moment: a server may have been on its way
        _remove_patiently(lab_id, backend, engines)
        time.sleep(0.5)


def _remove_patiently(lab_id: str, backend: str, engines: Sequence[str]) -> None:
    """Remove the lab, if need be when its engine is back: it may have gone down with the owner."""
    deadline = time.monotonic() + _TIMEOUT
    pause = 0.5
    while True:
        try:
            return remove(lab_id, backend, engines)
        except BackendError as error:
            if time.monotonic() + pause > deadline:
                raise  # into the log; the next lab's start, or `labkit down`, removes the rest
            print(f"{error} Once more in {pause:g} s.", file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(2 * pause, 8)


if __name__ == "__main__":
    main()
