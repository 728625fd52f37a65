"""What every place to run servers promises: the same tests over processes and containers.

Tests of one backend share a lab and leave it as they found it: two nodes and a ZooKeeper, all of
them running, every link whole.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
import requests
from left import processes_of

from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InvalidTransition,
    NodeUnreachable,
    ServerNotFound,
    UnsupportedFault,
)
from labkit.lab.lab import Lab
from labkit.servers import registry
from labkit.servers.base import Backend, NodeSpec, ServerState, ZooKeeperSettings
from labkit.servers.docker import engine
from labkit.servers.docker.backend import DockerBackend
from labkit.servers.docker.swarm import SwarmBackend
from labkit.servers.links.fault import LinkFault
from labkit.servers.process.backend import ProcessBackend
from labkit.servers.zookeeper.txnlog import parse_transaction_logs

SESSION_TIMEOUT = 1.0
KINDS = {"process": ProcessBackend, "docker": DockerBackend, "swarm": SwarmBackend}
# Of the labs that tests make by themselves.
IDS = {"process": "c0ffee1", "docker": "c0ffee2", "swarm": "c0ffee3"}


@pytest.fixture(
    scope="module",
    params=[
        "process",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("swarm", marks=[pytest.mark.docker, pytest.mark.long]),
    ],
)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend under test."""
    name: str = request.param
    if name != "process":
        request.getfixturevalue("docker_images")
    with pytest.MonkeyPatch.context() as patch:
        if name == "swarm":
            patch.setenv("LABKIT_ENGINES", ",".join(request.getfixturevalue("engines")))
        yield name


@pytest.fixture(scope="module")
def backend(kind: str) -> Backend:
    backend: Backend = KINDS[kind](IDS[kind])
    return backend


