"""A node's answers and ZooKeeper's claims for it, set side by side. Pure.

A number may be answered and held, only held, or only answered. `side_by_side` cuts time into bars
in which that does not change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LAST = math.inf  # the end of what has not ended


class Word(StrEnum):
    """By whose word a node has a number."""

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
    """A state that lasted for a while: a link cut, ZooKeeper down, a node silent."""

    start: float
    end: float
    what: str = ""


@dataclass(frozen=True)
class Terms:
    """What bars are about, in words for a picture: nodes and numbers, or workers and their work."""

    title: str
    alt: str  # before "over time"
    none: str  # of one that never had any
    thing: str  # before its number
    key: Mapping[Word, str]
    how: Mapping[Word, str]  # after a bar in words
    says: Mapping[Word, str]  # a bar in words, after the node's name; {} is the number


NODES = Terms(
    "Which node has which number",
    "Numbers of each node",
    "no number",
    "number ",
    {
        Word.BOTH: "answers it and holds it",
        Word.ZOOKEEPER: "ZooKeeper holds it, no answer",
        Word.NODE: "answers it, does not hold it",
    },
    {
        Word.BOTH: "",
        Word.ZOOKEEPER: " (held, not answered)",
        Word.NODE: " (answered, not held)",
    },
    {
        Word.BOTH: "answers {}, and ZooKeeper holds it for it",
        Word.ZOOKEEPER: "does not answer {}, ZooKeeper still holds it for it",
        Word.NODE: "answers {}, which it does not hold any more",
    },
)

WORKERS = Terms(
    "Which worker has what",
    "What each worker has",
    "nothing",
    "",
    {
        Word.BOTH: "at work, and holds it",
        Word.ZOOKEEPER: "ZooKeeper holds it, not at work",
        Word.NODE: "at work, does not hold it",
    },
    {
        Word.BOTH: "",
        Word.ZOOKEEPER: " (held, not at work)",
        Word.NODE: " (at work, not held)",
    },
    {
        Word.BOTH: "works on {}, and ZooKeeper holds it for it",
        Word.ZOOKEEPER: "does not work on {}, which ZooKeeper holds for it",
        Word.NODE: "works on {}, which it does not hold",
    },
)


@dataclass
class Span:
    """A number that a node has, by one of the two words.

    Samples leave some doubt: it began after `after` and at `start` at the latest, and ended after
    `before` and at `end` at the latest.
    """

    node: str | None
    number: int
    token: int | None
    after: float
    start: float
    before: float = LAST
    end: float = LAST
    session: str | None = None
    sampled: float = LAST  # how long it lasts if nothing confirms it
    heard: float = -LAST  # when a request was last answered so
    guessed: bool = False  # taken up again after a pause; the next answer decides
    watched: bool = False  # a claim that was seen by the watch, not in the log

    def matches(self, claim: Span) -> bool:
        tokens = {self.token, claim.token} - {None}
        return self.number == claim.number and len(tokens) < 2


def side_by_side(
    node: str, answers: list[Span], claims: list[Span], outages: Sequence[Stretch]
) -> list[Bar]:
    """The bars of one node, by its own word and by ZooKeeper's, which was away in `outages`."""
    answers = _apart(
        [_settled(span, claims, outages, min(span.end, span.sampled)) for span in answers]
    )
    claims = [_noticed(claim, answers) for claim in claims]
    bars = [bar for span in answers for bar in _by_node(node, span, claims)]
    return bars + [bar for claim in claims for bar in _by_zookeeper(node, claim, answers)]


def _settled(span: Span, claims: list[Span], outages: Sequence[Stretch], end: float) -> Span:
    """Where it is doubtful, an answer begins with its claim, and ends with it or with an outage."""
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


def _apart(answers: list[Span]) -> list[Span]:
    """Answers cannot overlap: the earlier one is shortened, within its uncertainty."""
    apart: list[Span] = []
    for span in answers:
        if apart and span.start < apart[-1].end:
            turn = max(span.start, apart[-1].before)
            apart[-1] = replace(apart[-1], end=turn)
            span = replace(span, start=turn)
        apart.append(span)
    return apart


def _noticed(claim: Span, answers: list[Span]) -> Span:
    """Where the watch was late, a claim begins and ends with its node's answer."""
    start, end = claim.start, claim.end
    for span in answers:
        if claim.matches(span):
            # An answer with a claim's token proves the claim, however late the watch is.
            proven = claim.watched and span.token is not None
            if span.start < start and (proven or claim.after <= span.start):
                start = span.start
            if claim.before <= span.end < claim.end:
                end = span.end
    return replace(claim, start=start, end=end)


def _by_node(node: str, span: Span, claims: list[Span]) -> Iterator[Bar]:
    """A node's answer, cut where ZooKeeper begins or ceases to hold the number for it."""
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


def _by_zookeeper(node: str, claim: Span, answers: list[Span]) -> Iterator[Bar]:
    """What is left of a claim when the time in which the node answers it is taken out."""
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


def beside(bars: list[Bar]) -> Iterator[Bar]:
    """Let claims that nobody answers make room for what stands at the same time."""
    placed: list[Bar] = []
    for bar in sorted(bars, key=lambda bar: (bar.word is Word.ZOOKEEPER, -bar.start)):
        clash = any(bar.start < other.end and other.start < bar.end for other in placed)
        if not clash:
            placed.append(bar)
        yield replace(bar, beside=clash)
