"""The checker: what may never be true of a run, judged from its events alone.

`check` is pure. It takes a timeline that holds requests, faults and ZooKeeper's transaction log,
and looks for breaches of five rules:

- *answers*: a request that was invoked after an answer with a newer token had completed is
  answered with an older one for the same number; or two nodes answer one number and no token
  tells them apart.
- *unheld*: a node answers a number whose znode it did not hold at any moment of the request.
- *lowest-free*: at no instant during a claim was every smaller number held, or the target of a
  live ticket ahead of the claim's own.
- *liveness*: after the last fault was healed, a live node does not answer within the session
  timeout and a second.
- *tickets*: one is left when nobody is claiming.

A request is an interval, because the client knows when it asked and when it was answered but not
when the node looked. A request without an answer proves nothing either way. ZooKeeper's log is
exact about order, and the rules that can be judged by order alone (*lowest-free*) look at no
clock; its times are the servers' wall clock in milliseconds, noted when a change is proposed and
not when it is applied, which is what `tolerance` is for.
"""

from __future__ import annotations

import html
import json
import math
import re
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import Any, Literal

from labkit.errors import HistoryError
from labkit.faults import is_zookeeper
from labkit.timeline import Event, owner

Rule = Literal["answers", "unheld", "lowest-free", "liveness", "tickets"]
RULES: tuple[Rule, ...] = ("answers", "unheld", "lowest-free", "liveness", "tickets")


@dataclass(frozen=True)
class Violation:
    """One breach of a rule. Times are in seconds on the timeline; `subject` is to blame."""

    rule: Rule
    begin: float
    end: float
    subject: str
    message: str
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return f"[{self.rule}] {self.message}"

    def to_json(self) -> dict[str, Any]:
        """What `labkit chaos --json` prints of it; of its events only the first few."""
        return {
            "rule": self.rule,
            "begin": round(self.begin, 3),
            "end": round(self.end, 3),
            "subject": self.subject,
            "message": self.message,
            "events": [json.loads(event.to_json()) for event in self.events[:10]],
        }


