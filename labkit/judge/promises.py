"""Which promises a run has put to the test: a green run says nothing of the others.

The rules have a promise each, and the lease is one more: it has no rule of its own, since what it
prevents breaks *answers* and *unheld*, but most runs that keep these never needed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

from labkit.judge.facts import Fault, History, Life, Request

_Test: TypeAlias = Callable[[History], bool]


def untested(history: History) -> dict[str, str]:
    """The promises that the run could not have broken, each with what did not happen in it."""
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
    if history.id_requests:
        tests["ids"] = _shared_a_worker, "no two nodes made IDs as the same worker"
    return {name: why for name, (test, why) in tests.items() if not test(history)}


def _changed_hands(history: History) -> bool:
    first: dict[int, str] = {}
    return any(first.setdefault(r.number, r.node) != r.node for r in history.answered)


def _asked_after_loss(history: History) -> bool:
    last = {request.node: request.invoke for request in _heard(history)}
    return any(
        life.died is not None and last.get(life.owner or "", 0.0) > life.end
        for life in history.claims
    )


def _had_a_choice(history: History) -> bool:
    if len({life.order for life in history.claims}) < len(history.claims):
        return True
    tickets = sorted(history.tickets, key=lambda ticket: ticket.born)
    return any(after.begin < before.end for before, after in pairwise(tickets))


def _came_back(history: History) -> bool:
    ends = [fault.end for fault in history.faults]
    return any(request.invoke > end for request in history.answered for end in ends)


def _claimed_in_trouble(history: History) -> bool:
    return any(
        ticket.begin <= fault.end and fault.begin <= ticket.end
        for ticket in history.tickets
        for fault in history.faults
    )


def _slept_past_a_rival(history: History) -> bool:
    """Whether it took a lease to see that the number was gone: nobody had told the node so yet."""
    heard = _heard(history)
    for sleep in (fault for fault in history.faults if fault.what == "pause"):
        waited = [
            request
            for request in heard
            if request.node in sleep.targets and request.invoke < sleep.end < request.done
        ]
        latest = max((request.invoke for request in waited), default=sleep.begin)
        if any(_answered_by_a_rival(history, life, latest) for life in _lost(history, sleep)):
            return True
    return False


def _lost(history: History, sleep: Fault) -> Iterator[Life]:
    """The claims that ended, with their sessions, while their holder slept."""
    for life in history.claims:
        if life.owner in sleep.targets and sleep.begin < life.end < sleep.end:
            yield life


def _answered_by_a_rival(history: History, lost: Life, before: float) -> bool:
    """Whether another node had claimed a number that was lost, and answered it before a moment."""
    return any(
        request.number == lost.order
        and lost.end < request.done < before
        and request.node != lost.owner
        and history.claim_behind(request) is not None
        for request in history.answered
    )


def _heard(history: History) -> list[Request]:
    """The requests that were answered in any way, with a number or a refusal, as they were made."""
    answered = (r for r in history.requests if r.phase == "ok" or r.events[-1].status)
    return sorted(answered, key=lambda request: request.invoke)


def _shared_a_worker(history: History) -> bool:
    first: dict[int, str] = {}
    return any(
        first.setdefault(worker, request.node) != request.node
        for request in history.id_requests
        for worker in {run[0] >> 12 & 1023 for run in request.runs}
    )
