"""A judge that goes through every order of events, and then runs once on the real ZooKeeper.

    judge=in_every_order(_claims)        # _claims(code, root) -> Specification

A specification's actors call the reader's function by `code(me, ...)`, with others that are there
by design, and faults. The search's model is left for the lab's ZooKeeper when nothing was wrong.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NoReturn, cast

from greenlet import GreenletExit
from kazoo.exceptions import ConnectionLoss, KazooException, NoNodeError

from labkit.course.exercises.harness import (
    Failed,
    Harness,
    NotAttempted,
    as_asked,
    raised,
    too_long,
)
from labkit.explore.actor import Body, Endless, Me, Moment, Run
from labkit.explore.client import Observed
from labkit.explore.search import Found, Search
from labkit.explore.seat import LAGS, REPLY_LOST, REQUEST_LOST, Seat
from labkit.explore.specification import Specification, ends, like
from labkit.explore.strands import here
from labkit.explore.tree import Tree, Znode
from labkit.explore.world import Rules, World

_SEARCH = 0.7  # of the deadline is for the search, the rest for the real ZooKeeper
_PATIENCE = 3.0  # seconds that the reader's code may run without asking anything
_ALARMS = 20  # that a reader's code may catch before its process is ended
_SETTLED = 2.0  # seconds in which what ZooKeeper has told comes to those who watch

Rule = Callable[[World], str | None]
LOST = (REQUEST_LOST, REPLY_LOST)


class Stopped(Exception):
    """The reader's function did not return what it should: its actor goes on no more."""


class Wrong(str):
    """What the reader's function does wrong, in a few words, and `why`, in sentences."""

    why: str

    def __new__(cls, why: str, words: str) -> Wrong:
        made = super().__new__(cls, words)
        made.why = why
        return made


class Code:
    """The reader's function, as actors call it: `code(me, "/lock", kind=str)`."""

    def __init__(self, function: Callable[..., Any], deadline: float = 60.0) -> None:
        self.function = function
        self.deadline = deadline
        self.unwritten = False

    def __call__(
        self,
        me: Any,
        *args: Any,
        kind: type | None = None,
        none: bool = False,
        may: tuple[type[Exception], ...] = (),
    ) -> Any:
        """What it returns, which has to be a `kind`, or None if `none`; it may raise `may`.

        Raises `Stopped` if it is something else.
        """
        try:
            value = self.function(me.zk, *args)
        except GreenletExit:
            raise
        except may:
            raise
        except Endless as endless:
            self.refuse(me, too_long(self.function, self.deadline, endless))
        except BaseException as error:  # sys.exit, too
            self.unwritten = type(error) is NotImplementedError
            self.refuse(me, raised(error, self.function))
        self.unwritten = value is ...
        if value is None and none:
            return None
        if wrong := kind and as_asked(value, kind, self.function):
            self.refuse(me, wrong)
        return value

    def refuse(self, me: Any, wrong: tuple[str, str]) -> NoReturn:
        """What it returned is wrong: why, and in a few words. Raises `Stopped`."""
        me.says(then=Wrong(*wrong))
        raise Stopped


def users(
    code: Code,
    body: Body,
    many: int = 1,
    *,
    root: str = "",
    others: Mapping[str, Body] = MappingProxyType({}),
    never: Rule = lambda world: None,
    at_the_end: Rule = lambda world: None,
    **more: Any,
) -> Specification:
    """A specification: so many users of the reader's code, others, and what is never true.

    `at_the_end`: what must not be so when nothing can happen any more. `others` are hit by no
    fault, whatever kinds there are.
    """

    @functools.wraps(code.function)
    def run(me: Any) -> None:
        with suppress(Stopped):
            body(me)

    def wrong(world: World) -> str | None:
        for actor in world.actors:
            if said := actor.says("then"):
                return str(said.why)
            for remark in actor.remarks:
                return f"{actor.name}: {remark}"
        return never(world)

    bodies = {"your code": run} if many == 1 else like(run, many, "user")
    return Specification(
        name=code.function.__name__,
        bodies={**bodies, **{name: _calm(other) for name, other in others.items()}},
        invariant=wrong,
        final=lambda world: ends(world) or at_the_end(world),
        spared=frozenset(others),
        what="actor" if others or many == 1 else "user",
        **{"faults": 1, "kinds": LOST, "alike": many > 1 and not others, **more},
    )


def _calm(body: Body) -> Body:
    """Somebody else, who gives up when anything is refused."""

    def run(me: Any) -> None:
        with suppress(KazooException):
            body(me)

    return run


def polls(world: World, most: int) -> str | None:
    """Whether somebody asks again and again. A rule where nothing is lost, for who has to wait."""
    for actor in world.actors:
        if actor.waits == "sleeps":
            return f"{actor.name} sleeps, to ask again later: let ZooKeeper tell you, by a watch"
        if actor.asked > most:
            return f"{actor.name} asks again and again: let ZooKeeper tell you, by a watch"
    return None


def removed(me: Any, path: str) -> None:
    """Have an actor delete a znode, whatever is lost."""
    while True:
        with suppress(ConnectionLoss):
            with suppress(NoNodeError):
                me.zk.delete(path)
            return


def appeared(me: Any, path: str) -> None:
    """Have an actor wait until there is such a znode."""
    told = threading.Event()
    while not me.zk.exists(path, watch=lambda event: told.set()):
        told.wait()
        told.clear()


def lagging(wanted: Specification) -> Specification:
    """The same on an ensemble: a reply is lost, and the next server lags behind."""
    return replace(wanted, faults=2, kinds=(REPLY_LOST, LAGS))


