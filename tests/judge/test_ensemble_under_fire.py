"""An ensemble of three that loses its leader, its quorum, or its leader's attention."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from labkit.errors import NoAnswer, NodeUnreachable
from labkit.judge.chaos import chaos
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.servers.links.fault import LinkFault
from labkit.story.event import RequestEvent, TransactionEvent

TIMEOUT = 2.0
DEADLINE = 1.0


@pytest.fixture(scope="module")
def ensemble() -> Iterator[Lab]:
    with Lab(
        3, ensemble=3, backend="process", session_timeout=TIMEOUT, request_deadline=DEADLINE
    ) as lab:
        lab.wait_until(lambda: [node.sequence() for node in lab.nodes] == [1, 2, 3], 10)
        yield lab


@contextmanager
def asking(node: Node) -> Iterator[None]:
    """Somebody asks the node a hundred times a second."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.01):
            with suppress(NoAnswer, NodeUnreachable):
                node.answer()

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        done.set()
        client.join()


def test_a_leaders_death_costs_no_number(ensemble: Lab) -> None:
    before = {node.name: node.answer() for node in ensemble.nodes}
    result = chaos(ensemble, seed=1, seconds=7, faults=["kill-leader"])
    assert result.ok, str(result)
    assert [len(fault.targets) for fault in result.faults] == [1]
    for node in ensemble.nodes:
        after = node.answer()
        assert (after.number, after.token) == (before[node.name].number, before[node.name].token)
    assert max(result.silences.values()) < 7


@pytest.mark.alone
def test_without_a_quorum_nobody_answers_and_with_one_everybody_does(ensemble: Lab) -> None:
    before = [node.sequence() for node in ensemble.nodes]
    lost = ensemble.zookeeper.servers[:2]
    for server in lost:
        server.kill()
    time.sleep(TIMEOUT / 2 + 0.1)  # the longest a lease may last
    for node in ensemble.nodes:
        begin = time.monotonic()
        with pytest.raises(NoAnswer) as refusal:
            node.answer()
        assert time.monotonic() - begin < DEADLINE + 0.3
        assert refusal.value.problem["status"] == 503
    for server in lost:
        server.start()
    ensemble.wait_until(lambda: [node.sequence() for node in ensemble.nodes] == before, 15)


def test_while_the_leader_sleeps_nobody_answers_past_the_lease(ensemble: Lab) -> None:
    """A follower goes on answering reads, and so tells a node nothing about its session."""
    leader = ensemble.zookeeper.leader
    assert leader is not None
    node = ensemble.node(1)
    ensemble._core.running.fault(node.name, leader.name, LinkFault("refuse"))
    ensemble.wait_until(node.sequence, 15, "node1 is served by a follower")
    number = node.sequence()
    begin = ensemble.timeline.now()
    with asking(node):
        time.sleep(0.5)
        leader.pause()
        time.sleep(0.95 * TIMEOUT)
        leader.resume()
        time.sleep(0.3)
    ensemble.heal()
    ensemble.wait_until(lambda: ensemble.zookeeper.leader and node.sequence(), 15)
    ensemble.timeline.merge_transactions(ensemble.zookeeper.transactions(), heartbeats=True)
    events = list(ensemble.timeline)
    report = check(events, session_timeout=TIMEOUT)
    assert not report.violations, str(report)

    # A lease counts from before a write was sent, so from before its time in the log.
    written = [
        event.t
        for event in events
        if isinstance(event, TransactionEvent) and event.path == f"/sequence/{number}"
    ]
    requests = [e for e in events if isinstance(e, RequestEvent) and e.t > begin]
    invoked = {e.id: e.t for e in requests if e.phase == "invoke"}
    answers = [(invoked[e.id], e.t) for e in requests if e.phase == "ok" and e.subject == "node1"]
    refused = [e for e in requests if e.reason == "lease-lapsed" and e.subject == "node1"]
    assert answers
    assert refused, "the pause was longer than the lease"
    for asked, answered in answers:
        last = max(t for t in written if t <= answered + 0.01)
        assert asked <= last + TIMEOUT / 2 + 0.01
