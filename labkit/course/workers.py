"""Work that goes on side by side in threads, on processes that may be ended at any moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

_END = 1.5  # seconds in which threads notice the end of their processes
_LOOK = 0.2  # seconds after which an interrupt is heard at the latest


class Children:
    """The processes at work, each of them the first of its own session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: set[int] = set()
        self.ended = False

    def add(self, pid: int) -> None:
        """One more; it is ended at once if the others have been."""
        with self._lock:
            self._pids.add(pid)
        if self.ended:
            self.end()

    def remove(self, pid: int) -> None:
        """It has ended, or is somebody else's care."""
        with self._lock:
            self._pids.discard(pid)

    def end(self) -> None:
        """SIGKILL all, with what they have started; their labs are removed by the watchdogs."""
        with self._lock:
            self.ended = True
            for pid in self._pids:
                with suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def side_by_side(
    wanted: Sequence[T], work: Callable[[T], R], jobs: int, children: Children
) -> Iterator[tuple[T, R]]:
    """Do `work` for each, `jobs` at a time; yields what came of it as it comes, or raises it.

    Ending early ends the children, and waits for no thread that waits for something else: the
    threads are daemons.
    """
    todo = iter(list(wanted))
    results: SimpleQueue[tuple[T, R | None, BaseException | None]] = SimpleQueue()
    lock = threading.Lock()

    def run() -> None:
        while not children.ended:
            with lock:
                if (one := next(todo, None)) is None:
                    return
            try:
                results.put((one, work(one), None))
            except BaseException as error:
                results.put((one, None, error))

    threads = [
        threading.Thread(target=run, name="labkit-work", daemon=True)
        for _ in range(min(jobs, len(wanted)))
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in wanted:
            one, result, error = _next(results)
            if error is not None:
                raise error
            yield one, cast(R, result)  # there is one if there is no error
    finally:
        children.end()
        deadline = time.monotonic() + _END
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))


def _next(results: SimpleQueue[T]) -> T:
    """What comes next. The main thread must not wait for it without end: the system may give an
    interrupt to another thread, and Python acts on it only when the main one runs again.
    """
    while True:
        with suppress(Empty):
            return results.get(timeout=_LOOK)
