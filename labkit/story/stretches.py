"""What is known of one server: when it was up, paused or cut off, and what was done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from labkit.story.bars import LAST, Span, Stretch
from labkit.story.requests import Request


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


@dataclass
class Life:
    """What is known of one server, a node or one of ZooKeeper's."""

    answers: list[Span] = field(default_factory=list)
    quiet: list[Stretch] = field(default_factory=list)  # up, but 503; the last may be open
    up: list[Stretch] = field(default_factory=list)
    paused: list[Stretch] = field(default_factory=list)
    broken: list[Stretch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    polled: bool = False
    state: str = "unknown"
    frozen: Span | None = None

    @property
    def answer(self) -> Span | None:
        """What a node says now, by the last that is known."""
        return self.answers[-1] if self.answers and self.answers[-1].end == LAST else None

    def heal(self, t: float) -> None:
        """Its link, if it was broken, is whole again."""
        if self.broken and self.broken[-1].end == LAST:
            close_stretch(self.broken, t)
            self.marks.append(Mark(t, "heal"))


def open_stretch(stretches: list[Stretch], t: float, what: str = "") -> None:
    """From `t` on it is so; what is so already goes on, what was otherwise ends."""
    if stretches and stretches[-1].end == LAST:
        if stretches[-1].what == what:
            return
        close_stretch(stretches, t)
    stretches.append(Stretch(t, LAST, what))


def take_back(stretches: list[Stretch], t: float) -> None:
    """As if nothing had been opened at `t`."""
    for i, stretch in enumerate(stretches):
        if stretch.start == t:
            del stretches[i]
            if i and stretches[i - 1].end == t:  # it was closed in favour of this one
                stretches[i - 1] = replace(stretches[i - 1], end=stretch.end)
            return


def close_stretch(stretches: list[Stretch], t: float) -> None:
    """From `t` on it is so no more."""
    if stretches and stretches[-1].end == LAST:
        stretches[-1] = replace(stretches[-1], end=t)


def silence(reason: str) -> str:
    """Why a node gives no number, in words for a picture."""
    return "not asked yet" if reason == "not-asked" else f"503 {reason.replace('-', ' ')}"


def natural(name: str) -> tuple[str, int]:
    """The key by which node2 comes before node10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
