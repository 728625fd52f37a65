"""A node's hold on its number: claimed on the first request, kept alive, given up in time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NoNodeError
from kazoo.protocol.states import KazooState

from labkit.node.claim import Claim, Claimer, NoFreeNumber, SessionEnded
from labkit.node.lease import HEARTBEAT, Lease, boottime
from labkit.node.session import Session

log = logging.getLogger("labkit.node")

_MAX_WAITING = 8  # requests that wait for a claim at a time; the rest are told to come back


@dataclass(frozen=True)
class Held:
    """A number that may be answered now."""

    number: int
    token: int | None
    lease: float | None  # seconds left; None where no lease is kept


class Refusal(Exception):
    """There is no safe answer now. `reason` is for programs, the message for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _no_connection() -> Refusal:
    return Refusal("no-connection", "This node has no connection to ZooKeeper; it keeps trying.")


def _session_lost() -> Refusal:
    return Refusal(
        "session-lost",
        "ZooKeeper has ended this node's session, and the number with it; the node will claim "
        "one anew.",
    )


def _lease_lapsed() -> Refusal:
    return Refusal(
        "lease-lapsed",
        "This node holds a number, but has not heard from ZooKeeper for so long that somebody "
        "else may hold it too.",
    )


def _still_claiming() -> Refusal:
    return Refusal("still-claiming", "This node's claim is under way; ask again in a moment.")


def _no_free_number(limit: int) -> Refusal:
    return Refusal("no-free-number", f"Every number from 1 to {limit} is held by somebody.")


