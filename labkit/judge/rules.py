"""The checker: what may never be true of a run, judged from its events alone.

`check` is pure. It takes a timeline that holds requests, faults and ZooKeeper's transaction log,
and looks for breaches of its rules:

- *answers*: a request that was invoked after an answer with a newer token had completed is
  answered with an older one for the same number; or two nodes answer one number and no token
  tells them apart.
- *unheld*: a node answers a number whose znode it did not hold at any moment of the request.
- *lowest-free*: at no instant during a claim was every smaller number held, or the target of a
  live ticket ahead of the claim's own.
- *liveness*: after the last fault was healed, a live node does not answer within the session
  timeout and a second.
- *tickets*: one is left when nobody is claiming.
- *ids*, where the run has asked for some: one was made twice.

A request is an interval, because the client knows when it asked and when it was answered but not
when the node looked. A request without an answer proves nothing either way. ZooKeeper's log is
exact about order, and the rules that can be judged by order alone (*lowest-free*) look at no
clock; its times are the servers' wall clock in milliseconds, noted when a change is proposed and
not when it is applied, which is what `tolerance` is for.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from labkit.judge.promises import untested
from labkit.judge.report import Report, Violation, counted
from labkit.story.claims import Znode
from labkit.story.event import Event, is_zookeeper
from labkit.story.requests import Request
from labkit.story.run import Story


def check(
    events: Iterable[Event], *, session_timeout: float = 5.0, tolerance: float = 0.05
) -> Report:
    """Judge a run by its events: `check(lab.history()).violations`.

    `session_timeout` and `tolerance` are in seconds; a node whose status says what timeout it
    negotiated is judged by that, and `session_timeout` is for the others. A znode counts as held
    from `tolerance` before until `tolerance` after the times in the log, so that neither the log's
    milliseconds nor the moment between a change's proposal and its effect can accuse an honest
    node.
    Raises `HistoryError` for events that contradict each other.
    """
    history = Story(events, tolerance=tolerance, session_timeout=session_timeout)
    asked = {node: _asked(history, node) for node in history.live_nodes}
    unjudged = _unjudged(history, asked)
    violations = [
        *_answers(history),
        *_unheld(history),
        *_lowest_free(history),
        *_liveness(history, asked),
        *_tickets(history),
        *_ids(history),
    ]
    return Report(
        violations=tuple(sorted(violations, key=lambda v: (v.begin, v.end, v.subject))),
        vacuous=tuple(_vacuous(history, unjudged)),
        answered=len(history.answered),
        failed=sum(r.phase == "fail" for r in history.number_requests),
        unknown=sum(r.phase == "unknown" for r in history.number_requests),
        during_faults=history.during_faults,
        faults=history.fault_count,
        judged={
            "answers": len(history.answered),
            "unheld": sum(not history.is_lost(r) for r in history.answered) if history.times else 0,
            "lowest-free": 0 if history.lost.changes else len(history.claims),
            "liveness": len(history.live_nodes) - len(unjudged),
            "tickets": 0 if history.lost.faults else len(history.tickets),
            "ids": sum(b - a + 1 for r in history.id_requests for a, b in r.runs),
        },
        untested=untested(history),
    )


def _answers(history: Story) -> Iterator[Violation]:
    answered = [r for r in history.answered if r.token is not None or not history.is_lost(r)]
    yield from _older_after_newer(history, answered)
    yield from _indistinguishable(history, answered)


def _token(history: Story, request: Request) -> int:
    """An answer's token; if that names no claim, the one of the newest it could mean (0: none)."""
    if request.token is not None and (
        request.token in history.by_token or history.is_lost(request) or not history.times
    ):
        return request.token
    life = next(history.claims_of(request, -math.inf, request.done + history.tolerance), None)
    return 0 if life is None else life.zxid


def _older_after_newer(history: Story, answered: Sequence[Request]) -> Iterator[Violation]:
    completed = iter(sorted(answered, key=lambda r: r.done))
    following = next(completed, None)
    newest: dict[int, tuple[int, Request]] = {}  # of each number: its token, and the request
    late: dict[tuple[int, str, int], list[tuple[Request, Request]]] = defaultdict(list)
    for request in sorted(answered, key=lambda r: r.invoke):
        while following is not None and following.done < request.invoke:
            token = _token(history, following)
            if following.number not in newest or token > newest[following.number][0]:
                newest[following.number] = token, following
            following = next(completed, None)
        token = _token(history, request)
        if request.number in newest and newest[request.number][0] > token:
            newer = newest[request.number][1]
            late[request.number, request.node, token].append((request, newer))
    for (_, node, _), pairs in late.items():
        first, newer = pairs[0]
        yield Violation(
            "answers",
            first.invoke,
            pairs[-1][0].done,
            node,
            _stale(history, [late_one for late_one, _ in pairs], newer),
            (*newer.events, *(event for late_one, _ in pairs for event in late_one.events)),
        )


