"""The lab's own client of its ZooKeeper, which no fault on a link touches."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from kazoo.handlers.threading import KazooTimeoutError

from labkit.errors import StartTimeout
from labkit.lab.core import Core
from labkit.lab.zookeeper import ZooKeeperHandle
from labkit.node.session import Session
from labkit.servers.zookeeper.txnlog import Transaction

_TIMEOUT = 10.0  # seconds: its session's
_CONNECT_TIMEOUT = 15  # seconds
_CLOCKS_AGREE = 0.05  # seconds that two clocks, or two looks at one, may differ

# A connection that breaks is what this lab is about, and no news for a notebook's cell.
_KAZOO_LOG = logging.getLogger("labkit.kazoo")
_KAZOO_LOG.addHandler(logging.NullHandler())
_KAZOO_LOG.propagate = False


class LabClient(Session):
    """A session as the nodes have: kazoo's own client can lose its session to a mere restart."""

    def __init__(self, zookeeper: ZooKeeperHandle, core: Core) -> None:
        super().__init__(
            zookeeper.hosts,
            _TIMEOUT,
            _KAZOO_LOG,
            credential=core.credential,
            private=core.private,
            tls=zookeeper.tls,
        )
        self._zookeeper = zookeeper
        self._entered = (0, 0.0, 0.0)  # its first session, and the wall clock before and after

    def enter(self) -> LabClient:
        """Wait until it is connected. Raises `StartTimeout`."""
        begin = time.time()
        try:
            self.start(timeout=_CONNECT_TIMEOUT)
        except KazooTimeoutError as error:
            raise StartTimeout(
                f"ZooKeeper at {self._zookeeper.hosts} let no client in within "
                f"{_CONNECT_TIMEOUT} s.",
                self._zookeeper.last_words(),
            ) from error
        self._entered = (self.session_id or 0, begin, time.time())
        return self

    def skew(self, transactions: Iterable[Transaction]) -> float:
        """By how many seconds ZooKeeper's clock is ahead of ours; 0 if they may well agree.

        The session was created while this client connected: ZooKeeper says when, and so do we.
        """
        session, begin, end = self._entered
        entry = next((t.time for t in transactions if t.session == session), begin)
        return 0.0 if begin - _CLOCKS_AGREE < entry < end + _CLOCKS_AGREE else entry - begin
