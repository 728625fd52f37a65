"""What a saved picture shows may not contradict what its page says of it.

A page that says what is never seen in a picture names it in the metadata of the picture's cell:

    "labkit": {"forbids": ["an answer while ZooKeeper is down"]}

and the saved picture is held to it, by its own words: those of its alternative text. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_LINE = re.compile(r"(\w+): (.+?)\.(?= \w+: | ZooKeeper down | The |$)")
_BAR = re.compile(r"(\d+) from ([\d.]+) to ([\d.]+) s(?: \(([^)]+)\))?")
_MARK = re.compile(r"(\w+) at ([\d.]+) s")
_DOWN = re.compile(r"ZooKeeper down from ([\d.]+) to ([\d.]+) s")

_BREAKS = {"stop", "kill", "pause", "partition", "expire", "slow", "flaky"}
_CLOSE = 0.3  # seconds: a node is asked five times a second, and times are told in tenths


@dataclass(frozen=True)
class _Lane:
    node: str
    bars: list[tuple[float, float, str]]  # from, to, and what is special about it
    breaks: list[float]  # when the node, or its link, was broken


def contradictions(alt: str, forbids: list[str]) -> Iterator[str]:
    """What a picture with these words shows of what its page forbids."""
    lanes = [
        _Lane(
            node,
            [(float(start), float(end), how) for _, start, end, how in _BAR.findall(said)],
            [float(t) for verb, t in _MARK.findall(said) if verb in _BREAKS],
        )
        for node, said in _LINE.findall(alt)
    ]
    downs = [(float(start), float(end)) for start, end in _DOWN.findall(alt)]
    if not lanes:
        yield "has no words that a check could read"
    for what in forbids:
        if what not in _RULES:
            yield f"forbids {what!r}, which nobody checks; there are: {', '.join(_RULES)}"
            continue
        for lane in lanes:
            for start, end in _RULES[what](lane, downs):
                yield f"shows {what}: {lane.node}, {start:g} to {end:g} s"


_Stretches = Iterator[tuple[float, float]]
_Downs = list[tuple[float, float]]


def _answered_while_down(lane: _Lane, downs: _Downs) -> _Stretches:
    for start, end, how in lane.bars:
        for begin, back in downs:
            if how != "held, not answered" and min(end, back) - max(start, begin) > _CLOSE:
                yield start, end


def _silent_without_a_fault(lane: _Lane, downs: _Downs) -> _Stretches:
    causes = [*lane.breaks, *(begin for begin, _ in downs)]
    for start, end, how in lane.bars:
        is_long = end - start > _CLOSE
        if how == "held, not answered" and is_long and not any(t <= start + _CLOSE for t in causes):
            yield start, end


def _answered_and_not_held(lane: _Lane, downs: _Downs) -> _Stretches:
    for start, end, how in lane.bars:
        if how == "answered, not held":
            yield start, end


_RULES: dict[str, Callable[[_Lane, _Downs], _Stretches]] = {
    "an answer while ZooKeeper is down": _answered_while_down,
    "silence without a fault": _silent_without_a_fault,
    "an answer that is not held": _answered_and_not_held,
}
