"""What each node says of itself, and since when: by its status, its answers, and its verbs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from labkit.story.bars import LAST, Span, Stretch
from labkit.story.event import StatusEvent
from labkit.story.faults import Deed
from labkit.story.requests import Request
from labkit.story.stretches import close_stretch, open_stretch

_SAMPLE = 0.25  # seconds for which one sample speaks where nothing better is known
_WAKING = 1.0  # seconds after a pause in which a node that is polled has given an answer
_REQUESTS = 20_000  # remembered of each node


@dataclass
class Life:
    """What is known of one node. The last of each kind of stretch may be open."""

    answers: list[Span] = field(default_factory=list)
    quiet: list[Stretch] = field(default_factory=list)  # up, but 503
    up: list[Stretch] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    polled: bool = False
    state: str = "unknown"
    frozen: Span | None = None  # its answer when it was paused

    @property
    def answer(self) -> Span | None:
        """What the node answers now, by the last that is known."""
        return self.answers[-1] if self.answers and self.answers[-1].end == LAST else None


class Answers:
    """The lives of the nodes, one thing after another."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = defaultdict(Life)

    def status(self, event: StatusEvent) -> None:
        """Let a node have told its state."""
        life, t, until = self.lives[event.subject], event.t, event.previous_until
        after = min(t, until if until is not None else t - _SAMPLE)
        asked = t if event.asked is None else event.asked
        life.polled = True
        if not event.reachable:
            _fall_silent(life, after, t)
            life.frozen = None
            close_stretch(life.up, t)
            if life.state == "running":
                life.state = "unreachable"
            return
        open_stretch(life.up, t)
        if life.state != "paused":  # an answer that was on its way when the node was frozen
            life.state = "running"
        current = life.answer
        if event.number is not None:
            _answer(life, Span(event.subject, event.number, event.token, after, t))
        elif current and current.heard >= asked:
            # The status may be older than the answer that came back meanwhile.
            current.sampled = min(current.sampled, t + _SAMPLE)
        else:
            _fall_silent(life, after, t)
            open_stretch(life.quiet, t, event.reason or "")

    def request(self, request: Request) -> None:
        """Let a request for a number be over."""
        life = self.lives[request.node]
        if len(life.requests) >= _REQUESTS:
            del life.requests[: _REQUESTS // 2]
        life.requests.append(request)
        invoked, done = request.invoke, request.done
        if request.phase == "ok" and request.end.number is not None:
            open_stretch(life.up, done)
            sampled = done + _SAMPLE if life.polled else LAST
            number, token = request.number, request.token
            answer = Span(request.node, number, token, invoked, done, sampled=sampled, heard=done)
            _answer(life, answer)
        elif request.outcome == "fail":
            current = life.answer
            if current and current.heard < invoked:  # else it may have refused before that
                _fall_silent(life, invoked, done)

    def follow(self, deed: Deed) -> None:
        """Let a verb have been carried out on a node."""
        life, t = self.lives[deed.server], deed.end
        life.state = deed.makes or life.state
        if deed.makes in ("stopped", "paused"):
            frozen = life.answer if deed.makes == "paused" else None
            _fall_silent(life, deed.begin, t)
            life.frozen = frozen
            if deed.makes == "stopped":
                close_stretch(life.up, t)
        elif deed.makes == "running":
            open_stretch(life.up, t)
            if life.frozen and life.answer is None:
                again = replace(life.frozen, after=deed.begin, start=t, before=LAST, end=LAST)
                life.answers.append(replace(again, guessed=True))
            life.frozen = None


def _answer(life: Life, span: Span) -> None:
    """Let a node have given a number as its own."""
    current = life.answer
    if current and current.sampled < min(span.after, span.start):
        current.before = current.end = current.sampled
        current = None
    if current and current.matches(span):
        current.guessed = False
        current.sampled = max(current.sampled, span.sampled)
        current.heard = max(current.heard, span.heard)
        current.token = span.token if current.token is None else current.token
        return
    _fall_silent(life, span.after, span.start)
    life.answers.append(span)


def _fall_silent(life: Life, after: float, t: float) -> None:
    """Let a node's answer have ended, after `after` and at `t` at the latest."""
    close_stretch(life.quiet, t)
    if current := life.answer:
        if current.guessed and t - current.start < _WAKING:
            life.answers.pop()  # its first answer since it woke up is another
            return
        if current.sampled < t:
            after = t = current.sampled
        current.before, current.end = max(after, current.start), max(t, current.start)
