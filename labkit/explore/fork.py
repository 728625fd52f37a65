"""A fork of this process for a reader's code: it may do anything, and is killed at its deadline.

The copy has the notebook's variables and functions; what it changes stays in the copy. It has only
the thread that forked, and is kept away from what belongs to the kernel: inherited sockets are
replaced, what is printed goes through a pipe.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pickle import UnpicklingError
from typing import Any, NoReturn

_MOST_OUTPUT = 20_000  # letters of what a fork prints that are shown


class Fork:
    """A copy of this process that does `work(send, ask)`, and what it says.

    `take` is called with each message that the fork sends, and returns what it is answered, if the
    fork asks. `kill_in` gives the fork so many seconds more.
    """

    def __init__(self, work: Callable[[Child], object], seconds: float) -> None:
        ours, theirs = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            self._process = os.fork()
        if not self._process:
            Child(theirs).do(work)
        theirs.close()
        self._pipe = ours
        self._timer: threading.Timer | None = None
        self.killed = False
        self.kill_in(seconds)

    def listen(self, take: Callable[..., Any]) -> int:
        """Pass on what the fork says until it has ended; its status, as `os.wait` tells it."""
        try:
            while True:
                answer = take(*self._pipe.recv())
                if answer is not None:
                    self._pipe.send(answer)
        except (EOFError, OSError, UnpicklingError):
            pass  # it has ended, or was killed
        finally:
            self._stop_timer()  # before its id is free for another process
            self._kill()
            status = os.waitpid(self._process, 0)[1]
            self._pipe.close()
        return status

    def kill_in(self, seconds: float) -> None:
        """Kill it in so many seconds, whatever was said before."""
        self._stop_timer()
        self._timer = threading.Timer(seconds, self._late)
        self._timer.name = "labkit-fork-deadline"
        self._timer.daemon = True
        self._timer.start()

    def _late(self) -> None:
        self.killed = True
        self._kill()

    def _kill(self) -> None:
        for kill in (os.killpg, os.kill):  # it leads a group, unless it has just been forked
            with suppress(ProcessLookupError, PermissionError):
                kill(self._process, signal.SIGKILL)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


class Child:
    """The fork's side: it sends messages."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()

    def do(self, work: Callable[[Child], object]) -> NoReturn:
        """Let go of all that belongs to the kernel, work, and end."""
        try:
            os.setsid()  # so that it can be killed with what it starts
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.freeze()  # the kernel's objects are not this process's to finalize
            _replace_sockets(self._pipe.fileno())
            sys.stdout = sys.stderr = _Output(lambda text: self.send("print", text))
            sys.stdin = io.StringIO()
            work(self)
        finally:
            os._exit(0)

    def send(self, *message: Any) -> None:
        """Say something; without an answer."""
        with self._sending, suppress(OSError):
            self._pipe.send(message)

    def ask(self, *message: Any) -> Any:
        """Say something, and wait for the answer."""
        self.send(*message)
        return self._pipe.recv()


def _replace_sockets(keep: int) -> None:
    """Put nothing in the place of every socket but one.

    Else a connection that the kernel closes would stay open here, and the other way round. The
    numbers stay taken, for objects that still have them may close them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing's own
            if int(name) != keep and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.dup2(nothing, int(name), inheritable=False)


class _Output(io.TextIOBase):
    """What is printed, passed on up to a limit."""

    def __init__(self, pass_on: Callable[[str], None]) -> None:
        self._pass_on = pass_on
        self._left = _MOST_OUTPUT

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            self._pass_on(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._pass_on("\n… and more, which is not shown.\n")
        return len(text)
