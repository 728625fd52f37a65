"""A lab of real processes: the verbs, what they promise, and how they fail."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest
from kazoo.client import KazooClient

from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InvalidTransition,
    NoAnswer,
    NodeUnreachable,
    PortInUse,
    ServerNotFound,
    StartTimeout,
    WaitTimeout,
)
from labkit.lab.lab import Lab
from labkit.lab.lab_client import LabClient
from labkit.servers import reaper, registry
from labkit.servers.base import ServerState, each
from labkit.story.bars import Word
from labkit.story.event import RequestEvent, StatusEvent, TransactionEvent, VerbEvent
from labkit.story.run import Story


def registered() -> set[str]:
    """The labs of this process that somebody watches over."""
    return {entry.lab_id for entry in registry.registered() if entry.owner == os.getpid()}


def held(lab: Lab) -> set[str]:
    """The numbers that are znodes now."""
    return {name for name in lab.zk.get_children("/sequence") if name.isdigit()}


def test_the_experiment(lab: Lab) -> None:
    assert [lab.node(i).sequence() for i in (1, 2, 3)] == [1, 2, 3]
    lab.node(2).stop()
    assert lab.node(4).sequence() == 2
    lab.node(2).start()
    assert lab.node(2).sequence() == 4


def test_a_node_of_another_lab_is_not_taken_for_ours(lab: Lab) -> None:
    """Whoever has its port when it starts, and whatever that answers."""
    with Lab(nodes=1, backend="process", session_timeout=2.0) as other:
        node = lab.node(3)
        node.stop()
        node.endpoint = other.node(1).endpoint
        other.node(1).wait_ready(1)
        with pytest.raises(StartTimeout):
            node.wait_ready(0.5)


def test_the_sample_finds_no_sequence_when_it_starts() -> None:
    with Lab(nodes=1, backend="process", claim="original") as lab:
        assert lab.zk.exists("/sequence") is None
        assert lab.node(1).sequence() == 1


@pytest.mark.alone
def test_stop_frees_the_number_at_once(lab: Lab) -> None:
    node = lab.node(1)
    node.sequence()
    process = psutil.Process(node.status()["pid"])
    began = time.monotonic()
    process.terminate()
    lab.wait_until(lambda: "1" not in held(lab), timeout=1)
    assert time.monotonic() - began < 0.1 + 0.05  # the bound, and this test's own polling
    process.wait(5)


def test_kill_frees_the_number_within_the_session_timeout_and_two_ticks(lab: Lab) -> None:
    # Twenty times, on five generations of four nodes each.
    waits = []
    for _ in range(5):
        numbers = {str(node.sequence()) for node in lab.nodes}
        assert numbers == {"1", "2", "3", "4"}
        began = time.monotonic()
        for node in lab.nodes:
            node.kill()
        for left in (3, 2, 1, 0):
            lab.wait_until(lambda left=left: len(held(lab)) <= left, timeout=5)  # type: ignore[misc]
            waits.append(time.monotonic() - began)
        for node in lab.nodes:
            node.start()
    assert len(waits) == 20
    assert max(waits) < lab.session_timeout + 2 * 0.2 + 0.1  # and this test's own polling


def test_zookeeper_away_and_back(lab: Lab) -> None:
    numbers = [node.sequence() for node in lab.nodes]
    for seconds in (0.0, 3 * lab.session_timeout):
        lab.zookeeper.stop()
        for node in lab.nodes:
            lab.wait_until(lambda node=node: node.status()["connection"] != "CONNECTED", timeout=1)  # type: ignore[misc]
            began = time.monotonic()
            with pytest.raises(NoAnswer) as caught:
                node.sequence()
            assert caught.value.problem["status"] == 503
            assert time.monotonic() - began < node.request_deadline
        time.sleep(seconds)
        lab.zookeeper.start()
        lab.wait_until(lambda: [node.sequence() for node in lab.nodes] == numbers, timeout=10)


def test_a_paused_node_says_nothing_and_never_answers_stale(lab: Lab) -> None:
    node = lab.node(1)
    assert node.sequence() == 1
    node.pause()
    assert node.state is ServerState.PAUSED
    with pytest.raises(NodeUnreachable, match="resume"):
        node.sequence()
    lab.wait_until(lambda: "1" not in held(lab), timeout=5)
    assert lab.node(2).sequence() == 1
    node.resume()
    assert lab.wait_until(node.sequence, timeout=10) == 2


def test_a_partition_cuts_zookeeper_and_not_http(lab: Lab) -> None:
    assert lab.node(1).sequence() == 1
    for kind in ("drop", "refuse"):
        lab.partition(1, kind=kind)
        lab.wait_until(lambda: lab.node(1).status()["number"] is None, timeout=5)
        with pytest.raises(NoAnswer):
            lab.node(1).sequence()
        lab.heal(1)
        lab.wait_until(lambda: lab.node(1).sequence(), timeout=10)


def test_expiry_is_real(lab: Lab) -> None:
    lab.node(1).sequence()
    before = lab.node(1).status()["session"]
    lab.expire(1)
    lab.wait_until(lambda: lab.node(1).status()["session"] not in (before, None), timeout=10)
    closed = {t.session for t in lab.zookeeper.transactions() if t.op == "closeSession"}
    assert int(before, 16) in closed


def test_scale_kills_the_longest_lived_and_starts_new_ones(lab: Lab) -> None:
    for node in lab.nodes:
        node.sequence()
    lab.scale(2)
    assert [node.name for node in lab.alive] == ["node3", "node4"]
    lab.wait_until(lambda: held(lab) == {"3", "4"}, timeout=5)
    lab.scale(4)
    assert [node.name for node in lab.alive] == ["node3", "node4", "node5", "node6"]
    assert {lab.node(5).sequence(), lab.node(6).sequence()} == {1, 2}


def test_verbs_are_idempotent_or_say_why_not(lab: Lab) -> None:
    node = lab.node(1)
    node.start()
    node.resume()
    node.stop()
    node.stop()
    node.kill()
    for verb in (node.pause, node.resume):
        with pytest.raises(InvalidTransition, match="node1 is stopped"):
            verb()
    node.start()
    node.pause()
    for verb in (node.start, node.stop):
        with pytest.raises(InvalidTransition, match="node1 is paused"):
            verb()
    node.kill()
    assert node.state is ServerState.STOPPED
    with pytest.raises(ServerNotFound, match="node9.*node1, node2, node3, node4"):
        lab.node(9)


def test_every_verb_is_on_the_timeline_also_when_it_fails(lab: Lab) -> None:
    lab.node(1).stop()
    with pytest.raises(InvalidTransition):
        lab.node(1).resume()
    verbs = [e for e in lab.timeline if isinstance(e, VerbEvent) and e.subject == "node1"]
    assert [(e.verb, e.phase, e.error is None) for e in verbs][-4:] == [
        ("stop", "begin", True),
        ("stop", "end", True),
        ("resume", "begin", True),
        ("resume", "end", False),
    ]


def test_displays(lab: Lab) -> None:
    lab.node(1).sequence()
    text = repr(lab)
    assert "ZooKeeper 3." in text
    assert lab.node(1).url in text
    assert f'<a href="{lab.node(1).url}/swagger">' in lab._repr_html_()
    tree = str(lab.tree())
    assert "ephemeral of node1 (0x" in tree
    assert tree.startswith("/\n    sequence")


def test_zookeeper_down_when_a_node_starts(lab: Lab) -> None:
    lab.zookeeper.stop()
    lab.node(1).restart()
    with pytest.raises(NoAnswer) as caught:
        lab.node(1).sequence()
    assert caught.value.problem["reason"] == "no-connection"
    lab.zookeeper.start()
    assert lab.wait_until(lab.node(1).sequence, timeout=10) == 1


def test_the_negotiated_timeout_is_shown() -> None:
    with Lab(nodes=1, backend="process", env={"SESSION_TIMEOUT_MS": "50"}) as lab:
        assert lab.node(1).status()["session_timeout_ms"] == 400


@pytest.mark.parametrize("nodes", [-1, 1024, 9999])
def test_refuses_a_silly_number_of_nodes(nodes: int) -> None:
    with pytest.raises(ConfigError, match=f"nodes is {nodes}; it must be from 0 to 1023"):
        Lab(nodes=nodes)


@pytest.mark.parametrize("seconds", [0, -1, 601, float("nan"), float("inf")])
def test_refuses_a_silly_session_timeout(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"it must be from 0\.4 to 600"):
        Lab(session_timeout=seconds)


def test_a_bad_setting_is_named_by_the_node_that_refuses_it() -> None:
    lab = Lab(nodes=1, backend="process", env={"SESSION_TIMEOUT_MS": "abc"})
    with pytest.raises(StartTimeout, match="SESSION_TIMEOUT_MS"):
        lab.start()
    with pytest.raises(InvalidTransition, match=r"lab\.start\(\)"):
        lab.zk  # noqa: B018
    with pytest.raises(InvalidTransition, match=r"lab\.start\(\)"):
        lab.node(1)


def test_a_taken_port(lab: Lab) -> None:
    node = lab.node(1)
    node.stop()
    address = ("127.0.0.1", node.endpoint.port)
    message = rf"lsof -i :{node.endpoint.port}"
    with socket.create_server(address), pytest.raises(PortInUse, match=message):
        node.start()
    node.start()
    with ExitStack() as taken:
        for port in range(5001, 5003):
            if not any(n.endpoint.port == port for n in lab.nodes):
                with suppress(OSError):  # somebody else has it, which will do as well
                    taken.enter_context(socket.create_server(("127.0.0.1", port)))
        with Lab(nodes=2, backend="process") as other:
            mine = {n.url for n in lab.nodes}
            assert mine.isdisjoint(n.url for n in other.nodes)
            assert {n.sequence() for n in other.nodes} == {1, 2}


def test_no_zookeeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOKEEPER_HOME", "/nowhere")
    with pytest.raises(BackendUnavailable, match="ZOOKEEPER_HOME is /nowhere"):
        Lab(backend="process").start()


def test_wait_until_says_what_it_waited_for(zookeeper_lab: Lab) -> None:
    with pytest.raises(WaitTimeout, match=r"after 0\.05 s: pigs fly"):
        zookeeper_lab.wait_until(lambda: False, timeout=0.05, message="pigs fly")


@pytest.mark.alone
def test_eight_nodes_are_ready_in_three_seconds() -> None:
    began = time.monotonic()
    with Lab(nodes=8, backend="process") as lab:
        took = time.monotonic() - began
        assert len({node.sequence() for node in lab.nodes}) == 8
    assert took < 3.0


@pytest.mark.alone
def test_a_hundred_and_twenty_eight_nodes_are_ready_in_twelve_seconds_of_two_cores() -> None:
    """Counted in processor time, so that what else runs on the machine makes no difference."""
    mine = time.process_time()
    with Lab(nodes=128, backend="process") as lab:
        worked = time.process_time() - mine
        for process in reaper.processes_of(lab.id):
            times = process.cpu_times()
            worked += times.user + times.system
        numbers: list[int] = []
        each(lambda node: numbers.append(node.sequence()), lab.nodes)
        assert sorted(numbers) == list(range(1, 129))
        nodes = [psutil.Process(node.status()["pid"]) for node in lab.nodes]
        parent = nodes[0].parent()
        assert parent is not None
        shares = [process.memory_full_info().pss for process in (*nodes, parent)]
    assert worked < 2 * 12.0
    assert sum(shares) / 128 < 17_000_000


def test_a_history_is_complete_up_to_now(lab: Lab) -> None:
    one, two = lab.node(1), lab.node(2)
    one.sequence()
    (bar,) = Story(lab.history()).bars("node1")
    assert (bar.number, bar.word) == (1, Word.BOTH)
    one.kill()
    killed = lab.timeline.now()
    lab.wait_until(lambda: "1" not in held(lab), timeout=5)
    two.sequence()
    spans = Story(lab.history())
    answered, ghost = spans.bars("node1")
    assert (answered.word, ghost.word) == (Word.BOTH, Word.ZOOKEEPER)
    assert ghost.end - killed == pytest.approx(lab.session_timeout, abs=0.6)
    (bar,) = spans.bars("node2")
    assert (bar.number, bar.word, bar.end) == (1, Word.BOTH, spans.end)
    began = time.monotonic()
    lab.node(3).pause()
    lab.zookeeper.stop()
    lab.history()
    assert time.monotonic() - began < 3
    lab.node(3).resume()


@pytest.mark.parametrize("skew", [0.0, 0.03, 7.5, -120.0])
def test_a_clock_that_is_another_one_is_seen_through(skew: float) -> None:
    with Lab(nodes=1, backend="process") as lab:
        transactions = [replace(t, time=t.time + skew) for t in lab.zookeeper.transactions()]
        assert isinstance(lab.zk, LabClient)
        found = lab.zk.skew(transactions)
    assert found == pytest.approx(skew if abs(skew) > 0.1 else 0.0, abs=0.1)
    assert (found == 0.0) == (abs(skew) < 0.1)


def test_an_ensemble_survives_its_leader() -> None:
    with Lab(nodes=2, ensemble=3, backend="process", session_timeout=2.0) as lab:
        numbers = [node.sequence() for node in lab.nodes]
        lab.zookeeper.leader.kill()  # type: ignore[union-attr]
        lab.wait_until(lambda: lab.zookeeper.leader, timeout=10)
        lab.wait_until(lambda: [node.sequence() for node in lab.nodes] == numbers, timeout=10)
        assert len([s for s in lab.zookeeper.servers if s.mode == "follower"]) == 1


def test_a_proposal_that_nobody_accepted_is_on_one_disk_only() -> None:
    with Lab(nodes=0, ensemble=3, backend="process") as lab:
        lab.zk.create("/news", b"old")
        leader, followers = lab.zookeeper.leader, lab.zookeeper.followers
        assert leader is not None
        writer = KazooClient(str(leader.endpoint), logger=logging.getLogger("labkit.kazoo"))
        writer.start()
        lab.partition(leader.name)
        answer = writer.set_async("/news", b"new")
        lab.wait_until(lambda: leader.transactions()[-1].data == b"new")
        assert not answer.ready()
        for server in followers:
            assert [t.data for t in server.transactions() if t.path == "/news"] == [b"old"]
        leader.kill()
        lab.wait_until(lambda: lab.zookeeper.leader, timeout=15)
        assert leader.transactions()[-1].data == b"new"  # a dead server's disk is there still
        writer.stop()
        writer.close()


_HOLDER = """
import json, sys, time
from labkit.lab.lab import Lab
lab = Lab(nodes=3, backend="process").start()
lab.node(1).sequence()
lab.node(2).pause()
print(json.dumps({"id": lab.id, "ports": [n.endpoint.port for n in lab.nodes]}))
sys.stdout.flush()
time.sleep(60)
"""


@pytest.mark.alone  # another lab may take its ports at once
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_process_that_holds_a_lab(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout is not None
        found = json.loads(holder.stdout.readline())
        assert len(reaper.processes_of(found["id"])) >= 5  # nodes, ZooKeeper, zygote
        os.kill(holder.pid, number)
    deadline = time.monotonic() + 5
    while reaper.processes_of(found["id"]) or registry.directory(found["id"]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for port in found["ports"]:
        socket.create_server(("127.0.0.1", port)).close()


def test_leftovers_of_a_dead_owner_are_removed_by_the_next_lab() -> None:
    leave = "from labkit.servers import registry; registry.register('0ddba11', 'process')"
    subprocess.run([sys.executable, "-c", leave], check=True)
    home = registry.directory("0ddba11")
    assert "0ddba11" in {lab.lab_id for lab in registry.registered() if lab.orphaned}
    with Lab(nodes=0, backend="process"):
        assert not home.exists()
        assert not registry.owner_file("0ddba11").exists()


def test_a_close_that_is_interrupted_can_be_repeated() -> None:
    lab = Lab(nodes=1, backend="process").start()
    lab_id, backend = lab.id, lab._core.running
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "destroy", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lab.close()
    assert reaper.processes_of(lab_id) != []
    assert lab in Lab.all_open()
    with pytest.raises(InvalidTransition):
        lab.tree()
    lab.close()
    assert reaper.processes_of(lab_id) == []
    assert lab not in Lab.all_open()


def test_a_close_goes_on_after_a_client_that_cannot_be_closed() -> None:
    lab = Lab(nodes=1, backend="process").start()
    lab_id, zk = lab.id, lab.zk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zk, "close", Mock(side_effect=Exception("until it is stopped")))
        lab.close()
    zk.close()
    assert reaper.processes_of(lab_id) == []


def test_a_lab_can_be_started_once_more() -> None:
    lab = Lab(nodes=2, backend="process")
    for _ in range(2):
        with lab.start():
            assert [node.name for node in lab.nodes] == ["node1", "node2"]
            assert [node.sequence() for node in lab.nodes] == [1, 2]
            log = [e for e in lab.history() if isinstance(e, TransactionEvent)]
            ops = [e.op for e in log if e.path == "/sequence/1"]
            assert ops.count("create") == 1


def test_the_tree_does_not_wait_for_a_zookeeper_that_is_stopped(lab: Lab) -> None:
    lab.node(1).sequence()
    lab.node(2).pause()
    assert "node1" in repr(lab.tree())
    lab.zookeeper.stop()
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"lab\.zookeeper\.start\(\)"):
        lab.tree()
    assert time.monotonic() - began < 5


def test_the_long_dead_are_removed() -> None:
    with Lab(nodes=1, backend="process", session_timeout=1.0) as lab:
        for _ in range(6):
            lab.scale(3)
            lab.scale(1)
        assert len(lab.nodes) <= 1 + 8 + 2
        assert len(lab.alive) == 1
        lab.nodes[0].start()  # the last dead can still be started
        with pytest.raises(ServerNotFound):
            lab.node(1)


def test_a_refused_request_has_failed_and_one_without_an_answer_is_unknown(lab: Lab) -> None:
    lab.node(1).kill()
    lab.node(2).pause()
    for number in (1, 2):
        with pytest.raises(NodeUnreachable):
            lab.node(number).sequence()
    requests = [e for e in lab.timeline if isinstance(e, RequestEvent)]
    ends = {e.subject: e.phase for e in requests if e.phase != "invoke"}
    assert ends == {"node1": "fail", "node2": "unknown"}


@pytest.mark.parametrize("after", [0.0, 0.3, 0.6, 1.2])
def test_a_lab_that_is_closed_while_it_starts_is_closed(lab: Lab, after: float) -> None:
    lab.close()

    def start() -> None:
        with suppress(InvalidTransition):  # it is told that the lab is closed
            lab.start()

    starting = threading.Thread(target=start)
    starting.start()
    while lab not in Lab.all_open():
        time.sleep(0.001)
    time.sleep(after)
    lab.close()
    starting.join(20)
    assert not starting.is_alive()
    assert lab not in Lab.all_open()
    with pytest.raises(InvalidTransition):
        lab.zk  # noqa: B018


def test_two_starts_are_one(lab: Lab) -> None:
    lab.close()
    before = registered()
    with ThreadPoolExecutor() as pool:
        for started in pool.map(lambda _: lab.start(), range(3)):
            assert [node.state for node in started.nodes] == [ServerState.RUNNING] * 4
    assert registered() - before == {lab.id}


def test_the_only_lab_stays_the_only_one() -> None:
    script = """