class Holder:
    """Holds a node's number in a session; one thread claims and keeps the lease.

    Requests never talk to ZooKeeper: they read what the thread knows, or wait for it.
    """

    def __init__(
        self,
        session: Session,
        data: bytes,
        max_number: int,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._session = session
        self._zk: KazooClient = session
        self._data = data
        self._max_number = max_number
        self._clock = clock
        self._claimer = Claimer(session, data, max_number, self._wait_connected, clock)
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(_MAX_WAITING)
        self._connection = "CONNECTING"
        self._claim: Claim | None = None
        self._lease: Lease | None = None
        self._wanted = False
        self._exhausted = 0  # attempts that found no free number
        self._is_exhausted = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="holder", daemon=True)

    def start(self) -> None:
        """Connect in the background, and be ready to claim."""
        self._zk.add_listener(self._on_state)
        self._zk.start_async()
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Wait for the first connection, at most `timeout` seconds; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection == "CONNECTED", timeout)

    def close(self) -> None:
        """End the session: the number is free at once."""
        with self._changed:
            self._closing = True
            self._claim = self._lease = None
            self._changed.notify_all()
        self._zk.stop()
        self._zk.close()
        self._thread.join(timeout=5)

    # --- answering ----------------------------------------------------------------------------

    def peek(self) -> Held | Refusal:
        """What may be answered right now, without claiming and without waiting."""
        claim, lease = self._claim, self._lease
        if self._connection == "CONNECTED":
            if claim is None or lease is None:
                return (
                    _no_free_number(self._max_number) if self._is_exhausted else _still_claiming()
                )
            if claim.session == self._session.session_id:
                remaining = lease.remaining()
                return Held(claim.number, claim.token, remaining) if remaining else _lease_lapsed()
            return _session_lost()
        return _session_lost() if self._connection == "LOST" else _no_connection()

    def number(self, patience: float) -> Held:
        """The number, claiming one if this is the first time anybody asks.

        Waits at most `patience` seconds for a claim that is under way; raises `Refusal` when
        there is no safe answer.
        """
        answer = self.peek()
        if isinstance(answer, Held):
            return answer
        if not self._places.acquire(blocking=False):
            raise answer
        try:
            return self._wait(patience)
        finally:
            self._places.release()

    def _wait(self, patience: float) -> Held:
        deadline = self._clock() + patience
        with self._changed:
            exhausted = self._exhausted
            if not self._wanted:
                self._wanted = True
                self._is_exhausted = False
                self._changed.notify_all()
            while True:
                answer = self.peek()
                if isinstance(answer, Held):
                    return answer
                if self._exhausted != exhausted:
                    raise _no_free_number(self._max_number)
                left = deadline - self._clock()
                if answer.reason != "still-claiming" or left <= 0:
                    raise answer
                self._changed.wait(left)

    def status(self) -> dict[str, Any]:
        """What is known, for GET /status."""
        answer, claim, lease = self.peek(), self._claim, self._lease
        held = isinstance(answer, Held)
        reason = None if isinstance(answer, Held) else answer.reason
        if reason == "still-claiming" and not self._wanted:
            reason = "not-asked"
        session, timeout = self._session.session_id, self._session.negotiated_timeout
        return {
            "number": answer.number if isinstance(answer, Held) else None,
            "claimed": claim.number if claim else None,
            "reason": reason,
            "session": f"0x{session:x}" if session else None,
            "connection": self._connection,
            "session_timeout_ms": round(timeout * 1000) if timeout else None,
            "lease_ms": round(lease.remaining() * 1000, 1) if lease and held else None,
            "token": claim.token if claim else None,
        }

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        beat = 0.0  # when the next heartbeat is due
        while True:
            with self._changed:
                if not self._has_work():
                    self._changed.wait(self._idle_time(beat))
                if self._closing:
                    return
                if self._connection != "CONNECTED":
                    continue
                self._drop_if_ended()
                claim, lease = self._claim, self._lease
            try:
                if claim is None or lease is None:
                    if self._wanted:
                        beat = self._claim_one()
                elif self._clock() >= beat:
                    beat = self._heartbeat(claim, lease)
            except KazooException as error:
                log.info("ZooKeeper: %s", type(error).__name__)
            except Exception:
                log.exception("unexpected; going on")
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, 1.0)

    def _has_work(self) -> bool:
        if self._closing:
            return True
        ended = self._claim is not None and self._claim.session != self._session.session_id
        return self._connection == "CONNECTED" and (ended or (self._wanted and not self._claim))

    def _idle_time(self, beat: float) -> float | None:
        if self._claim is None or self._connection != "CONNECTED":
            return None
        return max(0.0, beat - self._clock())

    def _drop_if_ended(self) -> None:
        if self._claim is not None and self._claim.session != self._session.session_id:
            log.info("number %d is lost with its session", self._claim.number)
            self._claim = self._lease = None
            self._changed.notify_all()

    def _claim_one(self) -> float:
        """Claim a number; when its first heartbeat is due."""
        try:
            claim = self._claimer.claim()
        except SessionEnded:
            return 0.0
        except NoFreeNumber:
            with self._changed:
                self._wanted = False
                self._is_exhausted = True
                self._exhausted += 1
                self._changed.notify_all()
            return 0.0
        timeout = self._timeout
        with self._changed:
            if self._closing:
                return 0.0
            self._claim, self._lease = claim, Lease(self._clock, timeout, claim.sent)
            self._changed.notify_all()
        log.info("claimed number %d, token %s", claim.number, claim.token)
        return claim.sent + HEARTBEAT * timeout

    def _heartbeat(self, claim: Claim, lease: Lease) -> float:
        """One acknowledged write on the claim; when the next one is due.

        Sends nothing more while an answer is overdue: kazoo finds a dead connection only by the
        silence after a ping, and takes every request that it sends for a ping.
        """
        sent = self._clock()
        result = self._zk.set_async(claim.path, self._data)
        result.wait()  # kazoo ends it when the connection does
        try:
            stat = result.get()
        except (NoNodeError, BadVersionError):
            stat = None
        with self._changed:
            if self._claim is not claim:
                return 0.0
            if stat is None or stat.czxid != claim.token:
                log.warning("number %d was deleted by somebody else", claim.number)
                self._claim = self._lease = None
            else:
                lease.acknowledged(sent)
            self._changed.notify_all()
        return sent + HEARTBEAT * self._timeout

    @property
    def _timeout(self) -> float:
        return self._session.negotiated_timeout or 0.0

    def _on_state(self, state: str) -> None:
        """Called by kazoo's connection thread, which must not wait."""
        with self._changed:
            known = {KazooState.CONNECTED: "CONNECTED", KazooState.SUSPENDED: "SUSPENDED"}
            self._connection = "CLOSED" if self._closing else known.get(state, "LOST")
            if self._lease is not None and state != KazooState.CONNECTED:
                self._lease.interrupted()
            self._changed.notify_all()

    def _wait_connected(self, session: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._connection == "CONNECTED")
            if self._closing or self._session.session_id != session:
                raise SessionEnded
