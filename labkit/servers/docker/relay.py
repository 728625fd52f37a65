"""Many connections over one stream: both ends of it.

One end takes connections, the other makes them. The other one is run as a program in a container of
an engine, which has this file and a Python and nothing else: `python -c "…"`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

_HEADER = struct.Struct(">IBH")  # channel, kind, length of what follows
_OPEN, _DATA, _END, _ABORT = range(4)
_CHUNK = 32_768
_TIMEOUT = 1.0  # seconds for a connection to be made; a server that is there is near


class Mux:
    """Connections as channels of one stream, which is read by `run` and written to by `write`.

    A connection that is refused, or broken, is broken at the other end too. What a peer does not
    read is kept here: on this stream come requests and their answers, which are small.
    """

    def __init__(self, reader: asyncio.StreamReader, write: Callable[[bytes], object]) -> None:
        self._reader = reader
        self._write = write
        self._numbers = itertools.count(1)
        self._channels: dict[int, asyncio.Queue[bytes | None]] = {}  # None: broken
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Read the stream until it ends; then every connection is broken."""
        try:
            while True:
                header = await self._reader.readexactly(_HEADER.size)
                channel, kind, length = _HEADER.unpack(header)
                said = await self._reader.readexactly(length)
                if kind == _OPEN:
                    self._channels[channel] = asyncio.Queue()
                    task = asyncio.ensure_future(self._connect(channel, said.decode()))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif (queue := self._channels.get(channel)) is not None:
                    queue.put_nowait(None if kind == _ABORT else said)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for queue in self._channels.values():
                queue.put_nowait(None)

    async def open(
        self, to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry a connection that was taken here to an address that the other end reaches."""
        channel = next(self._numbers)
        self._channels[channel] = asyncio.Queue()
        self._send(channel, _OPEN, to.encode())
        await self._carry(channel, reader, writer)

    async def _connect(self, channel: int, to: str) -> None:
        host, _, port = to.rpartition(":")
        try:
            connecting = asyncio.open_connection(host, int(port))
            reader, writer = await asyncio.wait_for(connecting, _TIMEOUT)
        except (OSError, TimeoutError):
            del self._channels[channel]
            self._send(channel, _ABORT)
        else:
            await self._carry(channel, reader, writer)

    async def _carry(
        self, channel: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        told = writer.get_extra_info("socket")
        told.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sending = asyncio.ensure_future(self._forward(channel, reader))
        try:
            await self._deliver(self._channels[channel], writer)
            await sending  # half of it may go on
        finally:
            sending.cancel()
            del self._channels[channel]
            writer.close()

    async def _forward(self, channel: int, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(_CHUNK):
                self._send(channel, _DATA, data)
            self._send(channel, _END)
        except OSError:
            self._send(channel, _ABORT)

    async def _deliver(
        self, queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await queue.get():
                writer.write(data)
                await writer.drain()
            if data is None:
                told = writer.get_extra_info("socket")  # it shall end by a reset
                told.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.write_eof()

    def _send(self, channel: int, kind: int, said: bytes = b"") -> None:
        with suppress(OSError, RuntimeError):  # the stream has ended; `run` breaks everything
            self._write(_HEADER.pack(channel, kind, len(said)) + said)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout.buffer)
    await Mux(reader, transport.write).run()


if __name__ == "__main__":
    asyncio.run(_main())
