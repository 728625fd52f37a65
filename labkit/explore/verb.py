"""`explore`: what a reader calls. The code under search runs in a fork, which has a deadline."""

from __future__ import annotations

import gc
import inspect
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labkit.errors import ConfigError, LabError
from labkit.explore import ready
from labkit.explore.actor import Endless, Run, describe
from labkit.explore.fork import Child, Fork
from labkit.explore.real import Repeated, repeat
from labkit.explore.search import Found, Search
from labkit.explore.seat import LAGS
from labkit.explore.specification import Specification
from labkit.explore.strands import here
from labkit.explore.world import World
from labkit.lab.lab import Lab
from labkit.lab.own_server import program_in_file
from labkit.node.program import BadProgram, require_server
from labkit.node.program import describe as describe_error
from labkit.progressbar import progress_bar
from labkit.servers.base import Progress

_READY: dict[str, Callable[..., Specification]] = {
    "lock": ready.lock,
    "queue": ready.take,
    "counter": ready.counter,
    "election": ready.election,
}
_PATIENCE = 2.0  # seconds that code may run without asking anything
_MOST_ALARMS = 4  # that code may catch, before the fork ends
_GRACE = 0.6  # seconds after the deadline, for what is found in its last moment


#: Makes a specification: what is in a file is loaded only where it is run.
Make = Callable[[], Specification]


@dataclass
class Explored(Found):
    """What `explore` found, and of which specification."""

    make: Make | None = field(default=None, repr=False)

    def on(self, lab: Lab) -> Repeated:
        """Repeat the schedule on a lab's ZooKeeper: whether that confirms it."""
        assert self.make is not None
        return repeat(self, self.make(), lab)

    @property
    def lags(self) -> bool:
        """Whether a follower lags in the schedule, so that it needs an ensemble."""
        return any(step["kind"] == LAGS for step in self.schedule)


def _show(text: str) -> None:
    print(text, end="", flush=True)


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
    progress: Progress | None = None,
    show: Callable[[str], object] = _show,
) -> Explored:
    """The shortest schedule that breaks `code`, or that there is none.

    `code` is a server's class, or a file that has one (`"my_server.py:MyServer"`); or a function of
    `zk` and a path, `as_a` "lock", "queue", "counter" or "election"; or a dictionary, name →
    function of `zk`, with an `invariant` of the world and a `tree`, path → data; or a
    specification. It has `seconds`; what is not seen by then is told. `show` is given what the code
    prints. Raises `ConfigError` for anything else.
    """
    if isinstance(code, Mapping) and invariant is not None:
        code = ready.own(code, invariant, tree, faults)
    if isinstance(code, str | Path):
        name, make = _in_file(code, nodes, requests, faults)
    else:
        wanted = specify(code, as_a, users, nodes, requests, faults)
        name, make = wanted.name, lambda: wanted
    with progress_bar("exploring") as report:
        return _searched(name, make, seconds, progress or report, show)


def specify(
    code: Any, as_a: str | None, users: int, nodes: int, requests: int, faults: int
) -> Specification:
    """The specification that is meant. Raises `ConfigError`."""
    if isinstance(code, Specification):
        return code
    if inspect.isclass(code) and as_a is None:
        with _config_errors():
            require_server(code)
        return ready.numbers(code, nodes, requests, faults)
    if as_a not in _READY:
        raise ConfigError(f"explore(…, as_a={as_a!r}): choose one of {', '.join(_READY)}.")
    return _READY[as_a](code, users, faults)


def _in_file(code: str | Path, nodes: int, requests: int, faults: int) -> tuple[str, Make]:
    """The server in a file: what it is called, and what makes its specification."""
    with _config_errors():
        program = program_in_file(code)
    if program is None:
        raise ConfigError(
            f"{code} is no file with a server, and only a file's schedules are searched: "
            "'my_server.py:MyServer'."
        )

    def make() -> Specification:
        try:
            return ready.numbers(program.load(), nodes, requests, faults)
        except BadProgram:
            raise
        except BaseException as error:
            said = describe_error(error, program.names)
            raise BadProgram(f"{program.cls} cannot be loaded: it {said}.") from None

    return program.cls, make


@contextmanager
def _config_errors() -> Iterator[None]:
    try:
        yield
    except BadProgram as error:
        raise ConfigError(str(error)) from None


def _searched(
    name: str, make: Make, seconds: float, progress: Progress, show: Callable[[str], object]
) -> Explored:
    """Search in a fork. Raises `LabError` when a specification's own functions fail."""
    found = Explored(name, None, make=make)
    failed: LabError | None = None

    def work(child: Child) -> None:
        _guard(child)
        gc.set_threshold(100_000, 20, 100)  # a look at all that a search keeps takes seconds
        try:
            wanted = make()
            child.send("scope", wanted.scope)
            looking = Search(wanted)  # nobody closes it: the fork ends as it is
            result = looking.run(seconds, lambda states: child.send("states", states))
            child.send("found", result.as_json())
        except BadProgram as error:
            child.send("refused", str(error))
        except Exception as error:
            child.send("failed", describe(error))

    def take(what: str, value: Any) -> None:
        nonlocal found, failed
        match what:
            case "print":
                show(value)
            case "scope":
                found.scope = value
            case "states":
                found.states = value
                progress(f"exploring: {value:,} states", None)
            case "found":
                found = Explored(**value, make=make)
            case "refused":
                failed = ConfigError(value)
            case "failed":
                failed = LabError(f"The specification {name} {value}.")

    fork = Fork(work, seconds + _GRACE)
    status = fork.listen(take)
    if failed:
        raise failed
    if not found.seconds:
        found.seconds = seconds
        if fork.killed and found.states > 1:
            found.note = "Time is up."
        else:
            found.violation, found.note = _ended(name, status, fork.killed)
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
