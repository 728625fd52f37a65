"""Stretches of time in which something was so, and moments at which something was done. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from labkit.story.bars import LAST, Stretch


@dataclass(frozen=True)
class Mark:
    """Something that was done to a server, or the end of its session, at the moment of its effect.

    What breaks something has taken effect when it is over, what mends something when it begins.
    """

    t: float
    verb: str


def open_stretch(stretches: list[Stretch], t: float, what: str = "") -> None:
    """Open a stretch at `t`.

    An open stretch with the same label goes on; one with another label is closed.
    """
    if stretches and stretches[-1].end == LAST:
        if stretches[-1].what == what:
            return
        close_stretch(stretches, t)
    stretches.append(Stretch(t, LAST, what))


def close_stretch(stretches: list[Stretch], t: float) -> None:
    """Close the open stretch at `t`, if there is one."""
    if stretches and stretches[-1].end == LAST:
        stretches[-1] = replace(stretches[-1], end=t)


def in_turn(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in order, each cut off where the next one begins; those of one label as one."""
    found: list[Stretch] = []
    for stretch in stretches:
        last = found[-1] if found else None
        if last is not None and stretch.start <= last.end:
            if stretch.what == last.what:
                found[-1] = replace(last, end=max(last.end, stretch.end))
                continue
            found[-1] = replace(last, end=stretch.start)
        found.append(stretch)
    return found


def silence(reason: str) -> str:
    """Why a node gives no number, in words for a picture."""
    return "not asked yet" if reason == "not-asked" else f"503 {reason.replace('-', ' ')}"


def natural(name: str) -> tuple[str, int]:
    """The key by which node2 comes before node10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
