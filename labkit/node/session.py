"""A ZooKeeper session whose facts are told: its id, its negotiated timeout, its server."""

from __future__ import annotations

import logging
import select
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Auth, Connect, Create, Create2, Transaction
from kazoo.retry import KazooRetry
from kazoo.security import OPEN_ACL_UNSAFE, make_acl

from labkit.node.tls import Tls

log = logging.getLogger("labkit.node")

#: Begins the line of a node's log that tells of a reply that was lost on purpose.
LOST_REPLY = "lost on purpose"

#: What only the owner of a credential may change; everybody may read it, unless it is private.
GUARDED = ("/sequence", "/snowflake")
_OWNERS = [make_acl("auth", "", all=True)]
_READERS = [make_acl("world", "anyone", read=True)]

# kazoo waits a whole session timeout for a handshake that may never come, and its back-off
# doubles without a useful bound. A server that is back should be found within about a second, and
# long before the session is over, also by a client that has waited for one handshake in vain: so
# the back-off has half the bound of a handshake. A handshake that timed out doubles the time for
# the next one, for slow links; a refused one doesn't, for a server that is away refuses many.
_LONGEST = 1.0  # seconds
_SHORTEST = 0.1  # seconds


def _handshake(timeout: float) -> float:
    """How long a handshake may take, in seconds, by the session timeout."""
    return max(_SHORTEST, min(_LONGEST, timeout / 4))


@dataclass(frozen=True)
class Granted:
    """What a server granted in the last handshake."""

    session: int
    timeout: float  # seconds


class _Handler(SequentialThreadingHandler):
    """kazoo's handler, with a bound on connecting, and the address it connects to."""

    address: tuple[str, int] | None = None

    def __init__(self, handshake: float) -> None:
        super().__init__()
        self.handshake = handshake

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        self.address = kwargs.get("address")
        kwargs["timeout"] = min(kwargs.get("timeout", self.handshake), self.handshake)
        return super().create_connection(*args, **kwargs)

    def select(self, rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None) -> Any:
        """As `select.select`, for any file descriptor.

        One system call, where kazoo's own makes a selector and throws it away again: that is
        most of what a request costs.
        """
        if not hasattr(select, "poll"):  # Windows
            return super().select(rlist, wlist, xlist, timeout)
        wanted: dict[int, int] = {}
        for event, files in ((select.POLLIN, rlist), (select.POLLOUT, wlist)):
            for file in files:
                wanted[file.fileno()] = wanted.get(file.fileno(), 0) | event
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        # What has broken is both: whoever reads or writes is told.
        ready = {
            fd: events if events & (select.POLLIN | select.POLLOUT) else wanted[fd]
            for fd, events in poll.poll(None if timeout is None else max(timeout, 0) * 1000)
        }
        return (
            [file for file in rlist if ready.get(file.fileno(), 0) & select.POLLIN],
            [file for file in wlist if ready.get(file.fileno(), 0) & select.POLLOUT],
            [],
        )


class _Connection(ConnectionHandler):
    """kazoo's connection, with a bound on the handshake, and what is granted in it.

    `lose` are replies, counted from 1 over all connections, that are lost: ZooKeeper has done what
    was asked, and the connection breaks before the client hears of it.
    """

    lose: Collection[int] = ()
    _replies = 0

    def _read_response(self, header: Any, buffer: bytes, offset: int) -> Any:
        self._replies += 1
        if self._replies in self.lose:
            request = self.client._pending[0][0]  # noqa: SLF001 — kazoo's part, as is this class
            what = f"{type(request).__name__} {getattr(request, 'path', '')}".rstrip()
            log.info("%s: the reply to request %d, %s", LOST_REPLY, self._replies, what)
            raise ConnectionDropped("a reply is lost, as was asked for")
        return super()._read_response(header, buffer, offset)

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        client, handler = self.client, self.handler
        assert isinstance(client, Session)
        assert isinstance(handler, _Handler)
        if isinstance(request, Auth):
            zxid = super()._invoke(min(timeout, handler.handshake), request, xid)
            client.admitted = True
            return zxid
        if not isinstance(request, Connect):
            return super()._invoke(timeout, request, xid)
        client.admitted, asked = False, client.asked
        try:
            result = super()._invoke(min(timeout, handler.handshake), request, xid)
        except handler.timeout_exception:
            handler.handshake = min(2 * handler.handshake, max(asked, _LONGEST))
            raise
        handler.handshake = _handshake(asked)
        reply = result[0]
        accepted = reply.time_out > 0  # 0 says that the session has expired
        client.granted = Granted(reply.session_id, reply.time_out / 1000) if accepted else None
        client.admitted = accepted and not client.auth_data
        return result


def _guarded(request: Any, chroot: str, private: bool) -> Any:
    """The same request; a znode that it creates in a guarded place is its creator's."""
    if isinstance(request, Transaction):
        return Transaction([_guarded(part, chroot, private) for part in request.operations])
    if not isinstance(request, Create | Create2) or request.acl != OPEN_ACL_UNSAFE:
        return request
    inside = any(f"{request.path}/".startswith(f"{chroot}{path}/") for path in GUARDED)
    acl = _OWNERS if private else _OWNERS + _READERS
    return request._replace(acl=acl) if inside else request


class Session(KazooClient):
    """A client that always comes back, and knows what the server granted it.

    With a `credential`, "user:password", what it creates below the `GUARDED` paths belongs to that
    user: others may read it, unless the session is `private`. Without one, everything belongs to
    everybody.
    """

    #: None until the first handshake, and while a new session replaces one that has expired.
    #: Stays while the connection is lost, because the session does.
    granted: Granted | None = None

    #: Whether the last handshake is complete, so that the next answer is that to a request.
    admitted = False

    def __init__(
        self,
        hosts: str,
        timeout: float,
        logger: logging.Logger,
        lose: Collection[int] = (),
        credential: str = "",
        private: bool = False,
        tls: Tls | None = None,
    ) -> None:
        self._private = private
        self.asked = timeout  # seconds
        forever = KazooRetry(
            max_tries=-1, delay=0.05, max_delay=_handshake(timeout) / 2, ignore_expire=False
        )
        super().__init__(
            hosts=hosts,
            timeout=timeout,
            handler=_Handler(_handshake(timeout)),
            connection_retry=forever,
            logger=logger,
            auth_data=[("digest", credential)] if credential else [],
            **(tls.settings() if tls is not None else {}),
        )
        connection = self._connection = _Connection(
            self, forever.copy(), logger=logger, sasl_options=self._connection.sasl_options
        )
        connection.lose = lose

    def _call(self, request: Any, async_object: Any) -> Any:
        if self.auth_data:
            request = _guarded(request, self.chroot, self._private)
        return super()._call(request, async_object)

    def connect(self) -> None:
        """Begin to connect, in the background."""
        self._up = self.start_async()

    def wait_connected(self, timeout: float) -> bool:
        """Wait for a connection, at most `timeout` seconds; whether there is one."""
        return bool(self._up.wait(timeout))

    @property
    def session_id(self) -> int | None:
        """The session's id; None before the first handshake."""
        granted = self.granted
        return granted.session if granted else None

    @property
    def timeout(self) -> float | None:
        """The session timeout in seconds, as the server granted it: other than asked, maybe."""
        granted = self.granted
        return granted.timeout if granted else None

    @property
    def server(self) -> str | None:
        """The server it is connected to, as host:port."""
        handler: Any = self.handler
        address = handler.address
        return f"{address[0]}:{address[1]}" if self.connected and address else None
