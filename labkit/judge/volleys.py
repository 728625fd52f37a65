"""IDs, asked of all nodes at the same moment: two that make the same do so in one millisecond."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, HTTPException

from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.node.snowflake import PER_MS
from labkit.story.event import IDS, RequestEvent

_EVERY = 1.0  # seconds between two volleys
# IDs of each node, in two requests: the second has to go on where the first stopped, often within
# the same millisecond, and takes the node two more at least.
_COUNTS = (100, 2 * PER_MS)


class Volleys:
    """Asks the nodes for IDs while the context lasts; what they answer is on the timeline."""

    def __init__(self, lab: Lab, nodes: Sequence[Node]) -> None:
        self._lab = lab
        self._nodes = nodes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labkit-volleys", daemon=True)

    def __enter__(self) -> Volleys:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(max(len(self._nodes), 1), "volley") as pool:
            while not self._stop.wait(_EVERY):
                # A node that does not answer is asked no more often than it can refuse.
                list(pool.map(self._ask, self._nodes))

    def _ask(self, node: Node) -> None:
        timeout = self._lab.request_deadline + 0.5
        connection = HTTPConnection(node.endpoint.host, node.endpoint.port, timeout=timeout)
        with closing(connection):
            for count in _COUNTS:
                self._ask_for(count, node, connection)

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


def as_runs(ids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The same IDs as (first, last) of each row without a gap, in their order."""
    runs: list[tuple[int, int]] = []
    for id in ids:
        if runs and id == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], id
        else:
            runs.append((id, id))
    return tuple(runs)
