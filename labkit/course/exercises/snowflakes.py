"""Page 08: unique workers are not enough for unique IDs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.course.exercises.values import as_text, same
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- 64 bits ----------------------------------------------------------------------------------


def pack(millis: int, worker: int, sequence: int) -> int:
    if not (0 <= millis < 2**41 and 0 <= worker < 2**10 and 0 <= sequence < 2**12):
        raise ValueError("one of the three does not fit")
    return millis << 22 | worker << 12 | sequence


def _unlimited(millis: int, worker: int, sequence: int) -> int:
    """Worker 1024 becomes worker 0, a millisecond later."""
    return (millis << 22) + (worker << 12) + sequence


def _cut_off(millis: int, worker: int, sequence: int) -> int:
    """Worker 1024 becomes worker 0, silently."""
    return (millis % 2**41) << 22 | (worker % 2**10) << 12 | sequence % 2**12


def _exchanged(millis: int, worker: int, sequence: int) -> int:
    """The sequence before the worker: unique, but not in the order asked for."""
    if not (0 <= millis < 2**41 and 0 <= worker < 2**10 and 0 <= sequence < 2**12):
        raise ValueError("one of the three does not fit")
    return millis << 22 | sequence << 10 | worker


def _judge_pack(harness: Harness) -> None:
    for millis, worker, sequence in (
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (1, 0, 0),
        (123_456, 7, 42),
        (2**41 - 1, 1023, 4095),
    ):
        wanted = millis * 2**22 + worker * 2**12 + sequence
        harness.equal(harness.call(millis, worker, sequence, kind=int), wanted)
    harness.raises(ValueError, 1, 1024, 0)
    harness.raises(ValueError, 1, 1, 4096)
    harness.raises(ValueError, 2**41, 1, 0)
    harness.raises(ValueError, 1, -1, 0)


# --- the next one -----------------------------------------------------------------------------


def following(last: tuple[int, int], millis: int) -> tuple[int, int] | None:
    before, sequence = last
    if millis > before:
        return millis, 0
    if millis == before and sequence < 4095:
        return millis, sequence + 1
    return None  # the clock stepped back, or the millisecond is used up


def _trusting(last: tuple[int, int], millis: int) -> tuple[int, int] | None:
    """Begins at 0 in every other millisecond, also in one that it has been in before."""
    before, sequence = last
    if millis != before:
        return millis, 0
    return (millis, sequence + 1) if sequence < 4095 else None


def _round_and_round(last: tuple[int, int], millis: int) -> tuple[int, int] | None:
    """After 4095 comes 0 again, in the same millisecond."""
    before, sequence = last
    if millis > before:
        return millis, 0
    return (millis, (sequence + 1) % 4096) if millis == before else None


def _bottomless(last: tuple[int, int], millis: int) -> tuple[int, int] | None:
    """4096 needs a thirteenth bit, which is the worker's."""
    before, sequence = last
    if millis > before:
        return millis, 0
    return (millis, sequence + 1) if millis == before else None


def _judge_following(harness: Harness) -> None:
    for last, millis, wanted, why in (
        ((100, 0), 101, (101, 0), "A new millisecond begins at 0."),
        ((100, 0), 100, (100, 1), "The same millisecond: the next in sequence."),
        ((100, 7), 250, (250, 0), "A new millisecond begins at 0."),
        ((100, 4095), 100, None, "4095 is the last that 12 bits can hold: wait for the next one."),
        ((100, 4095), 101, (101, 0), ""),
        ((100, 3), 99, None, "The clock stepped back; IDs of that time may exist already."),
        ((100, 3), 20, None, "The clock stepped back; IDs of that time may exist already."),
    ):
        harness.equal(harness.call(last, millis), wanted, why)


# --- reserve before use -----------------------------------------------------------------------


def reserve(zk: KazooClient, path: str, now: int) -> tuple[int, int]:
    while True:
        data, stat = zk.get(path)
        first = max(now, int(data))
        until = first + 1000
        try:
            zk.set(path, str(until).encode(), version=stat.version)
            return first, until
        except BadVersionError:
            continue  # somebody else has reserved: look again


def _by_the_clock(zk: KazooClient, path: str, now: int) -> tuple[int, int]:
    """Believes its own clock; the one before may have been ahead of it."""
    while True:
        _, stat = zk.get(path)
        try:
            zk.set(path, str(now + 1000).encode(), version=stat.version)
            return now, now + 1000
        except BadVersionError:
            continue


