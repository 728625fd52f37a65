"""How ZooKeeper ends sessions by time: what the leader has heard, when, and from whom.

Without it a session ends at any moment, by a fault, and a session timeout later at once. With it
there is a clock: a follower hears of its clients, and tells the leader of them at its *reports*,
each half tick; a session that the leader has not heard of for its timeout may be ended, then or
later. One request may still be carried out when that has begun. A network takes no time here and a
process stands still only by a fault, so all that makes a silence is counted.

Sources: ZooKeeper's SessionTrackerImpl, ExpiryQueue, LearnerHandler and Learner.ping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from labkit.explore.world import Choice, Seat, World

FREEZES, GOES_DARK = "freezes", "goes dark"

#: What happens only where there is a clock, in words.
SENTENCES = {
    FREEZES: "{0}'s process stands still",
    "wakes": "{0}'s process goes on",
    GOES_DARK: "{0}'s server is cut off, and nobody is told",
    "reports": "{0}'s server reports to the leader",
    "time goes by": "time goes by",
    "begins to end": "the leader has not heard of {0} for the session timeout",
    "expires": "the leader ends {0}'s session",
}


class Clocked(NamedTuple):
    """That sessions end by time. All in seconds."""

    report: float  # from one report of a follower to the next; 0 for clients of the leader itself
    until: float  # no time passes after that
    rate: float = 1.0  # of the actors' clocks, by ZooKeeper's
    later: bool = False  # no fault hits an actor before it has said what it knows


@dataclass(frozen=True)
class Reply:
    """A reply that waits for a process that stands still."""

    key: Any  # what of it the code can see
    told: tuple[Any, ...] = field(compare=False)
    changes: Mapping[str, Any] = field(compare=False)


class Line(NamedTuple):
    """What is between an actor and the leader. Times are in seconds of the world."""

    heard: float = 0.0  # when the leader last heard of the session
    due: float = 0.0  # when the actor's server reports next
    unreported: bool = False  # the server has heard of the session since its last report
    dark: bool = False  # the server is cut off
    ending: int = 0  # 1: the leader has begun to end the session; 2: and has let one request in
    frozen: bool = False  # the actor's process stands still
    kept: Reply | None = None  # the reply that waits for it meanwhile

    def touched(self, now: float, report: float) -> Line:
        """After a request was carried out."""
        ending = 2 if self.ending else 0
        return (
            self._replace(unreported=True, ending=ending)
            if report
            else self._replace(heard=now, ending=ending)
        )


def choices(world: World, free: Callable[[int, Seat], list[Choice]], make: Any) -> list[Choice]:
    """What may happen next, first what happens by itself; `free`: to an actor, without a clock."""
    found: list[Choice] = []
    faults: list[Choice] = []
    rules, now, clocked = world.rules, world.now, _clocked(world)
    must = False  # something happens before time passes
    for at, (seat, line) in enumerate(zip(world.seats, _lines(world), strict=True)):
        if rules.rests and seat.moment.done:
            continue
        if line.frozen:
            kinds = ["wakes"]
        else:
            shut = line.dark or line.ending > 1
            able = [c for c in free(at, seat) if not shut or c.kind == "turn"]
            must = must or any(c.kind in ("call", "notice") for c in able)
            found += able
            kinds = []
            faults += [make(at, FREEZES, done) for done in range(1 + _carries(seat, line))]
        if clocked.report and now >= line.due and not line.dark:
            kinds.append("reports")
            must = True
        if not seat.ended and line.ending:
            kinds.append("expires")
        elif not seat.ended and now >= line.heard + rules.timeout:
            kinds.append("begins to end")
        must = must or (line.ending > 0 and not seat.ended)
        found += [make(at, kind) for kind in kinds]
        faults += [] if line.dark else [make(at, GOES_DARK)]
        if clocked.later and not seat.moment.facts:
            faults = []
    if not must:
        found += _time(world, make)
    return found + [f for f in faults if f.kind in rules.faults] if world.faults else found


def _carries(seat: Seat, line: Line) -> bool:
    """Whether a request of the actor is carried out although it stands still."""
    return (
        bool(seat.moment.calls)
        and not seat.ended
        and seat.connected
        and not line.dark
        and line.ending < 2
    )


def _time(world: World, make: Any) -> Sequence[Choice]:
    timers = [
        (end, at, timer)
        for at, (seat, line) in enumerate(zip(world.seats, _lines(world), strict=True))
        for timer, end in seat.timers
        if not line.frozen
    ]
    moment, until = following(world), _clocked(world).until
    if timers and min(timers)[0] <= moment:
        end, at, timer = min(timers)
        return [make(at, "time passes", timer)] if end <= until else []
    return [make(0, "time goes by")] if moment <= until else []


def following(world: World) -> float:
    """When something is due next that is no actor's timer."""
    lines, timeout = _lines(world), world.rules.timeout
    dues = [line.due for line in lines if _clocked(world).report and not line.dark]
    ends = [line.heard + timeout for line in lines]
    return min((t for t in dues + ends if t > world.now), default=float("inf"))


def _clocked(world: World) -> Clocked:
    assert world.rules.clocked is not None
    return world.rules.clocked


def _lines(world: World) -> list[Line]:
    return [seat.line for seat in world.seats if seat.line is not None]
