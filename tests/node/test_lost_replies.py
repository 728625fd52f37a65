"""A session that loses a reply on purpose: ZooKeeper has done it, and the client is not told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations

import pytest
from conftest import Tree
from kazoo.exceptions import ConnectionLoss

from labkit.lab.lab import Lab
from labkit.node.claim import Claimer
from labkit.node.environment import BadConfiguration, configuration
from labkit.node.session import LOST_REPLY, Session


@pytest.fixture
def session(zookeeper_lab: Lab) -> Iterator[Session]:
    hosts = zookeeper_lab.zookeeper.hosts
    session = Session(hosts, 5.0, logging.getLogger("labkit.test"), lose=[2, 4])
    session.start(timeout=10)
    yield session
    session.stop()
    session.close()


def test_the_replies_that_were_named_are_lost(
    tree: Tree, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labkit.node")
    before = session.session_id
    session.create(f"{tree.path}/one")
    with pytest.raises(ConnectionLoss):
        session.create(f"{tree.path}/two")
    assert tree.zk.exists(f"{tree.path}/two"), "ZooKeeper has done it"
    tree.wait(lambda: session.connected)
    assert session.exists(f"{tree.path}/two")
    with pytest.raises(ConnectionLoss):
        session.exists(f"{tree.path}/one")
    tree.wait(lambda: session.connected)
    assert session.session_id == before
    told = [record.getMessage() for record in caplog.records if LOST_REPLY in record.getMessage()]
    assert told == [
        f"{LOST_REPLY}: the reply to request 2, Create {tree.path}/two",
        f"{LOST_REPLY}: the reply to request 4, Exists {tree.path}/one",
    ]


def test_a_node_is_told_by_its_environment() -> None:
    assert configuration({"LOSE_REPLIES": "2,10"}).lose_replies == {2, 10}
    assert configuration({}).lose_replies == frozenset()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1,,2", "1.5"])
def test_what_is_no_place_is_refused(value: str) -> None:
    with pytest.raises(BadConfiguration, match="LOSE_REPLIES"):
        configuration({"LOSE_REPLIES": value})


@pytest.mark.parametrize("lose", list(combinations(range(2, 10), 2)), ids=str)
def test_a_claim_that_loses_two_replies_leaves_nothing_else(
    tree: Tree, lose: tuple[int, int]
) -> None:
    """Also if what is lost second is the reply that would have told what became of the first.

    A session's first request is kazoo's own: whether its chroot is there.
    """
    tree.put("1", "2")
    session = Session(tree.hosts, 10.0, logging.getLogger("labkit.test"), lose=lose)
    with closing(session):
        session.start(timeout=10)

        def connected(_: int) -> None:
            tree.wait(lambda: session.connected)

        claim = Claimer(session, b"{}", 1023, connected, time.monotonic).claim()
        assert tree.children() == {"1", "2", str(claim.number)}
        session.stop()
