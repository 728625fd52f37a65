"""Which promises a run has put to the test: a green run says nothing of the others.

The rules have a promise each. Two more have no rule of their own, because a lease that is broken
shows up as a violation of *answers* or *unheld*, and most runs that keep these never needed one:
*lease* (it ends in time) and *renewal* (it is short enough, and one write does not begin it again).
Only an ensemble can break the second: a single server ends no session early.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

from labkit.story.claims import Tenures, Znode, grouped
from labkit.story.event import is_zookeeper
from labkit.story.run import Story

_Test: TypeAlias = Callable[[Story], bool]


_FIRST = "zookeeper1"  # which an ensemble has, and a single server is
_LOG = "it can't be judged: the log of this ZooKeeper is not the lab's to read"
_BY_LOG = ("unheld", "lowest-free", "tickets", "lease", "renewal")


def untested(history: Story) -> dict[str, str]:
    """The promises that the run could not have broken, each with what did not happen in it.

    Of an attached ensemble, those too that only ZooKeeper's transaction log could judge.
    """
    tests: dict[str, tuple[_Test, str]] = {
        "answers": (
            _changed_hands,
            "no number was answered by one node and, after that, by another",
        ),
        "unheld": (_asked_after_loss, "no node was asked after it had lost its number"),
        "lowest-free": (
            _had_a_choice,
            "no two nodes claimed at a time, and no number was claimed a second time",
        ),
        "liveness": (_came_back, "nobody was asked after something broken was whole again"),
        "tickets": (_claimed_in_trouble, "nobody claimed while something was broken"),
        "lease": (
            _slept_past_a_rival,
            "no node slept past its session's end until another had answered its number, with "
            "requests waiting for it",
        ),
    }
    if any(is_zookeeper(name) and name != _FIRST for f in history.faults for name in f.targets):
        tests["renewal"] = (
            _written_for_in_vain,
            "no session ended soon after a ZooKeeper server had slept, with requests waiting at "
            "its node",
        )
    if history.id_requests:
        tests["ids"] = (
            _shared_a_worker,
            "no node was asked for IDs after another had made some as the same worker",
        )
    missed = {name: why for name, (test, why) in tests.items() if not test(history)}
    return missed | dict.fromkeys(_BY_LOG if history.attached else (), _LOG)


def _changed_hands(history: Story) -> bool:
    first: dict[int, str] = {}
    return any(first.setdefault(r.number, r.node) != r.node for r in history.answered)


def _asked_after_loss(history: Story) -> bool:
    return any(
        life.died is not None
        and (asked := history.heard.get(life.owner or "")) is not None
        and asked.last > life.end
        for life in history.claims
    )


def _had_a_choice(history: Story) -> bool:
    if len({life.order for life in history.claims}) < len(history.claims):
        return True
    tickets = sorted(history.tickets, key=lambda ticket: ticket.born)
    return any(after.begin < before.end for before, after in pairwise(tickets))


def _came_back(history: Story) -> bool:
    healed = min((fault.end for fault in history.faults), default=math.inf)
    return any(request.invoke > healed for request in history.answered)


def _claimed_in_trouble(history: Story) -> bool:
    return any(history.in_trouble(ticket.begin, ticket.end) for ticket in history.tickets)


def _written_for_in_vain(history: Story) -> bool:
    """Whether a node, awake when a leader woke up, slept through the end of its session after that.

    What it wrote when the leader woke up was acknowledged, and did not keep the session alive.
    """
    heard, sleeps = history.heard, [fault for fault in history.faults if fault.what == "pause"]
    woken = [sleep.end for sleep in sleeps if any(map(is_zookeeper, sleep.targets))]
    return any(
        any(0 <= sleep.begin - at < history.bound(life.owner) for at in woken)
        and heard[life.owner].waiting(sleep.end) is not None
        for sleep in sleeps
        for life in history.claims
        if life.owner in sleep.targets & heard.keys() and sleep.begin < life.end < sleep.end
    )


def _slept_past_a_rival(history: Story) -> bool:
    """Whether only the lease could tell the node that its number was gone: kazoo had not yet."""
    heard = history.heard
    claims = grouped(history.claims, lambda life: life.owner or "", Tenures)
    for sleep in (fault for fault in history.faults if fault.what == "pause"):
        waited = [
            request
            for node in sleep.targets & heard.keys()
            if (request := heard[node].waiting(sleep.end)) is not None
        ]
        latest = max((request.invoke for request in waited), default=sleep.begin)
        if any(
            _answered_by_a_rival(history, life, latest)
            for node in sleep.targets & claims.keys()
            for life in claims[node].during(sleep.begin, sleep.end)
            if sleep.begin < life.end < sleep.end  # it ended, with its session, in the sleep
        ):
            return True
    return False


def _answered_by_a_rival(history: Story, lost: Znode, before: float) -> bool:
    """Whether another node had claimed a number that was lost, and answered it before a moment."""
    return any(
        request.node != lost.owner
        and lost.end < request.done < before
        and history.claim_behind(request) is not None
        for request in history.answers(lost.order, lost.end, before)
    )


def _shared_a_worker(history: Story) -> bool:
    """Whether a node was asked again that had made IDs as the worker that another is by now."""
    first: dict[int, str] = {}
    taken: dict[str, float] = {}  # node: since when another node has its worker number
    for request in sorted(history.id_requests, key=lambda request: request.done):
        for worker in {run[0] >> 12 & 1023 for run in request.runs}:
            before = first.setdefault(worker, request.node)
            if before != request.node:
                taken.setdefault(before, request.done)
    return any(r.done > taken.get(r.node, math.inf) for r in history.id_requests)
