"""The hold on a number: kept through what leaves the session alive, given up in time otherwise."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import pytest
from conftest import MakeHolder, Tree
from probe import Probe

from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.node.claimant import Held, Refusal
from labkit.node.holder import Holder
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

T = 1.0  # the labs' session timeout, seconds


@dataclass(frozen=True)
class Reply:
    """A node's reply to GET /sequence, and when it was complete."""

    status: int
    body: Any
    at: float
    took: float


def ask(node: Node, path: str = "/sequence", timeout: float = 30.0) -> Reply:
    """One request on a connection of its own."""
    began = time.monotonic()
    endpoint = node.endpoint
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = json.loads(response.read())
        now = time.monotonic()
        return Reply(response.status, body, now, now - began)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(
        nodes=2, backend="process", session_timeout=T, request_deadline=0.5, record=False
    ) as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> Iterator[Lab]:
    """Two fresh nodes with a session timeout of a second; no number is held."""
    yield lab
    lab.heal()
    for node in lab.nodes:
        node.kill()
    lab.wait_until(lambda: not lab.zk.get_children("/sequence"), timeout=5 * T)
    for node in lab.nodes:
        node.start()
        lab.wait_until(lambda node=node: node.status()["connection"] == "CONNECTED")  # type: ignore[misc]


def is_free(lab: Lab, number: int) -> bool:
    return not lab.zk.exists(f"/sequence/{number}")


# --- zombies ----------------------------------------------------------------------------------


def test_what_was_queued_during_a_pause_is_not_answered_with_the_old_number(pair: Lab) -> None:
    zombie, heir = pair.nodes
    assert zombie.sequence() == 1
    zombie.pause()
    with ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(ask, zombie) for _ in range(32)]
        pair.wait_until(lambda: is_free(pair, 1), timeout=3 * T)
        assert heir.sequence() == 1
        time.sleep(2 * T)
        assert not any(request.done() for request in asked)
        zombie.resume()
        replies = [request.result() for request in asked]
    assert {reply.status for reply in replies} <= {200, 503}
    assert 1 not in [reply.body for reply in replies]
    assert pair.wait_until(zombie.sequence) == 2


def test_traffic_over_a_black_hole_does_not_hide_it(pair: Lab) -> None:
    zombie, heir = pair.nodes
    assert zombie.sequence() == 1
    replies: list[Reply] = []
    pair.partition(1, kind="drop")
    cut = time.monotonic()
    freed = None
    with ThreadPoolExecutor(4) as pool:
        while time.monotonic() < cut + 4 * T:
            replies += pool.map(lambda _: ask(zombie), range(4))
            if freed is None and is_free(pair, 1):
                freed = time.monotonic()
                assert heir.sequence() == 1
    answered = [reply.at - reply.took for reply in replies if reply.status == 200]
    assert freed is not None
    assert answered, "the lease outlives the cut by a moment"
    assert max(answered) < min(cut + T / 2, freed)  # when they were asked
    assert sum(reply.at - reply.took > freed for reply in replies) > 20
    pair.heal(1)
    assert pair.wait_until(zombie.sequence, timeout=10) == 2


@pytest.mark.parametrize("path", ["/sequence", "/id"])
def test_a_black_hole_is_found_although_the_node_is_asked_all_the_time(
    pair: Lab, path: str
) -> None:
    node = pair.node(1)
    assert ask(node, path).status == 200
    pair.partition(1, kind="drop")

    def suspended() -> bool:
        ask(node, path)
        return bool(node.status()["connection"] != "CONNECTED")

    pair.wait_until(suspended, timeout=2 * T)


# --- what it keeps, what it loses -------------------------------------------------------------


def held(holder: Holder) -> Held | None:
    try:
        return holder.number(1)
    except Refusal:
        return None


def test_a_restart_of_zookeeper_leaves_number_and_token() -> None:
    with Lab(nodes=2, backend="process", session_timeout=2.0, record=False) as lab:
        before = [node.answer() for node in lab.nodes]
        lab.zookeeper.kill()
        time.sleep(2.5)  # longer than any session is without its server
        lab.zookeeper.start()
        after = [lab.wait_until(node.answer, timeout=20) for node in lab.nodes]
    assert [(a.number, a.token) for a in after] == [(b.number, b.token) for b in before]


def test_a_lost_connection_leaves_number_and_token(
    tree: Tree, hold: MakeHolder, forwarder: Forwarder, link: str
) -> None:
    holder = hold(hosts=link)
    before = holder.number(5)
    for kind in ("refuse", "flaky"):
        forwarder.fault("node", "zookeeper", LinkFault(kind, every=3))  # type: ignore[arg-type]
        time.sleep(0.5)
        forwarder.fault("node", "zookeeper", None)
        after = tree.wait(lambda: held(holder))
        assert (after.number, after.token) == (before.number, before.token)


