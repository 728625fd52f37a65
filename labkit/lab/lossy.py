"""A client of the reader's own, over a link that can lose an answer or a request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from labkit.lab.tap import Tap
from labkit.lab.zookeeper import ZooKeeperHandle, ZooKeeperServer
from labkit.node.session import Session
from labkit.servers.base import wait_until
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

_WRITES = ("Create", "Create2", "SetData", "Delete", "Transaction", "SetACL")
_READS = ("Exists", "GetData", "GetChildren", "GetChildren2", "GetACL", "Sync")
_TIMEOUT = 2.0  # seconds that ZooKeeper has to carry out what was sent


class LossyClient(Session):
    """A kazoo client whose next answer can be lost. Got from `lab.client()`.

    >>> client = lab.client("ann")
    >>> client.lose_reply()
    >>> client.create("/mine")     # ZooKeeper creates it, and kazoo raises ConnectionLoss
    """

    def __init__(
        self,
        name: str,
        zookeeper: ZooKeeperHandle,
        forwarder: Forwarder,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        server: ZooKeeperServer | None = None,
    ) -> None:
        self.name = name
        #: What kazoo has said of the connection, and when by `clock`: (seconds, state).
        self.told: list[tuple[float, str]] = []
        #: When its link was cut, and healed (None: not yet).
        self.cuts: list[tuple[float, float | None]] = []
        self.clock = clock
        self._zookeeper = zookeeper
        #: The ZooKeeper servers that it may connect to.
        self.servers = list(zookeeper.servers) if server is None else [server]
        self._forwarder = forwarder
        self._to_lose: list[Callable[[str], None]] = []
        self._watchers: list[threading.Thread] = []
        ports = [
            forwarder.link(name, server.name, (server.endpoint.host, server.endpoint.port))
            for server in self.servers
        ]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports) + zookeeper.chroot
        log = logging.getLogger("labkit.kazoo")
        super().__init__(
            hosts,
            timeout,
            log,
            credential=zookeeper.credential,
            private=zookeeper.private,
            tls=zookeeper.tls,
        )
        self.add_listener(lambda state: self.told.append((clock(), str(state))))

    def lose_reply(self, times: int = 1) -> None:
        """Have the next request carried out, and the connection break before its answer is here.

        `times`: so many of the next requests, one after the other.
        """
        self._to_lose += [self._without_reply] * times

    def lose_request(self, times: int = 1) -> None:
        """Have the connection break before the next request has reached ZooKeeper."""
        self._to_lose += [self._without_request] * times

    def cut(self) -> None:
        """Let nothing through any more, until `heal`; nobody is told."""
        self.cuts.append((self.clock(), None))
        self._fault(LinkFault("drop"))

    def crash(self) -> None:
        """Break the connection, as the end of a process does, and let no other through until
        `heal`.
        """
        self._fault(LinkFault("refuse"))

    def heal(self) -> None:
        """Let everything through again."""
        self._fault(None)
        if self.cuts and self.cuts[-1][1] is None:
            self.cuts[-1] = (self.cuts[-1][0], self.clock())

    def close(self) -> None:
        """Leave; no thread of its own is left."""
        for watcher in self._watchers:
            watcher.join()
        super().close()

    def _call(self, request: Any, async_object: Any) -> Any:
        kind = type(request).__name__
        if self._to_lose and kind in _WRITES + _READS:
            lose = self._to_lose.pop(0)
            self._wait_for_connection()  # else it is the handshake that is lost
            lose(kind)
        return super()._call(request, async_object)

    def _wait_for_connection(self) -> None:
        wait_until(lambda: self.connected and self.admitted, _TIMEOUT, 0.005)

    def _without_reply(self, kind: str) -> None:
        before = self._zxid()
        self._fault(LinkFault("drop", direction="from"))
        # ZooKeeper counts what it changes, and also a change that it has refused.
        self._break_after(lambda: kind in _WRITES and self._zxid() > before)

    def _without_request(self, _: str) -> None:
        self._fault(LinkFault("drop", direction="to"))
        self._break_after(lambda: bool(self._pending))

    def _break_after(self, condition: Callable[[], bool]) -> None:
        def watch() -> None:
            wait_until(lambda: condition() or self._is_read_and_sent(), _TIMEOUT, 0.002)
            self._fault(LinkFault("refuse"))
            self._fault(None)

        watcher = threading.Thread(target=watch, name="labkit-lossy", daemon=True)
        self._watchers = [*(b for b in self._watchers if b.is_alive()), watcher]
        watcher.start()

    def _is_read_and_sent(self) -> bool:
        return any(type(pending[0]).__name__ in _READS for pending in list(self._pending))

    def _zxid(self) -> int:
        leader = self._zookeeper.leader
        return (leader.zxid or 0) if leader else 0

    def _fault(self, fault: LinkFault | None) -> None:
        for server in self.servers:
            self._forwarder.fault(self.name, server.name, fault)


class LossyClients:
    """The reader's own clients of one lab, and the links that they are on."""

    def __init__(self) -> None:
        self._forwarder: Forwarder | None = None
        self._clients: list[LossyClient] = []

    @property
    def forwarder(self) -> Forwarder:
        """What carries the links; it runs from the first use on."""
        if self._forwarder is None:
            self._forwarder = Forwarder().start()
        return self._forwarder

    def connect(
        self,
        name: str,
        zookeeper: ZooKeeperHandle,
        timeout: float,
        clock: Callable[[], float],
        server: ZooKeeperServer | None,
    ) -> LossyClient:
        """A connected client, of any server or of one, with a session timeout in seconds."""
        client = LossyClient(name, zookeeper, self.forwarder, timeout, clock, server)
        self._clients.append(client)
        client.start(timeout=15)
        return client

    def tap(self, name: str, zookeeper: ZooKeeperHandle) -> Tap:
        """A link of that name on which every byte is kept."""
        return Tap(name, zookeeper, self.forwarder)

    def close(self) -> None:
        """Close them all; no thread and no port is left. Idempotent."""
        while self._clients:
            client = self._clients.pop()
            with suppress(Exception):  # a client that kazoo cannot stop in time ends with ZooKeeper
                client.stop()
                client.close()
        if self._forwarder is not None:
            self._forwarder.close()
            self._forwarder = None
