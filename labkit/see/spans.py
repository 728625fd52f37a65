"""What a run's events say: who answered which number, and who held it, from when to when.

A node's own word comes from its status, from its answers, and from what was done to it; ZooKeeper's
word comes from its transactions where they have been merged, else from the watch. The two are kept
apart, and `bars` sets them side by side. Pure: events in, spans out.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from labkit.lab.event import Event, owner

_NUMBER = re.compile(r"/sequence/(\d+)")
_SAMPLE = 0.25  # seconds for which one sample speaks where nothing better is known
_WAKING = 1.0  # seconds after a pause in which a node that is polled has said something
_LAG = 0.15  # seconds by which the watch may be late
_LAST = math.inf
_REQUESTS = 20_000  # remembered of each node


class Word(StrEnum):
    """Who says that a node has a number."""

    BOTH = "both"  # the node answers it and ZooKeeper holds it for the node
    ZOOKEEPER = "zookeeper"  # ZooKeeper holds it for a node that does not answer it
    NODE = "node"  # the node answers it, but ZooKeeper does not hold it for the node any more


@dataclass(frozen=True)
class Bar:
    """One number of one node, over a stretch of time in which nothing about it changed.

    `beside` is true of a claim that stands beside another one of the same node, such as the one
    that a former session has left behind.
    """

    node: str
    number: int
    start: float
    end: float
    word: Word
    token: int | None = None
    beside: bool = False


@dataclass(frozen=True)
class Stretch:
    """Something that was so for a while: a link cut, ZooKeeper down, a node silent."""

    start: float
    end: float
    what: str = ""


@dataclass(frozen=True)
class Mark:
    """A verb, at the moment it began."""

    t: float
    verb: str


def captions(marks: Sequence[Mark], near: float) -> list[tuple[float, str]]:
    """When, and the words; marks within `near` seconds of one share its place."""
    said: list[tuple[float, str]] = []
    for mark in marks:
        if said and mark.t - said[-1][0] <= near:
            said[-1] = (said[-1][0], f"{said[-1][1]}, {mark.verb}")
        else:
            said.append((mark.t, mark.verb))
    return said


@dataclass(frozen=True)
class Request:
    """A request's end: "ok", "fail" or, when nobody answered, "unknown"; `invoked`: when sent."""

    invoked: float
    t: float
    outcome: str
    number: int | None


@dataclass
class _Span:
    """A number that a node has, by one of the two words.

    Samples leave some doubt: it began after `after` and at `start` at the latest, and ended after
    `before` and at `end` at the latest.
    """

    node: str | None
    number: int
    token: int | None
    after: float
    start: float
    before: float = _LAST
    end: float = _LAST
    session: str | None = None
    sampled: float = _LAST  # how long it lasts if nothing confirms it
    heard: float = -_LAST  # when a request was last answered so
    guessed: bool = False  # taken up again after a pause; what it says next decides
    watched: bool = False  # a claim that was seen by the watch, not in the log

    def matches(self, claim: _Span) -> bool:
        tokens = {self.token, claim.token} - {None}
        return self.number == claim.number and len(tokens) < 2


