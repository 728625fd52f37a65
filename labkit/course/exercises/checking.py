"""One check of a reader's function, in a process of its own.

A reader's code may do anything: block in a watch function, swallow every exception, keep Python's
lock in a regular expression. No thread can be ended from outside, and a notebook's kernel must not
wait for one. So the function is judged in a fork of the kernel: the copy has the notebook's
variables and functions, what it changes stays in the copy, and at the deadline it is killed.

A fork has only the thread that forked (see `labkit.explore.fork`). The check makes its own clients,
links and threads, and the labs' verbs are refused. If another thread held a lock that the fork
needs, the fork hangs before it has begun; then another one is made.
"""

from __future__ import annotations

import inspect
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

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
from labkit.explore.fork import Child, Fork
from labkit.explore.search import Found
from labkit.lab.core import Core
from labkit.lab.lab import Lab

_GRACE = 0.3  # seconds after the deadline, for a verdict that is on its way
_BEGIN = 3.0  # seconds in which a fork begins, or never will
_LEAVE = 0.2  # seconds for closing the sessions, and again for removing the check's znodes
_AWAY = "ZooKeeper does not answer. Start it, and check again: lab.zookeeper.start()"
_OFF_LIMITS = (
    "A check runs your function in a copy of the notebook, from which the lab cannot be changed. "
    "Use only what the function is given."
)

_numbers = itertools.count(1)


@dataclass
class Checked:
    """What a check found: the outcome, why, and what had happened."""

    outcome: Literal["passed", "failed", "not attempted"]
    message: str
    moments: list[Moment] = field(default_factory=list)
    found: Found | None = None  # the search that has shown a mistake


def check(lab: Lab, exercise: Exercise, function: Callable[..., Any], deadline: float) -> Checked:
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
        self._fork: Fork
        self._cut: set[str] = set()  # ZooKeeper servers that the check has cut off
        self._begun = False
        self._finding: Checked | None = None
        self._moments: dict[int, Moment] = {}

    def run(self) -> Checked | None:
        """Fork, and wait until something is found; None if the fork has not even begun."""
        self._fork = Fork(self._work, _BEGIN)
        try:
            status = self._fork.listen(self._take)
        finally:
            for server in self._cut:
                self._lab.heal(server)
        if self._finding is None and self._begun:
            self._finding = self._ended(status)
        if self._finding is not None and self._finding.found is None:
            self._finding.moments += [self._moments[at] for at in sorted(self._moments)]
        return self._finding

    def _work(self, child: Child) -> None:
        """In the fork: run the judge, and report."""
        signal.alarm(int(self._deadline + _BEGIN) + 2)  # if the kernel is gone by then
        Core.off_limits = _OFF_LIMITS
        harness = Harness(
            self._place,
            self._exercise.id,
            self._function,
            self._deadline,
            tell=lambda at, moment: child.send("moment", at, moment),
            ask=lambda verb, server: child.ask("ask", verb, server)[0],
        )
        harness.start()
        child.send("begun")
        child.send("found", _judged(self._exercise, harness))
        harness.leave(_LEAVE)

    def _take(self, *message: Any) -> tuple[str | None] | None:
        match message:
            case ("begun",):
                self._begun = True
                self._fork.kill_in(self._deadline + _GRACE)
            case ("moment", at, moment):
                self._moments[at] = moment
            case ("print", text):
                print(text, end="", flush=True)
            case ("ask", verb, server):
                return (self._do(verb, server),)
            case ("found", finding):
                self._finding = finding
                self._fork.kill_in(_LEAVE)
        return None

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

    def _ended(self, status: int) -> Checked:
        """What it means that the fork ended without a verdict."""
        why, last = too_long(self._function, self._deadline)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            how = "exited" if os.WIFEXITED(status) else signal.strsignal(os.WTERMSIG(status))
            why = f"`{self._function.__name__}` ended its whole process ({how})."
            last = "ends its process"
        self._moments[len(self._moments)] = Moment(self._deadline, YOU, last, bad=True)
        return Checked("failed", why)


def _judged(exercise: Exercise, harness: Harness) -> Checked:
    try:
        bind(harness.function, list(inspect.signature(exercise.answer).parameters))
        exercise.judge(harness)
        return Checked("passed", f"{exercise.heading} {harness.praise}".rstrip())
    except NotAttempted:
        return Checked("not attempted", f"`{exercise.name}` is not written yet.")
    except Failed as failure:
        return Checked("failed", str(failure), found=failure.found)
    except Exception as error:
        name = type(error).__name__
        harness.note(YOU, f"has broken the check: {name}", bad=True)
        said = message_of(error)
        return Checked(
            "failed",
            f"The check could not go on: `{name}`{f' ({said})' if said else ''}. Does your "
            "function change or delete what is not its own?",
        )
