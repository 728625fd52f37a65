"""Timestamps that are reserved before they are used, so that no two nodes ever use the same.

The znode `/snowflake/<worker>` says which milliseconds are taken. A node adds to them, by a set
that names the version it has read, before it uses any, and uses no others. Whoever comes next
starts where the reservation ends. A node that was paused and wakes up as a zombie may use up what
it had reserved, and finds the version changed when it asks for more.

A node reserves a second ahead and renews at half, on demand: who makes no IDs writes nothing. A
graceful stop gives the rest back, so that the successor need not wait for it.

**A clock that is far ahead** reserves far ahead, and must be believed: its IDs are out. But the
time that it has jumped over is unused, and the znode keeps that *gap*: a successor whose clock
shows a time in it works there. This costs three things. When its clock comes to what the one ahead
has taken, IDs are refused for as long as that one had worked. IDs of one worker are ordered by the
clocks of its holders, not by the order of these. And only the last few gaps are kept; without one,
the successor is refused until its clock has caught up.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from labkit.node.claimant import Refusal

ROOT = "/snowflake"

# A timestamp that nobody used may still be used for so long: a caller that was not scheduled in
# time for a millisecond would else lose it, and batches would fall short of the format's rate.
CATCH_UP_MS = 10
WAIT_FOR_PLACE = 0.05  # seconds that a request waits to be one of those that wait for IDs

_AHEAD_MS = 1000  # how far ahead timestamps are reserved
_JUMP_MS = 10_000  # a clock that goes on by more than that leaves a gap
_GAPS = 8  # that are kept


class ReservationLost(Exception):
    """More must be reserved anew: somebody else has done so, or the room here is at its end."""


class Reserved(Protocol):
    """Timestamps that one generator may use and nobody else; in Unix milliseconds."""

    start: int  # the first of them

    def until(self, now: int) -> int:
        """The first that is not reserved. Does not wait."""

    def extend(self, now: int, timeout: float) -> int:
        """Reserve beyond `now`; the first that is not reserved then.

        Raises `ReservationLost`, or `Refusal` after `timeout` seconds.
        """

    def give_back(self, last: int) -> None:
        """Release what comes after `last`, if it is certain at once that it is ours to release."""


@dataclass(frozen=True)
class Ledger:
    """What is known of a worker's timestamps; all in Unix milliseconds, ends excluded.

    The last holder has reserved from `start` until `until`, in a room that ends at `limit`, or has
    no end. Beyond that room everything is taken but the `gaps` and what comes from `top` on.
    """

    start: int = 0
    until: int = 0
    by: str | None = None
    limit: int | None = None
    gaps: tuple[tuple[int, int], ...] = ()
    top: int = 0

    def reserve(self, owner: str, after: int, now: int) -> Ledger:
        """The next reservation of `owner`, later than `after`, as near to `now` as there is room.

        One that asks again, for example because a reply was lost, goes on with what it has.
        """
        first = max(after + 1, now - CATCH_UP_MS)
        if self.by == owner and max(first, self.start) < self.until:
            return replace(self, start=max(first, self.start)).extend(now)
        rooms = self.free()
        for begin, end in rooms:
            start = max(first, begin)
            if end is None or end - start >= _AHEAD_MS:
                break
        gaps = [(a, b) for a, b in rooms if b is not None and a != begin and b - a >= _AHEAD_MS]
        if start - begin > _JUMP_MS:
            gaps.append((begin, start))
        top = 0 if end is None else self.end
        return Ledger(start, start, owner, end, tuple(sorted(gaps)[-_GAPS:]), top).extend(now)

    @property
    def end(self) -> int:
        """From here on nothing is taken."""
        return self.until if self.limit is None else self.top

    def free(self) -> list[tuple[int, int | None]]:
        """The rooms in which nothing is taken, in order; the last one has no end."""
        rooms: list[tuple[int, int | None]] = [*self.gaps, (self.end, None)]
        if self.limit is not None and self.until < self.limit:
            rooms.append((self.until, self.limit))
        return sorted(rooms, key=lambda room: room[0])

    def extend(self, now: int) -> Ledger:
        """Reserve up to a second after `now`, as far as there is room."""
        until = max(now, self.until) + _AHEAD_MS
        return replace(self, until=until if self.limit is None else min(until, self.limit))

    def to_bytes(self) -> bytes:
        """What the znode holds; fields that say nothing are left out."""
        fields: dict[str, Any] = {"until": self.until, "by": self.by, "from": self.start}
        if self.gaps:
            fields["gaps"] = self.gaps
        if self.limit is not None:
            fields |= {"limit": self.limit, "top": self.top}
        return json.dumps(fields).encode()

    @classmethod
    def parse(cls, path: str, data: bytes) -> Ledger:
        """What a znode's data says. Raises `Refusal` if it is no reservation."""
        if not data:
            return cls()
        try:
            said = json.loads(data)
            limit = said.get("limit")
            return cls(
                int(said.get("from", 0)),
                int(said["until"]),
                str(said["by"]),
                None if limit is None else int(limit),
                tuple((int(a), int(b)) for a, b in said.get("gaps", ())),
                int(said.get("top", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal("reservation", f"{path} in ZooKeeper holds no reservation.") from error


class Reservation:
    """The timestamps of one worker that a node has reserved in ZooKeeper; see `Reserved`.

    Its methods are called by one thread at a time. Got by `acquire`.
    """

    def __init__(self, zk: KazooClient, path: str, ledger: Ledger, version: int) -> None:
        self._zk = zk
        self._path = path
        self.start = ledger.start
        self._ledger = ledger
        self._version = version
        self._lost = False
        self._pending: tuple[Any, Ledger] | None = None  # an answer to come, and what it confirms

    @classmethod
    def acquire(
        cls, zk: KazooClient, worker: int, owner: str, after: int, now: int, timeout: float
    ) -> Reservation:
        """Reserve timestamps of `worker` later than `after`, and that nobody else has.

        `owner` is unique to the process that calls. To be called only by who holds the number.
        Raises `Refusal` when ZooKeeper does not answer in time, or when the next free timestamp
        is too far ahead to wait for.
        """
        path = f"{ROOT}/{worker}"
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                data, version = _read(zk, path, left)
                ledger = Ledger.parse(path, data).reserve(owner, after, now)
                if (wait := (ledger.start - now) / 1000) > timeout:
                    raise Refusal(
                        "clock-behind",
                        f"The timestamps of worker {worker} are taken for another {wait:.3f} s.",
                    )
                stat = zk.set_async(path, ledger.to_bytes(), version).get(timeout=left)
            except (BadVersionError, NoNodeError, NodeExistsError) as error:
                if left <= 0:
                    raise unreserved() from error
            except (KazooException, KazooTimeoutError) as error:
                raise unreserved() from error
            else:
                return cls(zk, path, ledger, stat.version)

    def until(self, now: int) -> int:
        if self._pending is not None and self._pending[0].ready():
            self._collect()
        if self._ledger.until - now < _AHEAD_MS // 2:
            self._renew(now)
        return self._ledger.until

    def extend(self, now: int, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self._ledger.until <= now:
            self._renew(now)
            if self._lost or (self._pending is None and self._is_over(now)):
                raise ReservationLost
            if self._pending is None:
                raise unreserved()
            self._pending[0].wait(max(deadline - time.monotonic(), 0))
            if not self._pending[0].ready():
                raise unreserved()
            self._collect()
        return self._ledger.until

    def give_back(self, last: int) -> None:
        if self._pending is not None:
            self._pending[0].wait(WAIT_FOR_PLACE)
            if not self._pending[0].ready():
                return  # whose the next version is, nobody knows yet
            self._collect()
        if not self._lost:
            ledger = replace(self._ledger, until=last + 1)
            self._zk.set_async(self._path, ledger.to_bytes(), self._version)

    def _is_over(self, now: int) -> bool:
        """Whether to begin anew: at the end of the room, or to leave a gap behind."""
        return self._ledger.until == self._ledger.limit or now - self._ledger.until > _JUMP_MS

    def _renew(self, now: int) -> None:
        """Ask for more, unless it has been asked already, or there is nobody to ask."""
        if self._pending is not None or self._lost or not self._zk.connected or self._is_over(now):
            return
        ledger = self._ledger.extend(now)
        self._pending = (self._zk.set_async(self._path, ledger.to_bytes(), self._version), ledger)

    def _collect(self) -> None:
        assert self._pending is not None
        (result, ledger), self._pending = self._pending, None
        try:
            self._version = result.get().version
            self._ledger = ledger
        except KazooException:
            self._lost = True  # or unknown; whoever acquires again will see


def _read(zk: KazooClient, path: str, timeout: float) -> tuple[bytes, int]:
    with suppress(NoNodeError):
        data, stat = zk.get_async(path).get(timeout=timeout)
        return data, stat.version
    zk.create_async(path, b"", makepath=True).get(timeout=timeout)
    return b"", 0


def unreserved() -> Refusal:
    return Refusal(
        "reservation", "ZooKeeper has not confirmed a reservation of timestamps in time."
    )
