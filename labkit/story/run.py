"""The one reading of a run: requests, faults, claims, sessions, and what every server was.

The checker and every picture ask it. Pure: events in, one by one; answers out, at any time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from labkit.story.answers import Answers, Life
from labkit.story.bars import LAST, NODES, WORKERS, Bar, Stretch, Word, beside, side_by_side
from labkit.story.claims import Claims, Tenures, Znode, grouped
from labkit.story.ensemble import Ensemble
from labkit.story.event import (
    CLAIMS,
    AttachedEvent,
    CrewEvent,
    DroppedEvent,
    Event,
    FaultEvent,
    HoldersEvent,
    PlacedEvent,
    QuorumEvent,
    RequestEvent,
    SessionEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
    is_zookeeper,
)
from labkit.story.faults import LINK, PROCESS, Deed, Fault, Faults, united
from labkit.story.requests import Asked, Request, Requests
from labkit.story.stretches import Mark, natural
from labkit.story.timeline import LASTING

T = TypeVar("T")

_ENDED = "session ends"  # a mark's words
_KEPT = 20_000  # requests, of a reading that forgets


@dataclass(frozen=True)
class Lost:
    """What a timeline that grew too long has dropped: how much, and whether of each sort."""

    count: int = 0
    zxid: int = 0  # up to which
    requests: bool = False
    changes: bool = False  # ZooKeeper's log
    faults: bool = False
    owners: bool = False  # what says whose a claim was

    def more(self, event: DroppedEvent) -> Lost:
        """The same, and what an event says besides."""

        def has(*kinds: type[Event]) -> bool:
            return any(kind.kind in event.kinds for kind in kinds)

        return Lost(
            self.count + event.events,
            max(self.zxid, event.zxid),
            self.requests or has(RequestEvent),
            self.changes or has(TransactionEvent),
            self.faults or has(VerbEvent, FaultEvent),
            self.owners or has(TransactionEvent, StatusEvent),
        )

    @property
    def beginning(self) -> bool:
        """Whether something is missing of what a run is judged by."""
        return self.requests or self.changes or self.faults


@dataclass
class _Sorted:
    """The requests, sorted for the checker."""

    numbers: list[Request] = field(default_factory=list)  # asked for
    answered: list[Request] = field(default_factory=list)  # of those, the ones that were
    ids: list[Request] = field(default_factory=list)
    owed: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    during_faults: int = 0  # how many of `numbers` overlapped one


class Story:
    """What happened in a run: hand events in by `add`, in order, and ask at any time.

    In seconds, `tolerance` is how much ZooKeeper's log and the lab's clock may differ by, and
    `session_timeout` that of nodes whose status does not say what they negotiated. A reading that
    `forgets` remembers the last requests only, as many as a picture can show.
    """

    def __init__(
        self,
        events: Iterable[Event] = (),
        *,
        tolerance: float = 0.05,
        session_timeout: float = 5.0,
        forgets: bool = False,
    ) -> None:
        self.tolerance = tolerance
        self.start = LAST  # the first moment that concerns a node or ZooKeeper
        self.end = 0.0
        self.lost = Lost()
        self.attached = False  # whether ZooKeeper is not the lab's, so that there is no log of it
        self.terms = NODES
        self.machines: dict[str, str] = {}  # where each server stands, in a lab on several
        self.session = ""  # the state of the lab's own session, "CONNECTED" when all is well
        self._session_timeout = session_timeout
        self._forgets = forgets
        self._negotiated: dict[str, float] = {}
        self._faults = Faults()
        self._asked = Requests()
        self._claims = Claims(self._asked, tolerance)
        self._answers = Answers()
        self._ensemble = Ensemble(self._faults)
        # What pictures have not looked at yet: the checker never does.
        self._unseen: list[Request | StatusEvent | Deed] = []
        self._stops: dict[str, list[Deed]] = defaultdict(list)
        self._memo: dict[str, tuple[Any, Any]] = {}
        for event in events:
            self.add(event)

    # --- events -------------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """Let one more thing have happened. Raises `HistoryError` for what contradicts itself."""
        if event.t > self.end:
            self.end = event.t
        if event.t < self.start and event.subject != "lab" and not isinstance(event, _BEFORE):
            self.start = event.t
        if isinstance(event, RequestEvent):  # as almost all of them are
            if (request := self._asked.add(event)) is not None and request.path == CLAIMS:
                self._unseen.append(request)
        else:
            self._follow(event)

    def _follow(self, event: Event) -> None:
        if "zookeeper" in event.subject and not isinstance(event, PlacedEvent):
            self._faults.hear(event.subject)
        match event:
            case StatusEvent():
                self._status(event)
            case VerbEvent() | FaultEvent():
                self._broken(event)
            case TransactionEvent():
                self._claims.change(event)
            case HoldersEvent():
                self._claims.see(event)
            case QuorumEvent():
                self._ensemble.mode(event.subject, event.mode or "", event.t)
            case SessionEvent():
                self.session = event.state
                self._ensemble.hear(event.state, event.t)
            case CrewEvent():
                self.terms = WORKERS
                self._claims.move(event.root, event.t)
                self._answers = Answers()
                self._unseen.clear()
            case PlacedEvent():
                self.machines[event.subject] = event.machine
            case AttachedEvent():
                self.attached = True
            case DroppedEvent():
                self.lost = self.lost.more(event)

    def _status(self, event: StatusEvent) -> None:
        self._unseen.append(event)
        self._ensemble.hear(event.connection, event.t)
        if event.session:
            self._claims.belong(event.session, event.subject)
        if event.session_timeout_ms:
            longest = self._negotiated.get(event.subject, 0.0)
            self._negotiated[event.subject] = max(longest, event.session_timeout_ms / 1000)

    def _broken(self, event: VerbEvent | FaultEvent) -> None:
        for deed in self._faults.add(event):
            if is_zookeeper(deed.server):
                self._ensemble.follow(deed)
                continue
            self._unseen.append(deed)
            if deed.makes == "stopped":
                self._stops[deed.server].append(deed)

    def _known(self, name: str, version: object, make: Callable[[], T]) -> T:
        """What `make` made when there was the same to know; made anew if there is more."""
        found = self._memo.get(name)
        if found is None or found[0] != version:
            self._memo[name] = found = version, make()
        value: T = found[1]
        return value

    # --- requests -----------------------------------------------------------------------------

    @property
    def _sorted(self) -> _Sorted:
        version = self._asked.version, self._faults.version
        return self._known("requests", version, self._sort)

    def _sort(self) -> _Sorted:
        """All in one pass: a long run's requests do not fit into a processor's cache."""
        if not self.lost.requests:
            self._asked.require_beginnings()
        found = _Sorted()
        begins, ends = self._trouble
        for request in self._asked.all():
            if request.path != CLAIMS:
                found.ids.append(request)
                continue
            found.numbers.append(request)
            if request.phase == "ok":
                found.answered.append(request)
            if not request.abandoned:
                found.owed[request.node].append(request)
            index = bisect_right(begins, request.done) - 1
            found.during_faults += index >= 0 and ends[index] >= request.invoke
        return found

    @property
    def number_requests(self) -> list[Request]:
        """All that was asked for numbers, in the order in which it was over.

        Raises `HistoryError` if a request ended that never began, in a run that is whole.
        """
        return self._sorted.numbers

    @property
    def answered(self) -> list[Request]:
        """The requests for numbers that were answered with one."""
        return self._sorted.answered

    @property
    def id_requests(self) -> list[Request]:
        """All that was asked for IDs."""
        return self._sorted.ids

    @property
    def during_faults(self) -> int:
        """How many requests for numbers overlapped a fault."""
        return self._sorted.during_faults

    def owed(self, node: str) -> list[Request]:
        """The requests to a node that it owed an answer."""
        return self._sorted.owed.get(node, [])

    def answers(self, number: int, since: float, until: float) -> list[Request]:
        """The answers with a number that came between two moments, in their order."""
        return self._asked.answers(number, since, until)

    @property
    def asked(self) -> dict[str, Asked]:
        """All that was asked of each node, its number and IDs."""
        return self._known(
            "asked",
            self._asked.version,
            lambda: grouped([*self.number_requests, *self.id_requests], _node, Asked),
        )

    @property
    def heard(self) -> dict[str, Asked]:
        """The requests that each node answered in any way, with a number or a refusal."""
        return self._known(
            "heard",
            self._asked.version,
            lambda: grouped(
                (r for r in self.number_requests if r.phase == "ok" or r.end.status), _node, Asked
            ),
        )

    @property
    def asked_nodes(self) -> list[str]:
        """The nodes that were asked for numbers."""
        return sorted({request.node for request in self.number_requests})

    @property
    def live_nodes(self) -> list[str]:
        """Those of them that run at the end."""
        return [node for node in self.asked_nodes if node not in self._faults.down]

    # --- faults -------------------------------------------------------------------------------

    @property
    def faults(self) -> list[Fault]:
        """What was wrong, in the order in which it began."""
        return self._known("faults", self._faults.version, self._faults.all)

    @property
    def fault_count(self) -> int:
        """How many faults a schedule made since the first request, or else verbs."""
        since = min((request.invoke for request in self.number_requests), default=0.0)
        injected = sum(begin >= since for begin in self._faults.injected)
        return injected or len({fault.cause for fault in self.faults})

    @property
    def _trouble(self) -> tuple[list[float], list[float]]:
        """The beginnings and the ends of the stretches in which something was broken."""
        return self._known(
            "trouble",
            self._faults.version,
            lambda: _unzipped(united((fault.begin, fault.end) for fault in self.faults)),
        )

    def in_trouble(self, since: float, until: float) -> bool:
        """Whether anything was broken at some moment between the two."""
        begins, ends = self._trouble
        index = bisect_right(begins, until) - 1
        return index >= 0 and ends[index] >= since

    def bound(self, node: str | None) -> float:
        """The seconds after which nothing may be in the way of a node's answer any more."""
        return self._negotiated.get(node or "", self._session_timeout) + 1.0

    def healed_at(self, node: str) -> float | None:
        """When the last fault that could keep `node` from answering was over; None: it is not."""
        unhealed = frozenset().union(*(f.targets for f in self.faults if f.end == math.inf))
        if node in unhealed or any(map(is_zookeeper, unhealed)):
            return None
        healed = max((f.end if f.end < math.inf else f.begin for f in self.faults), default=0.0)
        begin = min((r.invoke for r in self.owed(node)), default=0.0)
        return max(begin, self._faults.started.get(node, 0.0), healed)

    # --- claims -------------------------------------------------------------------------------

    @property
    def _read(self) -> Claims:
        if self._claims.is_stale:
            self._claims.read()
        return self._claims

    @property
    def times(self) -> list[float]:
        """When each change stands in ZooKeeper's log; none is later than the next."""
        return self._read.times

    @property
    def claims(self) -> list[Znode]:
        """Every number that was held, by ZooKeeper's log, in the order of creation."""
        return self._read.numbers

    @property
    def tickets(self) -> list[Znode]:
        """Every ticket, by ZooKeeper's log, in the order of creation."""
        return self._read.tickets

    @property
    def by_token(self) -> Mapping[int, Znode]:
        """The claims by their fencing tokens."""
        return self._read.by_token

    @property
    def sessions(self) -> Mapping[str, int]:
        """The change that created each session."""
        return self._read.sessions

    @property
    def owners(self) -> Mapping[str, str]:
        """Which node each session belonged to, as far as the nodes told."""
        return self._claims.owners

    def claim_behind(self, request: Request) -> Znode | None:
        """The znode that an answer speaks of; an answer without a token, the best it could mean."""
        if request.token is not None:
            znode = self.by_token.get(request.token)
            return znode if znode is not None and znode.order == request.number else None
        return next(self.claims_of(request, -math.inf, request.done + self.tolerance), None)

    def claims_of(self, request: Request, since: float, until: float) -> Iterator[Znode]:
        """The claims of the node that answered, on the number that it answered, newest first."""
        found = self._known(
            "of",
            self._claims.version,
            lambda: grouped(self.claims, lambda znode: (znode.order, znode.owner), Tenures),
        )
        tenures = found.get((request.number, request.node))
        return iter(()) if tenures is None else tenures.during(since, until)

    def claims_on(self, number: int, since: float, until: float) -> Iterator[Znode]:
        """Everybody's claims on a number between two moments, newest first."""
        found = self._known(
            "on",
            self._claims.version,
            lambda: grouped(self.claims, lambda znode: znode.order, Tenures),
        )
        return iter(()) if (tenures := found.get(number)) is None else tenures.during(since, until)

    def is_lost(self, request: Request) -> bool:
        """Whether the claim behind an answer may be among what the timeline has dropped."""
        if request.token is not None:
            return 0 < request.token <= self.lost.zxid
        return self.lost.owners and self.claim_behind(request) is None

    # --- pictures -----------------------------------------------------------------------------

    def _look(self) -> Answers:
        """Look at what no picture has looked at yet."""
        for thing in self._unseen:
            match thing:
                case Request():
                    self._answers.request(thing)
                case StatusEvent():
                    self._answers.status(thing)
                case Deed():
                    self._answers.follow(thing)
        self._unseen.clear()
        if self._forgets and len(self._asked.over) > 2 * _KEPT:
            self._asked.forget(_KEPT)
        return self._answers

    def _life(self, node: str) -> Life:
        return self._look().lives.get(node) or Life()

    @property
    def zookeeper(self) -> Ensemble:
        """ZooKeeper's own servers."""
        return self._ensemble

    @property
    def root(self) -> str:
        """The znode below which is what pictures show."""
        return self._claims.root

    @property
    def queue(self) -> list[str]:
        """The tickets that there are now, by the watch."""
        return list(self._claims.queue)

    @property
    def nodes(self) -> list[str]:
        """Every node that ever was, node2 before node10."""
        return sorted(self._look().lives.keys() | self._read.shown_owners(), key=natural)

    @property
    def numbers(self) -> list[int]:
        """Every number that was ever held or answered."""
        answered = {span.number for life in self._look().lives.values() for span in life.answers}
        return sorted(answered | {znode.order for znode in self._read.shown()})

    def state(self, server: str) -> str:
        """What it is now: "running", "paused", "stopped", "unreachable" or "unknown"."""
        return self._ensemble.state(server) if is_zookeeper(server) else self._life(server).state

    def answer(self, node: str) -> int | None:
        """The number that the node answers now, by its own word."""
        answer = self._life(node).answer
        return answer.number if answer and answer.sampled >= self.end else None

    def is_broken(self, server: str) -> bool:
        """Whether the server's link may be cut, slow or flaky now."""
        return self._faults.is_broken(server)

    def bars(self, node: str, until: float | None = None, since: float = -math.inf) -> list[Bar]:
        """The node's numbers between the two moments, by both words, in order of beginning."""
        until = self.end if until is None else until
        znodes = self._read.of(node)
        claims = [z.span() for z in znodes if z.end > since and z.gone > since]
        earliest = min((claim.start for claim in claims), default=since)
        answers = [span for span in self._life(node).answers if span.end > earliest]
        bars = side_by_side(node, answers, claims, self._ensemble.outages)
        shown = [
            replace(bar, end=min(bar.end, until))
            for bar in bars
            if bar.start < until and bar.end > since
        ]
        return sorted(beside(shown), key=lambda bar: (bar.start, bar.beside))

    def held_bars(self, until: float | None = None) -> list[Bar]:
        """What ZooKeeper held, whoever answered it, in order of creation."""
        until = self.end if until is None else until
        return [
            _bar(znode, min(znode.over, until))
            for znode in self._read.shown()
            if znode.begin <= until
        ]

    def held(self) -> list[tuple[Bar, str | None]]:
        """What ZooKeeper holds now, by number, with the owning sessions."""
        return [
            (_bar(znode, self.end), znode.session if znode.is_ephemeral else None)
            for znode in self._read.held()
        ]

    def quiet(self, node: str, until: float | None = None) -> list[Stretch]:
        """When the node was up and had no number to give, and why."""
        return self._cut(self._life(node).quiet, until)

    def up(self, node: str, until: float | None = None) -> list[Stretch]:
        """When the node's process was there, as far as is known."""
        return self._cut(self._life(node).up, until)

    def paused(self, server: str, until: float | None = None) -> list[Stretch]:
        """When the server was frozen."""
        return self._cut(self._faults.stretches(server, PROCESS, "paused"), until)

    def broken(self, server: str, until: float | None = None) -> list[Stretch]:
        """When the server's link to ZooKeeper was cut, slow or flaky."""
        return self._cut(self._faults.stretches(server, LINK), until)

    def outages(self, until: float | None = None) -> list[Stretch]:
        """When ZooKeeper (or the majority of it) was stopped, killed or paused."""
        return self._cut(self._ensemble.outages, until)

    def marks(self, server: str, until: float | None = None) -> list[Mark]:
        """What was done to the server, and the ends of its sessions, in order."""
        until = LAST if until is None else until
        claims = self._read
        marks = []
        for mark, begin in self._faults.marks(server):
            if begin < mark.t:
                # A node that stops ends its session first: its number is free before it is down.
                own = (z.over for z in claims.of(server) if begin <= z.over < mark.t)
                mark = replace(mark, t=min(own, default=mark.t))
            marks.append(mark)
        for session in claims.sessions_of.get(server, ()):
            t = claims.closed.get(session, LAST)
            if t < LAST and not any(d.begin <= t <= d.end for d in self._stops.get(server, ())):
                marks.append(Mark(t, _ENDED))
        return sorted((mark for mark in marks if mark.t <= until), key=lambda mark: mark.t)

    def requests(
        self, node: str, until: float | None = None, since: float = -math.inf
    ) -> list[Request]:
        """The requests that ended between the two moments, in that order."""
        requests = self._life(node).requests
        until = self.end if until is None else until
        first = bisect_left(requests, since, key=lambda request: request.done)
        return requests[first : bisect_right(requests, until, key=lambda request: request.done)]

    def _cut(self, stretches: Iterable[Stretch], until: float | None) -> list[Stretch]:
        until = self.end if until is None else until
        return [replace(s, end=min(s.end, until)) for s in stretches if s.start <= until]


