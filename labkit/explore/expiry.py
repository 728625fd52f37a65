"""How ZooKeeper ends sessions by time: what the leader has heard, when, and from whom.

Without it a session ends at any moment, by a fault, and a session timeout later at once. With it
there is a clock: a follower hears of its clients, and tells the leader of them at its *reports*,
each half tick; a session that the leader has not heard of for its timeout may be ended, then or
later. One request may still be carried out when that has begun. A network takes no time here and a
process stands still only by a fault, so all that makes a silence is counted.

Sources: ZooKeeper's SessionTrackerImpl, ExpiryQueue, LearnerHandler and Learner.ping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labkit.explore.line import FREEZES, GOES_DARK, Clocked, Line
from labkit.explore.seat import Choice, Seat, Seats


def choices(world: Seats, free: Callable[[int, Seat], list[Choice]], make: Any) -> list[Choice]:
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


def _time(world: Seats, make: Any) -> Sequence[Choice]:
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


def following(world: Seats) -> float:
    """When something is due next that is no actor's timer."""
    lines, timeout = _lines(world), world.rules.timeout
    dues = [line.due for line in lines if _clocked(world).report and not line.dark]
    ends = [line.heard + timeout for line in lines]
    return min((t for t in dues + ends if t > world.now), default=float("inf"))


def _clocked(world: Seats) -> Clocked:
    clocked: Clocked | None = world.rules.clocked
    assert clocked is not None
    return clocked


def _lines(world: Seats) -> list[Line]:
    return [seat.line for seat in world.seats if seat.line is not None]