def _indistinguishable(history: Story, answered: Sequence[Request]) -> Iterator[Violation]:
    by_claim: dict[tuple[int, int], dict[str, Request]] = defaultdict(dict)
    for request in answered:
        by_claim[request.number, _token(history, request)].setdefault(request.node, request)
    for (number, token), firsts in by_claim.items():
        if len(firsts) > 1:
            ordered = sorted(firsts.values(), key=lambda r: r.done)
            yield Violation(
                "answers",
                ordered[1].invoke,  # one answer alone is no contradiction
                ordered[-1].done,
                ",".join(sorted(firsts)),
                _together(number, ordered, token),
                tuple(event for request in firsts.values() for event in request.events),
            )


def _together(number: int, requests: Sequence[Request], token: int) -> str:
    """What is wrong with the first answers of several nodes, which no claim tells apart."""
    first, *others = requests
    at = [f"{r.node} at {r.done:.2f} s" for r in others]
    if len(others) > 2:
        at[1:] = [f"{len(others) - 1} more until {others[-1].done:.2f} s"]
    both = len(requests) == 2
    why = f"{'both' if both else 'all'} by the same claim, which only one node can have made"
    if not token:
        why = f"{'neither' if both else 'none of them'} had ever held it"
    answered = _list([f"{first.node} answered {number} at {first.done:.2f} s", *at])
    return f"{answered}; {why}."


def _stale(history: Story, requests: Sequence[Request], newer: Request) -> str:
    """What is wrong with answers that came after the one of a newer holder."""
    holder = _holder(history, requests[0])
    before = f"{newer.node}, a newer holder, had answered it at {newer.done:.2f} s"
    if holder is not None and holder.owner == newer.node:
        return f"{_answered(requests)}; {_since(holder)}."
    return f"{_answered(requests)}, though {before}."


def _answered(requests: Sequence[Request]) -> str:
    """The node, its answer, when and how often: the first half of a sentence."""
    first, more = requests[0], len(requests) - 1
    again = f", and {more:,} more times until {requests[-1].done:.2f} s" if more > 1 else ""
    again = f", and again at {requests[-1].done:.2f} s" if more == 1 else again
    return f"{first.node} answered {first.number} at {first.done:.2f} s{again}"


def _holder(history: Story, request: Request) -> Znode | None:
    """The claim of another node that held the number when the request was answered."""
    claims = history.claims_on(request.number, request.done, request.done)
    rivals = (life for life in claims if life.owner != request.node and request.done < life.end)
    return next(rivals, None)


def _since(holder: Znode) -> str:
    who = holder.owner or f"session {holder.session}"
    return f"at that moment {who} held {holder.order}, since {holder.begin:.2f} s"


def _unheld(history: Story) -> Iterator[Violation]:
    if not history.times:
        return
    found: dict[tuple[str, int, int | None], list[Request]] = defaultdict(list)
    for request in history.answered:
        if not history.is_lost(request) and not _held(history, request):
            life = history.claim_behind(request)
            key = (request.node, request.number, None if life is None else life.zxid)
            found[key].append(request)
    for (node, _, zxid), requests in found.items():
        first, last = requests[0], requests[-1]
        yield Violation(
            "unheld",
            first.invoke,
            last.done,
            node,
            f"{_answered(requests)}; {_why_unheld(history, first, zxid)}.",
            tuple(event for request in requests for event in request.events),
        )


def _held(history: Story, request: Request) -> bool:
    since, until = request.invoke - history.tolerance, request.done + history.tolerance
    if request.token is None:
        return any(history.claims_of(request, since, until))
    life = history.claim_behind(request)
    if life is None or life.owner not in (None, request.node):
        return False
    return life.begin <= until and since <= life.end


def _why_unheld(history: Story, request: Request, zxid: int | None) -> str:
    """Who had the number instead, and when the node itself had had it."""
    holder = _holder(history, request)
    held = "nobody held it at that moment" if holder is None else _since(holder)
    own = history.claims_of(request, -math.inf, request.done + history.tolerance)
    life = next(own, None) if zxid is None else history.by_token[zxid]
    if life is None:
        return f"it had never held it, and {held}"
    if life.owner not in (None, request.node):
        return f"the claim that its token names is {life.owner}'s"
    if life.begin > request.done:
        return f"it held it only from {life.begin:.2f} s on"
    if request.invoke - history.tolerance <= life.end:
        return f"{_misnomer(history, request)}; the znode's czxid is {life.zxid}"
    return f"it had held it from {life.begin:.2f} s to {life.end:.2f} s, and {held}"


