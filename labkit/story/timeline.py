"""The record of everything that a lab does and sees: events, on one clock."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from labkit.errors import HistoryError
from labkit.files import json_text
from labkit.story.event import (
    CLAIMS,
    DroppedEvent,
    Event,
    FaultEvent,
    HoldersEvent,
    PlacedEvent,
    QuorumEvent,
    SessionEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
    from_json,
)

if TYPE_CHECKING:
    from labkit.servers.zookeeper.txnlog import Transaction

E = TypeVar("E", bound=Event)

LASTING = (TransactionEvent, VerbEvent, FaultEvent)  # what a run is judged by
_STATES = (StatusEvent, HoldersEvent, SessionEvent, QuorumEvent, PlacedEvent)
_MOVED = 0.005  # seconds by which the two clocks part before that counts as a step
_SURE = 0.001  # seconds within which both clocks have to be read, to be compared
_JITTER = 0.05  # seconds by which the times in ZooKeeper's log may be out of its own order


@dataclass
class _Step:
    """A stretch of time in which the wall clock and the timeline's ran at the same pace."""

    since: float
    offset: float  # wall-clock time at t = 0, by how the clocks are now
    seen: float  # when that was last true


@dataclass(frozen=True)
class Bookmark:
    """How far a reader has come in a timeline."""

    position: int  # of the next event, those counted that were dropped
    generation: int  # of the past that it has read


