"""Writes on a timeline what nodes and ZooKeeper say, as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.states import ZnodeStat

from labkit.lab.event import (
    CLAIMS,
    Holder,
    HoldersEvent,
    QuorumEvent,
    SessionEvent,
    StatusEvent,
    owner,
)
from labkit.lab.timeline import Timeline

_TIMEOUT = 1.0  # seconds of silence after which a node counts as unreachable
_GIVE_UP = 10.0  # seconds after which a silent connection is replaced
_SETTLE = 0.03  # seconds between two listings: changes that come together are read together
_NOTED = {"subject", "t", "reachable", "error", "asked", "previous_until"}  # by the recorder
_SAID = {field.name for field in fields(StatusEvent)} - _NOTED  # by the node itself
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ELECTING = 0.1  # seconds between two looks at a ZooKeeper server: an election may take as little
_MODE = re.compile(rb"^Mode: (\w+)", re.MULTILINE)


class Recorder:
    """Writes on a timeline, as it changes, what every node says and what ZooKeeper says.

    `nodes` and `servers` are asked again and again, from the recorder's thread, for what there is
    now: nodes as (name, base URL), ZooKeeper servers as (name, host, port), so they have to be
    quick. A node's `/status` is asked every `interval` seconds, and recorded when anything but its
    lease has changed; so is a server's mode. With a `client`, a watch on /sequence records who
    holds what, and the client's own state is recorded.

    One thread does it all. A node that is paused or dead delays nobody: its connection stays open
    and counts as unreachable after a second of silence.
    """

    def __init__(
        self,
        timeline: Timeline,
        nodes: Callable[[], Iterable[tuple[str, str]]],
        client: KazooClient | None = None,
        *,
        servers: Callable[[], Iterable[tuple[str, str, int]]] = lambda: (),
        interval: float = 0.2,
    ) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._servers = servers
        self._client = client
        self._interval = interval
        self._said: dict[str, StatusEvent] = {}  # each node's last, whether recorded or not
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._claims_changed: asyncio.Event

    def start(self) -> Recorder:
        """Begin to record; returns at once. Does nothing if it records already."""
        if self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._record(ready)), name="labkit-recorder", daemon=True
            )
            self._thread.start()
            ready.wait()
        return self

    def stop(self) -> None:
        """Stop recording; no thread, connection or listener is left. Idempotent."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def catch_up(self, timeout: float = 0.5) -> None:
        """Wait until every node that can be reached has been asked once more.

        One that falls silent just now is waited for until `timeout` seconds have passed.
        """
        now = self._timeline.now()
        deadline = now + timeout
        while self._thread is not None and self._timeline.now() < deadline:
            heard = [self._said.get(name) for name, _ in self._nodes()]
            if all(said and (_asked(said) >= now or not said.reachable) for said in heard):
                return
            time.sleep(0.01)

    async def _record(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._claims_changed = asyncio.Event()
        ready.set()
        tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}
        if self._client is not None:
            tasks[("claims",)] = asyncio.create_task(self._follow_claims(self._client))
        while not self._stopping.is_set():
            wanted: dict[tuple[Any, ...], Callable[..., Coroutine[Any, Any, None]]] = {
                **{tuple(node): self._follow_node for node in self._nodes()},
                **{tuple(server): self._follow_server for server in self._servers()},
            }
            for key in tasks.keys() - wanted.keys() - {("claims",)}:
                tasks.pop(key).cancel()
            for key in wanted.keys() - tasks.keys():
                tasks[key] = asyncio.create_task(wanted[key](*key))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    # --- nodes ---

    async def _follow_node(self, name: str, url: str) -> None:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or 80
        request = f"GET /status HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        while True:
            has_answered = False
            try:
                async with _connection(host, port) as (reader, writer):
                    while True:
                        asked = self._timeline.now()
                        status = await self._status(name, request, reader, writer)
                        has_answered = True
                        self._note(replace(status, asked=asked))
                        await asyncio.sleep(self._interval)
            except (EOFError, ConnectionError) as error:
                if has_answered:  # the process that it led to has ended; is there another?
                    continue
                self._unreachable(name, str(error) or "it closed the connection")
            except (OSError, ValueError) as error:
                self._unreachable(name, str(error) or type(error).__name__)
            await asyncio.sleep(self._interval)

    async def _status(
        self,
        name: str,
        request: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> StatusEvent:
        silent = self._loop.call_later(_TIMEOUT, self._unreachable, name, "no answer")
        hopeless = self._loop.call_later(_GIVE_UP, writer.transport.abort)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200") or not length:
                raise ValueError(head.split(b"\r\n", 1)[0].decode(errors="replace"))
            status = json.loads(await reader.readexactly(int(length[1])))
            return StatusEvent(name, **{key: status[key] for key in _SAID & status.keys()})
        finally:
            silent.cancel()
            hopeless.cancel()

    def _unreachable(self, name: str, error: str) -> None:
        self._note(StatusEvent(name, reachable=False, error=error, asked=self._timeline.now()))

    def _note(self, status: StatusEvent) -> None:
        """Record a node's status, if it says anything new."""
        before = self._said.get(status.subject)
        self._said[status.subject] = status
        if before is None or _lasting(before) != _lasting(status):
            until = None if before is None else before.asked
            self._timeline.record(replace(status, previous_until=until))

    # --- ZooKeeper's servers ---

    async def _follow_server(self, name: str, host: str, port: int) -> None:
        """Ask a server for its mode; None when it serves nobody: no quorum, or down."""
        before: object = self  # equal to no mode
        while True:
            mode = None
            with contextlib.suppress(OSError, EOFError):
                async with asyncio.timeout(_TIMEOUT), _connection(host, port) as (reader, writer):
                    writer.write(b"srvr")
                    if match := _MODE.search(await reader.read()):
                        mode = match[1].decode()
            if mode != before:
                self._timeline.record(QuorumEvent(name, mode=mode))
                before = mode
            await asyncio.sleep(min(self._interval, _ELECTING))

    # --- claims ---

    async def _follow_claims(self, client: KazooClient) -> None:
        def listen(state: str) -> None:
            self._timeline.record(SessionEvent("lab", state=str(state)))
            self._wake()

        client.add_listener(listen)
        self._timeline.record(SessionEvent("lab", state=str(client.state)))
        listing = _Listing()
        try:
            while True:
                self._claims_changed.clear()
                try:
                    if await listing.read(self, client):
                        self._timeline.record(listing.event())
                    await self._claims_changed.wait()
                except KazooException:  # not connected: try again until it is
                    await asyncio.sleep(self._interval)
                await asyncio.sleep(_SETTLE)
        finally:
            client.remove_listener(listen)

    def _wake(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # a late watch finds the loop closed
            self._loop.call_soon_threadsafe(self._claims_changed.set)

    async def _ask(self, pending: Any) -> Any:
        """Await one of kazoo's asynchronous results."""
        answer = self._loop.create_future()

        def finish() -> None:
            if answer.done():
                return
            if pending.exception is None:
                answer.set_result(pending.value)
            else:
                answer.set_exception(pending.exception)

        def done(_: object) -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(finish)

        pending.rawlink(done)
        return await answer


class _Listing:
    """The children of /sequence, read as cheaply as is still correct."""

    def __init__(self) -> None:
        self._numbers: dict[str, Holder] = {}
        self._tickets: list[str] = []
        self._version = 0
        self._zxid = -1

    def event(self) -> HoldersEvent:
        numbers = {int(name): holder for name, holder in self._numbers.items()}
        tickets = tuple(self._tickets)
        return HoldersEvent("zookeeper", numbers=numbers, tickets=tickets, zxid=self._zxid)

    async def read(self, recorder: Recorder, client: KazooClient) -> bool:
        """List again, with a watch; returns whether anything is different."""
        try:
            children, stat = await recorder._ask(
                client.get_children_async(CLAIMS, watch=recorder._wake, include_data=True)
            )
        except NoNodeError:
            if await recorder._ask(client.exists_async(CLAIMS, watch=recorder._wake)):
                recorder._wake()  # it has been made since; this watch does not see its children
            return False
        if stat.pzxid == self._zxid:
            return False
        names = {name for name in children if name.isdigit()}
        tickets = sorted(name for name in children if name.startswith("ticket-"))
        changes = len(names ^ self._numbers.keys()) + len(set(tickets) ^ set(self._tickets))
        # A parent counts its children's comings and goings. As many as are seen: none was hidden,
        # and a number that is still there is still the same claim.
        known = self._numbers if stat.cversion - self._version == changes else {}
        pending = {name: client.get_async(f"{CLAIMS}/{name}") for name in names - known.keys()}
        found = {name: known[name] for name in names & known.keys()}
        for name, get in pending.items():
            with contextlib.suppress(NoNodeError):  # gone since the listing: the watch has fired
                found[name] = _holder(*await recorder._ask(get))
        self._numbers = dict(sorted(found.items(), key=lambda item: int(item[0])))
        self._tickets = tickets
        self._version, self._zxid = stat.cversion, stat.pzxid
        return True


def _holder(data: bytes, stat: ZnodeStat) -> Holder:
    session = f"0x{stat.ephemeralOwner:x}" if stat.ephemeralOwner else None
    return Holder(owner(data.decode(errors="replace")), session, stat.czxid)


def _asked(status: StatusEvent) -> float:
    return -math.inf if status.asked is None else status.asked


def _lasting(status: StatusEvent) -> StatusEvent:
    """A status without what is different every time.

    What is wrong with a node that cannot be reached may be put in many ways: one is enough.
    """
    return replace(status, lease_ms=None, error=None, asked=None)


@contextlib.asynccontextmanager
async def _connection(host: str, port: int) -> Any:
    async with asyncio.timeout(_TIMEOUT):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