@dataclass(frozen=True, repr=False)
class Report:
    """The verdict on a run.

    `vacuous` holds a sentence for each reason why the run proves less than it seems to. `judged`
    counts what each rule was applied to; `during_faults` the requests that overlapped a fault.
    """

    violations: tuple[Violation, ...]
    vacuous: tuple[str, ...]
    answered: int
    failed: int
    unknown: int
    during_faults: int
    faults: int
    judged: Mapping[Rule, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No violation, and the run could have shown one."""
        return not self.violations and not self.vacuous

    @property
    def verdict(self) -> str:
        if self.violations:
            return f"{_count(len(self.violations), 'violation')}"
        return "vacuous" if self.vacuous else "ok"

    def __repr__(self) -> str:
        requests = (
            f"{self.answered:,} answered, {self.failed:,} failed, {self.unknown:,} unknown; "
            f"{self.during_faults:,} during {_count(self.faults, 'fault')}"
        )
        lines = [f"{self.verdict}: {requests}"]
        lines += [f"  {violation}" for violation in self.violations]
        lines += [f"  [vacuous] {reason}" for reason in self.vacuous]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = "#1b7837" if self.ok else "#8c510a" if not self.violations else "#b2182b"
        rows = [
            (rule, f"{self.judged.get(rule, 0):,}", [v.message for v in self.violations_of(rule)])
            for rule in RULES
        ]
        body = "".join(
            f"<tr><td>{rule}</td><td style='text-align:right'>{judged}</td>"
            f"<td style='text-align:left'>{'<br>'.join(map(html.escape, found)) or 'holds'}</td>"
            "</tr>"
            for rule, judged, found in rows
        )
        reasons = "".join(f"<p>Vacuous: {html.escape(reason)}</p>" for reason in self.vacuous)
        return (
            f"<p><b style='color:{colour}'>{self.verdict}</b> &nbsp; {self.answered:,} answered, "
            f"{self.failed:,} failed, {self.unknown:,} unknown; {self.during_faults:,} during "
            f"{_count(self.faults, 'fault')}</p>{reasons}"
            "<table><tr><th>rule</th><th>judged</th><th style='text-align:left'>verdict</th></tr>"
            f"{body}</table>"
        )

    def violations_of(self, rule: Rule) -> tuple[Violation, ...]:
        """The breaches of one rule."""
        return tuple(violation for violation in self.violations if violation.rule == rule)


def check(
    events: Iterable[Event], *, session_timeout: float = 5.0, tolerance: float = 0.05
) -> Report:
    """Judge a run by its events.

    `session_timeout` and `tolerance` are in seconds; a node whose status says what timeout it
    negotiated is judged by that, and `session_timeout` is for the others. A znode counts as held
    from `tolerance` before until `tolerance` after the times in the log, so that neither the log's
    milliseconds nor the moment between a change's proposal and its effect can accuse an honest
    node.
    Raises `HistoryError` for events that contradict each other.
    """
    history = _History(list(events), tolerance, session_timeout)
    unjudged = _unjudged(history)
    violations = [
        *_answers(history),
        *_unheld(history),
        *_lowest_free(history),
        *_liveness(history),
        *_tickets(history),
    ]
    return Report(
        violations=tuple(sorted(violations, key=lambda v: (v.begin, v.end, v.subject))),
        vacuous=tuple(_vacuous(history, unjudged)),
        answered=len(history.answered),
        failed=sum(r.phase == "fail" for r in history.requests),
        unknown=sum(r.phase == "unknown" for r in history.requests),
        during_faults=len(history.during_faults),
        faults=history.fault_count,
        judged={
            "answers": len(history.answered),
            "unheld": sum(not history.is_lost(r) for r in history.answered)
            if history.changes
            else 0,
            "lowest-free": 0 if "transaction" in history.lost.kinds else len(history.claims),
            "liveness": len(history.live_nodes) - len(unjudged),
            "tickets": 0 if history.lost.kinds & _BREAKS else len(history.tickets),
        },
    )


def silences(events: Iterable[Event]) -> dict[str, float]:
    """For each node, the longest time in seconds for which nobody got an answer from it."""
    answers: dict[str, list[float]] = {}
    until: dict[str, float] = {}
    for request in _requests(list(events)):
        # Whoever asks first and last marks the ends of the time in which there was anybody to ask.
        times = answers.setdefault(request.node, [request.invoke])
        times += [request.done] if request.phase == "ok" else []
        until[request.node] = max(until.get(request.node, 0.0), request.events[-1].t)
    longest = {}
    for node, times in answers.items():
        ordered = sorted([*times, until[node]])
        longest[node] = max(b - a for a, b in pairwise(ordered))
    return longest


# --- what the events tell ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Request:
    """One request to a node: asked at `invoke`, over at `done`."""

    node: str
    phase: str
    events: tuple[Event, ...]

    @property
    def invoke(self) -> float:
        return self.events[0].t

    @property
    def done(self) -> float:
        return self.events[-1].t if len(self.events) > 1 else math.inf

    @property
    def abandoned(self) -> bool:
        """Whether the client gave it up of its own will: that no answer came proves nothing."""
        return bool(self.events[-1].data.get("abandoned"))

    @property
    def number(self) -> int:
        return int(self.events[-1].data["number"])

    @property
    def token(self) -> int | None:
        token = self.events[-1].data.get("token")
        return None if token is None else int(token)


@dataclass
class _Life:
    """One znode, from its creation to its end; `begin` and `end` also as indices into the log."""

    name: str
    zxid: int
    session: str
    owner: str | None
    order: int  # a number's value, or a ticket's place in the queue
    begin: float
    event: Event
    born: int
    end: float = math.inf
    died: int | None = None
    ticket: _Life | None = None

    @property
    def is_ticket(self) -> bool:
        return "ticket-" in self.name


@dataclass(frozen=True)
class _Fault:
    """Something that was wrong from `begin` to `end`; `end` is infinite if it never healed."""

    begin: float
    end: float
    what: str
    targets: frozenset[str]
    cause: Any  # the id of the verb or fault: stopping all of an ensemble is one


_SERVER = re.compile(r"zookeeper\d+")
_CLAIM = re.compile(r"/sequence/(?:ticket-.*-(\d{1,10})|([1-9]\d{0,9}))")  # numbers start at 1


class _History:
    """The events of a run, sorted into requests, znodes' lives, and faults."""

    def __init__(self, events: Sequence[Event], tolerance: float, session_timeout: float) -> None:
        self.tolerance = tolerance
        self._session_timeout = session_timeout
        self._negotiated = _negotiated(events)
        self.end = max((event.t for event in events), default=0.0)
        self.requests = list(_requests(events))
        self.answered = [r for r in self.requests if r.phase == "ok"]
        changes = (event for event in events if event.kind == "transaction")
        # One change per zxid: nobody ever sees a multi half done.
        self.changes = [
            list(parts)
            for _, parts in groupby(
                sorted(changes, key=lambda e: int(e.data["zxid"])), lambda e: int(e.data["zxid"])
            )
        ]
        self.times = list(accumulate((parts[0].t for parts in self.changes), max))
        self.claims: list[_Life] = []  # numbers, in the order of their creation
        self.tickets: list[_Life] = []
        self.sessions: dict[str, int] = {}  # the change that created each
        self._owner_of = _owners(events)
        self._follow_changes()
        self.by_token = {life.zxid: life for life in self.claims}
        self.by_owner: dict[tuple[int, str | None], list[_Life]] = defaultdict(list)
        for life in self.claims:
            self.by_owner[life.order, life.owner].append(life)
        self.faults, self._down, self._started = _faults(events)
        since = min((request.invoke for request in self.requests), default=0.0)
        injected = sum(
            e.kind == "fault" and e.data["phase"] == "begin" and e.t >= since for e in events
        )
        self.fault_count = injected or len({fault.cause for fault in self.faults})
        self.during_faults = [
            r for r in self.requests if any(_overlap(r, fault) for fault in self.faults)
        ]
        self.lost = _lost(events)
        self.nodes = sorted({request.node for request in self.requests})
        self.live_nodes = [node for node in self.nodes if node not in self._down]

    def _follow_changes(self) -> None:
        alive: dict[str, _Life] = {}
        for index, parts in enumerate(self.changes):
            ended: list[_Life] = []
            created: list[_Life] = []
            for event in parts:
                op, path = event.data["op"], str(event.data.get("path"))
                session = str(event.data["session"])
                if op == "createSession":
                    self.sessions[session] = index
                elif op == "closeSession":
                    ephemeral = [name for name, x in alive.items() if x.session == session]
                    ended += [alive.pop(name) for name in ephemeral]
                elif op == "delete" and path in alive:
                    ended.append(alive.pop(path))
                elif op == "create" and (match := _CLAIM.fullmatch(path)):
                    by = owner(event.data.get("value")) or self._owner_of.get(session)
                    zxid, order = int(event.data["zxid"]), int(match[1] or match[2])
                    alive[path] = _Life(path, zxid, session, by, order, event.t, event, index)
                    created.append(alive[path])
            for life in ended:
                life.end, life.died = parts[0].t, index
            # Made and deleted in one transaction is never there: no one can have seen it.
            ended = [life for life in ended if life.born != index]
            created = [life for life in created if life.died != index]
            for life in created:
                if not life.is_ticket:
                    life.ticket = _ticket_of(life, ended, alive)
                (self.tickets if life.is_ticket else self.claims).append(life)

    def claim_behind(self, request: _Request) -> _Life | None:
        """The znode that an answer speaks of; an answer without a token, the best it could mean."""
        if request.token is not None:
            life = self.by_token.get(request.token)
            matches = life is not None and life.order == request.number
            return life if matches else None
        lives = self.by_owner.get((request.number, request.node), [])
        begun = [life for life in lives if life.begin <= request.done + self.tolerance]
        return begun[-1] if begun else None

    def is_lost(self, request: _Request) -> bool:
        """Whether the claim behind an answer may be among what the timeline has dropped."""
        if request.token is not None:
            return request.token <= self.lost.zxid
        return bool(self.lost.kinds & _NAMING) and self.claim_behind(request) is None

    def bound(self, node: str | None) -> float:
        """The seconds after which nothing may be in the way of a node's answer any more."""
        return self._negotiated.get(node or "", self._session_timeout) + 1.0

    def asked_of(self, node: str) -> list[_Request]:
        """The requests to a node that it owed an answer."""
        return [r for r in self.requests if r.node == node and not r.abandoned]

    def healed_at(self, node: str) -> float | None:
        """When the last fault that could keep `node` from answering was over; None: it is not."""
        lasting = [f for f in self.faults if f.end == math.inf]
        if any(node in f.targets or any(map(is_zookeeper, f.targets)) for f in lasting):
            return None
        begin = min((r.invoke for r in self.asked_of(node)), default=0.0)
        ends = [f.end if f.end < math.inf else f.begin for f in self.faults]
        return max([begin, self._started.get(node, 0.0), *ends])


# What has to be known of a run from its beginning: who did what, who held what, what was broken;
# and what says whose a claim was that names no owner itself.
_ESSENTIAL = frozenset({"request", "transaction", "verb", "fault"})
_NAMING = frozenset({"transaction", "status"})
_BREAKS = frozenset({"verb", "fault"})


@dataclass(frozen=True)
class _Lost:
    """What a timeline that grew too long has dropped: how much of what, up to which zxid."""

    count: int = 0
    kinds: frozenset[str] = frozenset()
    zxid: int = 0


def _lost(events: Sequence[Event]) -> _Lost:
    said = [event.data for event in events if event.kind == "dropped"]
    return _Lost(
        sum(data["events"] for data in said),
        frozenset(kind for data in said for kind in data["kinds"]),
        max((data["zxid"] for data in said), default=0),
    )


def _requests(events: Sequence[Event]) -> Iterator[_Request]:
    invoked: dict[tuple[str, Any], Event] = {}
    may_be_cut = "request" in _lost(events).kinds
    for event in events:
        if event.kind != "request" or event.data.get("path", "/sequence") != "/sequence":
            continue
        key, phase = (event.subject, event.data.get("id")), event.data["phase"]
        if phase == "invoke":
            if key in invoked:
                raise HistoryError(f"Request {key[1]} to {key[0]} was invoked twice: {event}")
            invoked[key] = event
        elif key not in invoked:
            if may_be_cut:
                continue
            raise HistoryError(f"Request {key[1]} to {key[0]} ended but never began: {event}")
        else:
            begin = invoked.pop(key)
            if event.t < begin.t:
                raise HistoryError(f"Request {key[1]} to {key[0]} ended before it began: {event}")
            yield _Request(event.subject, phase, (begin, event))
    for (node, _), event in invoked.items():
        yield _Request(node, "unknown", (event,))


def _owners(events: Sequence[Event]) -> dict[str, str]:
    """Which node each session belonged to, as far as the nodes said so themselves."""
    said = (event for event in events if event.kind == "status" and event.data.get("session"))
    return {str(event.data["session"]): event.subject for event in said}


def _negotiated(events: Sequence[Event]) -> dict[str, float]:
    """Each node's session timeout in seconds, the longest it ever had, by its own word."""
    longest: dict[str, float] = {}
    for event in events:
        if event.kind == "status" and (timeout := event.data.get("session_timeout_ms")):
            longest[event.subject] = max(longest.get(event.subject, 0.0), timeout / 1000)
    return longest


def _ticket_of(claim: _Life, ended: list[_Life], alive: Mapping[str, _Life]) -> _Life | None:
    """The ticket a claim was made with: deleted with it, or else the session's oldest."""
    for group in (ended, alive.values()):
        own = [life for life in group if life.is_ticket and life.session == claim.session]
        if own:
            return min(own, key=lambda ticket: ticket.born)
    return None


# Verbs that break something, and those after whose end it is whole again.
_BREAKING = {
    "stop": ("start",),
    "kill": ("start",),
    "pause": ("resume", "kill", "stop"),
    "partition": ("heal", "expire"),
    "slow": ("heal", "expire"),
    "flaky": ("heal", "expire"),
    "expire": (),
}


def _faults(events: Sequence[Event]) -> tuple[list[_Fault], set[str], dict[str, float]]:
    """What was wrong and when; who is down at the end; when who was last started."""
    faults: list[_Fault] = []
    open_faults: dict[Any, Event] = {}
    # Of each server, what is broken, with the verbs that broke it: one that fails takes back its
    # own share and nobody else's.
    broken: dict[tuple[str, str], dict[Any, float]] = defaultdict(dict)
    begun: dict[Any, Event] = {}
    started: dict[str, float] = {}
    ensemble = _ensemble(events)

    def over(key: tuple[str, str], end: float) -> None:
        cause, since = next(iter(broken.pop(key).items()))
        faults.append(_Fault(since, end, key[0], frozenset({key[1]}), cause))

    for event in events:
        if event.kind == "fault":
            if event.data["phase"] == "begin":
                open_faults[event.data["id"]] = event
            elif begin := open_faults.pop(event.data["id"], None):
                faults.append(_fault(begin, event.t, _targets(event)))
        elif event.kind == "verb":
            verb, number = event.data["verb"], event.data["id"]
            servers = ensemble if event.subject == "zookeeper" else {event.subject}
            if event.data["phase"] == "begin":
                begun[number] = event
                if _BREAKING.get(verb):
                    for server in servers:
                        broken[verb, server][number] = event.t
                continue
            begin = begun.pop(number, event)
            if event.data.get("error") is not None:
                for key, causes in list(broken.items()):
                    causes.pop(number, None)
                    if not causes:
                        del broken[key]
                continue
            for what, server in list(broken):
                if verb in _BREAKING[what] and (server in servers or event.subject == "lab"):
                    over((what, server), event.t)
            if _BREAKING.get(verb) == ():
                faults.append(_Fault(begin.t, event.t, verb, frozenset(servers), number))
            if verb in ("start", "resume"):
                started[event.subject] = event.t
    faults += [_fault(begin, math.inf, _targets(begin)) for begin in open_faults.values()]
    down = {server for what, server in broken if what in ("stop", "kill", "pause")}
    for key in list(broken):
        over(key, math.inf)
    return sorted(faults, key=lambda fault: fault.begin), down, started


def _fault(begin: Event, end: float, targets: frozenset[str]) -> _Fault:
    return _Fault(begin.t, end, begin.data["fault"], targets, begin.data["id"])


def _ensemble(events: Sequence[Event]) -> set[str]:
    """ZooKeeper's servers, as far as anything was done to or heard of one by its own name."""
    names = {name for event in events for name in event.subject.split(",")}
    return {name for name in names if _SERVER.fullmatch(name)} or {"zookeeper1"}


def _targets(event: Event) -> frozenset[str]:
    return frozenset(event.subject.split(","))


def _overlap(request: _Request, fault: _Fault) -> bool:
    return request.invoke <= fault.end and fault.begin <= request.done


# --- the rules --------------------------------------------------------------------------------


def _answers(history: _History) -> Iterator[Violation]:
    by_number: dict[int, list[_Request]] = defaultdict(list)
    for request in history.answered:
        if request.token is not None or not history.is_lost(request):
            by_number[request.number].append(request)
    for number, requests in sorted(by_number.items()):
        yield from _older_after_newer(history, number, requests)
        yield from _indistinguishable(history, number, requests)


def _token(history: _History, request: _Request) -> int:
    """An answer's token; without one, that of the newest claim it could mean (0: of none)."""
    if request.token is not None:
        return request.token
    life = history.claim_behind(request)
    return 0 if life is None else life.zxid


def _older_after_newer(
    history: _History, number: int, requests: Sequence[_Request]
) -> Iterator[Violation]:
    tokens = {id(request): _token(history, request) for request in requests}
    completed = sorted(requests, key=lambda r: r.done)
    newest: _Request | None = None
    at = 0
    late: dict[tuple[str, int], list[tuple[_Request, _Request]]] = defaultdict(list)
    for request in sorted(requests, key=lambda r: r.invoke):
        while at < len(completed) and completed[at].done < request.invoke:
            if newest is None or tokens[id(completed[at])] > tokens[id(newest)]:
                newest = completed[at]
            at += 1
        if newest is not None and tokens[id(newest)] > tokens[id(request)]:
            late[request.node, tokens[id(request)]].append((request, newest))
    for (node, token), pairs in late.items():
        first, newer = pairs[0]
        yield Violation(
            "answers",
            first.invoke,
            pairs[-1][0].done,
            node,
            f"{node} answered number {number} by {_claim(token)}, {_times(pairs)}, from "
            f"{first.invoke:.2f} s on, though {newer.node} had answered it by the newer "
            f"{_claim(tokens[id(newer)])} at {newer.done:.2f} s.",
            (*newer.events, *(event for late_one, _ in pairs for event in late_one.events)),
        )


def _indistinguishable(
    history: _History, number: int, requests: Sequence[_Request]
) -> Iterator[Violation]:
    by_token: dict[int, dict[str, _Request]] = defaultdict(dict)
    for request in requests:
        by_token[_token(history, request)].setdefault(request.node, request)
    for token, firsts in by_token.items():
        if len(firsts) > 1:
            one, *_, last = sorted(firsts.values(), key=lambda r: r.done)
            yield Violation(
                "answers",
                one.invoke,
                last.done,
                ",".join(sorted(firsts)),
                f"{_list(sorted(firsts))} answered {number} by {_claim(token)} between "
                f"{one.invoke:.2f} s and {last.done:.2f} s: nothing tells them apart.",
                tuple(event for request in firsts.values() for event in request.events),
            )


def _claim(token: int) -> str:
    return f"claim {token:#x}" if token else "no claim at all"


def _unheld(history: _History) -> Iterator[Violation]:
    if not history.changes:
        return
    found: dict[tuple[str, int, int | None], list[_Request]] = defaultdict(list)
    for request in history.answered:
        if not history.is_lost(request) and not _held(history, request):
            life = history.claim_behind(request)
            key = (request.node, request.number, None if life is None else life.zxid)
            found[key].append(request)
    for (node, number, zxid), requests in found.items():
        first, last = requests[0], requests[-1]
        yield Violation(
            "unheld",
            first.invoke,
            last.done,
            node,
            f"{node} answered number {number}, {_times(requests)}, between {first.invoke:.2f} s "
            f"and {last.done:.2f} s; {_why_unheld(history, node, number, zxid)}",
            tuple(event for request in requests for event in request.events),
        )


def _held(history: _History, request: _Request) -> bool:
    slack = history.tolerance
    if request.token is None:
        lives = history.by_owner.get((request.number, request.node), [])
    else:
        life = history.claim_behind(request)
        lives = [life] if life is not None and life.owner in (None, request.node) else []
    return any(
        life.begin - slack <= request.done and request.invoke <= life.end + slack for life in lives
    )


def _why_unheld(history: _History, node: str, number: int, zxid: int | None) -> str:
    if zxid is None:
        return f"no claim of its own for /sequence/{number} is behind that."
    life = history.by_token[zxid]
    if life.owner not in (None, node):
        return f"that claim is {life.owner}'s."
    if life.end == math.inf:
        return f"it held /sequence/{number} only from {life.begin:.2f} s on."
    return f"it held /sequence/{number} from {life.begin:.2f} s to {life.end:.2f} s."


@dataclass
class _Claiming:
    """A claim in progress, while no instant has justified it yet."""

    life: _Life
    fewest: int = 2**31  # smaller numbers that were free and that nobody ahead was to get


def _lowest_free(history: _History) -> Iterator[Violation]:
    if "transaction" in history.lost.kinds:
        return  # a number that looks free may be held since before the log begins
    begins: dict[int, list[_Claiming]] = defaultdict(list)
    for life in history.claims:
        begins[_claim_begin(history, life)].append(_Claiming(life))
    held: list[int] = []
    queue: list[int] = []
    births: dict[int, list[_Life]] = defaultdict(list)
    deaths: dict[int, list[_Life]] = defaultdict(list)
    for life in [*history.claims, *history.tickets]:
        births[life.born].append(life)
        if life.died is not None:
            deaths[life.died].append(life)
    claiming: list[_Claiming] = begins[-1]
    for index in range(-1, len(history.changes)):
        due = [claim for claim in claiming if claim.life.born == index]
        for claim in due:
            yield _hole(history, claim)
        for life in deaths[index]:
            group = queue if life.is_ticket else held
            del group[bisect_left(group, life.order)]
        for life in births[index]:
            insort(queue if life.is_ticket else held, life.order)
        if index >= 0:
            claiming = [c for c in claiming if c.life.born != index] + begins[index]
        for claim in claiming:
            number, ticket = claim.life.order, claim.life.ticket
            free = number - 1 - bisect_left(held, number)
            ahead = bisect_left(queue, ticket.order) if ticket is not None else 0
            claim.fewest = min(claim.fewest, free - ahead)
        claiming = [claim for claim in claiming if claim.fewest > 0]


def _claim_begin(history: _History, life: _Life) -> int:
    """The change after which the claim can first have looked; -1 is before the first one.

    With a ticket, that is the ticket's creation. Without one (the sample's algorithm) it is the
    session's creation, or the first request that can have led to this claim.
    """
    if life.ticket is not None:
        return life.ticket.born
    begin = history.sessions.get(life.session, -1)
    asked = [
        r.invoke
        for r in history.requests
        if r.node == life.owner
        and r.invoke <= life.begin + history.tolerance
        and (r.phase == "unknown" or r.done >= life.begin - history.tolerance)
    ]
    if asked and "request" not in history.lost.kinds:
        begin = max(begin, bisect_left(history.times, min(asked) - history.tolerance) - 1)
    return min(begin, life.born - 1)


def _hole(history: _History, claim: _Claiming) -> Violation:
    life, ticket = claim.life, claim.life.ticket
    begin = ticket.begin if ticket is not None else life.begin
    claimant = life.owner or f"session {life.session}"
    return Violation(
        "lowest-free",
        begin,
        life.begin,
        claimant,
        f"{claimant} claimed {life.order} at {life.begin:.2f} s, though all the while "
        f"at least {_count(claim.fewest, 'smaller number')} "
        f"{'was' if claim.fewest == 1 else 'were'} free and due to nobody ahead of it.",
        (*([ticket.event] if ticket is not None else []), life.event),
    )


def _liveness(history: _History) -> Iterator[Violation]:
    if history.lost.kinds & _BREAKS:
        return  # a node may still be cut off, since before the events begin
    for node in history.live_nodes:
        healed, bound = history.healed_at(node), history.bound(node)
        asked = _asked(history, node, healed)
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


def _asked(history: _History, node: str, healed: float | None) -> list[_Request]:
    """The requests to a node that were over in time, or should have been.

    Who is asked later than that for the first time must answer then.
    """
    if healed is None:
        return []
    after = [r for r in history.asked_of(node) if r.done >= healed]
    first = min((_counts_at(r) for r in after), default=healed)
    return [r for r in after if _counts_at(r) <= max(healed + history.bound(node), first)]


def _counts_at(request: _Request) -> float:
    """An answer is there when it comes; a refusal or silence was due when the node was asked."""
    return request.done if request.phase == "ok" else request.invoke


def _reason(request: _Request) -> str:
    data = request.events[-1].data
    return str(data.get("reason") or data.get("error") or "nothing")


def _tickets(history: _History) -> Iterator[Violation]:
    if history.lost.kinds & _BREAKS:
        return
    for ticket in history.tickets:
        node = history._owner_of.get(ticket.session)
        bound = history.bound(node)
        end = min(ticket.end, history.end)
        for calm_begin, calm_end in _calm(history):
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


def _calm(history: _History) -> Iterator[tuple[float, float]]:
    """The stretches of time in which no fault was in force."""
    calm_since = -math.inf
    for fault in history.faults:
        if fault.begin > calm_since:
            yield calm_since, fault.begin
        lasting = fault.end == math.inf and not any(map(is_zookeeper, fault.targets))
        calm_since = max(calm_since, fault.begin if lasting else fault.end)
    yield calm_since, math.inf


def _unjudged(history: _History) -> dict[str, str]:
    """The live nodes of which nobody can say whether they came back, and why."""
    found = {}
    for node in history.live_nodes:
        healed, bound = history.healed_at(node), history.bound(node)
        asked = _asked(history, node, healed)
        if history.lost.kinds & _BREAKS:
            found[node] = "what was broken at the beginning is not known"
        elif healed is None:
            found[node] = "what was broken was not healed"
        elif not any(r.phase == "ok" for r in asked) and (
            not asked or history.end < healed + bound
        ):
            found[node] = f"the run did not ask for {bound:g} s after the last fault"
    return found


def _vacuous(history: _History, unjudged: Mapping[str, str]) -> Iterator[str]:
    if not history.answered:
        yield "no request was answered"
    if not history.faults:
        yield "no fault was injected"
    elif not history.during_faults:
        yield "no request overlapped a fault"
    if not history.changes:
        yield (
            "there is no transaction log to hold the answers against: lab.history() is the "
            "timeline with the log merged in"
        )
    if history.lost.kinds & _ESSENTIAL or any(map(history.is_lost, history.answered)):
        yield (
            f"the beginning is missing: the timeline grew too long, and has dropped "
            f"{_count(history.lost.count, 'event')}"
        )
    for reason in sorted(set(unjudged.values())):
        nodes = [node for node, why in unjudged.items() if why == reason]
        yield f"liveness of {_list(nodes)} was not judged: {reason}"


# --- sentences --------------------------------------------------------------------------------


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _times(things: Sequence[object]) -> str:
    return "once" if len(things) == 1 else f"{len(things):,} times"


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
