"""What a saved picture shows may not contradict what its page says of it.

A page that says what is never seen in a picture names it in the metadata of the picture's cell:

    "labkit": {"forbids": ["an answer while ZooKeeper is down"]}

and the saved picture is held to it, by the data that are saved with it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.story.bars import Word

_BREAKS = {"stop", "kill", "pause", "partition", "expire", "slow", "flaky"}
_CLOSE = 0.3  # seconds: a node is asked five times a second


@dataclass(frozen=True)
class _Lane:
    node: str
    bars: Sequence[tuple[float, float, str]]  # from, to, and who says so
    breaks: Sequence[float]  # when the node, or its link, was broken


def contradictions(data: Mapping[str, Any], forbids: Sequence[str]) -> Iterator[str]:
    """What a picture with these data (`labkit.see.scene.Scene.data`) shows of what is forbidden."""
    lanes = [
        _Lane(
            lane["name"],
            [(start, end, word) for start, end, _, word, _ in lane["bars"]],
            [t for t, verb in lane["marks"] if verb in _BREAKS],
        )
        for lane in data["lanes"]
        if not lane["modes"]
    ]
    if not lanes:
        yield "shows no node, so that nothing in it can be forbidden"
    for what in forbids:
        if what not in _RULES:
            yield f"forbids {what!r}, which nobody checks; there are: {', '.join(_RULES)}"
            continue
        for lane in lanes:
            for start, end in _RULES[what](lane, data["down"]):
                yield f"shows {what}: {lane.node}, {start:.1f} to {end:.1f} s"


_Stretches = Iterator[tuple[float, float]]
_Downs = Sequence[tuple[float, float]]


def _answered_while_down(lane: _Lane, downs: _Downs) -> _Stretches:
    for start, end, word in lane.bars:
        for begin, back in downs:
            if word != Word.ZOOKEEPER and min(end, back) - max(start, begin) > _CLOSE:
                yield start, end


def _silent_without_a_fault(lane: _Lane, downs: _Downs) -> _Stretches:
    causes = [*lane.breaks, *(begin for begin, _ in downs)]
    for start, end, word in lane.bars:
        is_long = end - start > _CLOSE
        if word == Word.ZOOKEEPER and is_long and not any(t <= start + _CLOSE for t in causes):
            yield start, end


def _answered_and_not_held(lane: _Lane, downs: _Downs) -> _Stretches:
    for start, end, word in lane.bars:
        if word == Word.NODE:
            yield start, end


_RULES: dict[str, Callable[[_Lane, _Downs], _Stretches]] = {
    "an answer while ZooKeeper is down": _answered_while_down,
    "silence without a fault": _silent_without_a_fault,
    "an answer that is not held": _answered_and_not_held,
}