def in_every_order(*specify: Callable[[Code, str], Specification]) -> Orders:
    """A judge of these specifications, each of which is given the code and the exercise's root."""
    return Orders(specify)


@dataclass(frozen=True)
class Orders:
    """A judge by search. `specify` makes a specification out of the reader's code and a root."""

    specify: Sequence[Callable[[Code, str], Specification]]

    def __call__(self, harness: Harness) -> None:
        """Search, then run once on the real ZooKeeper. Raises `Failed`."""
        code = Code(harness.function, min(_PATIENCE, harness.deadline))
        wanted = [make(code, harness.root) for make in self.specify]
        harness.note("your code", f"{harness.function.__name__}(…), in every order of events")
        _guard(code.deadline * _SEARCH)
        talk = sys.stdout
        sys.stdout = _FirstRun(talk)
        try:
            states = 0
            for each in self.in_turn(wanted):
                left = harness.remaining - (1 - _SEARCH) * harness.deadline
                found = Search(each).run(max(left, 0.05))
                states += found.states
                self._judge(code, found)
                if found.states <= 1 and not found.complete:  # not one call has come back
                    harness.late()
        finally:
            sys.stdout = talk
            Run.patience = 0.0
        once(harness, wanted[0])
        if code.unwritten:
            raise NotAttempted
        seen = "all of them are right" if found.complete else "those that were seen are right"
        harness.praise = f"{states:,} states were looked at, and {seen}. Scope: {found.scope}."

    @staticmethod
    def in_turn(wanted: Sequence[Specification]) -> Iterator[Specification]:
        """What goes wrong without a fault is told first."""
        yield from (replace(each, faults=0) for each in wanted if each.kinds == LOST)
        yield from (each for each in wanted if each.faults)

    @staticmethod
    def _judge(code: Code, found: Found) -> None:
        if code.unwritten:
            raise NotAttempted
        if found.violation:
            raise Failed(sentence(found.violation), found)
        if found.note and not found.note.startswith("Time is up"):
            raise Failed(found.note)


def sentence(violation: str) -> str:
    """What is wrong, as a sentence."""
    said = violation[0].upper() + violation[1:]
    return said if said.endswith((".", "?", "!")) else f"{said}."


def _guard(patience: float) -> None:
    """Have code interrupted that does not come back, and its process ended if it catches that."""
    alarms = 0

    def ring(*_: object) -> None:
        nonlocal alarms
        if here() is None:
            return
        alarms += 1
        if alarms > _ALARMS:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Endless

    signal.signal(signal.SIGALRM, ring)
    Run.patience = patience


class _FirstRun:
    """What the reader's code prints when it runs for the first time, and not each time."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._first: Any = None

    def write(self, text: str) -> int:
        self._first = self._first or here()
        return self._out.write(text) if here() in (None, self._first) else len(text)

    def flush(self) -> None:
        self._out.flush()


# --- once on the real ZooKeeper ---------------------------------------------------------------


@dataclass
class RealMe:
    """What an actor's code is given when it runs on the real ZooKeeper."""

    zk: Any
    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""
    done: bool = False
    number, life, expired = 0, 0, False

    def knows(self, **facts: Any) -> None:
        """What it believes."""
        self.facts.update(facts)

    def says(self, **news: Any) -> None:
        """What it says now: only what is wrong is listened to."""
        if "then" in news:
            self.wrong = news["then"].why

    def pause(self, label: str) -> None:
        """Let others act."""
        time.sleep(0.02)

    def run(self, body: Body) -> None:
        """Do all of it."""
        body(cast(Me, self))
        self.done = True


def once(harness: Harness, wanted: Specification) -> None:
    """Run all actors side by side on the lab's ZooKeeper. Raises `Failed`."""
    harness.zk.delete(harness.root, recursive=True)
    for path, data in wanted.znodes:
        harness.zk.create(path, data, makepath=True)
    actors = [RealMe(harness.client(name), name) for name in wanted.bodies]
    for me, body in zip(actors, wanted.bodies.values(), strict=True):
        work = functools.partial(me.run, body)
        threading.Thread(target=work, name="labkit-exercise", daemon=True).start()
    if not harness.wait(lambda: all(me.done or me.wrong for me in actors)):
        harness.late()
    for me in actors:
        if me.wrong:
            harness.fail(me.wrong)
    # What ZooKeeper has told last may still be on its way to a watch.
    harness.wait(lambda: not _wrong(harness, wanted, actors), min(_SETTLED, harness.remaining / 2))
    if wrong := _wrong(harness, wanted, actors):
        harness.fail(f"On the real ZooKeeper: {sentence(wrong)}")


def _wrong(harness: Harness, wanted: Specification, actors: Sequence[RealMe]) -> str | None:
    """What is wrong of the real ZooKeeper as it is now, if anything is."""
    znodes: dict[str, Znode] = {}
    _read(harness, "/", znodes)
    seats = tuple(
        Seat(Moment(0, done=True, facts=MappingProxyType(me.facts)), me.zk.session_id, begun=True)
        for me in actors
    )
    rules = Rules(cast(Any, [_Named(me.name) for me in actors]), Observed())
    world = World(rules, Tree(znodes), seats, wanted.faults, 0)
    return wanted.invariant(world) or wanted.final(world)


@dataclass
class _Named:
    name: str


def _read(harness: Harness, path: str, into: dict[str, Znode]) -> None:
    data, stat = harness.zk.get(path)
    into[path] = Znode(
        data,
        stat.ephemeralOwner,
        stat.version,
        0,
        stat.numChildren,
        stat.aversion,
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
    )
    for name in harness.zk.get_children(path):
        _read(harness, f"{path.rstrip('/')}/{name}", into)
