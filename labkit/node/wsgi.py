"""The HTTP server of a node, which no slow or silent client can keep from answering others."""

from __future__ import annotations

from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

_THREADS = 20  # 8 may wait for a claim and 8 for IDs, so that /status always finds one

# macOS gives a process 256 file descriptors; ZooKeeper's connection and the log want some too.
_CONNECTIONS = 160  # open at a time; one more, and the longest idle one is closed
_MOST_CONNECTIONS = 220  # if all of these have a request under way, the next one waits


class _Channel(HTTPChannel):
    """A client's connection. A new one makes room for itself.

    waitress would accept nobody any more once it has its limit of connections, and end a silent
    one only after two minutes.
    """

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(server, *args, **kwargs)  # type: ignore[no-untyped-call]  # waitress's
        channels = server.active_channels.values()
        if len(channels) > _CONNECTIONS:
            idle = [channel for channel in channels if channel is not self and not channel.requests]
            if idle:
                min(idle, key=lambda channel: float(channel.last_activity)).handle_close()


def create_http_server(app: Flask, host: str, port: int) -> Any:
    """The WSGI server of a node: it listens, and `run()` serves.

    Raises OSError when it cannot listen there, and ValueError when the host is no address.
    """
    listening: dict[int, Any] = {}
    server = create_server(
        app,
        map=listening,
        host=host,
        port=port,
        threads=_THREADS,
        backlog=512,
        ident=None,
        clear_untrusted_proxy_headers=True,
        connection_limit=_MOST_CONNECTIONS,
        max_request_body_size=65_536,
        asyncore_use_poll=True,
    )
    for listener in listening.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = _Channel
    return server
