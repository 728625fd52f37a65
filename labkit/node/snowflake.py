"""64-bit IDs that stay unique whatever happens to sessions.

Of an ID's bits 41 are time in milliseconds, 10 are the worker, 12 are a count.

The worker is the node's sequence number. That two nodes may for a while both believe in one
number does no harm here, because uniqueness rests on *reserved timestamps* instead: the znode
`/snowflake/<worker>` says up to which millisecond timestamps are taken. A node raises it, by a set
that names the version it has read, before it uses any of them, and uses none beyond. Whoever comes
next starts where the reservation ends. A node that was paused and wakes up as a zombie may use up
what it had reserved, and finds the version changed when it asks for more.

A node reserves a second ahead and renews at half, on demand: who makes no IDs writes nothing. A
graceful stop gives the rest back, so that the successor need not wait for it.

When the clock steps back, or a predecessor's reservation lies ahead, a caller waits until the
clock gets there if that takes no longer than its patience, and is refused at once if it would.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from labkit.node.claimant import Claimant, Held, Refusal, no_connection

T = TypeVar("T")

ROOT = "/snowflake"

#: The first millisecond, as Unix time, of the IDs that Twitter made: 2010-11-04T01:42:54.657Z.
EPOCH_MS = 1_288_834_974_657
MAX_WORKER = 2**10 - 1
#: How many IDs there are in a millisecond.
PER_MS = 2**12

_WORKER_SHIFT = 12
_TIME_SHIFT = 22
_MAX_TIME = 2**41 - 1
_NS_PER_MS = 1_000_000

# A timestamp that nobody used may still be used for so long: a caller that was not scheduled in
# time for a millisecond would else lose it, and batches would fall short of the format's rate.
_CATCH_UP_MS = 10
_AHEAD_MS = 1000  # how far ahead timestamps are reserved

_MAX_WAITING = 8  # requests that wait for IDs at a time
_WAIT_FOR_PLACE = 0.05  # seconds that a request waits to be one of them


@dataclass(frozen=True)
class Decoded:
    """What an ID says."""

    timestamp_ms: int  # Unix time
    worker: int
    sequence: int

    @property
    def time(self) -> datetime:
        """When it was made, by its node's clock, in UTC."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)


def decode(id: int, epoch_ms: int = EPOCH_MS) -> Decoded:
    """Take an ID apart. `epoch_ms` is the epoch that it was made with."""
    worker = id >> _WORKER_SHIFT & MAX_WORKER
    return Decoded((id >> _TIME_SHIFT) + epoch_ms, worker, id & PER_MS - 1)


class ReservationLost(Exception):
    """Somebody else has reserved timestamps of this worker, or it is unknown whether we have."""


class Reserved(Protocol):
    """Timestamps that one generator may use and nobody else; in Unix milliseconds."""

    start: int  # the first of them

    def until(self, now: int) -> int:
        """The first that is not reserved. Does not wait."""

    def extend(self, now: int, patience: float) -> int:
        """Reserve beyond `now`; the first that is not reserved then.

        Raises `ReservationLost`, or `Refusal` after `patience` seconds.
        """

    def give_back(self, last: int) -> None:
        """Release what comes after `last`, if it is certain at once that it is ours to release."""


