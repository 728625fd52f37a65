"""64-bit IDs that stay unique whatever happens to sessions.

Of an ID's bits 41 are time in milliseconds, 10 are the worker, 12 are a count.

The worker is the node's sequence number. That two nodes may for a while both believe in one
number does no harm here, because uniqueness rests on *reserved timestamps* instead: see
`reservation`.

When the clock steps back, or a predecessor's reservation lies ahead, a caller waits until the
clock gets there if that takes no longer than its timeout, and is refused at once if it would.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from labkit.node.claimant import Claimant, Held, Refusal, no_connection
from labkit.node.reservation import (
    CATCH_UP_MS,
    WAIT_FOR_PLACE,
    Reservation,
    ReservationLost,
    Reserved,
    unreserved,
)

#: The first millisecond, as Unix time, of the IDs that Twitter made: 2010-11-04T01:42:54.657Z.
EPOCH_MS = 1_288_834_974_657
MAX_WORKER = 2**10 - 1
#: How many IDs there are in a millisecond.
PER_MS = 2**12

_WORKER_SHIFT = 12
_TIME_SHIFT = 22
_MAX_TIME = 2**41 - 1
_NS_PER_MS = 1_000_000

_MAX_WAITING = 8  # requests that wait for IDs at a time


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

    def next_id(self, timeout: float = 2.0) -> int:
        """One ID. Waits at most `timeout` seconds; raises `Refusal` or `ReservationLost`."""
        if self._clock() < self._fresh:
            for fresh in self._slot:
                return fresh
        return self._take(1, timeout)[0]

    def quick(self) -> int | None:
        """One ID if it takes no waiting at all."""
        return next(self._slot, None) if self._clock() < self._fresh else None

    def ids(self, count: int, timeout: float = 2.0) -> list[int]:
        """`count` IDs in order; 4096 take at least a millisecond. Raises as `next_id` does."""
        return self._take(count, timeout)

    def seal(self, timeout: float, give_back: bool = False) -> int:
        """Make no more IDs; the latest timestamp that was used.

        `give_back` releases the timestamps that were reserved for more. Raises `Refusal` if IDs
        are still being made after `timeout` seconds.
        """
        with self._turn(timeout):
            self._sealed = True
            self._fresh, self._slot = 0, iter(())
            if give_back:
                self._reserved.give_back(self._last)
            return self._last

    def _take(self, count: int, timeout: float) -> list[int]:
        with self._turn(timeout):
            if self._sealed:
                raise ReservationLost
            fresh = self._clock() < self._fresh
            taken = list(islice(self._slot, count)) if fresh else []
            while (missing := count - len(taken)) > 0:
                self._slot = iter(())  # what is left of an older millisecond comes too late now
                for timestamp in self._timestamps(-(-missing // PER_MS), timeout):
                    first = (timestamp - self._epoch_ms) << _TIME_SHIFT
                    first |= self._worker << _WORKER_SHIFT
                    used = min(count - len(taken), PER_MS)
                    taken += range(first, first + used)
                    if used < PER_MS:
                        self._slot = iter(range(first + used, first + PER_MS))
                        self._fresh = (timestamp + 1 + CATCH_UP_MS) * _NS_PER_MS
            return taken

    def _timestamps(self, wanted: int, timeout: float) -> range:
        """One to `wanted` timestamps that nobody has used, none in the future."""
        while True:
            nanoseconds = self._clock()
            now = nanoseconds // _NS_PER_MS
            first = self._last + 1
            if now - first > CATCH_UP_MS:
                first = now
            if first <= now:
                break
            wait = (first * _NS_PER_MS - nanoseconds) / 1e9
            if wait > timeout:
                raise Refusal(
                    "clock-behind",
                    f"This node's clock is {wait:.3f} s behind the timestamps already in use.",
                )
            self._sleep(wait)
            timeout -= wait
        if not 0 <= first - self._epoch_ms <= _MAX_TIME:
            raise Refusal("clock-behind", "This node's clock is outside of what IDs can express.")
        until = self._reserved.until(now)
        if first >= until:
            until = self._reserved.extend(now, timeout)
        end = min(first + wanted, now + 1, until)
        self._last = end - 1
        return range(first, end)

    @contextmanager
    def _turn(self, timeout: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(timeout, 0)):
            raise Refusal("reservation", "Others have been waiting for IDs for too long.")
        try:
            yield
        finally:
            self._lock.release()


@dataclass(frozen=True)
class _Generator:
    snowflake: Snowflake
    claim: tuple[int, int | None]  # the number and its token


class Ids:
    """A node's IDs, with whatever number it holds; waits at most `timeout` seconds for any."""

    def __init__(
        self,
        claimant: Claimant,
        name: str,
        epoch_ms: int,
        timeout: float,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._claimant = claimant
        self._owner = f"{name}/{uuid.uuid4().hex}"
        self._epoch_ms = epoch_ms
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
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
        if not self._places.acquire(timeout=WAIT_FOR_PLACE):
            raise Refusal("reservation", "Too many requests are waiting for IDs already.")
        try:
            return self._make(count, time.monotonic() + self._timeout)
        finally:
            self._places.release()

    def close(self) -> None:
        """Give back what was reserved, if ZooKeeper can be reached. Does not wait."""
        self._closed = True
        generator = self._generator
        if generator is not None and self._claimant.client is not None:
            with suppress(Refusal):  # busy: the successor waits for a second at most
                generator.snowflake.seal(WAIT_FOR_PLACE, give_back=True)

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
            raise unreserved()
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
            raise unreserved()
        now = self._clock() // _NS_PER_MS
        timeout = deadline - time.monotonic()
        reservation = Reservation.acquire(zk, held.number, self._owner, self._after, now, timeout)
        snowflake = Snowflake(
            held.number, reservation, self._epoch_ms, self._clock, self._sleep, self._after
        )
        return _Generator(snowflake, (held.number, held.token))
