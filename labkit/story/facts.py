"""One reading of a run: requests, what was broken from when to when, claims and their owners."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from typing import TypeVar

from labkit.story.event import (
    CLAIMS,
    DroppedEvent,
    Event,
    FaultEvent,
    PlacedEvent,
    RequestEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
    is_zookeeper,
    number_of,
    owner,
    ticket_of,
)
from labkit.story.requests import Asked, Request, requests

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
G = TypeVar("G")


def silences(events: Iterable[Event], since: float = 0.0) -> dict[str, float]:
    """For each node, the longest time in seconds for which nobody got an answer from it.

    `silences(lab.history())["node2"]`

    Counts what was asked from `since` on, in seconds of the timeline.
    """
    answers: dict[str, list[float]] = {}
    until: dict[str, float] = {}
    events = list(events)
    for request in requests(events, "request" not in _lost(events).kinds):
        if request.path != CLAIMS or request.invoke < since:
            continue
        # Whoever asks first and last marks the ends of the time in which there was anybody to ask.
        times = answers.setdefault(request.node, [request.invoke])
        times += [request.done] if request.phase == "ok" else []
        until[request.node] = max(until.get(request.node, 0.0), request.end.t)
    longest = {}
    for node, times in answers.items():
        ordered = sorted([*times, until[node]])
        longest[node] = max(b - a for a, b in pairwise(ordered))
    return longest


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
    is_ticket: bool = False
    ticket: Life | None = None


@dataclass(frozen=True)
class Fault:
    """Something that was wrong from `begin` to `end`; `end` is infinite if it never healed."""

    begin: float
    end: float
    what: str
    targets: frozenset[str]
    cause: int  # the id of the verb or fault: stopping all of an ensemble is one


_SERVER = re.compile(r"zookeeper\d+")


class Lives:
    """Some znodes' lives, of which no two are at one time (but for the clock's jitter).

    They are in the order of their creation. Whichever are asked for are found without a look at
    all the others.
    """

    def __init__(self, lives: Sequence[Life] = ()) -> None:
        self._lives = lives
        self._ended = list(accumulate((life.end for life in lives), max))
        begun = accumulate((life.begin for life in reversed(lives)), min)
        self._begin = list(begun)[::-1]  # of this one or one created later

    def during(self, since: float, until: float) -> Iterator[Life]:
        """Those that were there at some moment between the two, the newest first."""
        for index in reversed(range(bisect_right(self._begin, until))):
            if self._ended[index] < since:
                return
            life = self._lives[index]
            if life.begin <= until and since <= life.end:
                yield life


class History:
    """The events of a run, sorted into requests, znodes' lives, and faults."""

    def __init__(self, events: Sequence[Event], tolerance: float, session_timeout: float) -> None:
        self.tolerance = tolerance
        self._session_timeout = session_timeout
        self.end = max((event.t for event in events), default=0.0)
        asked = [event for event in events if isinstance(event, RequestEvent)]
        events = [event for event in events if not isinstance(event, RequestEvent)]  # the few
        self.lost = _lost(events)
        self.faults, self._down, self._started = _faults(events)
        self._trouble = _united((fault.begin, fault.end) for fault in self.faults)
        self.requests: list[Request] = []  # for numbers
        self.answered: list[Request] = []  # of those, the ones that were
        self.id_requests: list[Request] = []
        self.during_faults = 0  # how many of `requests` overlapped one
        self._owed: dict[str, list[Request]] = defaultdict(list)
        self._sort_requests(asked)
        said = [event for event in events if isinstance(event, StatusEvent)]
        self._negotiated = _negotiated(said)
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
        self.owners = _owners(said)  # of sessions: the nodes' names
        self._follow_changes()
        self.by_token = {life.zxid: life for life in self.claims}
        self._name_owners()
        self._claims_of = grouped(self.claims, lambda life: (life.order, life.owner), Lives)
        self._claims_on = grouped(self.claims, lambda life: life.order, Lives)
        since = min((request.invoke for request in self.requests), default=0.0)
        injected = sum(
            isinstance(e, FaultEvent) and e.phase == "begin" and e.t >= since for e in events
        )
        self.fault_count = injected or len({fault.cause for fault in self.faults})
        self.nodes = sorted({request.node for request in self.requests})
        self.live_nodes = [node for node in self.nodes if node not in self._down]

    def _sort_requests(self, asked: Iterable[RequestEvent]) -> None:
        """All in one pass: a long run's requests do not fit into a processor's cache."""
        for request in requests(asked, "request" not in self.lost.kinds):
            if request.path != CLAIMS:
                self.id_requests.append(request)
                continue
            self.requests.append(request)
            if request.phase == "ok":
                assert request.end.number is not None
                self.answered.append(request)
            if not request.abandoned:
                self._owed[request.node].append(request)
            self.during_faults += self.in_trouble(request.invoke, request.done)

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
                elif op == "create" and (life := self._born(event, path, index)):
                    alive[path] = life
                    created.append(life)
            for life in ended:
                life.end, life.died = parts[0].t, index
            # Made and deleted in one transaction is never there: no one can have seen it.
            ended = [life for life in ended if life.born != index]
            created = [life for life in created if life.died != index]
            for life in created:
                if not life.is_ticket:
                    life.ticket = _ticket_of(life, ended, alive)
                (self.tickets if life.is_ticket else self.claims).append(life)

    def _born(self, event: TransactionEvent, path: str, index: int) -> Life | None:
        """A number below /sequence, or a ticket: any sequential ephemeral there."""
        if not path.startswith(f"{CLAIMS}/"):
            return None
        place = number = number_of(path.removeprefix(f"{CLAIMS}/"))
        if number is None and event.ephemeral:
            place = ticket_of(path.rpartition("/")[2])
        if place is None:
            return None
        by = owner(event.value) or self.owners.get(event.session)
        return Life(
            path, event.zxid, event.session, by, place, event.t, event, index, is_ticket=not number
        )

    def _name_owners(self) -> None:
        """Find the owners of claims that name none, of sessions that no node was heard to have.

        A node may claim, answer and die between two questions about its session. Then the claim is
        its own by whose number was answered while it was held: by the node that did so most often.
        """
        for lives in grouped(self.claims, lambda life: life.order, list).values():
            for before, life, after in zip([None, *lives], lives, [*lives[1:], None], strict=False):
                if life.owner is None:
                    told = self._told(life, (before, after))
                    life.owner = max(told, key=told.__getitem__, default=None)

    def _told(self, life: Life, beside: Iterable[Life | None]) -> Counter[str]:
        """How often each node answered by a claim, and not by its own just before or after it."""
        own = [x for x in beside if x is not None and x.owner is not None]
        return Counter(
            request.node
            for request in self.answers(
                life.order, life.begin - self.tolerance, life.end + self.tolerance
            )
            if (request.token not in self.by_token or request.token == life.zxid)
            and not any(
                x.owner == request.node
                and x.begin - self.tolerance <= request.done
                and request.invoke <= x.end + self.tolerance
                for x in own
            )
        )

    @cached_property
    def _answers(self) -> dict[int, list[Request]]:
        return grouped(sorted(self.answered, key=_done), lambda request: request.number, list)

    def answers(self, number: int, since: float, until: float) -> list[Request]:
        """Those with a number that came between two moments, in their order."""
        came = self._answers.get(number, [])
        return came[bisect_left(came, since, key=_done) : bisect_right(came, until, key=_done)]

    def claim_behind(self, request: Request) -> Life | None:
        """The znode that an answer speaks of; an answer without a token, the best it could mean."""
        if request.token is not None:
            life = self.by_token.get(request.token)
            matches = life is not None and life.order == request.number
            return life if matches else None
        until = request.done + self.tolerance
        return next(self.claims_of(request, -math.inf, until), None)

    def claims_of(self, request: Request, since: float, until: float) -> Iterator[Life]:
        """The claims of the node that answered, on the number that it answered, newest first."""
        lives = self._claims_of.get((request.number, request.node))
        return iter(()) if lives is None else lives.during(since, until)

    def claims_on(self, number: int, since: float, until: float) -> Iterator[Life]:
        """Everybody's claims on a number between two moments, newest first."""
        lives = self._claims_on.get(number)
        return iter(()) if lives is None else lives.during(since, until)

    def in_trouble(self, since: float, until: float) -> bool:
        """Whether anything was broken at some moment between the two."""
        index = bisect_right(self._trouble, until, key=lambda stretch: stretch[0]) - 1
        return index >= 0 and self._trouble[index][1] >= since

    def is_lost(self, request: Request) -> bool:
        """Whether the claim behind an answer may be among what the timeline has dropped."""
        if request.token is not None:
            return 0 < request.token <= self.lost.zxid
        return bool(self.lost.kinds & NAMING) and self.claim_behind(request) is None

    def bound(self, node: str | None) -> float:
        """The seconds after which nothing may be in the way of a node's answer any more."""
        return self._negotiated.get(node or "", self._session_timeout) + 1.0

    @cached_property
    def asked(self) -> dict[str, Asked]:
        """All that was asked of each node, its number and IDs."""
        return grouped([*self.requests, *self.id_requests], lambda request: request.node, Asked)

    @cached_property
    def heard(self) -> dict[str, Asked]:
        """The requests that each node answered in any way, with a number or a refusal."""
        answered = (r for r in self.requests if r.phase == "ok" or r.end.status)
        return grouped(answered, lambda request: request.node, Asked)

    def owed(self, node: str) -> list[Request]:
        """The requests to a node that it owed an answer."""
        return self._owed.get(node, [])

    @cached_property
    def _unhealed(self) -> frozenset[str]:
        """The servers that something is wrong with at the end."""
        return frozenset().union(*(f.targets for f in self.faults if f.end == math.inf))

    @cached_property
    def _healed(self) -> float:
        """When the last fault was over, or began, if it is not over."""
        ends = (f.end if f.end < math.inf else f.begin for f in self.faults)
        return max(ends, default=0.0)

    def healed_at(self, node: str) -> float | None:
        """When the last fault that could keep `node` from answering was over; None: it is not."""
        if node in self._unhealed or any(map(is_zookeeper, self._unhealed)):
            return None
        begin = min((r.invoke for r in self.owed(node)), default=0.0)
        return max(begin, self._started.get(node, 0.0), self._healed)


def grouped(items: Iterable[T], key: Callable[[T], K], made: Callable[[list[T]], G]) -> dict[K, G]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return {name: made(group) for name, group in groups.items()}


def _united(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time, in stretches that do not meet, in order."""
    united: list[tuple[float, float]] = []
    for begin, end in sorted(stretches):
        if united and begin <= united[-1][1]:
            begin, end = united[-1][0], max(united[-1][1], end)
            united.pop()
        united.append((begin, end))
    return united


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


def _done(request: Request) -> float:
    return request.done


def _owners(said: Iterable[StatusEvent]) -> dict[str, str]:
    """Which node each session belonged to, as far as the nodes said so themselves."""
    return {event.session: event.subject for event in said if event.session}


def _negotiated(said: Iterable[StatusEvent]) -> dict[str, float]:
    """Each node's session timeout in seconds, the longest it ever had, by its own word."""
    longest: dict[str, float] = {}
    for event in said:
        if event.session_timeout_ms:
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
    subjects = {event.subject for event in events if not isinstance(event, PlacedEvent)}
    names = {name for subject in subjects for name in subject.split(",")}
    return {name for name in names if _SERVER.fullmatch(name)} or {"zookeeper1"}
