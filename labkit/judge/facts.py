"""One reading of a run: requests, what was broken from when to when, claims and their owners."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from labkit.errors import HistoryError
from labkit.judge.schedule import is_zookeeper
from labkit.lab.event import (
    CLAIMS,
    IDS,
    DroppedEvent,
    Event,
    FaultEvent,
    RequestEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
    owner,
)


def silences(events: Iterable[Event], since: float = 0.0) -> dict[str, float]:
    """For each node, the longest time in seconds for which nobody got an answer from it.

    Counts what was asked from `since` on, in seconds of the timeline.
    """
    answers: dict[str, list[float]] = {}
    until: dict[str, float] = {}
    for request in _requests(list(events)):
        if request.invoke < since:
            continue
        # Whoever asks first and last marks the ends of the time in which there was anybody to ask.
        times = answers.setdefault(request.node, [request.invoke])
        times += [request.done] if request.phase == "ok" else []
        until[request.node] = max(until.get(request.node, 0.0), request.events[-1].t)
    longest = {}
    for node, times in answers.items():
        ordered = sorted([*times, until[node]])
        longest[node] = max(b - a for a, b in pairwise(ordered))
    return longest


@dataclass(frozen=True)
class Request:
    """One request to a node: asked at `invoke`, over at `done`."""

    node: str
    phase: str
    events: tuple[RequestEvent, ...]

    @property
    def invoke(self) -> float:
        return self.events[0].t

    @property
    def done(self) -> float:
        return self.events[-1].t if len(self.events) > 1 else math.inf

    @property
    def abandoned(self) -> bool:
        """Whether the client gave it up of its own will: that no answer came proves nothing."""
        return self.events[-1].abandoned

    @property
    def number(self) -> int:
        number = self.events[-1].number
        assert number is not None
        return number

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """The IDs of an answer, as first and last of each row without a gap."""
        return self.events[-1].runs

    @property
    def token(self) -> int | None:
        return self.events[-1].token


@dataclass
class Life:
    """One znode, from its creation to its end; `begin` and `end` also as indices into the log."""

    name: str
    zxid: int
    session: str
    owner: str | None
    order: int  # a number's value, or a ticket's place in the queue
    begin: float
    event: TransactionEvent
    born: int
    end: float = math.inf
    died: int | None = None
    ticket: Life | None = None

    @property
    def is_ticket(self) -> bool:
        return "ticket-" in self.name


@dataclass(frozen=True)
class Fault:
    """Something that was wrong from `begin` to `end`; `end` is infinite if it never healed."""

    begin: float
    end: float
    what: str
    targets: frozenset[str]
    cause: int  # the id of the verb or fault: stopping all of an ensemble is one


_SERVER = re.compile(r"zookeeper\d+")

_CLAIM = re.compile(r"/sequence/(?:ticket-.*-(\d{1,10})|([1-9]\d{0,9}))")  # numbers start at 1


class History:
    """The events of a run, sorted into requests, znodes' lives, and faults."""

    def __init__(self, events: Sequence[Event], tolerance: float, session_timeout: float) -> None:
        self.tolerance = tolerance
        self._session_timeout = session_timeout
        self._negotiated = _negotiated(events)
        self.end = max((event.t for event in events), default=0.0)
        self.requests = list(_requests(events))
        self.answered = [r for r in self.requests if r.phase == "ok"]
        self.id_requests = list(_requests(events, IDS))
        changes = [event for event in events if isinstance(event, TransactionEvent)]
        # One change per zxid: nobody ever sees a multi half done.
        self.changes = [
            list(parts)
            for _, parts in groupby(sorted(changes, key=lambda e: e.zxid), lambda e: e.zxid)
        ]
        self.times = list(accumulate((parts[0].t for parts in self.changes), max))
        self.claims: list[Life] = []  # numbers, in the order of their creation
        self.tickets: list[Life] = []
        self.sessions: dict[str, int] = {}  # the change that created each
        self._owner_of = _owners(events)
        self._follow_changes()
        self.by_token = {life.zxid: life for life in self.claims}
        self.by_owner: dict[tuple[int, str | None], list[Life]] = defaultdict(list)
        for life in self.claims:
            self.by_owner[life.order, life.owner].append(life)
        self.faults, self._down, self._started = _faults(events)
        since = min((request.invoke for request in self.requests), default=0.0)
        injected = sum(
            isinstance(e, FaultEvent) and e.phase == "begin" and e.t >= since for e in events
        )
        self.fault_count = injected or len({fault.cause for fault in self.faults})
        self.during_faults = [
            r for r in self.requests if any(_overlap(r, fault) for fault in self.faults)
        ]
        self.lost = _lost(events)
        self.nodes = sorted({request.node for request in self.requests})
        self.live_nodes = [node for node in self.nodes if node not in self._down]

    def _follow_changes(self) -> None:
        alive: dict[str, Life] = {}
        for index, parts in enumerate(self.changes):
            ended: list[Life] = []
            created: list[Life] = []
            for event in parts:
                op, path, session = event.op, event.path or "", event.session
                if op == "createSession":
                    self.sessions[session] = index
                elif op == "closeSession":
                    ephemeral = [name for name, x in alive.items() if x.session == session]
                    ended += [alive.pop(name) for name in ephemeral]
                elif op == "delete" and path in alive:
                    ended.append(alive.pop(path))
                elif op == "create" and (match := _CLAIM.fullmatch(path)):
                    by = owner(event.value) or self._owner_of.get(session)
                    order = int(match[1] or match[2])
                    alive[path] = Life(path, event.zxid, session, by, order, event.t, event, index)
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

    def claim_behind(self, request: Request) -> Life | None:
        """The znode that an answer speaks of; an answer without a token, the best it could mean."""
        if request.token is not None:
            life = self.by_token.get(request.token)
            matches = life is not None and life.order == request.number
            return life if matches else None
        lives = self.by_owner.get((request.number, request.node), [])
        begun = [life for life in lives if life.begin <= request.done + self.tolerance]
        return begun[-1] if begun else None

    def is_lost(self, request: Request) -> bool:
        """Whether the claim behind an answer may be among what the timeline has dropped."""
        if request.token is not None:
            return request.token <= self.lost.zxid
        return bool(self.lost.kinds & NAMING) and self.claim_behind(request) is None

    def bound(self, node: str | None) -> float:
        """The seconds after which nothing may be in the way of a node's answer any more."""
        return self._negotiated.get(node or "", self._session_timeout) + 1.0

    def asked_of(self, node: str) -> list[Request]:
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
ESSENTIAL = frozenset(e.kind for e in (RequestEvent, TransactionEvent, VerbEvent, FaultEvent))