def _misnomer(history: Story, request: Request) -> str:
    """What a token names that is not the czxid of the znode behind its answer."""
    life = history.by_token.get(request.token or 0)
    named = f"no claim of number {request.number}" if life is None else f"number {life.order}"
    return f"its token {request.token} names {named}"


@dataclass
class _Claiming:
    """A claim in progress, while no instant has justified it yet."""

    life: Znode
    fewest: int = 2**31  # smaller numbers that were free and that nobody ahead was to get


def _lowest_free(history: Story) -> Iterator[Violation]:
    if history.lost.changes:
        return  # a number that looks free may be held since before the log begins
    begins: dict[int, list[_Claiming]] = defaultdict(list)
    for life in history.claims:
        begins[_claim_begin(history, life)].append(_Claiming(life))
    held: list[int] = []
    queues: dict[str, list[int]] = defaultdict(list)  # by parent, which counts its own
    births: dict[int, list[Znode]] = defaultdict(list)
    deaths: dict[int, list[Znode]] = defaultdict(list)
    for life in [*history.claims, *history.tickets]:
        births[life.born].append(life)
        if life.died is not None:
            deaths[life.died].append(life)
    claiming: list[_Claiming] = begins[-1]
    for index in range(-1, len(history.times)):
        due = [claim for claim in claiming if claim.life.born == index]
        for claim in due:
            yield _hole(history, claim)
        for life in deaths[index]:
            group = queues[_parent(life)] if life.is_ticket else held
            del group[bisect_left(group, life.order)]
        for life in births[index]:
            insort(queues[_parent(life)] if life.is_ticket else held, life.order)
        if index >= 0:
            claiming = [c for c in claiming if c.life.born != index] + begins[index]
        for claim in claiming:
            number, ticket = claim.life.order, claim.life.ticket
            free = number - 1 - bisect_left(held, number)
            ahead = bisect_left(queues[_parent(ticket)], ticket.order) if ticket is not None else 0
            claim.fewest = min(claim.fewest, free - ahead)
        claiming = [claim for claim in claiming if claim.fewest > 0]


def _parent(ticket: Znode) -> str:
    return ticket.name.rpartition("/")[0]


def _claim_begin(history: Story, life: Znode) -> int:
    """The change after which the claim can first have looked; -1 is before the first one.

    With a ticket, that is the ticket's creation. Without one (the sample's algorithm) it is the
    session's creation, or the first request that can have led to this claim.
    """
    if life.ticket is not None:
        return life.ticket.born
    begin = history.sessions.get(life.session, -1)
    asked, slack = history.asked.get(life.owner or ""), history.tolerance
    first = asked.first(life.begin - slack, by=life.begin + slack) if asked else None
    if first and not history.lost.requests:
        begin = max(begin, bisect_left(history.times, first.invoke - slack) - 1)
    return min(begin, life.born - 1)


def _hole(history: Story, claim: _Claiming) -> Violation:
    life, ticket = claim.life, claim.life.ticket
    begin = ticket.begin if ticket is not None else life.begin
    claimant = life.owner or f"session {life.session}"
    return Violation(
        "lowest-free",
        begin,
        life.begin,
        claimant,
        f"{claimant} claimed {life.order} at {life.begin:.2f} s, though all the while "
        f"at least {counted(claim.fewest, 'smaller number')} "
        f"{'was' if claim.fewest == 1 else 'were'} free and due to nobody ahead of it.",
        (*([ticket.event] if ticket is not None else []), life.event),
    )


def _liveness(history: Story, asked_of: Mapping[str, list[Request]]) -> Iterator[Violation]:
    if history.lost.faults:
        return  # a node may still be cut off, since before the events begin
    for node in history.live_nodes:
        healed, bound = history.healed_at(node), history.bound(node)
        asked = asked_of[node]
        if healed is None or not asked or any(r.phase == "ok" for r in asked):
            continue
        if history.end < healed + bound:
            continue
        reasons = sorted({_reason(r) for r in asked})
        yield Violation(
            "liveness",
            healed,
            healed + bound,
            node,
            f"{node} did not answer within {bound:g} s after the last fault was healed at "
            f"{healed:.2f} s: {_times(asked)} asked, and it said {_list(reasons)}.",
            tuple(event for request in asked for event in request.events),
        )


