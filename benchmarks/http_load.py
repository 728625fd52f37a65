"""Asks a server over HTTP as fast as it answers, on connections that stay open."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True)
class Load:
    """What a stretch of asking gave. Times in seconds."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


@dataclass
class _Connection:
    socket: socket.socket
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0  # length of the answer; 0 before its head has come


class Connections:
    """A number of connections to 127.0.0.1, each with one request under way."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._selector = selectors.DefaultSelector()
        self._connections = []
        for _ in range(count):
            connected = socket.create_connection(("127.0.0.1", port), timeout=30)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(connected)
            self._connections.append(connection)
            self._selector.register(connected, selectors.EVENT_READ, connection)

    def ask(self, seconds: float) -> Load:
        """Ask for so long. Raises OSError if an answer is not 200."""
        latencies: list[float] = []
        began = time.perf_counter()
        until = began + seconds
        for connection in self._connections:
            self._send(connection)
        waiting = len(self._connections)
        while waiting:
            for key, _ in self._selector.select():
                connection = key.data
                if not self._receive(connection):
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.sent)
                if now < until:
                    self._send(connection)
                else:
                    waiting -= 1
        return Load(time.perf_counter() - began, latencies)

    def _send(self, connection: _Connection) -> None:
        connection.received.clear()
        connection.expected = 0
        connection.sent = time.perf_counter()
        connection.socket.sendall(self._request)

    @staticmethod
    def _receive(connection: _Connection) -> bool:
        """Read what is there; whether the answer is complete."""
        received = connection.received
        chunk = connection.socket.recv(1 << 20)
        received += chunk
        if not connection.expected:
            end = received.find(b"\r\n\r\n") + 4
            if end >= 4:
                if not received.startswith(b"HTTP/1.1 200"):
                    raise OSError(received[:300].decode(errors="replace"))
                start = received.find(b"Content-Length: ") + 16
                connection.expected = end + int(received[start : received.find(b"\r", start)])
        if not chunk:
            raise OSError("The server closed the connection.")
        return 0 < connection.expected <= len(received)

    def close(self) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.socket.close()

    def __enter__(self) -> Connections:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
