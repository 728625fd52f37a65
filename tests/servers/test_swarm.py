"""A lab on three machines: where servers are, what can happen to a whole machine, and chaos."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import docker
import pytest
from kazoo.exceptions import KazooException

from labkit import doctor
from labkit.errors import BackendUnavailable, ConfigError, LabError, ServerNotFound
from labkit.judge.chaos import chaos
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.lab.machine import Machine
from labkit.lab.node import Node
from labkit.servers import registry
from labkit.servers.base import wait_until
from labkit.servers.docker import engines as naming
from labkit.servers.docker.engine import connect
from labkit.servers.docker.nested import Machines
from labkit.servers.reaper import processes_of
from labkit.story.event import PlacedEvent, RequestEvent

TIMEOUT = 2.0
TICK = 0.2

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def swarm(engines: list[str]) -> Iterator[Lab]:
    """An ensemble of three and six nodes on three machines, each node with its number."""
    with Lab(6, ensemble=3, engines=engines, session_timeout=TIMEOUT, request_deadline=1.0) as lab:
        yield lab


@pytest.fixture
def whole(swarm: Lab) -> Lab:
    """All servers run, and all nodes have a number."""
    swarm.heal()
    for machine in swarm.machines:
        machine.start()
    swarm.wait_until(lambda: len(swarm.zookeeper.followers) == 2, 30)
    swarm.wait_until(lambda: all(node.sequence() for node in swarm.nodes), 30)
    return swarm


def held(lab: Lab) -> set[int]:
    """The numbers in ZooKeeper; none while it can't be asked."""
    with suppress(KazooException):
        return {int(name) for name in lab.zk.get_children("/sequence") if name.isdigit()}
    return set(range(1, 100))


def answers(node: Node) -> int | None:
    with suppress(LabError):
        return node.sequence()
    return None


@pytest.mark.docker
def test_each_server_has_its_place_and_no_port_is_published(whole: Lab, engines: list[str]) -> None:
    assert whole.backend == "swarm"
    assert [machine.name for machine in whole.machines] == ["a", "b", "c"]
    for number, machine in enumerate(whole.machines, start=1):
        names = [server.name for server in machine.servers]
        assert names == [f"zookeeper{number}", f"node{number}", f"node{number + 3}"]
    head, *rows = str(whole).splitlines()[1:]
    assert head.split() == ["name", "state", "number", "machine", "at"]
    assert [row.split()[3] for row in rows] == [*"abc", *"abcabc"]
    for url in engines:
        with closing(connect(url)) as client:
            filters = {"label": f"labkit.lab={whole.id}"}
            found = client.api.containers(filters=filters)
            assert len(found) == 4  # and the relay
            assert [p for c in found for p in c["Ports"] if "PublicPort" in p] == []
    placed = [e for e in whole.history() if isinstance(e, PlacedEvent)]
    assert len(placed) == len({event.subject for event in placed})  # once of each server
    for machine in whole.machines:
        told = [e.subject for e in placed if e.machine == machine.name]
        assert told == [server.name for server in machine.servers]
    with pytest.raises(ServerNotFound, match="has a, b, c"):
        whole.machine("z")


@pytest.mark.docker
def test_a_power_cut_of_the_leaders_machine(whole: Lab) -> None:
    leader = whole.zookeeper.leader
    assert leader is not None
    machine = whole.machine_of(leader)
    lost = {node.sequence() for node in machine.nodes}
    gone = {node.name for node in machine.nodes}
    numbers = {node: node.sequence() for node in whole.nodes if node.name not in gone}
    began = whole.timeline.now()
    machine.kill()
    over = whole.timeline.now()
    whole.wait_until(lambda: not held(whole) & lost, 15)
    assert whole.timeline.now() - over < TIMEOUT + 2 * TICK
    whole.wait_until(lambda: all(answers(n) == number for n, number in numbers.items()), 15)
    assert whole.timeline.now() - began < TIMEOUT + 3


@pytest.mark.docker
def test_a_pulled_cable_leaves_orphans_that_do_not_answer(whole: Lab) -> None:
    """A rival gets an orphan's number while the orphan runs on, and clients ask both."""
    first = min(whole.nodes, key=Node.sequence)
    machine, number = whole.machine_of(first), first.sequence()
    orphans = {node.name for node in machine.nodes}
    rival = next(node for node in whole.nodes if node.name not in orphans)
    with whole.clients():
        machine.cut()
        cut = whole.timeline.now()
        whole.wait_until(lambda: number not in held(whole), 15)
        rival.restart()
        assert whole.wait_until(lambda: answers(rival), 15) == number
        healed = whole.timeline.now()
        machine.heal()
        whole.wait_until(lambda: all(answers(node) for node in whole.nodes), 15)
    report = check(list(whole.history()), session_timeout=TIMEOUT)
    assert not report.violations, str(report)
    said = [e for e in whole.timeline if isinstance(e, RequestEvent) and e.subject in orphans]
    late = [e for e in said if cut + TIMEOUT / 2 + 0.1 < e.t < healed and e.phase != "invoke"]
    assert len(late) > 10
    assert {event.phase for event in late} == {"fail"}  # they run, and refuse


@pytest.mark.docker
def test_a_drained_machine_has_no_nodes(whole: Lab) -> None:
    machine = whole.machine("c")
    leaving = machine.nodes
    came = machine.drain()
    assert len(came) == len(leaving) == 2
    assert {whole.machine_of(node).name for node in came} == {"a", "b"}
    assert all(node.sequence() for node in came)
    whole.machine("b").drain()
    with pytest.raises(ConfigError, match="No machine but a"):
        whole.machine("a").drain()
    machine.start()
    assert all(node.sequence() for node in leaving)