class Timeline:
    """An append-only, thread-safe list of events on one monotonic clock.

    What a run wrote in a file is read again by `Timeline.read(Path("run.jsonl"))`.

    It is bounded, so that a lab left running does not grow for ever. The last `limit` events are
    kept; transactions, verbs and faults, by which a run is judged, have a bound of their own,
    twice as large, at which the oldest transactions go first. Of what was dropped, the last event
    on every node's, ZooKeeper's and the lab's state is kept, and one `DroppedEvent` says what is
    missing: `check` then says that the beginning is missing, and accuses nobody of what it cannot
    see.

    `clock` is monotonic and may stand still while the machine sleeps; `wall` may be set. The
    timeline compares them whenever it looks at the time, and so knows where on its own clock each
    of ZooKeeper's timestamps belongs.
    """

    def __init__(
        self,
        limit: int = 200_000,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._origin = clock()
        self.epoch = wall()  # wall-clock time at t = 0
        self._steps = [_Step(since=0.0, offset=self.epoch, seen=0.0)]
        self._skew = 0.0
        self._limit = limit
        self._events: list[Event] = []
        self._lasting = 0  # how many of them are of a lasting kind
        self._lost: Counter[str] = Counter()
        self._dropped = 0
        self._rewritten = 0  # a reader that has not come as far as this has missed something
        self._generation = 0  # grows when the past changes
        self._merged: set[int] = set()
        self._forgotten = 0  # the newest zxid that was dropped
        self._changed = threading.Condition()

    def now(self) -> float:
        """Seconds since the timeline began."""
        t = self._clock() - self._origin
        step = self._steps[-1]
        if abs(self._wall() - t - step.offset) <= _MOVED:
            step.seen = t
        else:
            self._look_again()
        return t

    def _look_again(self) -> None:
        """Note that the clocks have parted; unless this thread was only held up between them."""
        with self._changed:
            begin, wall = self._clock() - self._origin, self._wall()
            t = self._clock() - self._origin
            offset = wall - t
            if t - begin <= _SURE and abs(offset - self._steps[-1].offset) > _MOVED:
                self._steps.append(_Step(since=t, offset=offset, seen=t))

    def correct(self, skew: float) -> None:
        """Say that ZooKeeper's clock is `skew` seconds ahead of this machine's wall clock.

        It may be, when ZooKeeper runs on another machine (a remote container engine); behind is
        negative. Holds for the transactions that are merged from now on.
        """
        with self._changed:
            self._skew = skew

    def record(self, event: E) -> E:
        """Append an event that happens now; returns it with its time."""
        with self._changed:
            event = replace(event, t=self.now())
            self._events.append(event)
            self._lasting += isinstance(event, LASTING)
            self._trim()
            self._changed.notify_all()
        return event

    def merge_transactions(
        self, transactions: Iterable[Transaction], *, heartbeats: bool = False
    ) -> int:
        """Put ZooKeeper's own history in, by time; returns how many events that added.

        What was merged before is skipped by zxid, so the whole log may be handed in again. The
        nodes' `heartbeats` (they write on their claims, many times a second) are left out unless
        they are asked for: they say nothing about who holds what.

        Times are ZooKeeper's, to the millisecond. A clock that was set back passes some of them
        twice; which time is meant follows from the order of the zxids, so the more of the log is
        handed in, the better.
        """
        with self._changed:
            self.now()
            events = [
                self._event(part, t)
                for part, t in self._placed(sorted(transactions, key=lambda part: part.zxid))
                if part.zxid > self._forgotten
                and part.zxid not in self._merged
                and (heartbeats or not _is_heartbeat(part))
            ]
            self._merged.update(event.zxid for event in events)
            self._lasting += len(events)
            events.sort(key=lambda event: event.t)
            self._events = list(merge(self._events, events, key=lambda event: event.t))
            self._trim()
            if events:
                self._generation += 1
                self._changed.notify_all()
        return len(events)

    def _placed(self, parts: Iterable[Transaction]) -> Iterator[tuple[Transaction, float]]:
        """Each part of the log, in order of zxid, with its time on this timeline."""
        at, before = 0, -math.inf
        for part in parts:
            wall = part.time - self._skew
            while at + 1 < len(self._steps):
                step, following = self._steps[at], self._steps[at + 1]
                t = wall - step.offset
                # Time goes on from one zxid to the next; where it does not, the clock was set.
                is_back = t < before - _JITTER
                fits_there = wall - following.offset >= step.seen - _JITTER
                if t <= following.since and not (is_back and fits_there):
                    break
                before = max(before, step.seen)
                at += 1
            t = wall - self._steps[at].offset
            if at > 0:
                t = max(t, self._steps[at - 1].seen)
            before = max(before, t)
            yield part, t

    @staticmethod
    def _event(part: Transaction, t: float) -> TransactionEvent:
        return TransactionEvent(
            "zookeeper",
            t=t,
            zxid=part.zxid,
            session=f"0x{part.session:x}",
            op=part.op,
            path=part.path,
            value=None if part.data is None else part.data.decode(errors="replace"),
            ephemeral=part.ephemeral,
        )

    def _trim(self) -> None:
        """Drop what is too much, and a tenth more, so that it need not be done at every event."""
        slack, passing = self._limit // 10, len(self._events) - self._lasting
        if passing > self._limit:
            self._drop(lambda event: not isinstance(event, LASTING), passing - self._limit + slack)
        for expendable in ((TransactionEvent,), LASTING):
            if (over := self._lasting - 2 * self._limit) > 0:
                self._drop(partial(_is_one_of, expendable), over + slack)

    def _drop(self, expendable: Callable[[Event], bool], count: int) -> None:
        """Drop the `count` oldest expendable events, but for the last on each server's state."""
        doomed = list(islice((i for i, e in enumerate(self._events) if expendable(e)), count))
        if not doomed:
            return
        ends = doomed[-1] + 1
        states = {
            (event.kind, event.subject): i
            for i in doomed
            if isinstance(event := self._events[i], _STATES)
        }
        gone = set(doomed) - set(states.values())
        kept: list[Event] = []
        for i, event in enumerate(self._events[:ends]):
            if isinstance(event, DroppedEvent):
                continue
            if i not in gone:
                kept.append(event)
                continue
            self._lost[event.kind] += 1
            self._lasting -= isinstance(event, LASTING)
            if isinstance(event, TransactionEvent):
                self._merged.discard(event.zxid)
                self._forgotten = max(self._forgotten, event.zxid)
        rest = [event for event in self._events[ends:] if not isinstance(event, DroppedEvent)]
        if len(rest) < len(self._events) - ends:
            self._generation += 1  # a gap in the midst of what may have been read
        position = self._dropped + len(self._events)
        dropped = DroppedEvent(
            "lab",
            t=self._events[ends - 1].t,
            events=self._lost.total(),
            kinds=dict(self._lost),
            zxid=self._forgotten,
        )
        self._events = [*kept, dropped, *rest]
        self._dropped = position - len(self._events)
        self._rewritten = position - len(rest)

    def tail(self) -> Tail:
        """A reader that follows the timeline from its beginning."""
        return Tail(self, Bookmark(0, self._generation))

    def wait_beyond(self, place: Bookmark, timeout: float) -> bool:
        """Wait until there is something beyond a place; False after `timeout` seconds."""

        def is_beyond() -> bool:
            behind = place.position < self._dropped + len(self._events)
            return behind or place.generation != self._generation

        with self._changed:
            return self._changed.wait_for(is_beyond, timeout)

    def read_beyond(self, place: Bookmark) -> tuple[list[Event], Bookmark, bool]:
        """The new events, the new place, and `anew`: True if the reader has to start over.

        That is so when the past has changed, or when too much has been dropped since.
        """
        with self._changed:
            missed = place.position < self._rewritten
            anew = missed or place.generation != self._generation
            start = 0 if anew else place.position - self._dropped
            end = Bookmark(self._dropped + len(self._events), self._generation)
            return self._events[start:], end, anew

    def __iter__(self) -> Iterator[Event]:
        with self._changed:
            return iter(list(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def write(self, path: Path) -> None:
        """Write JSON lines, the first of which holds the epoch."""
        lines = [json.dumps({"epoch": self.epoch}), *(event.to_json() for event in self)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> list[Event]:
        """The events that `write` wrote.

        Raises `Unreadable` for a file that can't be read, and `HistoryError` for one that is no
        timeline: the message names the line.
        """
        first, *lines = json_text(path).removesuffix("\n").split("\n")
        events: list[Event] = []
        try:
            if "epoch" not in first:
                raise HistoryError(f"A timeline begins with its epoch, and not so: {first[:200]}")
            for line in lines:
                events.append(from_json(line))
        except HistoryError as error:
            at = len(events) + 2 if "epoch" in first else 1
            raise HistoryError(f"{path}, line {at}: {error}") from error
        return events


def _is_one_of(kinds: tuple[type[Event], ...], event: Event) -> bool:
    return isinstance(event, kinds)


def _is_heartbeat(part: Transaction) -> bool:
    return part.op == "setData" and (part.path or "").startswith(f"{CLAIMS}/")


class Tail:
    """Reads a timeline as it grows; one for each reader."""

    def __init__(self, timeline: Timeline, place: Bookmark) -> None:
        self._timeline = timeline
        self._place = place

    def wait(self, timeout: float) -> bool:
        """Wait until there is something to read; False if nothing came for `timeout` seconds."""
        return self._timeline.wait_beyond(self._place, timeout)

    def read(self) -> tuple[list[Event], bool]:
        """The events not read yet; True if they are all, because the past has changed."""
        events, self._place, anew = self._timeline.read_beyond(self._place)
        return events, anew