def _unversioned(zk: KazooClient, path: str, now: int) -> tuple[int, int]:
    """Two that look at the same time reserve the same."""
    first = max(now, int(zk.get(path)[0]))
    zk.set(path, str(first + 1000).encode())
    return first, first + 1000


def _from_the_end(zk: KazooClient, path: str, now: int) -> tuple[int, int]:
    """Goes on where the last one ended, however long ago: its IDs would be of yesterday."""
    while True:
        data, stat = zk.get(path)
        first = int(data)
        try:
            zk.set(path, str(first + 1000).encode(), version=stat.version)
            return first, first + 1000
        except BadVersionError:
            continue


def _reserves(code: Code, root: str) -> Specification:
    path, clocks = f"{root}/7", {"user1": 5_000, "user2": 6_400}

    def use(me: Me) -> None:
        got = code(me, path, clocks[me.name])
        got = tuple(got) if type(got) is list else got
        if type(got) is not tuple or [type(part) for part in got] != [int, int]:
            code.refuse(
                me, (f"It returned {as_text(got)}, where two ints are asked for.", "returns")
            )
        me.knows(reserved=got)
        me.says(returns=as_text(got))

    def never(world: World) -> str | None:
        end = int(world.data(path) or 0)
        taken = [a.believes("reserved") for a in world.actors]
        for actor in world.actors:
            said, now = actor.says("returns"), clocks[actor.name]
            if said is None:
                continue
            others = [t[1] for t in taken if t and t != actor.believes("reserved")]
            firsts = [max(now, earlier) for earlier in (6_000, *others)]
            if not any(same(actor.believes("reserved"), (f, f + 1000)) for f in firsts):
                return f"{actor.name} returned {said} at {now}; up to {firsts[-1]} was taken"
            if end != actor.believes("reserved")[1]:
                return f"{actor.name} returned {said}, and {end} is written: the next begins there"
        both = sorted(t for t in taken if t)
        if len(both) > 1 and both[0][1] > both[1][0]:
            return f"two have reserved the same: {both[0]} and {both[1]}"
        return None

    return users(code, use, 2, never=never, znodes=[(path, b"6000")], faults=0, alike=False)


EXERCISES = (
    Exercise(
        id="pack",
        page="08",
        title="Sixty-four bits",
        question=(
            "Put the three parts into one int: 41 bits of `millis`, then 10 bits of `worker`, then "
            "12 bits of `sequence`, in this order, `sequence` last. If one of them does not fit "
            "into its bits, raise `ValueError`."
        ),
        hints=(
            "`x << 12` makes room for 12 bits behind `x`; `|` puts something there.",
            "`millis` has 22 bits behind it.",
            "10 bits hold 0 to 1023. What would worker 1024 look like, unless you refuse it?",
        ),
        answer=pack,
        wrong=(_unlimited, _cut_off, _exchanged),
        judge=_judge_pack,
    ),
    Exercise(
        id="next-id",
        page="08",
        title="A clock that steps back",
        question=(
            "`last` is the pair (millisecond, sequence) of the last ID that you made, and the "
            "clock says `millis`. Return the pair for the next one: in a new millisecond the "
            "sequence begins at 0. Return `None` when there is no safe one now: the sequence ends "
            "at 4095, and clocks step back."
        ),
        hints=(
            "There are three cases: the clock is ahead of the last ID, at it, or behind it.",
            "Behind it, you would make IDs for a time that you have already been in.",
        ),
        answer=following,
        wrong=(_trusting, _round_and_round, _bottomless),
        judge=_judge_following,
    ),
    Exercise(
        id="reserve",
        page="08",
        title="Reserve before you use",
        question=(
            "The znode at `path` holds a number as text: up to there, milliseconds have been "
            "reserved by whoever had this worker id. Reserve a thousand for yourself, beginning "
            "now or where the last reservation ends, whichever is later: write the new end, and "
            f"return `(first, end)`. Others may do the same at the same time. {HOLDS}"
        ),
        hints=(
            "`first = max(now, int(data))`; its end is `first + 1000`.",
            "Write with the version that you have read.",
            "`BadVersionError`: somebody else has reserved; read again.",
        ),
        answer=reserve,
        wrong=(_by_the_clock, _unversioned, _from_the_end),
        judge=in_every_order(_reserves),
    ),
)
