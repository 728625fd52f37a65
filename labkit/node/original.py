"""The C# sample's algorithm, kept as a specimen: it answers numbers that are not the node's own.

Nothing here is to be copied. It is run with CLAIM=original, so that a page can show each of these
and the checker can catch them:

1. With A on 1 and B on 2, A stops and C starts: C answers 2. The case "1 is free" is overwritten
   by the search that follows it, which finds no gap in [2] and takes the count plus one.
2. The search looks for a gap between neighbours, but ZooKeeper lists children in no order. With
   twelve numbers held, the thirteenth node answers 2.
3. After five creates that failed, the last number tried is answered nevertheless.
4. The number is remembered before it is created, and nothing is locked: a second request is
   answered a number that is not claimed yet, or claims another one.
5. Only the node that created /sequence counts as initialized. The others read ZooKeeper at every
   request; that one answers from memory, also after it was paused past its session's end. When
   two create /sequence at once, one of them fails with 500.
6. Sessions are never closed: an abandoned one, also that of a request that failed, lives on.
7. A disconnection is taken for an expiry: the node forgets its number and claims another in a new
   session, while the old one reconnects by itself and keeps its znode alive. So after a restart
   of ZooKeeper with four nodes, "the new sequences start after the last inserted": 5.
8. A create whose reply is lost counts as failed: its number is held, and nobody knows.
9. A stopped node says nothing to ZooKeeper: its number stays for a session timeout.
10. One child that is not a number breaks every node: each request fails with 500.
11. Numbers have no limit, no lease, and no fencing token.

Where it differs from the sample: it connects when it starts and not at the first request, it gives
up after the request's deadline and not after five seconds, it answers 503 and not 500 when it has
no connection, and its znode's data names its owner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, KazooException, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

from labkit.node.claim import ROOT
from labkit.node.claimant import Held, Refusal, no_connection, still_claiming
from labkit.node.session import Session

log = logging.getLogger("labkit.node")

_TRIES = 5


def next_number(children: Iterable[str]) -> int:
    """The number that the sample takes for free, given the children in the server's order.

    That 1 may be free it notices too, and then forgets. Raises ValueError if a child is not a
    number.
    """
    taken = [int(name) for name in children]
    for before, after in pairwise(taken):
        if after - before > 1:
            return before + 1
    return len(taken) + 1


class Original:
    """A node's number, by the sample's algorithm; a `Claimant` like `Holder`.

    `connect` makes a client that is not started yet.
    """

    def __init__(self, connect: Callable[[], Session], data: bytes) -> None:
        self._connect = connect
        self._data = data
        self._current: Session | None = None
        self._abandoned: list[Session] = []  # never closed, so they live on
        self._connected = threading.Event()
        self._initialized = False
        self._number = 0

    def start(self) -> None:
        """Connect in the background."""
        self._open()

    def wait_connected(self, timeout: float) -> bool:
        """Wait for the first connection, at most `timeout` seconds; whether there is one."""
        return self._connected.wait(timeout)

    @property
    def client(self) -> KazooClient | None:
        """The connected client, for what else the node keeps in ZooKeeper."""
        return self._current if self._connected.is_set() else None

    def close(self) -> None:
        """Nothing: the sample leaves its session to time out."""

    def number(self, timeout: float) -> Held:
        """The number; not necessarily one that this node holds.

        Raises `Refusal` when ZooKeeper does not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            if not self._initialized:
                self._initialize(deadline)
            number = self._number or self._claim(deadline)
        except (ConnectionLoss, SessionExpiredError, KazooTimeoutError):
            if self._current is not None and not self._connected.is_set():
                self._abandon(self._current)
            raise Refusal("no-connection", "ZooKeeper did not answer in time.") from None
        return Held(number, None, None)

    def peek(self) -> Held | Refusal:
        """What it would answer, as far as can be told without asking ZooKeeper."""
        if number := self._number:
            return Held(number, None, None)
        return still_claiming() if self._connected.is_set() else no_connection()

    def status(self) -> dict[str, Any]:
        """What is known, for GET /status."""
        session, connected = self._current, self._connected.is_set()
        session_id = session.session_id if session else None
        timeout = session.timeout if session else None
        number = self._number or None
        reason = None if number else "not-asked" if connected else "no-connection"
        return {
            "number": number,
            "claimed": number,
            "reason": reason,
            "session": f"0x{session_id:x}" if session_id else None,
            "connection": "CONNECTED" if connected else "CONNECTING" if session else "LOST",
            "session_timeout_ms": round(timeout * 1000) if timeout else None,
            "lease_ms": None,
            "token": None,
            "zookeeper": session.server if session else None,
        }

    def _initialize(self, deadline: float) -> None:
        zk = self._client(deadline)
        if zk.exists_async(ROOT).get(timeout=_left(deadline)) is None:
            zk.create_async(ROOT, b"").get(timeout=_left(deadline))
            self._initialized = True

    def _claim(self, deadline: float) -> int:
        zk = self._client(deadline)
        for _ in range(_TRIES):
            children = zk.get_children_async(ROOT).get(timeout=_left(deadline))
            number = self._number = next_number(children)
            path = f"{ROOT}/{number}"
            try:
                zk.create_async(path, self._data, ephemeral=True).get(timeout=_left(deadline))
            except KazooException as error:
                log.info("could not create %s: %s", path, type(error).__name__)
            else:
                log.info("claimed number %d", number)
                break
        return number

    def _client(self, deadline: float) -> KazooClient:
        if self._current is None:
            self._open()
        if not self._connected.wait(_left(deadline)):
            raise KazooTimeoutError
        client: KazooClient | None = self._current
        if client is None:
            raise ConnectionLoss
        return client

    def _open(self) -> None:
        session = self._current = self._connect()
        client: KazooClient = session

        def on_state(state: str) -> None:
            if session is not self._current:
                return
            if state == KazooState.CONNECTED:
                self._connected.set()
            else:
                is_new = not self._number
                self._abandon(session)
                if is_new:  # it has answered nothing yet: as at its start
                    self._open()

        client.add_listener(on_state)
        session.connect()

    def _abandon(self, session: Session) -> None:
        """Forget the session, but do not close it."""
        log.info("the connection is gone; number %d is forgotten, not given back", self._number)
        self._abandoned.append(session)
        self._current = None
        self._connected.clear()
        self._number = 0


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
