import logging
from typing import Any

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry

class ConnectionHandler:
    client: KazooClient
    handler: SequentialThreadingHandler
    sasl_options: dict[str, Any] | None
    def __init__(
        self,
        client: KazooClient,
        retry_sleeper: KazooRetry,
        logger: logging.Logger | None = ...,
        sasl_options: dict[str, Any] | None = ...,
    ) -> None: ...
    def _invoke(self, timeout: float, request: Any, xid: int | None = ...) -> Any: ...
    def _read_response(self, header: Any, buffer: bytes, offset: int) -> Any: ...