@pytest.mark.docker
def test_chaos_with_faults_of_machines(whole: Lab) -> None:
    kinds = ["kill-machine", "cut-machine", "pause-holder", "kill-leader", "partition"]
    result = chaos(whole, seed=1, seconds=16, faults=kinds)  # type: ignore[arg-type]
    assert result.ok, str(result)
    assert {"kill-machine", "cut-machine"} <= {fault.kind for fault in result.faults}


@pytest.mark.docker
def test_the_sample_is_caught(engines: list[str]) -> None:
    settings = {"session_timeout": TIMEOUT, "request_deadline": 1.0, "claim": "original"}
    with Lab(6, engines=engines, **settings) as lab:  # type: ignore[arg-type]
        result = chaos(lab, seed=2, seconds=8, faults=["kill", "partition"])
    assert result.report.violations, str(result)


# --- an owner that is killed ------------------------------------------------------------------

OWNER = """
import sys, time
from labkit.lab.lab import Lab
lab = Lab(3, ensemble=3, engines=sys.argv[1:], record=False).start()
print(lab.id, flush=True)
time.sleep(600)
"""


@contextmanager
def frozen(number: int, engines: Sequence[str]) -> Iterator[None]:
    """The machine with this number takes requests and answers none, as if its cable were pulled.

    Afterwards all machines are in the Swarm again, for the next test.
    """
    container = Machines(f"labkit-test-{os.getpid()}").machine(number).container
    with closing(docker.from_env()) as client:
        client.api.pause(container)
        try:
            yield
        finally:
            if client.api.inspect_container(container)["State"]["Paused"]:
                client.api.unpause(container)
            assert wait_until(lambda: states(engines[0]) == ["ready"] * len(engines), 30, 0.1)


def states(manager: str) -> list[str]:
    with closing(connect(manager)) as client, suppress(docker.errors.APIError):
        return [node["Status"]["State"] for node in client.api.nodes()]
    return []  # it looks for itself after a pause


def running_on(url: str, lab_id: str) -> list[str]:
    """An engine's containers and volumes of a lab."""
    filters = {"label": f"labkit.lab={lab_id}"}
    with closing(connect(url)) as client:
        return [
            *(c["Names"][0] for c in client.api.containers(all=True, filters=filters)),
            *(v["Name"] for v in client.api.volumes(filters)["Volumes"] or []),
        ]


def left_on(url: str, lab_id: str) -> list[str]:
    """Those, and its networks."""
    with closing(connect(url)) as client:
        networks = client.api.networks(filters={"label": f"labkit.lab={lab_id}"})
    return [*running_on(url, lab_id), *(network["Name"] for network in networks)]


@pytest.mark.docker
@pytest.mark.parametrize("number", [1, 3], ids=["manager", "worker"])
def test_an_engine_that_was_silent_at_its_owners_death_is_cleaned_later(
    engines: list[str], number: int
) -> None:
    silent = engines[number - 1]
    others = [url for url in engines if url != silent]
    command = [sys.executable, "-c", OWNER, *engines]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        lab_id = owner.stdout.readline().strip()
        assert all(left_on(url, lab_id) for url in engines)
        with frozen(number, engines):
            owner.send_signal(signal.SIGKILL)
            # Sooner than a greeting to the silent one is given up. Networks are the Swarm's, and
            # go when the last of their machines is back.
            assert wait_until(lambda: not any(running_on(url, lab_id) for url in others), 8, 0.1)
            log = registry.directory(lab_id) / "watchdog.log"
            assert wait_until(lambda: "Once more" in log.read_text(), 30, 0.1)
        assert wait_until(lambda: not registry.directory(lab_id).exists(), 15, 0.1)
        assert [left for url in engines for left in left_on(url, lab_id)] == []
        assert processes_of(lab_id) == []
    finally:
        owner.kill()
        owner.communicate()


# --- which engines ----------------------------------------------------------------------------


def test_engines_are_named_by_url_or_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_ENGINES", "ssh://one, unix:///two.sock,ssh://one")
    assert naming.named() == ["ssh://one", "unix:///two.sock"]
    assert naming.named(["unix:///three.sock"]) == ["unix:///three.sock"]
    with pytest.raises(ConfigError, match=r"no Docker context 'nowhere'.*LABKIT_ENGINES"):
        naming.named(["nowhere"])
    with pytest.raises(ConfigError, match="ssh"):
        naming.named(["https://one:2376"])


@pytest.mark.docker
def test_the_doctor_looks_at_the_machines(
    engines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> tuple[bool, str, str]:
        [finding] = (f for f in doctor.examine() if f.what == "machines")
        return finding.ok, finding.found, finding.fix

    monkeypatch.setenv("LABKIT_ENGINES", ",".join(engines))
    assert said() == (True, "a Swarm: a, b, c", "")
    monkeypatch.setenv("LABKIT_ENGINES", "unix:///nowhere")
    ok, _, fix = said()
    assert not ok
    assert "No Docker engine answers at unix:///nowhere" in fix


@pytest.mark.docker
def test_an_engine_that_is_in_no_swarm_says_how_to_make_one() -> None:
    with pytest.raises(BackendUnavailable, match=r"swarm init.*labkit machines up"):
        naming.join([naming.current_url()])


@pytest.mark.docker
def test_a_manager_alone_names_the_other_machines(engines: list[str]) -> None:
    with Lab(1, engines=engines[:1], record=False) as lab:
        assert lab.node(1).sequence() == 1
        assert "b, c. Name each machine's engine: LABKIT_ENGINES=" in lab.note
        assert isinstance(lab.machine("a"), Machine)
