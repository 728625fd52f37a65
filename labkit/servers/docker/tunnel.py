"""The way from here to servers on other machines: loopback ports, and a stream to each engine.

Nothing of a lab is published. On every machine a container of the lab's, the relay, is on the
network that all its servers are on. A program in it makes the connections, and what they carry
comes over the engine's own connection, as the output of that program (`exec`) does.

It is a process of its own, which goes on while the owner's Python is busy.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from labkit.errors import BackendError
from labkit.servers import helper
from labkit.servers.docker import relay
from labkit.servers.helper import Answer, Helper, HelperError

_GREETING = 10.0  # seconds for an engine's answer
_STDOUT = 1

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Tunnel:
    """The owner's end: says which port leads where. Starts with the first order."""

    def __init__(self, lab_id: str, log: Callable[[], Path]) -> None:
        self._lab_id = lab_id
        self._log = log
        self._helper: Helper | None = None
        self._lock = threading.Lock()

    def open(self, port: int, engine: str, container: str, to: str) -> None:
        """Have a loopback port lead to the address `to`, as `container` on `engine` reaches it."""
        self._order("open", port=port, engine=engine, container=container, to=to)

    def shut(self, port: int) -> None:
        """Have connections to the port refused. Idempotent."""
        if self._helper is not None:
            self._order("shut", port=port)

    def close(self) -> None:
        """End the process, and with it every connection. Idempotent."""
        if self._helper is not None:
            self._helper.close()

    def _order(self, verb: str, **given: Any) -> None:
        answer: Answer = Answer()
        with self._lock:
            if self._helper is None:
                self._helper = Helper("labkit.servers.docker.tunnel", self._lab_id, self._log())
        self._helper.order(answer, {"verb": verb, **given}, again=verb == "open")
        try:
            answer.result()
        except HelperError as error:
            raise BackendError(
                f"The process that carries requests to the lab's machines says: {error} Close the "
                "lab and start another one."
            ) from error


@dataclass
class _Relay:
    """A stream to a relay, dialled when it is needed, and again when it has ended."""

    engine: str
    container: str
    mux: relay.Mux | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(
        self, to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with self.lock:
                if self.mux is None:
                    self.mux = await asyncio.wait_for(self._dial(), _GREETING)
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            print(f"{self.engine}: {error!r}", flush=True, file=sys.stderr)
            writer.transport.abort()
            return
        await self.mux.open(to, reader, writer)

    async def _dial(self) -> relay.Mux:
        program = Path(relay.__file__).read_text()
        wanted = {"AttachStdin": True, "AttachStdout": True, "Cmd": ["python", "-c", program]}
        reader, writer = await _request(self.engine, f"/containers/{self.container}/exec", wanted)
        job = json.loads(await reader.read())["Id"]
        writer.close()
        reader, writer = await _request(self.engine, f"/exec/{job}/start", {}, upgrade=True)
        printed = asyncio.StreamReader()
        mux = relay.Mux(printed, writer.write)
        self._unpacking = asyncio.ensure_future(_unpack(reader, printed))
        self._running = asyncio.ensure_future(self._run(mux))
        return mux

    async def _run(self, mux: relay.Mux) -> None:
        await mux.run()
        if self.mux is mux:
            self.mux = None


async def _unpack(reader: asyncio.StreamReader, printed: asyncio.StreamReader) -> None:
    """Of an engine's stream of outputs, each with a header, only the standard one."""
    try:
        while True:
            header = await reader.readexactly(8)
            said = await reader.readexactly(int.from_bytes(header[4:], "big"))
            if header[0] == _STDOUT:
                printed.feed_data(said)
            else:
                print(said.decode(errors="replace"), end="", flush=True, file=sys.stderr)
    except (OSError, asyncio.IncompleteReadError):
        printed.feed_eof()


async def _request(
    engine: str, path: str, wanted: dict[str, Any], *, upgrade: bool = False
) -> _Streams:
    """Ask an engine for something; the stream is after the headers of its answer."""
    reader, writer = await _connect(engine)
    body = json.dumps(wanted).encode()
    version, more = ("1.1", "Connection: Upgrade\r\nUpgrade: tcp\r\n") if upgrade else ("1.0", "")
    writer.write(
        f"POST {path} HTTP/{version}\r\nHost: engine\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if head.split()[1] not in ("101", "200", "201"):
        raise ValueError(f"{head.splitlines()[0]}: {(await reader.read(300)).decode()}")
    return reader, writer


async def _connect(engine: str) -> _Streams:
    url = urlsplit(engine)
    if url.scheme == "ssh":  # as Docker's own command line does it
        who = ["-l", url.username] if url.username else []
        who += ["-p", str(url.port)] if url.port else []
        process = await asyncio.create_subprocess_exec(
            *("ssh", *who, str(url.hostname), "docker", "system", "dial-stdio"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdout, process.stdin
    if url.scheme == "unix":
        return await asyncio.open_unix_connection(url.path)
    return await asyncio.open_connection(url.hostname, url.port)


class _Ports:
    """The helper's end: the ports, and where they lead. Used from its event loop alone."""

    def __init__(self) -> None:
        self._relays: dict[tuple[str, str], _Relay] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def open(self, port: int, engine: str, container: str, to: str) -> None:
        await self.shut(port)
        at = engine, container
        chosen = self._relays.setdefault(at, _Relay(*at))
        self._servers[port] = await asyncio.start_server(
            lambda reader, writer: chosen.open(to, reader, writer), "127.0.0.1", port, backlog=256
        )

    async def shut(self, port: int) -> None:
        if (server := self._servers.pop(port, None)) is not None:
            server.close()


def main() -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    ports = _Ports()

    def carry_out(order: dict[str, Any]) -> None:
        work = getattr(ports, order.pop("verb"))(**order)
        asyncio.run_coroutine_threadsafe(work, loop).result()

    helper.serve(carry_out)


if __name__ == "__main__":
    main()
