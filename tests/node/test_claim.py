"""The claim: by ticket rank, in storms, with strangers in the way, and whatever breaks off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import MakeHolder, Tree
from hypothesis import given
from hypothesis import strategies as st
from new_sessions import NewSessions
from probe import STEPS, Probe

from labkit.node.claim import numbers, target, tickets
from labkit.node.claimant import Refusal
from labkit.node.holder import Holder
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

_UUIDS = st.uuids().map(lambda uuid: uuid.hex)
FOREIGN = ["readme", "07", "-3", "0", "1.5", "٣", "ticket-", "ticket-lost", "ticket-x-0000000001"]


@st.composite
def parents(draw: st.DrawFn) -> tuple[set[int], list[str], list[str]]:
    """Numbers held, tickets in their order, and the children in ZooKeeper's order, that is none."""
    held = draw(st.sets(st.integers(1, 30)))
    uuids = draw(st.lists(_UUIDS, min_size=1, max_size=12, unique=True))
    first = draw(st.integers(0, 2**31 - 20))
    queue = [f"ticket-{uuid}-{first + i:010}" for i, uuid in enumerate(uuids)]
    foreign = draw(st.sets(st.sampled_from(FOREIGN)))
    children = draw(st.permutations([*map(str, held), *queue, *foreign]))
    return held, queue, children


@given(parents())
def test_targets_are_the_free_numbers_in_the_tickets_order(
    parent: tuple[set[int], list[str], list[str]],
) -> None:
    held, queue, children = parent
    free = [n for n in range(1, 100) if n not in held]
    assert [target(children, ticket) for ticket in queue] == free[: len(queue)]


@given(parents(), st.data())
def test_a_claim_that_is_done_moves_nobody_elses_target(
    parent: tuple[set[int], list[str], list[str]], data: st.DataObject
) -> None:
    _, queue, children = parent
    done = data.draw(st.sampled_from(queue))
    after = [str(target(children, done)), *(name for name in children if name != done)]
    for ticket in queue:
        if ticket != done:
            assert target(after, ticket) == target(children, ticket)


def test_strangers_are_neither_numbers_nor_tickets() -> None:
    assert numbers(FOREIGN) == set()
    assert tickets(FOREIGN) == []


def test_a_ticket_that_is_not_there_has_no_target() -> None:
    with pytest.raises(ValueError, match="ticket"):
        target(["1"], f"ticket-{'0' * 32}-0000000001")


# --- nobody fails -----------------------------------------------------------------------------


def test_a_storm_of_64_sessions(tree: Tree, hold: MakeHolder) -> None:
    probes = [Probe(tree.hosts, 30.0) for _ in range(64)]
    tree.put()  # so that the parent's creation is not part of what is counted
    with ThreadPoolExecutor(64) as pool:
        holders = list(pool.map(hold, probes))
        # Together they wait for the GIL, not for ZooKeeper; hence a timeout without meaning.
        held = list(pool.map(lambda holder: holder.number(30), holders))
    assert sorted(h.number for h in held) == list(range(1, 65))
    assert len({h.token for h in held}) == 64
    assert tree.children() == {str(n) for n in range(1, 65)}
    counts = [sum(r != "SetData" for r in probe.requests) for probe in probes]  # heartbeats
    assert max(counts) <= 4


def test_the_first_claim_of_all_creates_the_parent(tree: Tree, hold: MakeHolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda _: hold().number(10).number, range(8)))
    assert sorted(held) == list(range(1, 9))
    assert tree.children() == {str(n) for n in range(1, 9)}


def test_strangers_in_the_parent_are_passed_over(tree: Tree, hold: MakeHolder) -> None:
    dead = f"ticket-{'d' * 32}-0000000007"
    tree.put(*FOREIGN, "1", "3")
    assert hold().number(5).number == 2
    assert hold().number(5).number == 4
    assert tree.children() == {*FOREIGN, "1", "2", "3", "4"}
    tree.put(dead)  # somebody who holds a place in the queue and never claims
    assert hold().number(5).number in (5, 6)


def test_no_free_number(tree: Tree, hold: MakeHolder) -> None:
    tree.put("1", "2")
    full = hold(max_number=2)
    for _ in range(2):
        with pytest.raises(Refusal, match="from 1 to 2") as caught:
            full.number(5)
        assert caught.value.reason == "no-free-number"
        assert tree.children() == {"1", "2"}
    assert full.status()["reason"] == "no-free-number"
    tree.zk.delete(f"{tree.path}/sequence/1")
    assert full.number(5).number == 1


# --- things change under its hands ------------------------------------------------------------


def test_the_target_is_taken_in_the_last_moment(tree: Tree, hold: MakeHolder) -> None:
    tree.put()
    holder = hold(before=lambda n: tree.put("1") if n == 2 else None)
    assert holder.number(5).number == 2
    assert tree.children() == {"1", "2"}


def test_the_ticket_is_deleted_by_somebody(tree: Tree, hold: MakeHolder) -> None:
    tree.put()

    def delete_tickets(n: int) -> None:
        if n == 2:
            for name in tickets(tree.children()):
                tree.zk.delete(f"{tree.path}/sequence/{name}")

    assert hold(before=delete_tickets).number(5).number == 1
    assert tree.children() == {"1"}


