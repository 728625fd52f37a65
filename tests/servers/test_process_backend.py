"""What only the process backend has to get right: the zygote, and the links to a server."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from labkit.lab.lab import Lab
from labkit.servers.base import Endpoint, NodeSpec, ServerState, ZooKeeperSettings
from labkit.servers.helper import LAB_VARIABLE
from labkit.servers.process.backend import ProcessBackend


@pytest.fixture
def backend() -> Iterator[ProcessBackend]:
    """A backend with a ZooKeeper that does not run: nodes answer without it."""
    backend = ProcessBackend("c0ffee3")
    try:
        backend.prepare(lambda what, fraction: None)
        backend.create_zookeeper(["zookeeper1"], ZooKeeperSettings())
        yield backend
    finally:
        backend.destroy()


def who_answers(endpoint: Endpoint) -> str | None:
    with suppress(requests.RequestException):
        name: str = requests.get(f"http://{endpoint}/status", timeout=1).json()["name"]
        return name
    return None


def wait_for(name: str | None, endpoint: Endpoint) -> None:
    deadline = time.monotonic() + 15
    while who_answers(endpoint) != name:
        assert time.monotonic() < deadline, who_answers(endpoint)
        time.sleep(0.02)


def zygote(lab_id: str) -> psutil.Process:
    [found] = [
        child
        for child in psutil.Process().children()
        if "labkit.servers.process.zygote" in child.cmdline()
        and child.environ().get(LAB_VARIABLE) == lab_id
    ]
    assert found.environ()[LAB_VARIABLE] == lab_id
    return found


def start_interrupted(backend: ProcessBackend, name: str) -> None:
    """A Ctrl-C after the order for a node was sent, and before its answer is here."""
    forker = zygote(backend.lab_id)
    forker.suspend()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            backend.start(name)
    finally:
        forker.resume()


def test_an_interrupted_start_leaves_the_other_nodes_alone(backend: ProcessBackend) -> None:
    endpoints = {name: backend.create_node(NodeSpec(name)) for name in ("node1", "node2", "node3")}
    backend.start("node3")
    wait_for("node3", endpoints["node3"])
    start_interrupted(backend, "node1")
    assert backend.state("node1") is ServerState.STOPPED
    backend.start("node2")
    wait_for("node2", endpoints["node2"])
    wait_for(None, endpoints["node1"])  # nobody knew the one that was forked meanwhile
    backend.kill("node2")
    wait_for(None, endpoints["node2"])
    backend.start("node1")
    wait_for("node1", endpoints["node1"])
    assert who_answers(endpoints["node3"]) == "node3"


def test_a_zygote_that_dies_is_launched_again(backend: ProcessBackend) -> None:
    endpoints = {name: backend.create_node(NodeSpec(name)) for name in ("node1", "node2")}
    backend.start("node1")
    first = zygote(backend.lab_id)
    first.suspend()
    threading.Timer(0.3, first.kill).start()  # with an order that it never carries out
    backend.start("node2")
    assert zygote(backend.lab_id) != first
    for name, endpoint in endpoints.items():
        wait_for(name, endpoint)


def test_a_cell_that_holds_pythons_lock_costs_no_node_its_connection() -> None:
    """As a regular expression does that backtracks; a sleep in C that keeps the lock is exact."""
    with Lab(nodes=2, backend="process", session_timeout=1.0) as lab:
        numbers = [node.sequence() for node in lab.nodes]
        before = connections(lab)
        assert len(before) == 2
        ctypes.PyDLL(None).sleep(4)  # four session timeouts
        assert connections(lab) == before
        assert [node.sequence() for node in lab.nodes] == numbers
        ends = [t for t in lab.zookeeper.transactions() if t.op == "closeSession"]
        assert ends == []


def connections(lab: Lab) -> set[tuple[str, str]]:
    """The nodes' connections as ZooKeeper sees them: session and port."""
    sessions = {node.status()["session"] for node in lab.nodes}
    found = re.findall(r"/127.0.0.1:(\d+)\[.*sid=(0x\w+)", lab.zookeeper.four_letter("cons"))
    return {(session, port) for port, session in found if session in sessions}


@pytest.mark.parametrize(
    "name", ["größe \\u0041 %41 it's a:b;c #!=", "/".join(["a" * 250] * 15)], ids=["odd", "long"]
)
def test_files_may_be_in_any_directory(tmp_path: Path, name: str) -> None:
    """A server that wrote elsewhere would leave it there, and its log would not be found."""
    home = tmp_path / name
    home.mkdir(parents=True)
    script = (
        "from labkit import Lab\n"
        "with Lab(nodes=1, ensemble=3, backend='process', session_timeout=2.0) as lab:\n"
        "    lab.wait_until(lab.node(1).sequence, timeout=20)\n"
        "    lab.expire(1)\n"
        "    assert any(t.op == 'create' for t in lab.zookeeper.transactions())\n"
        "    assert lab.zkcli('get /nope') == 'Node does not exist: /nope'\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(home), "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    [ours] = home.iterdir()
    assert list(ours.iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / name.split("/")[0]]