class Snowflake:
    """Makes IDs of one worker, strictly increasing. Thread-safe.

    `clock` is Unix time in nanoseconds; `after` a timestamp that all IDs shall be later than.
    """

    def __init__(
        self,
        worker: int,
        reserved: Reserved,
        epoch_ms: int = EPOCH_MS,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
        after: int = 0,
    ) -> None:
        if not 0 <= worker <= MAX_WORKER:
            raise ValueError(f"worker is {worker}; an ID has room for 0 to {MAX_WORKER}")
        self._worker = worker
        self._reserved = reserved
        self._epoch_ms = epoch_ms
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._last = max(after, reserved.start - 1)
        # The IDs of one millisecond. Taking the next of a range is atomic in CPython, so that
        # most IDs cost no lock.
        self._slot: Iterator[int] = iter(())
        self._fresh = 0  # the clock's reading until which the slot may be used
        self._sealed = False

    def next_id(self, patience: float = 2.0) -> int:
        """One ID. Waits at most `patience` seconds; raises `Refusal` or `ReservationLost`."""
        if self._clock() < self._fresh:
            for fresh in self._slot:
                return fresh
        return self._take(1, patience)[0]

    def quick(self) -> int | None:
        """One ID if it takes no waiting at all."""
        return next(self._slot, None) if self._clock() < self._fresh else None

    def ids(self, count: int, patience: float = 2.0) -> list[int]:
        """`count` IDs in order; 4096 take at least a millisecond. Raises as `next_id` does."""
        return self._take(count, patience)

    def seal(self, patience: float, give_back: bool = False) -> int:
        """Make no more IDs; the latest timestamp that was used.

        `give_back` releases the timestamps that were reserved for more. Raises `Refusal` if IDs
        are still being made after `patience` seconds.
        """
        with self._turn(patience):
            self._sealed = True
            self._fresh, self._slot = 0, iter(())
            if give_back:
                self._reserved.give_back(self._last)
            return self._last

    def _take(self, count: int, patience: float) -> list[int]:
        with self._turn(patience):
            if self._sealed:
                raise ReservationLost
            fresh = self._clock() < self._fresh
            taken = list(islice(self._slot, count)) if fresh else []
            while (missing := count - len(taken)) > 0:
                self._slot = iter(())  # what is left of an older millisecond comes too late now
                for timestamp in self._timestamps(-(-missing // PER_MS), patience):
                    first = (timestamp - self._epoch_ms) << _TIME_SHIFT
                    first |= self._worker << _WORKER_SHIFT
                    used = min(count - len(taken), PER_MS)
                    taken += range(first, first + used)
                    if used < PER_MS:
                        self._slot = iter(range(first + used, first + PER_MS))
                        self._fresh = (timestamp + 1 + _CATCH_UP_MS) * _NS_PER_MS
            return taken

    def _timestamps(self, wanted: int, patience: float) -> range:
        """One to `wanted` timestamps that nobody has used, none in the future."""
        while True:
            nanoseconds = self._clock()
            now = nanoseconds // _NS_PER_MS
            first = self._last + 1
            if now - first > _CATCH_UP_MS:
                first = now
            if first <= now:
                break
            wait = (first * _NS_PER_MS - nanoseconds) / 1e9
            if wait > patience:
                raise Refusal(
                    "clock-behind",
                    f"This node's clock is {wait:.3f} s behind the timestamps already in use.",
                )
            self._sleep(wait)
            patience -= wait
        if not 0 <= first - self._epoch_ms <= _MAX_TIME:
            raise Refusal("clock-behind", "This node's clock is outside of what IDs can express.")
        until = self._reserved.until(now)
        if first >= until:
            until = self._reserved.extend(now, patience)
        end = min(first + wanted, now + 1, until)
        self._last = end - 1
        return range(first, end)

    @contextmanager
    def _turn(self, patience: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(patience, 0)):
            raise Refusal("reservation", "Others have been waiting for IDs for too long.")
        try:
            yield
        finally:
            self._lock.release()


class Reservation:
    """The timestamps of one worker that are reserved in `/snowflake/<worker>`; see `Reserved`.

    Its methods are called by one thread at a time. Got by `acquire`.
    """

    def __init__(
        self, zk: KazooClient, path: str, owner: str, start: int, until: int, version: int
    ) -> None:
        self._zk = zk
        self._path = path
        self._owner = owner
        self.start = start
        self._until = until
        self._version = version
        self._lost = False
        self._pending: tuple[Any, int] | None = None  # an answer to come, and the end it confirms

    @classmethod
    def acquire(
        cls, zk: KazooClient, worker: int, owner: str, after: int, now: int, patience: float
    ) -> Reservation:
        """Reserve timestamps of `worker` later than `after`, and than everybody else's.

        `owner` is unique to the process that calls. To be called only by who holds the number.
        Raises `Refusal` when ZooKeeper does not answer in time, or when the end of the present
        reservation is too far ahead to wait for.
        """
        path = f"{ROOT}/{worker}"
        deadline = time.monotonic() + patience
        while True:
            left = deadline - time.monotonic()
            try:
                data, version = _read(zk, path, left)
                by, taken = _parse(path, data)
                start = after + 1 if by == owner else max(taken, after + 1)
                if (wait := (start - now) / 1000) > patience:
                    raise Refusal(
                        "clock-behind",
                        f"The timestamps of worker {worker} are taken for another {wait:.3f} s.",
                    )
                until = max(now, start) + _AHEAD_MS
                stat = zk.set_async(path, _format(owner, until), version).get(timeout=left)
            except (BadVersionError, NoNodeError, NodeExistsError) as error:
                if left <= 0:
                    raise _unreserved() from error
            except (KazooException, KazooTimeoutError) as error:
                raise _unreserved() from error
            else:
                return cls(zk, path, owner, start, until, stat.version)

    def until(self, now: int) -> int:
        if self._pending is not None and self._pending[0].ready():
            self._collect()
        if self._until - now < _AHEAD_MS // 2:
            self._renew(now)
        return self._until

    def extend(self, now: int, patience: float) -> int:
        deadline = time.monotonic() + patience
        while self._until <= now:
            self._renew(now)
            if self._lost:
                raise ReservationLost
            if self._pending is None:
                raise _unreserved()
            self._pending[0].wait(max(deadline - time.monotonic(), 0))
            if not self._pending[0].ready():
                raise _unreserved()
            self._collect()
        return self._until

    def give_back(self, last: int) -> None:
        if self._pending is not None:
            self._pending[0].wait(_WAIT_FOR_PLACE)
            if not self._pending[0].ready():
                return  # whose the next version is, nobody knows yet
            self._collect()
        if not self._lost:
            self._zk.set_async(self._path, _format(self._owner, last + 1), self._version)

    def _renew(self, now: int) -> None:
        """Ask for more, unless it has been asked already, or there is nobody to ask."""
        if self._pending is not None or self._lost or not self._zk.connected:
            return
        until = max(now, self._until) + _AHEAD_MS
        data = _format(self._owner, until)
        self._pending = (self._zk.set_async(self._path, data, self._version), until)

    def _collect(self) -> None:
        assert self._pending is not None
        (result, until), self._pending = self._pending, None
        try:
            self._version = result.get().version
            self._until = until
        except KazooException:
            self._lost = True  # or unknown; whoever acquires again will see


def _read(zk: KazooClient, path: str, patience: float) -> tuple[bytes, int]:
    with suppress(NoNodeError):
        data, stat = zk.get_async(path).get(timeout=patience)
        return data, stat.version
    zk.create_async(path, b"", makepath=True).get(timeout=patience)
    return b"", 0


def _format(owner: str, until: int) -> bytes:
    return json.dumps({"until": until, "by": owner}).encode()


def _parse(path: str, data: bytes) -> tuple[str | None, int]:
    """Who has reserved, and the first timestamp that is free."""
    if not data:
        return None, 0
    try:
        fields = json.loads(data)
        return str(fields["by"]), int(fields["until"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal("reservation", f"{path} in ZooKeeper holds no reservation.") from error


def _unreserved() -> Refusal:
    return Refusal(
        "reservation", "ZooKeeper has not confirmed a reservation of timestamps in time."
    )


@dataclass(frozen=True)
class _Generator:
    snowflake: Snowflake
    claim: tuple[int, int | None]  # the number and its token


class Ids:
    """A node's IDs, with whatever number it holds; waits at most `patience` seconds for any."""

    def __init__(
        self,
        claimant: Claimant,
        name: str,
        epoch_ms: int,
        patience: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._claimant = claimant
        self._owner = f"{name}/{uuid.uuid4().hex}"
        self._epoch_ms = epoch_ms
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MAX_WAITING)
        self._generator: _Generator | None = None
        self._after = 0  # no later ID may have an earlier timestamp than this
        self._closed = False

    def next_id(self) -> int:
        """One ID; raises `Refusal`."""
        generator = self._generator
        if generator is not None and self._is_current(generator):
            quick = generator.snowflake.quick()
            if quick is not None:
                return quick
        return self.ids(1)[0]

    def ids(self, count: int) -> list[int]:
        """`count` IDs in order; raises `Refusal`."""
        if not self._places.acquire(timeout=_WAIT_FOR_PLACE):
            raise Refusal("reservation", "Too many requests are waiting for IDs already.")
        try:
            return self._make(count, time.monotonic() + self._patience)
        finally:
            self._places.release()

    def close(self) -> None:
        """Give back what was reserved, if ZooKeeper can be reached. Does not wait."""
        self._closed = True
        generator = self._generator
        if generator is not None and self._claimant.client is not None:
            with suppress(Refusal):  # busy: the successor waits for a second at most
                generator.snowflake.seal(_WAIT_FOR_PLACE, give_back=True)

    def _make(self, count: int, deadline: float) -> list[int]:
        while True:
            generator = self._get_generator(deadline)
            try:
                return generator.snowflake.ids(count, deadline - time.monotonic())
            except ReservationLost:
                self._replace(generator, deadline)

    def _is_current(self, generator: _Generator) -> bool:
        """Whether to go on with it: also while we don't know, for what it reserved is its own."""
        held = self._claimant.peek()
        return not isinstance(held, Held) or (held.number, held.token) == generator.claim

    def _get_generator(self, deadline: float) -> _Generator:
        generator = self._generator
        if generator is not None and self._is_current(generator):
            return generator
        return self._replace(generator, deadline)

    def _replace(self, old: _Generator | None, deadline: float) -> _Generator:
        """The generator that comes after `old`; made by the first who asks for it."""
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise _unreserved()
        try:
            if self._closed:
                raise no_connection()
            if self._generator is not None and self._generator is not old:
                return self._generator
            if old is not None:
                # Sealed first: what it makes until then is not to be made again.
                used = old.snowflake.seal(deadline - time.monotonic())
                self._after = max(self._after, used)
            self._generator = None
            self._generator = self._new_generator(deadline)
            return self._generator
        finally:
            self._lock.release()

    def _new_generator(self, deadline: float) -> _Generator:
        held = self._claimant.number(deadline - time.monotonic())
        if held.number > MAX_WORKER:
            raise Refusal(
                "worker-out-of-range",
                f"This node's number is {held.number}, and IDs have room for {MAX_WORKER} workers.",
            )
        zk = self._claimant.client
        if zk is None:
            raise _unreserved()
        now = self._clock() // _NS_PER_MS
        patience = deadline - time.monotonic()
        reservation = Reservation.acquire(zk, held.number, self._owner, self._after, now, patience)
        snowflake = Snowflake(
            held.number, reservation, self._epoch_ms, self._clock, after=self._after
        )
        return _Generator(snowflake, (held.number, held.token))