@pytest.fixture(scope="module")
def lab(backend: Backend) -> Iterator[Lab]:
    with Lab(nodes=2, backend=backend, session_timeout=SESSION_TIMEOUT, record=False) as lab:
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Every test finds, and leaves, all servers running and connected."""
    yield
    lab.heal()
    for server in (*lab.zookeeper.servers, *lab.nodes):
        if server.state is ServerState.PAUSED:
            server.resume()
        server.start()
    lab.wait_until(lambda: lab.zk.connected, timeout=15)
    for node in lab.nodes:
        lab.wait_until(lambda node=node: node.status()["connection"] == "CONNECTED", timeout=15)  # type: ignore[misc]


def progress(what: str, fraction: float | None) -> None:
    assert what
    assert fraction is None or 0 <= fraction <= 1


# --- life and death ---------------------------------------------------------------------------


def test_a_stopped_server_comes_back_under_its_url(lab: Lab, backend: Backend) -> None:
    node = lab.node(1)
    url, number = node.url, node.sequence()
    node.stop()
    assert node.state is ServerState.STOPPED
    with pytest.raises(NodeUnreachable):
        node.status()
    # Its session was closed in order: nobody has to wait for a timeout.
    assert str(number) not in lab.zk.get_children("/sequence")
    backend.stop("node1")
    assert node.state is ServerState.STOPPED
    node.start()
    backend.start("node1")
    assert node.state is ServerState.RUNNING
    assert node.url == url
    assert node.status()["name"] == "node1"
    assert node.sequence() >= 1


def test_kill_ends_a_server_in_any_state(lab: Lab, backend: Backend) -> None:
    for prepare in (lambda: None, lambda: backend.pause("node1")):
        prepare()
        backend.kill("node1")
        assert backend.state("node1") is ServerState.STOPPED
        backend.kill("node1")
        assert backend.state("node1") is ServerState.STOPPED
        lab.node(1).start()


def test_a_paused_server_is_frozen_until_it_is_resumed(lab: Lab, backend: Backend) -> None:
    node = lab.node(1)
    node.pause()
    backend.pause("node1")
    assert node.state is ServerState.PAUSED
    with pytest.raises(requests.ReadTimeout):  # its sockets are open, and nobody answers
        requests.get(node.url + "/status", timeout=0.5)
    node.resume()
    backend.resume("node1")
    assert node.state is ServerState.RUNNING
    assert node.status()["name"] == "node1"


def test_verbs_that_make_no_sense_say_what_would(lab: Lab, backend: Backend) -> None:
    backend.pause("node1")
    with pytest.raises(InvalidTransition, match="resume"):
        backend.start("node1")
    with pytest.raises(InvalidTransition, match="kill"):
        backend.stop("node1")
    with pytest.raises(InvalidTransition, match="stop or kill"):
        backend.remove("node1")
    backend.resume("node1")
    with pytest.raises(InvalidTransition, match="stop or kill"):
        backend.remove("node1")
    backend.stop("node1")
    for verb in (backend.pause, backend.resume):
        with pytest.raises(InvalidTransition, match="stopped"):
            verb("node1")


def test_a_name_that_nobody_has(backend: Backend) -> None:
    assert backend.state("node9") is ServerState.GONE
    verbs = (backend.start, backend.stop, backend.kill, backend.pause, backend.resume)
    for verb in (*verbs, backend.remove, backend.logs, backend.transaction_logs):
        with pytest.raises(ServerNotFound, match=r"no server node9 .* node1"):
            verb("node9")  # type: ignore[operator]
    with pytest.raises(ServerNotFound, match="node9"):
        backend.fault("node9", "zookeeper1", None)


def test_restart_gives_a_new_session(lab: Lab) -> None:
    node = lab.node(1)
    before = node.status()["session"]
    node.restart()
    lab.wait_until(lambda: node.status()["connection"] == "CONNECTED")
    assert node.status()["session"] != before


def test_servers_start_and_stop_side_by_side(lab: Lab, backend: Backend) -> None:
    names = [node.name for node in lab.nodes] * 2
    for verb, state in ((backend.stop, ServerState.STOPPED), (backend.start, ServerState.RUNNING)):
        with ThreadPoolExecutor() as pool:
            list(pool.map(verb, names))  # type: ignore[arg-type]
        assert {backend.state(name) for name in names} == {state}


def test_a_removed_server_is_forgotten(lab: Lab, backend: Backend) -> None:
    endpoint = backend.create_node(NodeSpec("extra"))
    assert backend.state("extra") is ServerState.STOPPED
    backend.start("extra")
    lab.wait_until(lambda: answers(str(endpoint)), timeout=15)
    backend.kill("extra")
    backend.remove("extra")
    assert backend.state("extra") is ServerState.GONE
    with pytest.raises(ServerNotFound, match="extra"):
        backend.start("extra")


def test_a_removed_server_gives_back_what_it_had(backend: Backend) -> None:
    before = possessions(backend)
    first = backend.create_node(NodeSpec("extra1"))
    had = possessions(backend)
    backend.remove("extra1")
    with closing(socket.create_server(("127.0.0.1", first.port))):
        pass
    assert possessions(backend) == before
    assert backend.create_node(NodeSpec("extra2", port=first.port)) == first
    assert len(possessions(backend)) == len(had) > len(before)
    if isinstance(backend, DockerBackend):
        assert possessions(backend) == had  # its address
    backend.remove("extra2")


def possessions(backend: Backend) -> set[int]:
    """What servers have beside their ports: links that lead from them, or an address's number."""
    if isinstance(backend, DockerBackend):
        return {server.number for server in backend._servers.values()}
    [links] = (p for p in left_of(backend.lab_id) if "labkit.servers.links" in p.cmdline())
    return {at.laddr.port for at in links.net_connections("tcp4") if at.status == "LISTEN"}