@dataclass
class _Life:
    """What is known of one node."""

    answers: list[_Span] = field(default_factory=list)
    quiet: list[Stretch] = field(default_factory=list)  # up, but 503; the last may be open
    up: list[Stretch] = field(default_factory=list)
    paused: list[Stretch] = field(default_factory=list)
    broken: list[Stretch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    polled: bool = False
    state: str = "unknown"
    frozen: _Span | None = None

    @property
    def answer(self) -> _Span | None:
        return self.answers[-1] if self.answers and self.answers[-1].end == _LAST else None


def _open(stretches: list[Stretch], t: float, what: str = "") -> None:
    if stretches and stretches[-1].end == _LAST:
        if stretches[-1].what == what:
            return
        _close(stretches, t)
    stretches.append(Stretch(t, _LAST, what))


def _take_back(stretches: list[Stretch], t: float) -> None:
    """As if nothing had been opened at `t`."""
    for i, stretch in enumerate(stretches):
        if stretch.start == t:
            del stretches[i]
            if i and stretches[i - 1].end == t:  # it was closed in favour of this one
                stretches[i - 1] = replace(stretches[i - 1], end=stretch.end)
            return


def _close(stretches: list[Stretch], t: float) -> None:
    if stretches and stretches[-1].end == _LAST:
        stretches[-1] = replace(stretches[-1], end=t)


class Story:
    """A run, told event by event: hand events in by `add`, in order, and ask at any time."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.start = _LAST  # the first moment that concerns a node or ZooKeeper
        self.end = 0.0
        self.modes: dict[str, list[Stretch]] = defaultdict(list)  # of ZooKeeper's servers
        self.tickets: list[str] = []
        self.session = ""  # the state of the lab's own session, "CONNECTED" when all is well
        self._lives: dict[str, _Life] = defaultdict(_Life)
        self._claims: list[_Span] = []
        self._held: dict[int, _Span] = {}
        self._exact = -1  # the last zxid known from the transaction log
        self._sessions: dict[str, str] = {}
        self._verbs: dict[Any, float] = {}
        self._starting: set[Any] = set()  # verbs under way that bring ZooKeeper back
        self._invoked: dict[Any, float] = {}
        self._down: set[str] = set()
        self._servers: set[str] = set()
        self._outages: list[Stretch] = []
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Let one more thing have happened."""
        self.end = max(self.end, event.t)
        if event.subject != "lab" and event.kind != "transaction":
            self.start = min(self.start, event.t)
        match event.kind:
            case "status":
                self._status(event)
            case "request":
                self._request(event)
            case "verb":
                self._verb(event)
            case "holders":
                self._holders(event)
            case "transaction":
                self._transaction(event)
            case "session":
                self.session = event.data["state"]
                self._is_connected(self.session, event.t)
            case "quorum":
                self._servers.add(event.subject)
                _open(self.modes[event.subject], event.t, event.data["mode"] or "")

    # --- what a node says ---

    def _status(self, event: Event) -> None:
        life, said, t = self._lives[event.subject], event.data, event.t
        until = said.get("previous_until")
        after = min(t, until if until is not None else t - _SAMPLE)
        life.polled = True
        if not said.get("reachable", True):
            self._silence(life, after, t)
            life.frozen = None
            _close(life.up, t)
            if life.state == "running":
                life.state = "unreachable"
            return
        _open(life.up, t)
        if life.state != "paused":  # an answer that was on its way when the node was frozen
            life.state = "running"
        self._is_connected(said.get("connection"), t)
        if said.get("session"):
            self._sessions[said["session"]] = event.subject
        current = life.answer
        if said.get("number") is None and current and current.heard >= said.get("asked", t):
            # The node may have said so before it gave the answer that came back meanwhile.
            current.sampled = min(current.sampled, t + _SAMPLE)
        elif said.get("number") is None:
            self._silence(life, after, t)
            _open(life.quiet, t, said.get("reason") or "")
        else:
            self._answer(life, event.subject, said["number"], said.get("token"), after, t, _LAST)

    def _request(self, event: Event) -> None:
        life, said = self._lives[event.subject], event.data
        if said["phase"] == "invoke":
            self._invoked[said["id"]] = event.t
            return
        invoked = self._invoked.pop(said["id"], event.t)
        number = said.get("number")
        if said.get("path", "/sequence") != "/sequence":
            return
        if len(life.requests) >= _REQUESTS:
            del life.requests[: _REQUESTS // 2]
        refused = said["phase"] == "fail" and "status" not in said
        outcome = "unknown" if refused else said["phase"]  # to a reader both are silence
        life.requests.append(Request(invoked, event.t, outcome, number))
        if said["phase"] == "ok" and number is not None:
            _open(life.up, event.t)
            sampled = event.t + _SAMPLE if life.polled else _LAST
            self._answer(
                life, event.subject, number, said.get("token"), invoked, event.t, sampled, event.t
            )
        elif said["phase"] == "fail" and not refused:
            current = life.answer
            if current and current.heard < invoked:  # else it may have said no before that
                self._silence(life, invoked, event.t)

    def _answer(
        self,
        life: _Life,
        node: str,
        number: int,
        token: int | None,
        after: float,
        t: float,
        sampled: float,
        heard: float = -_LAST,
    ) -> None:
        span = _Span(node, number, token, after, t, sampled=sampled, heard=heard)
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
        _close(life.quiet, t)
        life.answers.append(span)

    @staticmethod
    def _silence(life: _Life, after: float, t: float) -> None:
        """The node's word ended, after `after` and at `t` at the latest."""
        _close(life.quiet, t)
        if current := life.answer:
            if current.guessed and t - current.start < _WAKING:
                life.answers.pop()  # its first word since it woke up is another
                return
            if current.sampled < t:
                after = t = current.sampled
            current.before, current.end = max(after, current.start), max(t, current.start)

    # --- what was done ---

    def _verb(self, event: Event) -> None:
        said, t = event.data, event.t
        verb, begins = said["verb"], said["phase"] == "begin"
        began = t if begins else self._verbs.pop(said["id"], t)
        if begins:
            self._verbs[said["id"]] = t
        if "error" in said:
            self._starting.discard(said["id"])
            self._failed(event.subject, verb, began, t)
            return
        if event.subject.startswith("zookeeper"):
            self._zookeeper_verb(event.subject, verb, begins, said["id"], t)
        elif event.subject == "lab":
            if verb == "heal" and not begins:
                for life in self._lives.values():
                    self._heal(life, t)
        else:
            self._node_verb(self._lives[event.subject], verb, begins, began, t)

    def _failed(self, subject: str, verb: str, began: float, t: float) -> None:
        """Take back what the beginning of a verb has changed that failed at `t`."""
        if verb == "expire":  # the link was cut all the same, and is mended
            self._heal(self._lives[subject], t)
        elif subject != "lab" and not subject.startswith("zookeeper"):
            life = self._lives[subject]
            _take_back(life.broken, began)
            life.marks = [mark for mark in life.marks if mark != Mark(began, verb)]

    def _zookeeper_verb(self, server: str, verb: str, begins: bool, number: Any, t: float) -> None:
        servers = {server} if server != "zookeeper" else self._servers or {"zookeeper1"}
        self._servers |= servers
        if verb in ("start", "resume"):
            if begins:
                self._starting.add(number)
            else:
                self._starting.discard(number)
                self._down -= servers
        elif verb in ("stop", "kill", "pause") and not begins:  # while it stops it still serves
            self._down |= servers
        self._weigh(t)

    def _is_connected(self, state: str | None, t: float) -> None:
        """Who is connected while ZooKeeper starts knows, sooner than the verb, that it serves."""
        if self._starting and state == "CONNECTED":
            _close(self._outages, t)

    def _has_quorum(self) -> bool:
        return 2 * (len(self._servers) - len(self._down)) > len(self._servers)

    def _weigh(self, t: float) -> None:
        if self._has_quorum():
            _close(self._outages, t)
        else:
            _open(self._outages, t)

    def _node_verb(self, life: _Life, verb: str, begins: bool, began: float, t: float) -> None:
        if begins and verb != "heal":
            life.marks.append(Mark(t, verb))
        match verb, begins:
            case (("kill" | "stop"), False):
                life.state = "stopped"
                self._silence(life, began, t)
                life.frozen = None
                _close(life.up, t)
                _close(life.paused, t)
            case "start", False:
                life.state = "running"
                _open(life.up, t)
            case "pause", False:
                life.state = "paused"
                life.frozen = life.answer
                self._silence(life, began, t)
                _open(life.paused, t)
            case "resume", False:
                life.state = "running"
                _close(life.paused, began)
                if life.frozen and life.answer is None:
                    life.answers.append(
                        replace(
                            life.frozen, after=began, start=t, before=_LAST, end=_LAST, guessed=True
                        )
                    )
                life.frozen = None
            case (("partition" | "slow" | "flaky" | "expire"), True):
                _open(life.broken, t, "cut" if verb in ("partition", "expire") else verb)
            case (("heal" | "expire"), False):
                self._heal(life, t)

    @staticmethod
    def _heal(life: _Life, t: float) -> None:
        if life.broken and life.broken[-1].end == _LAST:
            _close(life.broken, t)
            life.marks.append(Mark(t, "heal"))

    # --- what ZooKeeper says ---

    def _transaction(self, event: Event) -> None:
        said = event.data
        self._exact = max(self._exact, said["zxid"])
        if said["op"] == "closeSession":
            for number, claim in list(self._held.items()):
                if claim.session == said["session"]:
                    self._release(number, event.t)
        elif match := _NUMBER.fullmatch(said["path"] or ""):
            number = int(match[1])
            if said["op"].startswith("create"):
                session = said["session"] if said["ephemeral"] else None
                self._claim(number, owner(said["value"]), session, said["zxid"], event.t)
            elif said["op"] == "delete" and self._token(number) <= said["zxid"]:
                self._release(number, event.t)

    def _holders(self, event: Event) -> None:
        self.tickets = list(event.data.get("tickets", ()))
        if event.data.get("zxid", _LAST) <= self._exact:
            return  # the log knows better
        listed = {int(number): claim for number, claim in event.data["numbers"].items()}
        for number in [n for n in self._held if n not in listed]:
            self._release(number, event.t, lag=_LAG)
        for number, claim in listed.items():
            owner, session, token = claim["owner"], claim["session"], claim["token"]
            self._claim(number, owner, session, token, event.t, lag=_LAG)

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
        span = _Span(node, number, token, t - lag, t, session=session, watched=lag > 0)
        self._held[number] = span
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
        owners = {name for claim in self._claims if (name := self._owner(claim))}
        return sorted(self._lives.keys() | owners, key=natural)

    @property
    def servers(self) -> list[str]:
        """ZooKeeper's servers, as far as they have been heard of."""
        return sorted(self._servers, key=natural)

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
        return bool(broken) and broken[-1].end == _LAST

    @property
    def is_down(self) -> bool:
        """Whether ZooKeeper (or the majority of it) is down now."""
        return bool(self._outages) and self._outages[-1].end == _LAST

    def bars(self, node: str, until: float | None = None, since: float = -math.inf) -> list[Bar]:
        """The node's numbers between the two moments, by both words, in order of beginning."""
        until = self.end if until is None else until
        recent = [claim for claim in self._claims if claim.end > since]
        claims = [claim for claim in recent if self._owner(claim) == node]
        earliest = min((claim.start for claim in claims), default=since)
        answers = [
            _settled(span, claims, self._outages, min(span.end, span.sampled))
            for span in self._life(node).answers
            if span.end > earliest
        ]
        answers = _apart(answers)
        claims = [_noticed(claim, answers) for claim in claims]
        bars = [bar for span in answers for bar in _by_node(node, span, claims)]
        bars += [bar for claim in claims for bar in _by_zookeeper(node, claim, answers)]
        shown = [
            replace(bar, end=min(bar.end, until))
            for bar in bars
            if bar.start < until and bar.end > since
        ]
        return sorted(_beside(shown), key=lambda bar: (bar.start, bar.beside))

    def claims(self, until: float | None = None) -> list[Bar]:
        """What ZooKeeper held, whoever answered it, in order of beginning."""
        until = self.end if until is None else until
        return [
            Bar(
                self._owner(claim) or "?", claim.number, claim.start, min(claim.end, until),
                Word.ZOOKEEPER, claim.token,
            )
            for claim in self._claims if claim.start <= until
        ]  # fmt: skip

    def held(self) -> list[tuple[Bar, str | None]]:
        """What ZooKeeper holds now, by number, with the owning sessions."""
        return [
            (
                Bar(
                    self._owner(c) or "?", c.number, c.start, self.end, Word.ZOOKEEPER, c.token
                ),
                c.session,
            )
            for _, c in sorted(self._held.items())
        ]  # fmt: skip

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
        return list(self._cut(self._outages, until))

    def marks(self, node: str, until: float | None = None) -> list[Mark]:
        return [mark for mark in self._life(node).marks if until is None or mark.t <= until]

    def requests(
        self, node: str, until: float | None = None, since: float = -math.inf
    ) -> list[Request]:
        """The requests that ended between the two moments, in that order."""
        requests = self._life(node).requests
        until = self.end if until is None else until
        first = bisect_left(requests, since, key=lambda request: request.t)
        return requests[first : bisect_right(requests, until, key=lambda request: request.t)]

    def _life(self, node: str) -> _Life:
        return self._lives.get(node) or _Life()

    def _cut(self, stretches: list[Stretch], until: float | None) -> Iterator[Stretch]:
        until = self.end if until is None else until
        for stretch in stretches:
            if stretch.start <= until:
                yield replace(stretch, end=min(stretch.end, until))

    def _owner(self, claim: _Span) -> str | None:
        return claim.node or self._sessions.get(claim.session or "")


def silence(reason: str) -> str:
    """Why a node gives no number, in words for a picture."""
    return "not asked yet" if reason == "not-asked" else f"503 {reason.replace('-', ' ')}"


def natural(name: str) -> tuple[str, int]:
    """The key by which node2 comes before node10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def _settled(span: _Span, claims: list[_Span], outages: list[Stretch], end: float) -> _Span:
    """Where samples leave doubt, a node's word begins with its claim, and ends with it or with
    ZooKeeper.
    """
    start, before = span.start, min(span.before, end)
    for outage in outages:
        if before <= outage.start <= end:
            end = outage.start
    for claim in claims:
        if span.matches(claim):
            if span.after <= claim.start <= span.start:
                start = claim.start
            if before <= claim.end <= end:
                end = claim.end
    return replace(span, start=start, end=end)


def _apart(answers: list[_Span]) -> list[_Span]:
    """A node answers one number at a time: what is doubtful about an end gives way."""
    apart: list[_Span] = []
    for span in answers:
        if apart and span.start < apart[-1].end:
            turn = max(span.start, apart[-1].before)
            apart[-1] = replace(apart[-1], end=turn)
            span = replace(span, start=turn)
        apart.append(span)
    return apart


def _noticed(claim: _Span, answers: list[_Span]) -> _Span:
    """Where the watch was late, a claim begins and ends with its node's word."""
    start, end = claim.start, claim.end
    for span in answers:
        if claim.matches(span):
            # Whoever names a claim's token has it already, however late the watch is.
            proven = claim.watched and span.token is not None
            if span.start < start and (proven or claim.after <= span.start):
                start = span.start
            if claim.before <= span.end < claim.end:
                end = span.end
    return replace(claim, start=start, end=end)


def _by_node(node: str, span: _Span, claims: list[_Span]) -> Iterator[Bar]:
    """A node's word, cut where ZooKeeper begins or ceases to say the same."""
    at = span.start
    for claim in sorted((c for c in claims if span.matches(c)), key=lambda c: c.start):
        start, end = max(claim.start, at), min(claim.end, span.end)
        if start >= end:
            continue
        if start > at:
            yield Bar(node, span.number, at, start, Word.NODE, span.token)
        yield Bar(node, span.number, start, end, Word.BOTH, claim.token)
        at = end
    if at < span.end:
        yield Bar(node, span.number, at, span.end, Word.NODE, span.token)


def _by_zookeeper(node: str, claim: _Span, answers: list[_Span]) -> Iterator[Bar]:
    """What is left of a claim when the node's own word is taken out."""
    at = claim.start
    for span in sorted((s for s in answers if s.matches(claim)), key=lambda s: s.start):
        start, end = max(span.start, at), min(span.end, claim.end)
        if start >= end:
            continue
        if start > at:
            yield Bar(node, claim.number, at, start, Word.ZOOKEEPER, claim.token)
        at = end
    if at < claim.end:
        yield Bar(node, claim.number, at, claim.end, Word.ZOOKEEPER, claim.token)


def _beside(bars: list[Bar]) -> Iterator[Bar]:
    """Let claims that nobody answers make room for what stands at the same time."""
    placed: list[Bar] = []
    for bar in sorted(bars, key=lambda bar: (bar.word is Word.ZOOKEEPER, -bar.start)):
        clash = any(bar.start < other.end and other.start < bar.end for other in placed)
        if not clash:
            placed.append(bar)
        yield replace(bar, beside=clash)