_BEFORE = (TransactionEvent, PlacedEvent)  # that come from before there was anything to see


def _bar(znode: Znode, end: float) -> Bar:
    return Bar(znode.owner or "?", znode.order, znode.begin, end, Word.ZOOKEEPER, znode.zxid)


def _node(request: Request) -> str:
    return request.node


def _unzipped(stretches: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    begins, ends = zip(*stretches, strict=True) if stretches else ((), ())
    return list(begins), list(ends)


def silences(events: Iterable[Event], since: float = 0.0) -> dict[str, float]:
    """For each node, the longest time in seconds for which nobody got an answer from it.

    `silences(lab.history())["node2"]`

    Counts what was asked from `since` on, in seconds of the timeline.
    """
    answers: dict[str, list[float]] = {}
    until: dict[str, float] = {}
    for request in Story(events).number_requests:
        if request.invoke < since:
            continue
        # The first question and the last mark the ends of the time in which there was one.
        times = answers.setdefault(request.node, [request.invoke])
        times += [request.done] if request.phase == "ok" else []
        until[request.node] = max(until.get(request.node, 0.0), request.end.t)
    longest = {}
    for node, times in answers.items():
        ordered = sorted([*times, until[node]])
        longest[node] = max(b - a for a, b in pairwise(ordered))
    return longest


def of_the_run(events: Iterable[Event], begin: float) -> list[Event]:
    """What a run that began at a moment is judged by, of all that a lab's timeline has.

    Without the requests made before, and without what the timeline dropped of those.
    """
    events = list(events)
    before = {e.id for e in events if isinstance(e, RequestEvent) and e.t < begin}
    lasting = {kind.kind for kind in LASTING}
    return [
        event
        for event in events
        if not (isinstance(event, RequestEvent) and event.id in before)
        and not (
            isinstance(event, DroppedEvent) and event.t < begin and not lasting & event.kinds.keys()
        )
    ]
