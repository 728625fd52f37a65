"""Writes on a timeline what nodes and ZooKeeper say, as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Set
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

from kazoo.client import KazooClient

from labkit.lab.connection import NO_ANSWER, Connection
from labkit.lab.listing import Listing
from labkit.story.event import QuorumEvent, StatusEvent
from labkit.story.timeline import Timeline

_TIMEOUT = 1.0  # seconds of silence after which a node counts as unreachable
_GIVE_UP = 10.0  # seconds after which a silent connection is replaced
_NOTED = {"subject", "t", "reachable", "error", "asked", "previous_until"}  # by the recorder
_FIELDS = {field.name for field in fields(StatusEvent)} - _NOTED  # by the node itself
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
        self._latest: dict[str, StatusEvent] = {}  # each node's last, whether recorded or not
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

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

    def catch_up(self, runs: Callable[[str], bool]) -> None:
        """Wait until every node has been asked once more: one that was silent may be back.

        Nodes that neither answer nor refuse are waited for no longer than half a second; those of
        them of which `runs` says that they run, until a connection to where they were before has
        been given up, and another made.
        """
        now = self._timeline.now()
        silent = self._unheard(self._names(), now, 0.5)
        self._unheard({name for name in silent if runs(name)}, now, _TIMEOUT + 0.5)

    def _unheard(self, names: Set[str], since: float, timeout: float) -> Set[str]:
        """Wait for nodes to be asked after `since`; those that were not after `timeout` seconds."""
        while self._thread is not None:
            latest = {name: self._latest.get(name) for name in names & self._names()}
            names = {name for name, status in latest.items() if _asked(status) < since}
            if not names or self._timeline.now() > since + timeout:
                return names
            time.sleep(0.01)
        return set()

    def _names(self) -> Set[str]:
        return {name for name, _ in self._nodes()}

    async def _record(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        ready.set()
        tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}
        if self._client is not None:
            tasks[("claims",)] = asyncio.create_task(Listing(self._timeline, self._client).follow())
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
        connection = Connection(address.hostname or "", address.port or 80)
        try:
            while True:
                has_answered, asked = connection.is_open, self._timeline.now()
                try:
                    async with asyncio.timeout(_TIMEOUT):
                        await connection.open()
                    asked = self._timeline.now()
                    status = await self._status(name, connection, asked)
                    self._note(replace(status, asked=asked))
                except NO_ANSWER as error:
                    connection.close()
                    if has_answered and isinstance(error, EOFError | ConnectionError):
                        continue  # the process that it led to has ended; is there another?
                    self._unreachable(name, str(error) or type(error).__name__, asked)
                await asyncio.sleep(self._interval)
        finally:
            connection.close()

    async def _status(self, name: str, connection: Connection, asked: float) -> StatusEvent:
        silent = self._loop.call_later(_TIMEOUT, self._unreachable, name, "no answer", asked)
        hopeless = self._loop.call_later(_GIVE_UP, connection.close)
        try:
            code, _, body = await connection.get("/status")
            if code != 200:
                raise ValueError(f"it answers GET /status with {code}")
            status = json.loads(body)
            return StatusEvent(name, **{key: status[key] for key in _FIELDS & status.keys()})
        finally:
            silent.cancel()
            hopeless.cancel()

    def _unreachable(self, name: str, error: str, asked: float) -> None:
        self._note(StatusEvent(name, reachable=False, error=error, asked=asked))

    def _note(self, status: StatusEvent) -> None:
        """Record a node's status, if it says anything new."""
        before = self._latest.get(status.subject)
        self._latest[status.subject] = status
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
                async with asyncio.timeout(_TIMEOUT):
                    mode = await _mode(host, port)
            if mode != before:
                self._timeline.record(QuorumEvent(name, mode=mode))
                before = mode
            await asyncio.sleep(min(self._interval, _ELECTING))


def _asked(status: StatusEvent | None) -> float:
    return -math.inf if status is None or status.asked is None else status.asked


def _lasting(status: StatusEvent) -> StatusEvent:
    """A status without what is different every time.

    What is wrong with a node that cannot be reached may be put in many ways: one is enough.
    """
    return replace(status, lease_ms=None, error=None, asked=None)


async def _mode(host: str, port: int) -> str | None:
    """The mode of a ZooKeeper server, by its own word. Raises OSError and EOFError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"srvr")
        match = _MODE.search(await reader.read())
        return match[1].decode() if match else None
    finally:
        writer.transport.abort()
