"""The verbs that break and mend the links between a lab's servers and its ZooKeeper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias, TypeVar

from labkit.errors import ConfigError, InvalidTransition, LabError
from labkit.lab.core import Core
from labkit.lab.node import Node, Server
from labkit.lab.zookeeper import ZooKeeperHandle
from labkit.servers.base import ServerState
from labkit.servers.links.fault import Direction, Kind, LinkFault

T = TypeVar("T")

#: A server as the verbs take it: the object, a node's number, or a name.
Which: TypeAlias = int | str | Server


def node_name(which: Which) -> str:
    """The name of the server that a verb was given."""
    if isinstance(which, Server):
        return which.name
    return f"node{which}" if isinstance(which, int) else which


class LinkVerbs(ABC):
    """What a lab can do to its links. Every verb takes a server as object, number or name."""

    session_timeout: float

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    @abstractmethod
    def nodes(self) -> Sequence[Node]:
        """The lab's nodes."""

    @property
    @abstractmethod
    def zookeeper(self) -> ZooKeeperHandle:
        """The lab's ZooKeeper."""

    @abstractmethod
    def node(self, which: int | str | Node) -> Node:
        """One of the lab's nodes. Raises `ServerNotFound`."""

    @abstractmethod
    def wait_until(
        self, condition: Callable[[], T], timeout: float = 5.0, message: str | None = None
    ) -> T:
        """Wait until the condition holds. Raises `WaitTimeout`."""

    def partition(
        self, server: Which, *, kind: Kind = "drop", direction: Direction = "both"
    ) -> None:
        """Cut a node (or ZooKeeper server) off from ZooKeeper; its HTTP port stays reachable.

        `kind` is "drop" (nobody is told) or "refuse" (both ends are told); `direction` is "to",
        "from" or "both", seen from the node.
        """
        if kind not in ("drop", "refuse") or direction not in ("both", "to", "from"):
            raise ConfigError(
                f"A partition is of kind 'drop' or 'refuse', in direction 'both', 'to' or 'from'; "
                f"not {kind!r}, {direction!r}."
            )
        self._break("partition", server, LinkFault(kind, direction))

    def slow(self, server: Which, *, delay: float = 0.2) -> None:
        """Delay everything between a node and ZooKeeper by `delay` seconds each way."""
        self._break("slow", server, LinkFault("slow", delay=delay))

    def flaky(self, server: Which, *, every: int = 20) -> None:
        """Break a node's connections to ZooKeeper about once in `every` messages."""
        self._break("flaky", server, LinkFault("flaky", every=every))

    def heal(self, server: Which | None = None) -> None:
        """Mend the links of one node (or ZooKeeper server), or of all."""
        if server is None:
            names = [each.name for each in (*self.nodes, *self.zookeeper.servers)]
        else:
            names = [self._name(server)]
        with self._core.verb("heal", names[0] if server is not None else "lab"):
            for name in names:
                self._fault(name, None)

    def expire(self, node: int | str | Node) -> None:
        """End a node's session for good, as a real partition does.

        Cuts the node off, waits until ZooKeeper has closed its session, and heals the link.
        """
        target = self.node(node)
        if target.state is not ServerState.RUNNING:
            raise InvalidTransition(
                f"{target.name} is {target.state}, so nobody can say which session it has. "
                "Start or resume it first."
            )
        session = session_of(target)
        if session is None:
            raise InvalidTransition(f"{target.name} has no session that could expire.")
        has_ended = self.zookeeper.ending(int(session, 16))
        with self._core.verb("expire", target.name, session=session):
            self._fault(target.name, LinkFault("drop"))
            try:
                self.wait_until(
                    has_ended,
                    timeout=2 * self.session_timeout + 5,
                    message=f"ZooKeeper has expired {target.name}'s session",
                )
            finally:
                self._fault(target.name, None)

    def _name(self, which: Which) -> str:
        name = node_name(which)
        servers = (server.name for server in self.zookeeper.servers)
        return name if name in servers else self.node(name).name

    def _break(self, verb: str, which: Which, fault: LinkFault) -> None:
        name = self._name(which)
        with self._core.verb(verb, name, link=fault):
            self._fault(name, fault)

    def _fault(self, name: str, fault: LinkFault | None) -> None:
        others = [server.name for server in self.zookeeper.servers if server.name != name]
        for other in others:
            self._core.running.fault(name, other, fault)
            if name.startswith("zookeeper"):  # servers connect to each other, both ways
                self._core.running.fault(other, name, fault and _seen_from_there(fault))


def session_of(node: Node) -> str | None:
    """The session that the node has now, as "0x…"; None while it has none, or does not answer."""
    with suppress(LabError):
        session: str | None = node.status()["session"]
        return session
    return None


def _seen_from_there(fault: LinkFault) -> LinkFault:
    """The same fault, as the other end of the link sees its direction."""
    turned: dict[Direction, Direction] = {"to": "from", "from": "to", "both": "both"}
    return replace(fault, direction=turned[fault.direction])
