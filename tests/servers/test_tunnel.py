"""The way to servers on other machines: many connections over one stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest

from labkit.servers.docker.relay import Mux

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _ends() -> tuple[Mux, Mux, list[asyncio.StreamWriter]]:
    pairs = [await asyncio.open_connection(sock=end) for end in socket.socketpair()]
    here, there = (Mux(reader, writer.write) for reader, writer in pairs)
    return here, there, [writer for _, writer in pairs]


@asynccontextmanager
async def carried(serve: Serve | None) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A port that leads over a stream to a server; to a port where nobody listens without one."""
    here, there, streams = await _ends()
    runs = [asyncio.ensure_future(end.run()) for end in (here, there)]
    target = await asyncio.start_server(serve or _nobody, "127.0.0.1", 0)
    to = f"127.0.0.1:{target.sockets[0].getsockname()[1]}"
    if serve is None:
        target.close()
    entry = await asyncio.start_server(lambda r, w: here.open(to, r, w), "127.0.0.1", 0)
    try:
        yield entry.sockets[0].getsockname()[1], streams
    finally:
        entry.close()
        target.close()
        for stream in streams:
            stream.close()
        await asyncio.wait_for(asyncio.gather(*runs), 5)
        await asyncio.sleep(0.05)  # connections see the end


async def _nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all back, and end when the other side has ended."""
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _say(port: int, what: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(what)
    writer.write_eof()
    heard = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return heard


def run(main: Coroutine[None, None, None]) -> None:
    """In a thread of its own: in this one a browser's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, main).result()


def test_many_connections_do_not_mix() -> None:
    async def main() -> None:
        said = [bytes([number]) * (number * 5000) for number in range(1, 40)]
        async with carried(_echo) as (port, _):
            assert await asyncio.gather(*(_say(port, what) for what in said)) == said

    run(main())


def test_where_nobody_listens_a_connection_is_broken_at_once() -> None:
    async def main() -> None:
        async with carried(None) as (port, _):
            with pytest.raises(ConnectionResetError):
                await _say(port, b"anybody?")

    run(main())


def test_when_the_stream_ends_every_connection_breaks() -> None:
    async def main() -> None:
        async with carried(_echo) as (port, streams):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            streams[0].close()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    run(main())
