"""A small asynchronous HTTP client: one connection to one server, kept alive."""

from __future__ import annotations

import asyncio

#: What `get` raises when there is no answer, or one that is no HTTP.
NO_ANSWER = (OSError, EOFError, ValueError, LookupError)


class Connection:
    """An HTTP connection that is kept alive, and opened again when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader

    @property
    def is_open(self) -> bool:
        """Whether the next request goes where the last one was answered."""
        return self._writer is not None

    async def open(self) -> asyncio.StreamWriter:
        """Connect, unless it is connected. Raises OSError."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._writer

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (their names in lower case) and body. Raises `NO_ANSWER`.

        Waits for ever; after an exception or a timeout of the caller's, `close`.
        """
        writer = await self.open()
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n"
        writer.write(request.encode())
        start, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = (line.split(":", 1) for line in lines if line)
        headers = {name.lower(): value.strip() for name, value in fields}
        body = await self._reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(start.split()[1]), headers, body

    def close(self) -> None:
        """Close it at once; a request that waits for its answer gets an EOFError. Idempotent."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
