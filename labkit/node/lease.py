"""How long an answer may be trusted: a lease on the number, by the node's own clock.

ZooKeeper ends a session when it has heard nothing for the session timeout T, and tells its client
only when the client asks. So a node must stop by itself, before that can have happened. The rule:

    the lease lasts T/2 from the moment before the last acknowledged write was sent.

An acknowledged write proves that the session lived when the leader ordered it, which was after it
was sent; counting from the sending errs on the safe side. Reads prove nothing: a follower answers
them for a session that the leader is about to end. Why only half of T: a follower reports its
clients' signs of life to the leader every half tick and T is at least two ticks, so up to T/4 may
be unreported; one heartbeat, T/10, may have been the last; the rest, 3T/20, is for a leader that
stalls and clocks that drift. That much is assumed. Nothing covers a pause between the check and
the answer's arrival: that takes a fencing token.

A lapsed lease is not a lost claim, because ZooKeeper's own downtime ends nobody's session: a
restart gives each a full timeout. But one write is not enough to begin again, for it can succeed
on a session that is already being ended. So it takes two, sent at least T/2 apart, with nothing
between them that would itself have made a lease lapse: neither a silence nor a lost connection.

Sources: ZooKeeper's SessionTrackerImpl, ExpiryQueue, LearnerHandler and Learner.ping.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: The heartbeat's period, as a fraction of the session timeout.
HEARTBEAT = 0.1
#: The lease's length, as a fraction of the session timeout.
LEASE = 0.5


def boottime() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Lease:
    """The lease on one claim. All times are in seconds of the `clock` handed in."""

    def __init__(self, clock: Callable[[], float], timeout: float, sent: float) -> None:
        """The session's last write, sent at `sent`, was acknowledged; its timeout is `timeout`."""
        self._clock = clock
        self._length = LEASE * timeout
        self._end = sent + self._length
        # After a lapse: when the first write of an unbroken row was sent, and until when the
        # row is unbroken.
        self._since: float | None = None
        self._unbroken = 0.0

    def remaining(self) -> float:
        """Seconds for which an answer may still be given; 0 when the lease has lapsed."""
        return max(0.0, self._end - self._clock())

    def acknowledged(self, sent: float) -> None:
        """A write on the claim, sent at `sent`, was acknowledged just now, the claim unchanged."""
        now = self._clock()
        if now < self._end:
            self._end = max(self._end, sent + self._length)
            return
        if self._since is None or now >= self._unbroken:
            self._since = sent
        self._unbroken = sent + self._length
        if sent - self._since >= self._length:
            self._end = self._unbroken
            self._since = None

    def interrupted(self) -> None:
        """The connection was lost: what was acknowledged after a lapse does not count."""
        self._since = None
