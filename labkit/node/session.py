# mypy: disable-error-code="no-untyped-call"
# kazoo, which is extended here, has no annotations.
"""A ZooKeeper session whose facts are told: its id, its negotiated timeout, its connection."""

from __future__ import annotations

import logging
from typing import Any

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect
from kazoo.retry import KazooRetry

# kazoo would wait a whole session timeout for a handshake that never comes, and its back-off
# doubles without a useful bound: a server that is back should be found back within a second.
_HANDSHAKE = 1.0  # seconds
_MAX_DELAY = 1.0  # seconds


class _Handler(SequentialThreadingHandler):
    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = min(kwargs.get("timeout", _HANDSHAKE), _HANDSHAKE)
        return super().create_connection(*args, **kwargs)


class _Connection(ConnectionHandler):
    """kazoo's connection, with a bound on the handshake, and the timeout that it negotiates."""

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        if not isinstance(request, Connect):
            return super()._invoke(timeout, request, xid)
        result = super()._invoke(min(timeout, _HANDSHAKE), request, xid)
        self.client.negotiated_timeout = result[0].time_out / 1000
        return result


class Session(KazooClient):
    """A client that always comes back, and knows what the server granted it."""

    #: seconds; None until the first handshake. The server may grant other than was asked for.
    negotiated_timeout: float | None = None

    def __init__(self, hosts: str, timeout: float, logger: logging.Logger) -> None:
        forever = KazooRetry(max_tries=-1, delay=0.05, max_delay=_MAX_DELAY, ignore_expire=False)
        super().__init__(
            hosts=hosts,
            timeout=timeout,
            handler=_Handler(),
            connection_retry=forever,
            logger=logger,
        )
        self._connection = _Connection(
            self, forever.copy(), logger=logger, sasl_options=self._connection.sasl_options
        )

    @property
    def session_id(self) -> int | None:
        """The session's id; None before the first handshake."""
        return self.client_id[0] if self.client_id else None