def test_the_parent_is_deleted_in_mid_claim(tree: Tree, hold: MakeHolder) -> None:
    tree.put()

    def delete_parent(n: int) -> None:
        if n == 2:
            tree.zk.delete(f"{tree.path}/sequence", recursive=True)

    assert hold(before=delete_parent).number(5).number == 1
    assert tree.children() == {"1"}


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("timeout", [10.0, 0.5], ids=["session survives", "session ends"])
def test_cut_off_in_every_step(
    tree: Tree,
    hold: MakeHolder,
    forwarder: Forwarder,
    link: str,
    step: int,
    lost: str,
    timeout: float,
) -> None:
    """The request or its reply is lost, then the connection, and perhaps the session."""
    tree.put()

    def cut(n: int) -> None:
        if n == step:
            direction = "from" if lost == "reply" else "to"
            forwarder.fault("node", "zookeeper", LinkFault("drop", direction))  # type: ignore[arg-type]

    def lose(n: int) -> None:
        if n == step:
            time.sleep(0.05)  # for the request to be done
            forwarder.fault("node", "zookeeper", LinkFault("refuse"))
            if timeout < 1:
                tree.wait(lambda: not tree.children())
            forwarder.fault("node", "zookeeper", None)

    probe = Probe(link, timeout, cut, lose)
    holder = hold(probe)
    session = probe.session_id
    tree.wait(lambda: _number(holder) == 1)
    if timeout > 1:
        assert probe.session_id == session
    tree.wait(lambda: tree.children() == {"1"})
    other = hold()
    # On a busy machine the short session may have ended once more, and the two change places.
    tree.wait(lambda: {_number(holder), _number(other)} == {1, 2})
    tree.wait(lambda: tree.children() == {"1", "2"})


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_session_is_another_in_every_step(
    tree: Tree, hold: MakeHolder, new_sessions: NewSessions, step: int, when: str
) -> None:
    """Some servers give a client that reconnects a new session, and say so by its id alone."""
    tree.put()

    def change(n: int) -> None:
        if n == step:
            old = probe.session_id
            new_sessions.cut()
            tree.wait(lambda: probe.session_id not in (old, None) and probe.connected)

    probe = Probe(new_sessions.hosts, 1.0, **{when: change})
    holder = hold(probe)
    number = tree.wait(lambda: _number(holder))
    # What the session before has left ends with it; of the present one there is only the number.
    tree.wait(lambda: tree.children() == {str(number)})
    assert tree.zk.get(f"{tree.path}/sequence/{number}")[1].ephemeralOwner == probe.session_id
    assert _number(holder) == number
    other = hold()
    assert {_number(holder), _number(other)} == {1, 2}
    assert tree.children() == {"1", "2"}


def _number(holder: Holder) -> int | None:
    try:
        return holder.number(5).number
    except Refusal:
        return None


# --- dying and sleeping claimants -------------------------------------------------------------


@contextmanager
def claimants(
    hosts: str, timeout: float, number: int
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Claimants that signal themselves `number` in every step; see claimants.py."""
    script = Path(__file__).with_name("claimants.py")
    with subprocess.Popen(
        [sys.executable, script, hosts, str(timeout), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2 * STEPS)]
        try:
            yield process, pids
        finally:
            process.communicate()


def test_killed_in_every_step(tree: Tree, hold: MakeHolder) -> None:
    tree.put()
    healthy = [hold() for _ in range(4)]
    with claimants(tree.hosts, 0.5, signal.SIGKILL) as (_, pids), ThreadPoolExecutor(4) as pool:
        held = {holder.number for holder in pool.map(lambda h: h.number(10), healthy)}
        assert len(held) == 4
        tree.wait(lambda: all(_state(pid) == "Z" for pid in pids))
        tree.wait(lambda: tree.children() == {str(n) for n in held})  # no ticket, nothing else
    gaps = [n for n in range(1, 100) if n not in held]
    assert [hold().number(5).number for _ in range(10)] == gaps[:10]


@pytest.mark.parametrize("seconds", [0.2, 1.5], ids=["session survives", "session ends"])
def test_paused_in_every_step(tree: Tree, hold: MakeHolder, seconds: float) -> None:
    tree.put()
    timeout = 5.0 if seconds < 1 else 0.5
    with claimants(tree.hosts, timeout, signal.SIGSTOP) as (process, pids):
        tree.wait(lambda: all(_state(pid) == "T" for pid in pids))
        others = [hold().number(5).number for _ in range(2)]
        time.sleep(seconds)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in pids]
        claimed = [line.split(": ")[1] for line in lines]
        assert len({*claimed, *map(str, others)}) == len(pids) + 2, lines
        assert tree.children() == {*claimed, *map(str, others)}
        assert sorted(map(int, tree.children())) == list(range(1, len(pids) + 3))


def _state(pid: int) -> str:
    """Of a process: T is stopped, Z dead and not yet buried by its parent."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
