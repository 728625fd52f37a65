"""IDs, asked of several nodes at once: two that make the same do so in one millisecond."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from typing import Any

from labkit.errors import LabError
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.node.snowflake import PER_MS
from labkit.story.event import IDS, RequestEvent

_EVERY = 1.0  # seconds between two volleys
# IDs of each node, in two requests: the second has to go on where the first stopped, often within
# the same millisecond, and takes the node two more at least.
_COUNTS = (100, 2 * PER_MS)
# A duel is all IDs of many milliseconds against one ID in as many as possible.
_ALL, _ONES = (24 * PER_MS,), (1,) * 50
_SLOW = 1 / 12  # of a session timeout: how long an answer takes to a node that comes back
_BACK = 1.5  # session timeouts in which it has a number again
_AGAIN = 0.005  # seconds between a refusal and the next question


class Volleys:
    """Asks the nodes for IDs while the context lasts; what they answer is on the timeline."""

    def __init__(self, lab: Lab, nodes: Sequence[Node]) -> None:
        self._lab = lab
        self._nodes = nodes
        self._stop = threading.Event()
        self._free = threading.Lock()  # held while a volley is under way, or while it is quiet
        self._thread = threading.Thread(target=self._run, name="labkit-volleys", daemon=True)

    def __enter__(self) -> Volleys:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No volley is fired while this context lasts."""
        with self._free:
            yield

    def ask(self, node: Node, counts: Sequence[int] = _COUNTS) -> None:
        """Ask one node."""
        timeout = self._lab.request_deadline + 0.5
        connection = HTTPConnection(node.endpoint.host, node.endpoint.port, timeout=timeout)
        with closing(connection):
            for count in counts:
                self._ask_for(count, node, connection)

    def duel(self, back: Node, rival: Node, stop: threading.Event) -> None:
        """Heal a node's link, and ask it and the one that has its number, until it has another.

        Where a link can be slow it heals slowly, so that there is time between its new session
        and its new number.
        """
        self.ask(rival)
        delay = _SLOW * self._lab.session_timeout
        if self._lab.backend == "process":
            self._lab.slow(back.name, delay=delay)
        else:
            self._lab.heal(back.name)
        over = threading.Event()

        def ask(node: Node) -> None:
            while not (over.wait(_AGAIN) or stop.is_set()):
                self.ask(node, _ALL if node is back else _ONES)

        with ThreadPoolExecutor(4, thread_name_prefix="duel") as pool:
            asking = [pool.submit(ask, node) for node in (back, rival) * 2]
            for _ in range(round(_BACK * self._lab.session_timeout / _AGAIN / 10)):
                if stop.wait(10 * _AGAIN) or _number(back):
                    break
            over.set()
            for done in asking:
                done.result()

    def _run(self) -> None:
        with ThreadPoolExecutor(max(len(self._nodes), 1), "volley") as pool:
            while not self._stop.wait(_EVERY):
                # A node that does not answer is asked no more often than it can refuse.
                with self._free:
                    list(pool.map(self.ask, self._nodes))

    def _ask_for(self, count: int, node: Node, connection: HTTPConnection) -> None:
        record = self._lab.timeline.record
        invoke = RequestEvent(node.name, phase="invoke", id=self._lab.new_id(), path=IDS)
        record(invoke)
        try:
            connection.request("GET", f"{IDS}?count={count}&type=integer")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            connection.close()  # the next request opens it again
            refused = isinstance(error, ConnectionRefusedError)
            record(invoke.unanswered(type(error).__name__, refused=refused))
            return
        if answer.status == 200:
            record(replace(invoke, phase="ok", runs=as_runs(json.loads(body))))
        else:
            record(replace(invoke, phase="fail", status=answer.status))


def _number(node: Node) -> Any:
    with suppress(LabError):
        return node.status()["number"]
    return None


def as_runs(ids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The same IDs as (first, last) of each row without a gap, in their order."""
    runs: list[tuple[int, int]] = []
    for id in ids:
        if runs and id == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], id
        else:
            runs.append((id, id))
    return tuple(runs)
