"""The specimen has the bugs that it is kept for, on a real ZooKeeper."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Tree
from probe import QUIET, Probe

from labkit.errors import NoAnswer
from labkit.lab.lab import Lab
from labkit.node.original import Original, next_number
from labkit.node.session import Session
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

T = 1.0  # session timeout, seconds


@pytest.mark.parametrize(
    ("children", "number"),
    [
        ([], 1),
        (["1"], 2),
        (["2"], 2),  # 1 is free, and 2 is taken
        (["1", "2", "4"], 3),
        (["11", "1", "12", "2", "3", "4", "5", "6", "7", "8", "9", "10"], 2),  # as ZooKeeper lists
    ],
)
def test_the_search(children: list[str], number: int) -> None:
    assert next_number(children) == number


@pytest.fixture
def specimen(tree: Tree) -> Iterator[Callable[..., Original]]:
    """Makes connected specimens, and ends their sessions as they would not."""
    sessions: list[Session] = []

    def make(hosts: str = tree.hosts) -> Original:
        def connect() -> Session:
            sessions.append(Probe(hosts, T))
            return sessions[-1]

        original = Original(connect, b"{}")
        original.start()
        assert original.wait_connected(10)
        return original

    yield make
    QUIET.setLevel(100)
    for session in sessions:
        session.stop()
        session.close()


def number(original: Original) -> int:
    return original.number(5).number


def test_it_answers_a_taken_number_when_a_lower_one_is_free(
    tree: Tree, specimen: Callable[[], Original]
) -> None:
    a, b, c = specimen(), specimen(), specimen()
    assert (number(a), number(b)) == (1, 2)
    tree.zk.delete(f"{tree.path}/sequence/1")
    assert number(c) == 2
    assert tree.children() == {"2"}
    held = c.number(5)
    assert (held.token, held.lease) == (None, None)


def test_the_thirteenth_answers_2(tree: Tree, specimen: Callable[[], Original]) -> None:
    tree.put(*map(str, range(1, 13)))
    assert number(specimen()) == 2


def test_a_storm_has_winners_and_liars(tree: Tree, specimen: Callable[[], Original]) -> None:
    tree.put()
    nodes = [specimen() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(number, nodes))
    assert len(set(answers)) < 16


def test_two_requests_at_once_take_two_numbers_or_one_that_is_not_claimed(
    tree: Tree, specimen: Callable[[], Original]
) -> None:
    tree.put()
    claimed = []
    for _ in range(20):
        node = specimen()
        with ThreadPoolExecutor(4) as pool:
            answers = set(pool.map(lambda _, node=node: number(node), range(4)))  # type: ignore[misc]
        claimed.append(answers)
        if len(answers) > 1:
            return
    pytest.fail(f"every node answered one number only: {claimed}")


def test_a_connection_that_is_lost_before_anybody_asked_is_made_again(
    tree: Tree, specimen: Callable[..., Original], forwarder: Forwarder, link: str
) -> None:
    original = specimen(link)
    forwarder.fault("node", "zookeeper", LinkFault("refuse"))
    tree.wait(lambda: original.status()["connection"] == "CONNECTING")
    forwarder.fault("node", "zookeeper", None)
    assert original.wait_connected(10)


def test_a_child_that_is_no_number_breaks_it(tree: Tree, specimen: Callable[[], Original]) -> None:
    tree.put("readme")
    with pytest.raises(ValueError, match="readme"):
        number(specimen())


def test_as_a_node() -> None:
    with Lab(
        nodes=2, backend="process", session_timeout=2.0, claim="original", record=False
    ) as lab:
        creator, other = lab.nodes
        assert creator.sequence() == 1
        creator.pause()
        lab.partition(1, kind="drop")  # so that it is not told at once when it wakes
        lab.wait_until(lambda: not lab.zk.exists("/sequence/1"), timeout=5)
        assert other.sequence() == 1
        with ThreadPoolExecutor(1) as pool:
            queued = pool.submit(creator.sequence)
            creator.resume()
            assert queued.result() == 1, "it answers from memory"

        began = time.monotonic()
        other.stop()
        assert lab.zk.exists("/sequence/1"), "it says nothing to ZooKeeper when it is stopped"
        lab.wait_until(lambda: not lab.zk.exists("/sequence/1"), timeout=5)
        assert time.monotonic() - began > 0.4 * 2.0  # its last sign of life may be T/3 old

        lab.zk.create("/sequence/readme")
        other.start()
        with pytest.raises(NoAnswer) as caught:
            other.sequence()
        assert caught.value.problem["status"] == 500
        assert "Traceback" not in str(caught.value)


def test_after_a_restart_of_zookeeper_the_next_number_is_5() -> None:
    with Lab(
        nodes=4,
        backend="process",
        session_timeout=3.0,
        request_deadline=0.5,
        claim="original",
        record=False,
    ) as lab:
        assert [node.sequence() for node in lab.nodes] == [1, 2, 3, 4]
        lab.zookeeper.stop()
        with pytest.raises(NoAnswer) as caught:
            lab.node(1).sequence()
        assert caught.value.problem["reason"] == "no-connection"
        lab.zookeeper.start()
        after = [lab.wait_until(node.sequence, timeout=10) for node in lab.nodes]
        assert after == [5, 6, 7, 8]
        time.sleep(3.5)  # the old sessions' timeout and a tick: they are alive, for nobody
        assert sorted(lab.zk.get_children("/sequence"), key=int) == list("12345678")