def test_a_node_that_is_interrupted_while_it_is_created_leaves_nothing(
    kind: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = backend.create_node(NodeSpec("extra")).port
    backend.remove("extra")
    before, had = containers(kind), possessions(backend)
    place = backend._forwarder if isinstance(backend, ProcessBackend) else backend
    step = "link" if isinstance(backend, ProcessBackend) else "_connect_link"
    last_step = getattr(place, step)

    def interrupted(*given: Any) -> None:
        last_step(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            backend.create_node(NodeSpec("extra", port=port))
    assert backend.state("extra") is ServerState.GONE
    with pytest.raises(ServerNotFound):
        backend.start("extra")
    assert possessions(backend) == had
    assert containers(kind) <= before
    assert backend.create_node(NodeSpec("extra", port=port)).port == port
    backend.remove("extra")


def test_a_name_is_given_once(lab: Lab, backend: Backend) -> None:
    with pytest.raises(ConfigError, match="node1 in this lab already"):
        backend.create_node(NodeSpec("node1"))
    assert answers(str(lab.node(1).endpoint))


def test_scale(lab: Lab) -> None:
    lab.scale(3)
    assert [node.state for node in lab.nodes] == [ServerState.RUNNING] * 3
    lab.scale(2)
    assert [node.name for node in lab.alive] != ["node1", "node2"]  # the longest-lived went


def test_a_port_that_is_taken_is_left_alone(lab: Lab, backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        endpoint = backend.create_node(NodeSpec("other-port", port=taken))
        assert endpoint.port != taken
        backend.start("other-port")
        lab.wait_until(lambda: answers(str(endpoint)), timeout=15)
    backend.kill("other-port")
    backend.remove("other-port")


def answers(endpoint: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"http://{endpoint}/status", timeout=1).ok
    return False


# --- ZooKeeper --------------------------------------------------------------------------------


def test_zookeeper_keeps_its_data_and_its_address(lab: Lab) -> None:
    hosts = lab.zookeeper.hosts
    lab.zk.create("/contract", b"kept")
    for end in (lab.zookeeper.stop, lab.zookeeper.kill):
        end()
        assert lab.zookeeper.servers[0].state is ServerState.STOPPED
        lab.zookeeper.start()
        assert lab.zookeeper.hosts == hosts
    assert "kept" in lab.zkcli("get /contract")
    lab.zookeeper.pause()
    assert lab.zookeeper.server(1).mode is None
    lab.zookeeper.resume()
    lab.wait_until(lambda: lab.zookeeper.server(1).mode == "standalone")
    assert lab.zookeeper.version.startswith("3.")
    assert lab.zookeeper.version in lab.zookeeper.four_letter("srvr")


def test_the_official_command_line(lab: Lab) -> None:
    number = lab.wait_until(lab.node(1).sequence, timeout=10)  # connected, it may lack a lease
    assert f"{number}" in lab.zkcli("ls /sequence").strip("[]").split(", ")
    assert "Node does not exist: /nowhere" in lab.zkcli("ls /nowhere")
    lab.zkcli("create /two-words 'a b'")
    assert lab.zkcli("get /two-words").splitlines() == ["a b"]


def test_a_command_line_that_breaks_is_no_output(lab: Lab) -> None:
    lab.zk.ensure_path("/breaks")
    with pytest.raises(BackendError, match=r"^[^\n]*delete -v x[^\n]*NumberFormatException[^\n]*$"):
        lab.zkcli("delete -v x /breaks")


def test_the_command_line_does_not_wait_for_a_server_that_does_not_run(lab: Lab) -> None:
    lab.zookeeper.stop()
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"none is running.*lab\.zookeeper\.start"):
        lab.zkcli("ls /")
    assert time.monotonic() - began < 3


def test_a_quote_that_is_not_closed(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"create /x it's.*no closing quotation.*double quotes"):
        lab.zkcli("create /x it's")
    lab.zkcli('create /x "it\'s here"')
    assert lab.zkcli("get /x").splitlines() == ["it's here"]


def test_the_transaction_log_has_what_happened(lab: Lab, backend: Backend) -> None:
    lab.zk.create("/logged", b"data")
    lab.zookeeper.restart()  # a new log file
    lab.zkcli("delete /logged")
    files = backend.transaction_logs("zookeeper1")
    assert len(files) >= 2
    seen = [(t.op, t.data) for t in parse_transaction_logs(files) if t.path == "/logged"]
    assert seen == [("create", b"data"), ("delete", None)]


def test_logs_tell_all_runs(lab: Lab, backend: Backend) -> None:
    for name in ("node1", "zookeeper1"):
        before = backend.logs(name, tail=100_000)
        assert before
        backend.kill(name)
        backend.start(name)
        lab.wait_until(lambda n=name, b=before: len(backend.logs(n, tail=100_000)) > len(b))  # type: ignore[misc]
        assert backend.logs(name, tail=100_000).startswith(before)
        assert len(backend.logs(name, tail=2).splitlines()) == 2


# --- links ------------------------------------------------------------------------------------


@pytest.mark.long
def test_cut_and_healed_ten_times(lab: Lab) -> None:
    node, other = lab.node(1), lab.node(2)
    url = node.url
    stop, failures, asked = threading.Event(), [], 0

    def ask() -> None:
        nonlocal asked
        while not stop.is_set():
            try:
                requests.get(url + "/status", timeout=2).raise_for_status()
                asked += 1
            except requests.RequestException as error:
                failures.append(error)
            time.sleep(0.02)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(10):
            node.sequence()
            lab.partition("node1")
            lab.wait_until(lambda: node.status()["connection"] != "CONNECTED", timeout=5)
            assert node.status()["number"] is None
            assert other.status()["connection"] == "CONNECTED"
            lab.heal("node1")
            lab.wait_until(lambda: node.status()["connection"] == "CONNECTED", timeout=10)
            assert node.url == url
            lab.wait_until(node.sequence, timeout=10)
    finally:
        stop.set()
        asker.join()
    assert failures == []
    assert asked > 100


def test_a_session_that_is_cut_off_expires(lab: Lab) -> None:
    node = lab.node(1)
    lost = node.status()["session"]
    node.sequence()
    lab.expire("node1")
    lab.wait_until(lambda: node.status()["session"] not in (None, lost), timeout=10)
    assert lab.wait_until(node.sequence, timeout=10)


def test_a_cut_outlives_a_restart_of_the_node(lab: Lab, backend: Backend) -> None:
    lab.partition("node1")
    backend.kill("node1")
    backend.start("node1")
    lab.wait_until(lambda: answers(str(lab.node(1).endpoint)), timeout=15)
    time.sleep(0.5)  # long enough to connect, if it could
    assert lab.node(1).status()["connection"] != "CONNECTED"
    lab.heal("node1")
    lab.wait_until(lambda: lab.node(1).status()["connection"] == "CONNECTED", timeout=10)


def test_faults_that_cannot_be_had_are_refused(lab: Lab, backend: Backend, kind: str) -> None:
    with pytest.raises(UnsupportedFault, match="zookeeper1"):
        backend.fault("node1", "node2", LinkFault("drop"))
    for fault in (LinkFault("slow"), LinkFault("refuse"), LinkFault("drop", direction="to")):
        if kind != "process":
            with pytest.raises(UnsupportedFault, match="process"):
                backend.fault("node1", "zookeeper1", fault)
        else:
            backend.fault("node1", "zookeeper1", fault)
            backend.fault("node1", "zookeeper1", None)
    assert lab.wait_until(lab.node(1).sequence, timeout=10)


# --- the end ----------------------------------------------------------------------------------


def test_an_ensemble_loses_its_leader_and_finds_another(kind: str) -> None:
    with Lab(nodes=1, ensemble=3, backend=kind, session_timeout=4.0, record=False) as lab:
        leader = lab.zookeeper.leader
        assert leader is not None
        lab.wait_until(lambda: len(lab.zookeeper.followers) == 2)

        def another() -> bool:
            now = [s for s in lab.zookeeper.servers if s.mode == "leader"]
            return bool(now) and all(server.name != leader.name for server in now)

        lab.partition(leader.name)
        lab.wait_until(another, timeout=20)
        lab.heal(leader.name)
        lab.wait_until(lambda: leader.mode == "follower", timeout=20)
        assert lab.wait_until(lab.node(1).sequence, timeout=10)


def test_destroy_is_idempotent_and_complete(kind: str) -> None:
    backend: Backend = KINDS[kind](IDS[kind] + "de")
    backend.destroy()  # nothing was ever prepared
    backend = KINDS[kind](IDS[kind] + "de")
    backend.prepare(progress)
    backend.create_zookeeper(["zookeeper1"], ZooKeeperSettings())
    backend.create_node(NodeSpec("node1"))
    backend.start("zookeeper1")
    backend.destroy()
    backend.destroy()
    assert backend.state("zookeeper1") is ServerState.GONE
    assert left_of(backend.lab_id) == []
    assert backend.lab_id not in {entry.lab_id for entry in registry.registered()}


def test_nothing_survives_a_killed_owner(kind: str) -> None:
    before = containers(kind)
    script = (
        "from labkit.lab.lab import Lab; import sys, time\n"
        f"lab = Lab(nodes=2, backend={kind!r}).start()\n"
        "lab.node(1).pause()\n"
        "print(lab.id, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        lab_id = owner.stdout.readline().strip()
        assert left_of(lab_id)
        owner.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while left_of(lab_id) or registry.directory(lab_id).exists():
            assert time.monotonic() < deadline, left_of(lab_id)
            time.sleep(0.1)
        assert containers(kind) <= before
    finally:
        owner.kill()
        owner.communicate()


def left_of(lab_id: str) -> list[Any]:
    """The lab's processes, and whatever carries its label on an engine."""
    return [*processes_of(lab_id), *everything(f"labkit.lab={lab_id}")]


def everything(label: str | None = None) -> set[str]:
    """The engines' containers, networks and volumes; without a label, whosoever they are."""
    if engine.available() is not None:
        return set()
    filters = {"label": label} if label else {}
    found: set[str] = set()
    for url in (None, *filter(None, os.environ.get("LABKIT_ENGINES", "").split(","))):
        with closing(engine.connect(url)) as client:
            found |= {
                *(c["Id"] for c in client.api.containers(all=True, filters=filters)),
                *(n["Id"] for n in client.api.networks(filters=filters)),
                *(v["Name"] for v in client.api.volumes(filters)["Volumes"] or []),
            }
    return found


def containers(kind: str) -> set[str]:
    """All that is in the engines that this backend uses; other tests use them in their time."""
    return set() if kind == "process" else everything()


def test_two_labs_never_meet(kind: str, lab: Lab) -> None:
    assert lab.node(1).sequence()
    mine = lab.zk.get_children("/sequence")
    with Lab(nodes=1, backend=kind, session_timeout=SESSION_TIMEOUT, record=False) as second:
        assert second.node(1).url not in {node.url for node in lab.nodes}
        assert second.node(1).sequence() == 1
    assert lab.zk.get_children("/sequence") == mine
    assert lab.node(1).state is ServerState.RUNNING


def test_what_cannot_be_prepared_says_so_in_a_line(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"process": "ZOOKEEPER_HOME", "docker": "DOCKER_HOST", "swarm": "LABKIT_ENGINES"}
    monkeypatch.setenv(names[kind], "/nowhere" if kind == "process" else "unix:///nowhere")
    backend: Backend = KINDS[kind](IDS[kind] + "ab")
    with pytest.raises(BackendUnavailable, match=r"^[^\n]+$"):
        backend.prepare(progress)
    backend.destroy()
