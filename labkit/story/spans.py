"""What a run's events say: who answered which number, and who held it, from when to when.

A node's own word comes from its status, from its answers, and from what was done to it; ZooKeeper's
word comes from its transactions where they have been merged, else from the watch. The two are kept
apart, and `bars` sets them side by side. Pure: events in, spans out.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from labkit.story.bars import LAST, NODES, WORKERS, Bar, Span, Stretch, Word, beside, side_by_side
from labkit.story.ensemble import Ensemble
from labkit.story.event import (
    CLAIMS,
    CrewEvent,
    Event,
    HoldersEvent,
    PlacedEvent,
    QuorumEvent,
    RequestEvent,
    SessionEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
    held_number,
    owner,
)
from labkit.story.requests import Asking, Request
from labkit.story.stretches import Life, Mark, close_stretch, natural, open_stretch, take_back

_SAMPLE = 0.25  # seconds for which one sample speaks where nothing better is known
_WAKING = 1.0  # seconds after a pause in which a node that is polled has said something
_LAG = 0.15  # seconds by which the watch may be late
_REQUESTS = 20_000  # remembered of each node


class Spans:
    """A run, told event by event: hand events in by `add`, in order, and ask at any time."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.start = LAST  # the first moment that concerns a node or ZooKeeper
        self.end = 0.0
        self.zookeeper = Ensemble()
        self.terms = NODES
        self.machines: dict[str, str] = {}  # where each server stands, in a lab on several
        self.root = CLAIMS  # what is held are children of this znode
        self.tickets: list[str] = []
        self.session = ""  # the state of the lab's own session, "CONNECTED" when all is well
        self._lives: dict[str, Life] = defaultdict(Life)
        self._claims: list[Span] = []
        # The same by the node that a claim names, or else by its session; with their places.
        self._claims_of: dict[str, list[tuple[int, Span]]] = defaultdict(list)
        self._claims_in: dict[str, list[tuple[int, Span]]] = defaultdict(list)
        self._held: dict[int, Span] = {}
        self._exact = -1  # the last zxid known from the transaction log
        self._sessions: dict[str, str] = {}
        self._sessions_of: dict[str, set[str]] = defaultdict(set)
        self._verbs: dict[int, float] = {}
        self._asking = Asking()
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Let one more thing have happened."""
        self.end = max(self.end, event.t)
        if event.subject != "lab" and not isinstance(event, (TransactionEvent, PlacedEvent)):
            self.start = min(self.start, event.t)
        match event:
            case StatusEvent():
                self._status(event)
            case RequestEvent():
                self._request(event)
            case VerbEvent():
                self._verb(event)
            case HoldersEvent():
                self._holders(event)
            case TransactionEvent():
                self._transaction(event)
            case CrewEvent():
                self._crew(event)
            case PlacedEvent():
                self.machines[event.subject] = event.machine
            case SessionEvent():
                self.session = event.state
                self.zookeeper.is_connected(self.session, event.t)
            case QuorumEvent():
                self.zookeeper.says(event.subject, event.mode or "", event.t)

    # --- what a node says ---

    def _status(self, event: StatusEvent) -> None:
        life, t, until = self._lives[event.subject], event.t, event.previous_until
        after = min(t, until if until is not None else t - _SAMPLE)
        asked = t if event.asked is None else event.asked
        life.polled = True
        if not event.reachable:
            self._silence(life, after, t)
            life.frozen = None
            close_stretch(life.up, t)
            if life.state == "running":
                life.state = "unreachable"
            return
        open_stretch(life.up, t)
        if life.state != "paused":  # an answer that was on its way when the node was frozen
            life.state = "running"
        self.zookeeper.is_connected(event.connection, t)
        if event.session:
            self._belongs(event.session, event.subject)
        current = life.answer
        if event.number is None and current and current.heard >= asked:
            # The node may have said so before it gave the answer that came back meanwhile.
            current.sampled = min(current.sampled, t + _SAMPLE)
        elif event.number is None:
            self._silence(life, after, t)
            open_stretch(life.quiet, t, event.reason or "")
        else:
            self._answer(life, event.subject, event.number, event.token, after, t, LAST)

    def _belongs(self, session: str, node: str) -> None:
        if (before := self._sessions.get(session, node)) != node:
            self._sessions_of[before].discard(session)
        self._sessions[session] = node
        self._sessions_of[node].add(session)

    def _request(self, event: RequestEvent) -> None:
        life = self._lives[event.subject]
        if event.path != CLAIMS or (request := self._asking.add(event)) is None:
            return
        if len(life.requests) >= _REQUESTS:
            del life.requests[: _REQUESTS // 2]
        life.requests.append(request)
        invoked = request.invoke
        if event.phase == "ok" and event.number is not None:
            open_stretch(life.up, event.t)
            sampled = event.t + _SAMPLE if life.polled else LAST
            self._answer(
                life, event.subject, event.number, event.token, invoked, event.t, sampled, event.t
            )
        elif request.outcome == "fail":
            current = life.answer
            if current and current.heard < invoked:  # else it may have said no before that
                self._silence(life, invoked, event.t)

    def _answer(
        self,
        life: Life,
        node: str,
        number: int,
        token: int | None,
        after: float,
        t: float,
        sampled: float,
        heard: float = -LAST,
    ) -> None:
        span = Span(node, number, token, after, t, sampled=sampled, heard=heard)
        current = life.answer
        if current and current.sampled < min(after, t):
            current.before = current.end = current.sampled
            current = None
        if current and current.matches(span):
            current.guessed = False
            current.sampled = max(current.sampled, sampled)
            current.heard = max(current.heard, heard)
            current.token = token if current.token is None else current.token
            return
        self._silence(life, after, t)
        close_stretch(life.quiet, t)
        life.answers.append(span)

    @staticmethod
    def _silence(life: Life, after: float, t: float) -> None:
        """The node's word ended, after `after` and at `t` at the latest."""
        close_stretch(life.quiet, t)
        if current := life.answer:
            if current.guessed and t - current.start < _WAKING:
                life.answers.pop()  # its first word since it woke up is another
                return
            if current.sampled < t:
                after = t = current.sampled
            current.before, current.end = max(after, current.start), max(t, current.start)

    # --- what was done ---

    def _verb(self, event: VerbEvent) -> None:
        verb, begins, t = event.verb, event.phase == "begin", event.t
        began = t if begins else self._verbs.pop(event.id, t)
        if begins:
            self._verbs[event.id] = t
        if event.error is not None:
            self._failed(event.subject, verb, event.id, began, t)
            return
        if event.subject.startswith("zookeeper"):
            self.zookeeper.verb(event.subject, verb, begins, event.id, t)
        elif event.subject == "lab":
            if verb == "heal" and not begins:
                self.zookeeper.heal(t)
                for life in self._lives.values():
                    life.heal(t)
        else:
            self._node_verb(self._lives[event.subject], verb, begins, began, t)

    def _failed(self, subject: str, verb: str, number: int, began: float, t: float) -> None:
        """Take back what the beginning of a verb has changed that failed at `t`."""
        if subject.startswith("zookeeper"):
            self.zookeeper.failed(subject, verb, number, began)
        elif verb == "expire":  # the link was cut all the same, and is mended
            self._lives[subject].heal(t)
        elif subject != "lab":
            life = self._lives[subject]
            take_back(life.broken, began)
            life.marks = [mark for mark in life.marks if mark != Mark(began, verb)]

    def _node_verb(self, life: Life, verb: str, begins: bool, began: float, t: float) -> None:
        if begins and verb != "heal":
            life.marks.append(Mark(t, verb))
        match verb, begins:
            case (("kill" | "stop"), False):
                life.state = "stopped"
                self._silence(life, began, t)
                life.frozen = None
                close_stretch(life.up, t)
                close_stretch(life.paused, t)
            case "start", False:
                life.state = "running"
                open_stretch(life.up, t)
            case "pause", False:
                life.state = "paused"
                life.frozen = life.answer
                self._silence(life, began, t)
                open_stretch(life.paused, t)
            case "resume", False:
                life.state = "running"
                close_stretch(life.paused, began)
                if life.frozen and life.answer is None:
                    life.answers.append(
                        replace(
                            life.frozen, after=began, start=t, before=LAST, end=LAST, guessed=True
                        )
                    )
                life.frozen = None
            case (("partition" | "slow" | "flaky" | "expire"), True):
                open_stretch(life.broken, t, "cut" if verb in ("partition", "expire") else verb)
            case (("heal" | "expire"), False):
                life.heal(t)

    # --- what ZooKeeper says ---

    def _transaction(self, event: TransactionEvent) -> None:
        self._exact = max(self._exact, event.zxid)
        if event.op == "closeSession":
            for number, claim in list(self._held.items()):
                if claim.session == event.session:
                    self._release(number, event.t)
        elif (child := self._number(event.path or "")) is not None:
            if event.op.startswith("create"):
                session = event.session if event.ephemeral else None
                self._claim(child, owner(event.value), session, event.zxid, event.t)
            elif event.op == "delete" and self._token(child) <= event.zxid:
                self._release(child, event.t)

    def _number(self, path: str) -> int | None:
        """The number that a child of the root stands for; tickets stand for none."""
        parent, _, name = path.rpartition("/")
        if parent != self.root or (self.root == CLAIMS and not name.isdecimal()):
            return None
        return held_number(name)

    def _crew(self, event: CrewEvent) -> None:
        """From now on it is about a crew's workers, and what they hold below a znode."""
        self.terms = WORKERS
        self.root = event.root
        self._claims, self._held, self._lives = [], {}, defaultdict(Life)
        self._claims_of.clear()
        self._claims_in.clear()

    def _holders(self, event: HoldersEvent) -> None:
        if event.root != self.root:
            return
        self.tickets = list(event.tickets)
        if event.zxid <= self._exact:
            return  # the log knows better
        for number in [n for n in self._held if n not in event.numbers]:
            self._release(number, event.t, lag=_LAG)
        for number, holder in event.numbers.items():
            self._claim(number, holder.owner, holder.session, holder.token, event.t, lag=_LAG)

    def _claim(
        self,
        number: int,
        node: str | None,
        session: str | None,
        token: int,
        t: float,
        lag: float = 0.0,
    ) -> None:
        if self._token(number) == token:
            return
        self._release(number, t, lag)
        span = Span(node, number, token, t - lag, t, session=session, watched=lag > 0)
        self._held[number] = span
        group = self._claims_of[node] if node else self._claims_in[session or ""]
        group.append((len(self._claims), span))
        self._claims.append(span)

    def _release(self, number: int, t: float, lag: float = 0.0) -> None:
        if claim := self._held.pop(number, None):
            claim.before, claim.end = max(t - lag, claim.start), max(t, claim.start)

    def _token(self, number: int) -> int:
        claim = self._held.get(number)
        return -1 if claim is None or claim.token is None else claim.token

    # --- asking ---

    @property
    def nodes(self) -> list[str]:
        """Every node that ever was, node2 before node10."""
        owners = {name for session in self._claims_in if (name := self._sessions.get(session))}
        return sorted(self._lives.keys() | self._claims_of.keys() | owners, key=natural)

    @property
    def numbers(self) -> list[int]:
        """Every number that was ever held or answered."""
        answered = {span.number for life in self._lives.values() for span in life.answers}
        return sorted(answered | {claim.number for claim in self._claims})

    def state(self, node: str) -> str:
        """What the node is now: "running", "paused", "stopped", "unreachable" or "unknown"."""
        return self._life(node).state

    def answer(self, node: str) -> int | None:
        """The number that the node answers now, by its own word."""
        answer = self._life(node).answer
        return answer.number if answer and answer.sampled >= self.end else None

    def is_broken(self, node: str) -> bool:
        """Whether the node's link to ZooKeeper is cut, slow or flaky now."""
        broken = self._life(node).broken
        return bool(broken) and broken[-1].end == LAST

    def bars(self, node: str, until: float | None = None, since: float = -math.inf) -> list[Bar]:
        """The node's numbers between the two moments, by both words, in order of beginning."""
        until = self.end if until is None else until
        claims = [claim for claim in self._claims_by(node) if claim.end > since]
        earliest = min((claim.start for claim in claims), default=since)
        answers = [span for span in self._life(node).answers if span.end > earliest]
        bars = side_by_side(node, answers, claims, self.zookeeper.outages)
        shown = [
            replace(bar, end=min(bar.end, until))
            for bar in bars
            if bar.start < until and bar.end > since
        ]
        return sorted(beside(shown), key=lambda bar: (bar.start, bar.beside))

    def claims(self, until: float | None = None) -> list[Bar]:
        """What ZooKeeper held, whoever answered it, in order of beginning."""
        until = self.end if until is None else until
        return [
            Bar(
                self._owner(claim) or "?",
                claim.number,
                claim.start,
                min(claim.end, until),
                Word.ZOOKEEPER,
                claim.token,
            )
            for claim in self._claims
            if claim.start <= until
        ]

    def held(self) -> list[tuple[Bar, str | None]]:
        """What ZooKeeper holds now, by number, with the owning sessions."""
        return [
            (
                Bar(self._owner(c) or "?", c.number, c.start, self.end, Word.ZOOKEEPER, c.token),
                c.session,
            )
            for _, c in sorted(self._held.items())
        ]

    def quiet(self, node: str, until: float | None = None) -> list[Stretch]:
        """When the node was up and had no number to give, and why."""
        return list(self._cut(self._life(node).quiet, until))

    def up(self, node: str, until: float | None = None) -> list[Stretch]:
        """When the node's process was there, as far as is known."""
        return list(self._cut(self._life(node).up, until))

    def paused(self, node: str, until: float | None = None) -> list[Stretch]:
        return list(self._cut(self._life(node).paused, until))

    def broken(self, node: str, until: float | None = None) -> list[Stretch]:
        """When the node's link to ZooKeeper was cut, slow or flaky."""
        return list(self._cut(self._life(node).broken, until))

    def outages(self, until: float | None = None) -> list[Stretch]:
        """When ZooKeeper (or the majority of it) was stopped, killed or paused."""
        return list(self._cut(self.zookeeper.outages, until))

    def marks(self, node: str, until: float | None = None) -> list[Mark]:
        return [mark for mark in self._life(node).marks if until is None or mark.t <= until]

    def requests(
        self, node: str, until: float | None = None, since: float = -math.inf
    ) -> list[Request]:
        """The requests that ended between the two moments, in that order."""
        requests = self._life(node).requests
        until = self.end if until is None else until
        first = bisect_left(requests, since, key=lambda request: request.done)
        return requests[first : bisect_right(requests, until, key=lambda request: request.done)]

    def _life(self, server: str) -> Life:
        return self._lives.get(server) or self.zookeeper.lives.get(server) or Life()

    def _cut(self, stretches: list[Stretch], until: float | None) -> Iterator[Stretch]:
        until = self.end if until is None else until
        for stretch in stretches:
            if stretch.start <= until:
                yield replace(stretch, end=min(stretch.end, until))

    def _claims_by(self, node: str) -> list[Span]:
        """The node's claims, in the order in which they were made."""
        sessions = self._sessions_of.get(node, ())
        nameless = (claim for session in sessions for claim in self._claims_in.get(session, ()))
        return [claim for _, claim in sorted([*self._claims_of.get(node, ()), *nameless])]

    def _owner(self, claim: Span) -> str | None:
        return claim.node or self._sessions.get(claim.session or "")
