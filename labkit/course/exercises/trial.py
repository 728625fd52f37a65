"""One check of a reader's function, in a process of its own.

A reader's code may do anything: block in a watch function, swallow every exception, keep Python's
lock in a regular expression. No thread can be ended from outside, and a notebook's kernel must not
wait for one. So the function is judged in a fork of the kernel: the copy has the notebook's
variables and functions, what it changes stays in the copy, and at the deadline it is killed.

A fork has only the thread that forked. The check makes its own clients, links and threads, and is
kept away from what belongs to the kernel: inherited sockets are replaced, the labs' verbs are
refused, what is printed goes through a pipe. If another thread held a lock that the fork needs, the
fork hangs before it has begun; then another one is made.
"""

from __future__ import annotations

import gc
import inspect
import io
import itertools
import os
import signal
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pickle import UnpicklingError
from typing import Any, Literal, NoReturn

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from labkit.course.exercises.client import LOG
from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import (
    YOU,
    Failed,
    Harness,
    NotAttempted,
    Place,
    bind,
    too_long,
)
from labkit.course.exercises.values import Moment, message_of
from labkit.errors import InvalidTransition, LabError
from labkit.lab.core import Core
from labkit.lab.lab import Lab

_GRACE = 0.3  # seconds after the deadline, for a verdict that is on its way
_BEGIN = 3.0  # seconds in which a fork begins, or never will
_LEAVE = 0.2  # seconds for closing the sessions, and again for removing the check's znodes
_MOST_OUTPUT = 20_000  # letters of what a check prints that are shown
_AWAY = "ZooKeeper does not answer. Start it, and check again: lab.zookeeper.start()"
_OFF_LIMITS = (
    "A check runs your function in a copy of the notebook, from which the lab cannot be changed. "
    "Use only what the function is given."
)

_numbers = itertools.count(1)


@dataclass
class Finding:
    """What a check found: the outcome, why, and what had happened."""

    outcome: Literal["passed", "failed", "not attempted"]
    message: str
    moments: list[Moment] = field(default_factory=list)


def check(lab: Lab, exercise: Exercise, function: Callable[..., Any], deadline: float) -> Finding:
    """Judge `function`, which has `deadline` seconds; returns at most a second after that.

    Raises `InvalidTransition` when the lab's ZooKeeper does not answer, and `LabError` when no
    process for the check can be had.
    """
    ends = time.monotonic() + deadline + _GRACE
    leader = lab.zookeeper.leader
    if leader is None:
        raise InvalidTransition(_AWAY)
    place = Place(
        base=f"/check-{os.getpid()}-{next(_numbers)}",
        servers={s.name: (s.endpoint.host, s.endpoint.port) for s in lab.zookeeper.servers},
        leader=leader.name,
        followers=tuple(server.name for server in lab.zookeeper.followers),
    )
    # It gives up after some seconds: the reader's code may take ZooKeeper away for good.
    retry = {"max_tries": 12, "max_delay": 1}
    zk = KazooClient(str(leader.endpoint), connection_retry=retry, logger=LOG)
    try:
        zk.start(timeout=5)
        zk.create(place.base)
    except (KazooTimeoutError, KazooException):
        raise InvalidTransition(_AWAY) from None
    try:
        for _ in range(2):
            if finding := _Trial(lab, exercise, function, deadline, place).run():
                break
        else:
            raise LabError("The check did not begin, twice. Is the machine busy? Run it again.")
        if finding.outcome == "failed" and not _answers(zk):
            finding.message += f" And now {_AWAY}"
        return finding
    finally:
        cleaning = threading.Thread(
            target=_clean, args=(zk, place.base), name="labkit-exercise-clean", daemon=True
        )
        cleaning.start()
        cleaning.join(max(_LEAVE, ends - time.monotonic()))


def _answers(zk: KazooClient) -> bool:
    try:
        zk.exists_async("/").get(timeout=_LEAVE)
    except (KazooException, KazooTimeoutError):
        return False
    return True


def _clean(zk: KazooClient, base: str) -> None:
    with suppress(KazooException):  # ZooKeeper has gone, and the znodes may have gone with it
        zk.delete(base, recursive=True)
    zk.stop()
    zk.close()


