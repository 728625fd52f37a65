"""Clients that ask every node for its number, all the time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from labkit.lab.connection import NO_ANSWER, Connection
from labkit.lab.core import Core
from labkit.lab.node import Node
from labkit.story.event import CLAIMS, RequestEvent

_RATE = 15.0  # requests a second from each client
_CLIENTS = 2  # clients a node
_LOOK = 0.2  # seconds between two looks at which nodes there are


class Clients:
    """Asks nodes for their numbers, again and again, and records every outcome.

    Got from `lab.clients()`. Use it as a context manager, or call `start` and `stop`; `answered`
    counts the numbers they got. They ask the `chosen` nodes, or all `nodes()` if that is None; a
    node that is gone from `nodes()` is asked no more. `deadline` is a node's, in seconds.
    All connections live in one event loop in one thread. A client gives a request up half a second
    after the node's deadline: it is then of unknown outcome, and so is its connection. A connection
    that is refused is a failure: nobody took the request.
    """

    def __init__(
        self,
        core: Core,
        nodes: Callable[[], Sequence[Node]],
        chosen: Sequence[Node] | None,
        deadline: float,
    ) -> None:
        self.answered = 0
        self._core = core
        self._nodes = nodes
        self._chosen = chosen
        self._deadline = deadline + 0.5
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    def __enter__(self) -> Clients:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Clients:
        """Begin to ask. Does nothing if they ask already."""
        if self._thread is None:
            self._failure = None
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(ready,), name="labkit-clients", daemon=True
            )
            self._thread.start()
            ready.wait()
        return self

    def stop(self) -> None:
        """Wait for the requests under way, and ask no more. Idempotent.

        Raises what has ended the clients before, if anything has.
        """
        if self._thread is None:
            return
        with suppress(RuntimeError):  # it has ended already, by a failure
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise self._failure

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._ask_all(ready))
        except BaseException as failure:
            self._failure = failure  # raised where the run ends, not in this thread

    async def _ask_all(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        ready.set()
        asked: set[Node] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                for node in self._nodes() if self._chosen is None else self._chosen:
                    if node in asked:
                        continue
                    asked.add(node)
                    for number in range(_CLIENTS):
                        # Not all at the same moment: the phase is the client's own.
                        group.create_task(self._ask(node, number / _CLIENTS / _RATE))
                if await self._pause(_LOOK):
                    return

    async def _ask(self, node: Node, delay: float) -> None:
        connection = Connection(node.endpoint.host, node.endpoint.port)
        while not await self._pause(delay) and node in self._nodes():
            delay = 1 / _RATE
            request = self._core.new_id()
            record = self._core.timeline.record
            record(RequestEvent(node.name, phase="invoke", id=request))
            record(await self._outcome(RequestEvent(node.name, phase="ok", id=request), connection))
        connection.close()

    async def _outcome(self, ok: RequestEvent, connection: Connection) -> RequestEvent:
        """Ask once: an event `ok` with the answer, or one that names the failure."""
        try:
            async with asyncio.timeout(self._deadline):
                status, headers, body = await connection.get(CLAIMS)
        except NO_ANSWER as error:
            connection.close()
            refused = isinstance(error, ConnectionRefusedError)
            return ok.unanswered(type(error).__name__, refused=refused)
        if status != 200:
            return replace(ok, phase="fail", status=status, reason=_reason(body))
        self.answered += 1
        token, lease = headers.get("fencing-token"), headers.get("lease-remaining-ms")
        return replace(
            ok,
            number=int(body),
            token=int(token) if token else None,
            lease_ms=float(lease) if lease else None,
        )

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether the run is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


def _reason(body: bytes) -> str | None:
    """The reason in a problem document, if it is one and gives one."""
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem.get("reason") if isinstance(problem, dict) else None