from labkit import Lab
first = Lab.only(0, backend="process", record=False)
second = Lab.only(0, backend="process", record=False)
assert Lab.all_open() == [second]
first.start()  # as a slider, or a check, of an earlier cell does
assert Lab.all_open() == [first]
first.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_interrupted_request_is_no_silence_of_the_node(lab: Lab) -> None:
    node = lab.node(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, "_get", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            node.sequence()
    *_, last = (event for event in lab.timeline if isinstance(event, RequestEvent))
    assert (last.phase, last.abandoned) == ("unknown", True)


def test_a_paused_node_does_not_expire(lab: Lab) -> None:
    lab.node(1).pause()
    with pytest.raises(InvalidTransition, match="paused"):
        lab.expire(1)


def test_the_links_verbs_take_a_server_as_object_number_or_name(lab: Lab) -> None:
    for which in (lab.node(1), 1, "node1"):
        lab.partition(which)
        lab.wait_until(lambda: lab.node(1).status()["connection"] != "CONNECTED")
        lab.heal(which)
        lab.wait_until(lambda: lab.node(1).status()["connection"] == "CONNECTED", timeout=10)
    lab.slow(lab.node(2), delay=0.01)
    lab.flaky(lab.node(2), every=1000)
    lab.heal(lab.node(2))
    lab.expire(lab.node(3))
    server = lab.zookeeper.server(1)
    for which in (server, "zookeeper1"):
        lab.partition(which)
        lab.heal(which)
    assert lab.node(lab.node(4)) is lab.node(4)


def test_a_client_that_a_reader_has_stopped_is_named(lab: Lab) -> None:
    for end in (lab.zk.stop, lab.zk.close):
        lab.zk.stop()
        end()
        with pytest.raises(BackendError, match=r"lab\.zk\.start\(\)"):
            lab.tree()
        lab.zk.start(timeout=10)  # what the message says helps
        assert str(lab.tree()).startswith("/")


def test_a_node_is_unreachable_also_when_nobody_can_say_its_state(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine_is_down(name: str) -> ServerState:
        raise BackendUnavailable("the engine does not answer")

    lab.node(1).stop()
    monkeypatch.setattr(lab._core.running, "state", engine_is_down)
    with pytest.raises(NodeUnreachable, match=r"node1 \(unknown\) did not answer"):
        lab.node(1).sequence()
    assert lab.node(2).sequence() == 1
    assert "unknown" in repr(lab.node(2))
    assert "unknown" in repr(lab)
    assert "sequence" in str(lab.tree())


def test_what_happens_is_recorded_until_a_close_has_its_turn(lab: Lab) -> None:
    lab._core.closing = True  # as by a close that waits for a start in another thread
    time.sleep(0.3)  # several turns of the recorder
    lab._core.closing = False
    lab.node(1).kill()

    def is_seen() -> bool:
        return any(isinstance(e, StatusEvent) and not e.reachable for e in lab.timeline)

    lab.wait_until(is_seen)