@pytest.mark.alone  # a stall of the machine would cost the session
def test_a_handshake_that_never_comes_costs_no_session(
    tree: Tree, hold: MakeHolder, forwarder: Forwarder, link: str
) -> None:
    holder = hold(hosts=link, timeout=4.0)
    before = holder.number(5)
    zookeeper = cast(tuple[str, int], next(iter(forwarder._links.values())).to)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as a server that is starting
        forwarder.fault("node", "zookeeper", LinkFault("refuse"))
        time.sleep(1.0)  # in which many connections are refused
        forwarder.link("node", "zookeeper", silent.getsockname())
        forwarder.fault("node", "zookeeper", None)
        silent.settimeout(5)
        connection, _ = silent.accept()
        forwarder.link("node", "zookeeper", zookeeper)
        with connection:
            tree.wait(lambda: holder.status()["connection"] == "CONNECTED", timeout=2.5)
    after = tree.wait(lambda: held(holder))  # its lease may have lapsed meanwhile
    assert (after.number, after.token) == (before.number, before.token)


def test_a_lost_session_takes_the_number_along(
    tree: Tree, hold: MakeHolder, forwarder: Forwarder, link: str
) -> None:
    probe = Probe(link, 0.5)
    holder = hold(probe)
    before, session = holder.number(5), probe.session_id
    forwarder.fault("node", "zookeeper", LinkFault("drop"))
    tree.wait(lambda: not tree.children())
    assert held(holder) is None
    assert hold().number(5).number == 1
    forwarder.fault("node", "zookeeper", None)
    after = tree.wait(lambda: held(holder))
    assert after.number == 2
    assert after.token > (before.token or 0)
    assert probe.session_id != session


@pytest.mark.parametrize("by", ["nobody", "another"])
def test_a_number_that_somebody_deletes_is_given_up(tree: Tree, hold: MakeHolder, by: str) -> None:
    holder = hold(timeout=30.0)  # the next heartbeat is three seconds away
    before = holder.number(5)
    theirs = tree.zk.transaction()
    theirs.delete(f"{tree.path}/sequence/1")
    if by == "another":
        theirs.create(f"{tree.path}/sequence/1")
    theirs.commit()
    began = time.monotonic()
    after = tree.wait(lambda: (h := held(holder)) and h.token != before.token and h)
    assert after.number == (2 if by == "another" else 1)
    assert time.monotonic() - began < 2.0


@pytest.mark.alone
def test_close_frees_the_number_at_once(tree: Tree, hold: MakeHolder) -> None:
    holder = hold(timeout=30.0)
    holder.number(5)
    began = time.monotonic()
    holder.close()
    assert time.monotonic() - began < 0.5
    assert tree.children() == set()
    with pytest.raises(Refusal):
        holder.number(0.1)


def test_a_look_claims_nothing(tree: Tree, hold: MakeHolder) -> None:
    holder = hold()
    assert isinstance(holder.peek(), Refusal)
    assert holder.status()["reason"] == "not-asked"
    assert holder.status()["number"] is None
    assert tree.children() == set()


def test_one_claim_at_a_time(tree: Tree, hold: MakeHolder) -> None:
    holder = hold()
    with ThreadPoolExecutor(8) as pool:
        answers = {h.number for h in pool.map(lambda _: holder.number(5), range(8))}
    assert answers == {1}
    assert tree.children() == {"1"}


def test_a_heartbeat_keeps_the_lease(tree: Tree, hold: MakeHolder) -> None:
    holder = hold(timeout=1.0)
    first = holder.number(5)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        now = holder.peek()
        assert isinstance(now, Held), now
        assert now.token == first.token
        assert now.lease is not None
        assert 0 < now.lease <= 0.5
        time.sleep(0.01)


# --- under load -------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_flood_of_requests_that_wait_starves_nobody(pair: Lab) -> None:
    node = pair.node(1)
    pair.partition(1, kind="drop")  # it believes in its connection for a while, and tries to claim
    with ThreadPoolExecutor(64) as pool:
        flood = [pool.submit(ask, node) for _ in range(64)]
        looks = [ask(node, "/status") for _ in range(10)]
        replies = [request.result() for request in flood]
    assert {look.status for look in looks} == {200}
    assert max(look.took for look in looks) < 0.4
    assert {reply.status for reply in replies} == {503}
    reasons = {reply.body["reason"] for reply in replies}
    assert reasons <= {"still-claiming", "no-connection"}
    waited = [reply.took for reply in replies]
    assert max(waited) < node.request_deadline + 0.5
    # Until the deadline, unless the node finds out before that it is cut off.
    assert max(waited) > (0.1 if "no-connection" in reasons else node.request_deadline - 0.1)