NAMING = frozenset(e.kind for e in (TransactionEvent, StatusEvent))

BREAKS = frozenset(e.kind for e in (VerbEvent, FaultEvent))


@dataclass(frozen=True)
class _Lost:
    """What a timeline that grew too long has dropped: how much of what, up to which zxid."""

    count: int = 0
    kinds: frozenset[str] = frozenset()
    zxid: int = 0


def _lost(events: Sequence[Event]) -> _Lost:
    said = [event for event in events if isinstance(event, DroppedEvent)]
    return _Lost(
        sum(event.events for event in said),
        frozenset(kind for event in said for kind in event.kinds),
        max((event.zxid for event in said), default=0),
    )


def _requests(events: Sequence[Event], path: str = CLAIMS) -> Iterator[Request]:
    invoked: dict[tuple[str, int], RequestEvent] = {}
    may_be_cut = "request" in _lost(events).kinds
    for event in events:
        if not isinstance(event, RequestEvent) or event.path != path:
            continue
        key = (event.subject, event.id)
        if event.phase == "invoke":
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
            yield Request(event.subject, event.phase, (begin, event))
    for (node, _), event in invoked.items():
        yield Request(node, "unknown", (event,))


def _owners(events: Sequence[Event]) -> dict[str, str]:
    """Which node each session belonged to, as far as the nodes said so themselves."""
    said = (event for event in events if isinstance(event, StatusEvent))
    return {event.session: event.subject for event in said if event.session}


def _negotiated(events: Sequence[Event]) -> dict[str, float]:
    """Each node's session timeout in seconds, the longest it ever had, by its own word."""
    longest: dict[str, float] = {}
    for event in events:
        if isinstance(event, StatusEvent) and event.session_timeout_ms:
            timeout = event.session_timeout_ms / 1000
            longest[event.subject] = max(longest.get(event.subject, 0.0), timeout)
    return longest


def _ticket_of(claim: Life, ended: list[Life], alive: Mapping[str, Life]) -> Life | None:
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


def _faults(events: Sequence[Event]) -> tuple[list[Fault], set[str], dict[str, float]]:
    """What was wrong and when; who is down at the end; when who was last started."""
    faults: list[Fault] = []
    open_faults: dict[int, FaultEvent] = {}
    # Of each server, what is broken, with the verbs that broke it: one that fails takes back its
    # own share and nobody else's.
    broken: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    begun: dict[int, VerbEvent] = {}
    started: dict[str, float] = {}
    ensemble = _ensemble(events)

    def over(key: tuple[str, str], end: float) -> None:
        cause, since = next(iter(broken.pop(key).items()))
        faults.append(Fault(since, end, key[0], frozenset({key[1]}), cause))

    for event in events:
        if isinstance(event, FaultEvent):
            if event.phase == "begin":
                open_faults[event.id] = event
            elif fault := open_faults.pop(event.id, None):
                faults.append(_fault(fault, event.t, event.targets))
        elif isinstance(event, VerbEvent):
            verb, number = event.verb, event.id
            servers = ensemble if event.subject == "zookeeper" else {event.subject}
            if event.phase == "begin":
                begun[number] = event
                if _BREAKING.get(verb):
                    for server in servers:
                        broken[verb, server][number] = event.t
                continue
            begin = begun.pop(number, event)
            if event.error is not None:
                for key, causes in list(broken.items()):
                    causes.pop(number, None)
                    if not causes:
                        del broken[key]
                continue
            for what, server in list(broken):
                if verb in _BREAKING[what] and (server in servers or event.subject == "lab"):
                    over((what, server), event.t)
            if _BREAKING.get(verb) == ():
                faults.append(Fault(begin.t, event.t, verb, frozenset(servers), number))
            if verb in ("start", "resume"):
                started[event.subject] = event.t
    faults += [_fault(fault, math.inf, fault.targets) for fault in open_faults.values()]
    down = {server for what, server in broken if what in ("stop", "kill", "pause")}
    for key in list(broken):
        over(key, math.inf)
    return sorted(faults, key=lambda fault: fault.begin), down, started


def _fault(begin: FaultEvent, end: float, targets: frozenset[str]) -> Fault:
    return Fault(begin.t, end, begin.fault, targets, begin.id)


def _ensemble(events: Sequence[Event]) -> set[str]:
    """ZooKeeper's servers, as far as anything was done to or heard of one by its own name."""
    names = {name for event in events for name in event.subject.split(",")}
    return {name for name in names if _SERVER.fullmatch(name)} or {"zookeeper1"}


def _overlap(request: Request, fault: Fault) -> bool:
    return request.invoke <= fault.end and fault.begin <= request.done