def _asked(history: Story, node: str) -> list[Request]:
    """The requests to a node, after the last fault, that were over in time, or should be.

    Who is asked later than that for the first time must answer then.
    """
    healed = history.healed_at(node)
    if healed is None:
        return []
    after = [r for r in history.owed(node) if r.done >= healed]
    first = min((_counts_at(r) for r in after), default=healed)
    return [r for r in after if _counts_at(r) <= max(healed + history.bound(node), first)]


def _counts_at(request: Request) -> float:
    """An answer counts from its arrival, a refusal or a timeout from when it was asked for."""
    return request.done if request.phase == "ok" else request.invoke


def _reason(request: Request) -> str:
    end = request.end
    return end.reason or end.error or "nothing"


def _tickets(history: Story) -> Iterator[Violation]:
    if history.lost.faults:
        return
    calm = list(_calm(history))
    for ticket in history.tickets:
        node = history.owners.get(ticket.session)
        bound = history.bound(node)
        end = min(ticket.end, history.end)
        first = bisect_right(calm, ticket.begin, key=lambda stretch: stretch[1])
        last = bisect_left(calm, end, key=lambda stretch: stretch[0])
        for calm_begin, calm_end in islice(calm, first, last):
            begin, until = max(ticket.begin, calm_begin), min(end, calm_end)
            if until - begin > bound:
                holder = node or f"session {ticket.session}"
                fate = "is there still" if ticket.end == math.inf else "lasted"
                yield Violation(
                    "tickets",
                    begin,
                    until,
                    holder,
                    f"{ticket.name} of {holder}, created at {ticket.begin:.2f} s, {fate} "
                    f"{until - begin:.2f} s later, with nothing in the way of its claim.",
                    (ticket.event,),
                )
                break


def _ids(history: Story) -> Iterator[Violation]:
    made = sorted(((a, b, r) for r in history.id_requests for a, b in r.runs), key=lambda m: m[:2])
    for (_, last, one), (first, _, other) in pairwise(made):
        if first <= last:
            yield Violation(
                "ids",
                min(one.invoke, other.invoke),
                max(one.done, other.done),
                ",".join(sorted({one.node, other.node})),
                f"{one.node} and {other.node} both made the ID {first}, at {one.done:.2f} s and "
                f"{other.done:.2f} s."
                if one.node != other.node
                else f"{one.node} made the ID {first} twice, at {one.done:.2f} s and "
                f"{other.done:.2f} s.",
                (*one.events, *other.events),
            )


def _calm(history: Story) -> Iterator[tuple[float, float]]:
    """The stretches of time in which no fault was in force."""
    calm_since = -math.inf
    for fault in history.faults:
        if fault.begin > calm_since:
            yield calm_since, fault.begin
        lasting = fault.end == math.inf and not any(map(is_zookeeper, fault.targets))
        calm_since = max(calm_since, fault.begin if lasting else fault.end)
    yield calm_since, math.inf


def _unjudged(history: Story, asked_of: Mapping[str, list[Request]]) -> dict[str, str]:
    """The live nodes for which the run does not show whether they came back, and why not."""
    found = {}
    for node in history.live_nodes:
        healed, bound = history.healed_at(node), history.bound(node)
        asked = asked_of[node]
        if history.lost.faults:
            found[node] = "what was broken at the beginning is not known"
        elif healed is None:
            found[node] = "what was broken was not healed"
        elif not any(r.phase == "ok" for r in asked) and (
            not asked or history.end < healed + bound
        ):
            found[node] = f"the run did not ask for {bound:g} s after the last fault"
    return found


def _vacuous(history: Story, unjudged: Mapping[str, str]) -> Iterator[str]:
    if not history.answered:
        yield "no request was answered"
    if not history.faults:
        yield "no fault was injected"
    elif not history.during_faults:
        yield "no request overlapped a fault"
    if not history.times and not history.attached:  # of an attached ensemble, `untested` says it
        yield (
            "there is no transaction log to hold the answers against: lab.history() is the "
            "timeline with the log merged in"
        )
    if history.lost.beginning or any(map(history.is_lost, history.answered)):
        yield (
            f"the beginning is missing: the timeline grew too long, and has dropped "
            f"{counted(history.lost.count, 'event')}"
        )
    for reason in sorted(set(unjudged.values())):
        nodes = [node for node, why in unjudged.items() if why == reason]
        yield f"liveness of {_list(nodes)} was not judged: {reason}"


# --- sentences --------------------------------------------------------------------------------


def _times(things: Sequence[object]) -> str:
    return "once" if len(things) == 1 else f"{len(things):,} times"


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
