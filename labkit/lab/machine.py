"""One machine of a lab on several, and what can happen to a whole machine.

Everything is done by the engines, so also to a machine that is far away. What they can't do: take
the power from the engine itself, or its own cable. A power cut is one for the lab's servers on it,
all of them at once; a pulled cable is one between them and ZooKeeper elsewhere, and what looks at
the servers, as a notebook does, still reaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from labkit.errors import ServerNotFound
from labkit.lab.core import Core
from labkit.lab.node import Node, Server
from labkit.servers.base import ServerState, each
from labkit.servers.links.fault import LinkFault


class Machine:
    """A machine and the verbs on it. Got from `lab.machine("b")`."""

    def __init__(
        self,
        core: Core,
        name: str,
        everything: Callable[[], Sequence[Server]],
        add_node: Callable[[], Node],
    ) -> None:
        self._core = core
        self._everything = everything
        self._add_node = add_node
        self.name = name

    @property
    def servers(self) -> list[Server]:
        """The lab's servers on it, ZooKeeper's first."""
        place = self._core.running.machine_of
        return [server for server in self._everything() if place(server.name) == self.name]

    @property
    def nodes(self) -> list[Node]:
        """The nodes on it."""
        return [server for server in self.servers if isinstance(server, Node)]

    def kill(self) -> None:
        """A power cut: every server on it ends at once, without warning."""
        names = [server.name for server in self.servers]
        with self._core.verbs("kill", names):
            each(self._core.running.kill, names)

    def start(self) -> None:
        """Start every server on it again, and let new ones come. Returns when they answer."""
        self._core.running.drain(self.name, False)
        each(Server.start, [s for s in self.servers if s.state is ServerState.STOPPED])

    def cut(self) -> None:
        """Pull its cable: nothing gets through between it and ZooKeeper on other machines.

        What is on it goes on running, and reaches the ZooKeeper server on the machine itself.
        """
        self._links(LinkFault("drop"))

    def heal(self) -> None:
        """Plug the cable in again."""
        self._links(None)

    def drain(self) -> list[Node]:
        """Have no nodes on it, for maintenance: those that are stop, and new ones start elsewhere.

        The new ones are returned. A ZooKeeper server stays: its data is on this machine. `start`
        ends it. Raises `ConfigError` for the only machine that takes new nodes.
        """
        backend = self._core.running
        leaving = [node for node in self.nodes if node.state is not ServerState.STOPPED]
        backend.drain(self.name, True)
        came = []
        for node in leaving:  # one after the other, so that the others go on answering
            node.stop()
            came.append(self._add_node())
        return came

    def _links(self, fault: LinkFault | None) -> None:
        names = [server.name for server in self.servers]
        by_source: dict[str, list[str]] = {}
        for source, target in self._crossing(set(names)):
            by_source.setdefault(source, []).append(target)

        def change(source: str) -> None:
            for target in by_source[source]:
                self._core.running.fault(source, target, fault)

        with self._core.verbs("heal" if fault is None else "partition", names, link=fault):
            each(change, by_source)

    def _crossing(self, here: set[str]) -> Iterator[tuple[str, str]]:
        """The links over its cable: from each server to every ZooKeeper server across it."""
        names = [server.name for server in self._everything()]
        zookeepers = [s.name for s in self._everything() if not isinstance(s, Node)]
        return (
            (source, target)
            for source in names
            for target in zookeepers
            if (source in here) is not (target in here)
        )

    def __repr__(self) -> str:
        return f"<machine {self.name}: {', '.join(server.name for server in self.servers)}>"


def find(machines: Sequence[Machine], name: str) -> Machine:
    """The machine of that name. Raises `ServerNotFound`, and says which there are."""
    for machine in machines:
        if machine.name == name:
            return machine
    known = ", ".join(machine.name for machine in machines)
    raise ServerNotFound(
        f"There is no machine {name} in this lab; it has {known}."
        if known
        else "All servers of this lab are on this machine. Lab(backend='swarm') has several."
    )
