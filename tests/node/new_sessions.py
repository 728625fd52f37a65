"""A proxy before ZooKeeper that gives a client a new session whenever it connects again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# In a ConnectRequest, behind its length: the session's id, and the 16 bytes of its password.
_SESSION, _PASSWORD = slice(20, 28), slice(32, 48)


class NewSessions:
    """Asks for a new session in every handshake, and says nothing of that to the client."""

    def __init__(self, to: tuple[str, int], path: str) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.hosts = f"127.0.0.1:{self._listener.getsockname()[1]}/{path}"
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> NewSessions:
        self._start(self._serve)
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def cut(self) -> None:
        """Break all connections; a client may connect again at once."""
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._to)
                self._ends += [client, server]
                self._start(self._relay, client, server)
                self._start(self._relay, server, client)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            is_first = source.getpeername() != self._to
            while data := bytearray(source.recv(65_536)):
                if is_first:  # a handshake is one packet
                    data[_SESSION], data[_PASSWORD] = bytes(8), bytes(16)
                    is_first = False
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
