"""The fault that can tell whether a lease is kept: a holder is silent, and a rival has its number.

A node with a number is cut off from ZooKeeper, and frozen too if it is to be. Its session ends,
another node is restarted and takes the number, and requests queue at the first. Then that one runs
on, still cut off, so that nobody tells it what has happened: only its own clock can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from labkit.errors import LabError, NodeError
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.servers.base import ServerState

_QUEUED = 8  # requests that wait at the silent node, besides those of the clients
_LOOK = 0.05  # seconds between two looks


class Takeover:
    """One such fault on a lab. `stop` ends every wait in it at once."""

    def __init__(self, lab: Lab, stop: threading.Event) -> None:
        self._lab = lab
        self._stop = stop
        self._holder: Node | None = None
        self._rival: Node | None = None
        self._number = 0

    def choose(self) -> tuple[Node, Node] | None:
        """The holder of the smallest number, and of the largest: the first is the next to be taken.

        Waits a little until all nodes hold numbers, so that no smaller one is free and nobody else
        is about to claim. None if not even two nodes come to hold one.
        """
        everybody = len(self._lab.alive)
        holders: dict[int, Node] = {}

        def all_hold() -> bool:
            holders.clear()
            holders.update(self._holders())
            return len(holders) == everybody

        self._wait(all_hold, self._lab.session_timeout + 1.0)
        if len(holders) < 2:
            return None
        self._number = min(holders)
        self._holder, self._rival = holders[self._number], holders[max(holders)]
        return self._holder, self._rival

    def break_(self, frozen: bool) -> None:
        """Do all of it but the healing. Whatever fails to come true is left to the judge to see."""
        assert self._holder is not None
        assert self._rival is not None
        number = self._number
        self._lab.partition(self._holder.name)
        if frozen:
            self._holder.pause()
        if not self._wait(lambda: not self._is_held(number), 2 * self._lab.session_timeout + 1.0):
            return
        self._rival.stop()
        self._rival.start()
        self._wait(lambda: self._rival_answers(number), self._lab.session_timeout + 1.0)
        under_way = threading.Barrier(_QUEUED + 1)
        with ThreadPoolExecutor(_QUEUED, thread_name_prefix="queued") as pool:
            asked = [pool.submit(self._ask, self._holder, under_way) for _ in range(_QUEUED)]
            under_way.wait()
            self._stop.wait(0.1)
            if frozen:
                self._holder.resume()
            for answer in asked:
                answer.result()
        self._stop.wait(self._lab.session_timeout / 4)

    def mend(self) -> None:
        """Have both run, and reach ZooKeeper."""
        for node in (self._holder, self._rival):
            if node is not None:
                if node.state is ServerState.PAUSED:
                    node.resume()
                node.start()
                self._lab.heal(node.name)

    def _holders(self) -> dict[int, Node]:
        """The nodes that would answer, by their number."""
        found = {}
        for node in self._lab.nodes:
            with suppress(LabError):
                if node.state is ServerState.RUNNING and (number := node.status()["number"]):
                    found[int(number)] = node
        return found

    def _rival_answers(self, number: int) -> bool:
        assert self._rival is not None
        with suppress(NodeError):
            return self._rival.sequence() == number
        return False

    @staticmethod
    def _ask(node: Node, under_way: threading.Barrier) -> None:
        under_way.wait()
        with suppress(NodeError):
            node.answer()

    def _is_held(self, number: int) -> bool:
        try:
            zk = self._lab.zk
            return zk.exists_async(f"/sequence/{number}").get(timeout=1.0) is not None
        except (KazooException, KazooTimeoutError):
            return True

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline or self._stop.wait(_LOOK):
                return False
        return True
