"""`explore`: what a reader calls. The code under search runs in a fork, which has a deadline."""

from __future__ import annotations

import gc
import inspect
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from labkit.errors import ConfigError, LabError
from labkit.explore import ready
from labkit.explore.actor import Endless, Run, describe
from labkit.explore.fork import Child, Fork
from labkit.explore.real import Repeated, repeat
from labkit.explore.search import Found, Search
from labkit.explore.specification import Specification
from labkit.explore.strands import here
from labkit.explore.world import World
from labkit.lab.lab import Lab
from labkit.progressbar import progress_bar

_READY: dict[str, Callable[..., Specification]] = {
    "lock": ready.lock,
    "queue": ready.take,
    "counter": ready.counter,
    "election": ready.election,
}
_PATIENCE = 2.0  # seconds that code may run without asking anything
_MOST_ALARMS = 4  # that code may catch, before the fork ends
_GRACE = 0.6  # seconds after the deadline, for what is found in its last moment


@dataclass
class Explored(Found):
    """What `explore` found, and of which specification."""

    wanted: Specification | None = field(default=None, repr=False)

    def on(self, lab: Lab) -> Repeated:
        """Repeat the schedule on a lab's ZooKeeper: whether that confirms it."""
        assert self.wanted is not None
        return repeat(self, self.wanted, lab)


def explore(
    code: Any,
    *,
    as_a: str | None = None,
    users: int = 2,
    nodes: int = 2,
    requests: int = 2,
    faults: int = 1,
    seconds: float = 60.0,
    invariant: Callable[[World], str | None] | None = None,
    tree: Mapping[str, bytes] = MappingProxyType({}),
) -> Explored:
    """The shortest schedule that breaks `code`, or that there is none.

    `code` is a server's class; or a function of `zk` and a path, `as_a` "lock", "queue", "counter"
    or "election"; or a dictionary, name → function of `zk`, with an `invariant` of the world and a
    `tree`, path → data; or a specification. It has `seconds`; what is not seen by then is told.
    Raises `ConfigError` for anything else.
    """
    if isinstance(code, Mapping) and invariant is not None:
        code = ready.own(code, invariant, tree, faults)
    return searched(specify(code, as_a, users, nodes, requests, faults), seconds)


def specify(
    code: Any, as_a: str | None, users: int, nodes: int, requests: int, faults: int
) -> Specification:
    """The specification that is meant. Raises `ConfigError`."""
    if isinstance(code, Specification):
        return code
    if inspect.isclass(code) and as_a is None:
        return ready.numbers(code, nodes, requests, faults)
    if as_a not in _READY:
        raise ConfigError(f"explore(…, as_a={as_a!r}): choose one of {', '.join(_READY)}.")
    return _READY[as_a](code, users, faults)


def searched(wanted: Specification, seconds: float) -> Explored:
    """Search in a fork. Raises `LabError` when a specification's own functions fail."""
    found = Explored(wanted.name, None, scope=wanted.scope, wanted=wanted)
    failed = ""

    def work(child: Child) -> None:
        _guard(child)
        gc.set_threshold(100_000, 20, 100)  # a look at all that a search keeps takes seconds
        try:
            looking = Search(wanted)  # nobody closes it: the fork ends as it is
            result = looking.run(seconds, lambda states: child.send("states", states))
            child.send("found", result.as_json())
        except Exception as error:
            child.send("failed", describe(error))

    fork = Fork(work, seconds + _GRACE)
    with progress_bar("exploring") as report:

        def take(what: str, value: Any) -> None:
            nonlocal found, failed
            match what:
                case "print":
                    print(value, end="", flush=True)
                case "states":
                    found.states = value
                    report(f"{value:,} states", None)
                case "found":
                    found = Explored(**value, wanted=wanted)
                case "failed":
                    failed = value

        status = fork.listen(take)
    if failed:
        raise LabError(f"The specification {wanted.name} {failed}.")
    if not found.seconds:
        found.seconds = seconds
        if fork.killed and found.states > 1:
            found.note = "Time is up."
        else:
            found.violation, found.note = _ended(wanted.name, status, fork.killed)
    return found


def _ended(name: str, status: int, killed: bool) -> tuple[str, str]:
    if killed:
        return f"{name} does not come back, and cannot be interrupted", "Time is up."
    how = "exited" if os.WIFEXITED(status) else signal.strsignal(os.WTERMSIG(status))
    return f"{name} ended its whole process ({how})", "The search has ended with it."


def _guard(child: Child) -> None:
    """Have code that does not come back interrupted, and the fork ended if that does not help."""
    alarms = 0

    def ring(*_: object) -> None:
        nonlocal alarms
        actor = here()
        if actor is None:
            return
        alarms += 1
        if alarms > _MOST_ALARMS:
            said = f"{actor.name} does not come back, and catches what would end it"
            child.send("found", Found(actor.name, said, seconds=_PATIENCE).as_json())
            os._exit(0)
        raise Endless

    signal.signal(signal.SIGALRM, ring)
    Run.patience = _PATIENCE
