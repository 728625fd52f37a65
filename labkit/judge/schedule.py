"""Schedules of faults, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from labkit.errors import ConfigError
from labkit.servers.links.fault import LinkFault
from labkit.story.event import LEADER, is_zookeeper

FaultKind = Literal[
    "kill",
    "pause",
    "partition",
    "restart-zookeeper",
    "kill-leader",
    "pause-holder",
    "pause-leader",
    "cut-holder",
    "kill-machine",
    "cut-machine",
]

ALL_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

#: Those of a whole machine, with all servers on it, in a lab on several.
MACHINE_FAULTS: tuple[FaultKind, ...] = ("kill-machine", "cut-machine")

#: Those of an ensemble.
ENSEMBLE_FAULTS: tuple[FaultKind, ...] = ("pause-leader",)

#: Those that every lab can have.
FAULT_KINDS = tuple(kind for kind in ALL_KINDS if kind not in MACHINE_FAULTS + ENSEMBLE_FAULTS)

#: Those by which a silent node loses its number; see `takeover`.
TAKEOVERS: tuple[FaultKind, ...] = ("pause-holder", "pause-leader", "cut-holder")

#: The ways in which a partition can cut a link; containers know only the first.
CUTS = (
    LinkFault("drop", "both"),
    LinkFault("drop", "to"),
    LinkFault("drop", "from"),
    LinkFault("refuse", "both"),
)

#: As a target: a node that has a number when the fault begins, and one that will take it.
HOLDER = "holder"

_WARM_UP = 1.0  # seconds before the first fault, in which every node claims

_SHORTEST = 0.3  # seconds; a fault that would be cut shorter is not worth it


@dataclass(frozen=True)
class ScheduledFault:
    """What is to be broken, from `begin` to `end` in seconds from the start of the run.

    kill, restart-zookeeper, kill-leader and kill-machine end with a start, pause with a resume,
    cut-machine and partition, which says by `link` what it is, with a heal. pause-holder,
    pause-leader and cut-holder are takeovers.
    """

    begin: float
    end: float
    kind: FaultKind
    targets: tuple[str, ...]
    link: LinkFault | None = None

    def __str__(self) -> str:
        what = f"{self.kind} {', '.join(self.targets)}"
        if self.link is not None:
            direction = "" if self.link.direction == "both" else f", {self.link.direction} only"
            what += f" ({self.link.kind}{direction})"
        return f"{self.begin:.1f}–{self.end:.1f} s: {what}"


def schedule(
    seed: int,
    seconds: float,
    nodes: Sequence[str],
    servers: Sequence[str],
    kinds: Sequence[FaultKind] = FAULT_KINDS,
    *,
    session_timeout: float = 2.0,
    cuts: Sequence[LinkFault] = CUTS,
    machines: Sequence[Sequence[str]] = (),
) -> list[ScheduledFault]:
    """Draw the faults of a run; the same arguments always draw the same.

    `machines` are the servers on each machine, for faults of a whole one.
    Every kind has its turn before any has its second. Targets are one, a minority, a majority or
    all of the nodes (or servers), or the leader. Faults last for less or more than the session
    timeout, because both teach, and may overlap on different targets. All end early enough for
    what must be true afterwards: a session timeout and two seconds before the end of the run.

    Takeovers need a while of their own, and two nodes. A run that is long enough for them and for
    others has them among its first faults, in the order of `TAKEOVERS` if not all fit. Raises
    `ConfigError` when that leaves no time, or for an unknown kind.
    """
    _require_possible(kinds, machines)
    last = seconds - session_timeout - 2.0
    others = [kind for kind in kinds if kind not in TAKEOVERS]
    room = _takeover(session_timeout)
    # Each has as much time beside it for the other faults.
    most = int((last - _WARM_UP) // (2 * room if others else room)) if len(nodes) > 1 else 0
    takeovers = [kind for kind in TAKEOVERS if kind in kinds][: max(most, 0)]
    room = _WARM_UP + (_SHORTEST if others else room)
    if kinds and last < room:
        least = session_timeout + 2.0 + room
        raise ConfigError(
            f"{seconds:g} s leave no time for a fault and for the recovery from it with a session "
            f"timeout of {session_timeout:g} s: take {least:.1f} s or more, better 20."
        )
    rng = random.Random(f"{seed}:{seconds}:{session_timeout}")
    drawn: list[ScheduledFault] = []
    at = _WARM_UP
    while others or takeovers:
        turn = rng.sample(others, len(others))
        for place, kind in enumerate(takeovers):
            turn.insert(rng.randint(0, min(place + len(takeovers) - 1, len(turn))), kind)
        for kind in turn:
            fault = _draw(rng, kind, at, nodes, servers, session_timeout, cuts, machines)
            # After a fault of ZooKeeper's, let the nodes come back before the next such fault.
            respite = session_timeout * rng.uniform(0.75, 1.5) if _hits_zookeeper(fault) else 0.2
            begin = max([at, *(f.end + respite for f in drawn if conflict(f, fault))])
            wanted = fault.end - fault.begin
            length = min(wanted, last - begin)
            if length < (wanted if kind in TAKEOVERS else min(wanted, _SHORTEST)):
                return drawn
            fault = replace(fault, begin=round(begin, 3), end=round(begin + length, 3))
            drawn.append(fault)
            if rng.random() < 0.4:  # overlaps the next one
                at = fault.begin + rng.uniform(0.1, 0.9) * length
            else:
                at = fault.end + rng.uniform(0.2, 0.4 * session_timeout + 0.2)
    return drawn


def _require_possible(kinds: Sequence[FaultKind], machines: Sequence[Sequence[str]]) -> None:
    if unknown := [kind for kind in kinds if kind not in ALL_KINDS]:
        known = ", ".join(ALL_KINDS)
        raise ConfigError(f"There is no fault {unknown[0]!r}; choose among {known}.")
    if not machines and any(kind in MACHINE_FAULTS for kind in kinds):
        raise ConfigError("Only a lab on several machines has faults of a whole machine.")


def _draw(
    rng: random.Random,
    kind: FaultKind,
    begin: float,
    nodes: Sequence[str],
    servers: Sequence[str],
    session_timeout: float,
    cuts: Sequence[LinkFault],
    machines: Sequence[Sequence[str]],
) -> ScheduledFault:
    if kind in TAKEOVERS:
        target = LEADER if kind in ENSEMBLE_FAULTS else HOLDER
        return ScheduledFault(begin, begin + _takeover(session_timeout), kind, (target,))
    # A server that is alone has no link to the others that could be cut.
    hits_leader = ("pause", "partition")[: len(servers)]
    if kind == "kill-leader":
        targets: tuple[str, ...] = (LEADER,)
    elif kind in MACHINE_FAULTS:
        targets = tuple(rng.choice(machines))
    elif kind == "restart-zookeeper":
        targets = _some(rng, servers)
    elif kind in hits_leader and rng.random() < 0.25:
        targets = (LEADER,)
    else:
        targets = _some(rng, nodes)
    link = rng.choice(cuts) if kind == "partition" else None
    if kind == "pause":  # short ones a node must survive, long ones it must own up to
        least, most = (0.2, 0.95) if rng.random() < 0.3 else (1.1, 1.8)
    elif kind == "restart-zookeeper":
        least, most = (0.1, 0.4) if rng.random() < 0.5 else (1.1, 1.6)
    else:
        least, most = (0.1, 1.8)
    length = max(_SHORTEST, session_timeout * rng.uniform(least, most))
    return ScheduledFault(begin, begin + length, kind, targets, link)


def _takeover(session_timeout: float) -> float:
    """How long a takeover lasts, about: till the session is over, and the rival answers."""
    return 1.25 * session_timeout + 1.25


def _some(rng: random.Random, servers: Sequence[str]) -> tuple[str, ...]:
    """One of them, a minority, a majority, or all."""
    total = len(servers)
    minority = max((total - 1) // 2, 1)
    count = rng.choice((1, minority, total // 2 + 1, total))
    return tuple(sorted(rng.sample(list(servers), count), key=servers.index))


def conflict(one: ScheduledFault, other: ScheduledFault) -> bool:
    """Whether two faults must not overlap: they have a server in common, or one is a takeover.

    One of ZooKeeper's at a time, for the leader changes.
    """
    if one.kind in TAKEOVERS or other.kind in TAKEOVERS:
        return True
    if _hits_zookeeper(one) and _hits_zookeeper(other):
        return True
    return bool(set(one.targets) & set(other.targets))


def _hits_zookeeper(fault: ScheduledFault) -> bool:
    return any(map(is_zookeeper, fault.targets))
