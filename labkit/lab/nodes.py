"""The nodes that a lab has: made, added, found, and removed when they are dead or did not start."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import BackendError, InvalidTransition, ServerNotFound
from labkit.lab.core import Core, require_between
from labkit.lab.node import Node
from labkit.servers import registry
from labkit.servers.base import NodeSpec, ServerState, each
from labkit.servers.proxies import reach_directly

MAX_NODES = 1023  # as many as there are numbers for a Snowflake ID's worker
_FIRST_PORT = 5001
_KEPT_DEAD = 8  # nodes that can be started again, however many have died


@dataclass(frozen=True)
class NodeSettings:
    """What a node gets when it is made: its environment, files by the variables that name
    them, and its HTTP deadline in seconds.
    """

    env: Mapping[str, str]
    files: Mapping[str, Path]
    request_deadline: float


class Nodes:
    """A lab's nodes by name, in the order in which they were made."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._created = 0
        self._nodes: dict[str, Node] = {}
        self._lock = threading.RLock()

    def all(self) -> list[Node]:
        """Those that can be found by name, dead ones too."""
        return list(self._nodes.values())

    def alive(self) -> list[Node]:
        """Those that run or are paused, the longest-lived first."""
        living = (ServerState.RUNNING, ServerState.PAUSED)
        return sorted((node for node in self.all() if node.state in living), key=self._age)

    def find(self, name: str) -> Node:
        """The node of that name. Raises `ServerNotFound`, and says which there are."""
        try:
            return self._nodes[name]
        except KeyError:
            self._core.running  # noqa: B018 — a closed lab has no nodes, and says so
            known = ", ".join(self._nodes) or "no node"
            raise ServerNotFound(f"There is no {name} in this lab; it has {known}.") from None

    def create(self, settings: NodeSettings) -> Node:
        """Make one more, which does not run yet."""
        with self._lock:
            self._created += 1
            name = f"node{self._created}"
            env = {"NODE_LAB": self._core.running.lab_id, **settings.env}
            spec = NodeSpec(name, _FIRST_PORT + self._created - 1, env, settings.files)
            endpoint = self._core.running.create_node(spec)
            reach_directly(endpoint.host)
            self._core.placed(name)
            node = Node(self._core, name, endpoint, request_deadline=settings.request_deadline)
            self._nodes[name] = node
        return node

    def add(self, count: int, settings: NodeSettings) -> list[Node]:
        """Make and start `count` more, or none at all. Raises `ConfigError` for too many."""
        if not count:
            return []
        require_between("nodes", len(self.alive()) + count, 0, MAX_NODES)
        self._core.running.require_room(count)
        nodes: list[Node] = []
        try:
            for _ in range(count):
                nodes.append(self.create(settings))
            each(Node.start, nodes)
            self.register()
        except BaseException:
            each(self._remove, nodes)
            raise
        return nodes

    def bury(self) -> None:
        """Remove all dead nodes but the last few, so that nothing grows without bound."""
        dead = [n for n in self.all() if n.state in (ServerState.STOPPED, ServerState.GONE)]
        for node in sorted(dead, key=self._age)[:-_KEPT_DEAD]:
            with suppress(InvalidTransition, ServerNotFound):  # somebody starts it, or removes it
                self._core.running.remove(node.name)
                self._drop(node)

    def register(self) -> None:
        """Let `labkit ps` know where they are."""
        registry.register(self._core.running.lab_id, self._core.running.name, self.urls())

    def urls(self) -> dict[str, str]:
        """Where each answers, by its name."""
        return {node.name: node.url for node in self.all()}

    def forget(self) -> None:
        """Have none: the lab that they ran in is gone."""
        for node in self.all():
            node.close()
        self._nodes.clear()
        self._created = 0

    def _age(self, node: Node) -> float:
        return self._core.born.get(node.name, 0.0)

    def _remove(self, node: Node) -> None:
        """Remove a node, in whatever state; one that resists is removed with the lab."""
        with suppress(BackendError):
            self._core.running.kill(node.name)
            self._core.running.remove(node.name)
        self._drop(node)

    def _drop(self, node: Node) -> None:
        self._nodes.pop(node.name, None)
        node.close()
