"""A node's hold on its number: claimed on the first request, kept alive, given up in time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.states import KazooState

from labkit.node.claim import Claim, Claimer, NoFreeNumber, SessionEnded
from labkit.node.claimant import (
    Held,
    Refusal,
    lease_lapsed,
    no_connection,
    no_free_number,
    session_lost,
    still_claiming,
)
from labkit.node.lease import HEARTBEAT, Lease, boottime
from labkit.node.session import Session

log = logging.getLogger("labkit.node")

_MAX_WAITING = 8  # requests that wait for a claim at a time; the rest are told to come back
_REST = 0.05  # seconds between an error and the next try
_FAREWELL = 2.0  # seconds that closing waits for ZooKeeper to hear of it


@dataclass(frozen=True)
class _Hold:
    """A claim and its lease, replaced as one, so that no reader ever pairs two claims' parts."""

    claim: Claim
    lease: Lease


class Holder:
    """Holds a node's number in a session; one thread claims and keeps the lease. A `Claimant`.

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
        self._claimer = Claimer(
            session, data, max_number, self._wait_connected, clock, self._on_deleted
        )
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(_MAX_WAITING)
        self._connection = "CONNECTING"
        self._hold: _Hold | None = None
        self._beat = 0.0  # when the next heartbeat is due
        self._answer_due: float | None = None  # while one is under way: its answer
        self._wanted = False
        self._exhausted = 0  # attempts that found no free number
        self._is_exhausted = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="holder", daemon=True)

    def start(self) -> None:
        """Connect in the background, and be ready to claim."""
        self._zk.add_listener(self._on_state)
        self._session.connect()
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Wait for the first connection, at most `timeout` seconds; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection == "CONNECTED", timeout)

    @property
    def client(self) -> KazooClient | None:
        """The connected client, for what else the node keeps in ZooKeeper.

        None also while a heartbeat is overdue: see there.
        """
        due = self._answer_due
        overdue = due is not None and self._clock() >= due
        return self._zk if self._connection == "CONNECTED" and not overdue else None

    def close(self) -> None:
        """End the session: the number is free at once. Waits at most two seconds for that."""
        with self._changed:
            self._closing = True
            self._hold = None
            self._changed.notify_all()
        # A thread, for kazoo waits for a ZooKeeper that may be out of reach.
        farewell = threading.Thread(target=self._end_session, name="farewell", daemon=True)
        farewell.start()
        farewell.join(_FAREWELL)

    def _end_session(self) -> None:
        self._zk.stop()
        self._zk.close()
        self._thread.join()

    # --- answering ----------------------------------------------------------------------------

    def peek(self) -> Held | Refusal:
        """What may be answered right now, without claiming and without waiting."""
        hold = self._hold
        if self._connection != "CONNECTED":
            return session_lost() if self._connection == "LOST" else no_connection()
        if hold is None:
            return no_free_number(self._max_number) if self._is_exhausted else still_claiming()
        claim = hold.claim
        if claim.session != self._session.session_id:
            return session_lost()
        remaining = hold.lease.remaining()  # last, so that nothing comes between it and the answer
        return Held(claim.number, claim.token, remaining) if remaining else lease_lapsed()

    def number(self, timeout: float) -> Held:
        """The number, claiming one if this is the first time anybody asks.

        Waits at most `timeout` seconds for a claim that is under way; raises `Refusal` when
        there is no safe answer.
        """
        answer = self.peek()
        if isinstance(answer, Held):
            return answer
        if not self._places.acquire(blocking=False):
            raise answer
        try:
            return self._wait(timeout)
        finally:
            self._places.release()

    def _wait(self, timeout: float) -> Held:
        deadline = self._clock() + timeout
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
                    raise no_free_number(self._max_number)
                left = deadline - self._clock()
                if answer.reason != "still-claiming" or left <= 0:
                    raise answer
                self._changed.wait(left)

    def status(self) -> dict[str, Any]:
        """What is known, for GET /status."""
        answer, hold, timeout = self.peek(), self._hold, self._session.timeout
        session = self._session.session_id
        held = answer if isinstance(answer, Held) else None
        reason = None if isinstance(answer, Held) else answer.reason
        if reason == "still-claiming" and not self._wanted:
            reason = "not-asked"
        return {
            "number": held.number if held else None,
            "claimed": hold.claim.number if hold else None,
            "reason": reason,
            "session": f"0x{session:x}" if session else None,
            "connection": self._connection,
            "session_timeout_ms": round(timeout * 1000) if timeout else None,
            "lease_ms": round(held.lease * 1000, 1) if held and held.lease else None,
            "token": hold.claim.token if hold else None,
            "zookeeper": self._session.server,
        }

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._work()
            except KazooException as error:
                log.info("ZooKeeper: %s", type(error).__name__)
                self._rest(_REST)
            except Exception:
                log.exception("unexpected; going on")
                self._rest(1.0)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to do; False when it is over."""
        with self._changed:
            while not self._closing:
                left: float | None = None
                if self._connection == "CONNECTED":
                    self._drop_if_ended()
                    if self._hold is not None:
                        left = self._beat - self._clock()
                    elif self._wanted:
                        left = 0.0
                if left is not None and left <= 0:
                    return True
                self._changed.wait(left)
            return False

    def _work(self) -> None:
        hold = self._hold
        if hold is None:
            self._claim_one()
        else:
            self._heartbeat(hold)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def _drop_if_ended(self) -> None:
        if self._hold is not None and self._hold.claim.session != self._session.session_id:
            log.info("number %d is lost with its session", self._hold.claim.number)
            self._hold = None
            self._changed.notify_all()

    def _claim_one(self) -> None:
        try:
            claim = self._claimer.claim()
        except SessionEnded:
            self._rest(_REST)
            return
        except NoFreeNumber:
            with self._changed:
                self._wanted = False
                self._is_exhausted = True
                self._exhausted += 1
                self._changed.notify_all()
            return
        timeout = self._session.timeout or 0.0
        # The ticket was an acknowledged write too; a transaction sent long after it is judged
        # like a heartbeat that comes after a silence.
        lease = Lease(self._clock, timeout, claim.ticketed)
        lease.acknowledged(claim.sent)
        with self._changed:
            if not self._closing:
                self._hold = _Hold(claim, lease)
                self._beat = claim.sent + HEARTBEAT * timeout
                self._changed.notify_all()
        log.info("claimed number %d, token %d", claim.number, claim.token)

    def _heartbeat(self, hold: _Hold) -> None:
        """One acknowledged write on the claim.

        Nothing more is sent while the answer is overdue: kazoo finds a dead connection by the
        silence after a ping, and takes every request that it sends for a ping. When it has found
        one, it ends the wait.
        """
        sent = self._clock()
        self._beat = sent + HEARTBEAT * (self._session.timeout or 0.0)
        self._answer_due = self._beat
        try:
            stat = self._zk.set_async(hold.claim.path, self._data).get()
        except NoNodeError:
            stat = None
        finally:
            self._answer_due = None
        with self._changed:
            if self._hold is not hold:
                return
            if stat is None or stat.czxid != hold.claim.token:
                log.warning("number %d was deleted by somebody else", hold.claim.number)
                self._hold = None
            else:
                hold.lease.acknowledged(sent)
            self._changed.notify_all()

    def _on_state(self, state: str) -> None:
        """Called by kazoo's connection thread, which must not wait."""
        with self._changed:
            known = {KazooState.CONNECTED: "CONNECTED", KazooState.SUSPENDED: "SUSPENDED"}
            self._connection = "CLOSED" if self._closing else known.get(state, "LOST")
            if self._hold is not None and state != KazooState.CONNECTED:
                self._hold.lease.interrupted()
            self._beat = 0.0  # on a new connection, a sign of life first
            self._changed.notify_all()

    def _on_deleted(self, _: Any) -> None:
        """Called by kazoo's thread when a claimed znode may be gone: the heartbeat finds out."""
        with self._changed:
            self._beat = 0.0
            self._changed.notify_all()

    def _wait_connected(self, session: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._connection == "CONNECTED")
            if self._closing or self._session.session_id != session:
                raise SessionEnded
