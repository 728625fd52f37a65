"""Holders on a real ZooKeeper, each test in a part of the tree of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from kazoo.client import KazooClient
from new_sessions import NewSessions
from probe import Probe

from labkit.lab.lab import Lab
from labkit.node.holder import Holder
from labkit.servers.links.forwarder import Forwarder

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("node", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("node")

_names = itertools.count(1)

MakeHolder = Callable[..., Holder]


class Tree:
    """A part of the shared ZooKeeper's tree, which a client takes for all of it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.path = f"/test-node-{next(_names)}"
        self.zk: KazooClient = lab.zk
        self.zk.create(self.path)
        self.hosts = f"{lab.zookeeper.hosts}{self.path}"

    def children(self) -> set[str]:
        """What is in /sequence."""
        path = f"{self.path}/sequence"
        return set(self.zk.get_children(path)) if self.zk.exists(path) else set()

    def put(self, *names: str) -> None:
        """Have foreign children in /sequence."""
        self.zk.ensure_path(f"{self.path}/sequence")
        for name in names:
            self.zk.create(f"{self.path}/sequence/{name}")

    def wait(self, condition: Callable[[], Any], timeout: float = 10.0) -> Any:
        return self._lab.wait_until(condition, timeout)


@pytest.fixture
def tree(zookeeper_lab: Lab) -> Iterator[Tree]:
    tree = Tree(zookeeper_lab)
    yield tree
    tree.zk.delete(tree.path, recursive=True)


@pytest.fixture
def hold(tree: Tree) -> Iterator[MakeHolder]:
    """Makes connected holders, and ends them; takes a `probe`, or the arguments of one."""
    holders = []

    def make(
        probe: Probe | None = None,
        max_number: int = 1023,
        timeout: float = 5.0,
        hosts: str | None = None,
        **hooks: Any,
    ) -> Holder:
        holder = Holder(probe or Probe(hosts or tree.hosts, timeout, **hooks), b"{}", max_number)
        holders.append(holder)
        holder.start()
        assert holder.wait_connected(10)
        return holder

    yield make
    for holder in holders:
        holder.close()


@pytest.fixture
def new_sessions(tree: Tree) -> Iterator[NewSessions]:
    """A proxy before ZooKeeper; its `hosts` are what a client connects to."""
    address, path = tree.hosts.split("/", 1)
    host, port = address.split(":")
    with NewSessions((host, int(port)), path) as proxy:
        yield proxy


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    with Forwarder() as forwarder:
        yield forwarder


@pytest.fixture
def link(tree: Tree, forwarder: Forwarder) -> str:
    """The connection string of a link that `forwarder` knows as from "node" to "zookeeper"."""
    address, path = tree.hosts.split("/", 1)
    host, port = address.split(":")
    return f"127.0.0.1:{forwarder.link('node', 'zookeeper', (host, int(port)))}/{path}"