class _Trial:
    """The kernel's side of a check: waits for the fork, does what it asks for, and kills it."""

    def __init__(
        self,
        lab: Lab,
        exercise: Exercise,
        function: Callable[..., Any],
        deadline: float,
        place: Place,
    ) -> None:
        self._lab = lab
        self._exercise = exercise
        self._function = function
        self._deadline = deadline
        self._place = place
        self._cut: set[str] = set()  # ZooKeeper servers that the check has cut off
        self._begun = False
        self._finding: Finding | None = None
        self._moments: dict[int, Moment] = {}

    def run(self) -> Finding | None:
        """Fork, and wait until something is found; None if the fork has not even begun."""
        ours, theirs = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            process = os.fork()
        if not process:
            _Fork(theirs).work(self._exercise, self._function, self._deadline, self._place)
        killer = _Killer(process)
        killer.kill_in(_BEGIN)
        theirs.close()
        try:
            while True:
                self._take(ours.recv(), ours, killer)
        except (EOFError, OSError, UnpicklingError):
            pass  # it has ended, or was killed
        finally:
            status = killer.end()
            ours.close()
            for server in self._cut:
                self._lab.heal(server)
        if self._finding is None and self._begun:
            self._finding = self._ended(status)
        if self._finding is not None:
            self._finding.moments += [self._moments[at] for at in sorted(self._moments)]
        return self._finding

    def _take(self, message: tuple[Any, ...], pipe: Connection, killer: _Killer) -> None:
        match message:
            case ("begun",):
                self._begun = True
                killer.kill_in(self._deadline + _GRACE)
            case ("moment", at, moment):
                self._moments[at] = moment
            case ("print", text):
                print(text, end="", flush=True)
            case ("ask", verb, server):
                pipe.send(self._do(verb, server))
            case ("found", finding):
                self._finding = finding
                killer.kill_in(_LEAVE)

    def _do(self, verb: str, name: str) -> str | None:
        """What only the lab's own process can do."""
        match verb:
            case "partition":
                self._cut.add(name)
                self._lab.partition(name)
            case "heal":
                self._lab.heal(name)
                self._cut.discard(name)
            case "mode":
                return next(s.mode for s in self._lab.zookeeper.servers if s.name == name)
        return None

    def _ended(self, status: int) -> Finding:
        """What it means that the fork ended without a verdict."""
        why, last = too_long(self._function, self._deadline)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            how = "exited" if os.WIFEXITED(status) else signal.strsignal(os.WTERMSIG(status))
            why = f"`{self._function.__name__}` ended its whole process ({how})."
            last = "ends its process"
        self._moments[len(self._moments)] = Moment(self._deadline, YOU, last, bad=True)
        return Finding("failed", why)


class _Killer:
    """Ends a fork and what it has started: in some seconds, or now."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._timer: threading.Timer | None = None

    def kill_in(self, seconds: float) -> None:
        """Kill it in so many seconds, whatever was said before."""
        self._stop_timer()
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.name = "labkit-exercise-deadline"
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> int:
        """Kill what is left of it, and return its status as `os.wait` does."""
        self._stop_timer()  # before its id is free for another process
        self._kill()
        return os.waitpid(self._process, 0)[1]

    def _kill(self) -> None:
        for kill in (os.killpg, os.kill):  # it leads a group, unless it has just been forked
            with suppress(ProcessLookupError, PermissionError):
                kill(self._process, signal.SIGKILL)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


class _Fork:
    """The fork's side of a check: runs the judge, and reports."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()

    def work(
        self, exercise: Exercise, function: Callable[..., Any], deadline: float, place: Place
    ) -> NoReturn:
        """Judge, report, and end the process."""
        try:
            self._settle(deadline)
            harness = Harness(
                place,
                exercise.id,
                function,
                deadline,
                tell=lambda at, moment: self._send("moment", at, moment),
                ask=self._ask,
            )
            harness.start()
            self._send("begun")
            self._send("found", _judged(exercise, harness))
            harness.leave(_LEAVE)
        finally:
            os._exit(0)

    def _settle(self, deadline: float) -> None:
        """Let go of all that belongs to the kernel."""
        os.setsid()  # so that it can be killed with what it starts
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.alarm(int(deadline + _BEGIN) + 2)  # if the kernel is gone by then
        gc.freeze()  # the kernel's objects are not this process's to finalize
        _replace_sockets(self._pipe.fileno())
        Core.off_limits = _OFF_LIMITS
        sys.stdout = sys.stderr = _Output(lambda text: self._send("print", text))
        sys.stdin = io.StringIO()

    def _send(self, *message: Any) -> None:
        with self._sending, suppress(OSError):
            self._pipe.send(message)

    def _ask(self, verb: str, server: str) -> Any:
        self._send("ask", verb, server)
        return self._pipe.recv()


def _judged(exercise: Exercise, harness: Harness) -> Finding:
    try:
        bind(harness.function, list(inspect.signature(exercise.answer).parameters))
        exercise.judge(harness)
        return Finding("passed", exercise.title + ".")
    except NotAttempted:
        return Finding("not attempted", f"`{exercise.name}` is not written yet.")
    except Failed as failure:
        return Finding("failed", str(failure))
    except Exception as error:
        name = type(error).__name__
        harness.note(YOU, f"has broken the check: {name}", bad=True)
        said = message_of(error)
        return Finding(
            "failed",
            f"The check could not go on: `{name}`{f' ({said})' if said else ''}. Does your "
            "function change or delete what is not its own?",
        )


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
