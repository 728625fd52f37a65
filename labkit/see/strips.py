"""The live picture of many nodes: a heat strip a node, in the colour of the number that it has.

The same language as `svg.assignment`, without the words that have no room: they are titles, shown
where the pointer rests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from labkit.see import style, svg
from labkit.see.machines import by_machine
from labkit.story.bars import Bar, Word
from labkit.story.run import Story

MANY = 16  # nodes: beyond that a lane each has no room

_TALL = 480.0  # units that all strips together may take
_HIGHEST, _LOWEST = 13.0, 5.0  # a strip's height
_LEGIBLE = 9.0  # height of a strip that has room for a number, and for every name beside it


def assignment(spans: Story, *, since: float, until: float, uid: str, nodes: Sequence[str]) -> str:
    """Draw who had which number from `since` to `until`; see `svg.assignment` for `uid`."""
    lane = min(max(_TALL / max(len(nodes), 1), _LOWEST), _HIGHEST)
    frame = svg.Frame(by_machine(nodes, spans.machines), since, until, lane)
    parts = [
        *svg.head(spans.terms.title, frame),
        svg.patterns(uid),
        *svg.machines(frame),
        *svg.axis(frame),
        *svg.outages(spans, frame),
    ]
    every = 1 if lane >= _LEGIBLE else 5
    named = {name for group in frame.groups for name in group.names[::every]}
    for place, node in enumerate(frame.names):
        parts.append(f'<g class="strip" data-node="{escape(node)}">')
        if node in named:
            parts.append(
                f'<text x="{frame.left - 8:g}" y="{frame.y(place) + 3:.1f}" text-anchor="end" '
                f'font-size="9">{escape(node)}</text>'
            )
        parts += _strip(spans, node, frame.y(place), frame, uid)
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _strip(spans: Story, node: str, y: float, frame: svg.Frame, uid: str) -> Iterator[str]:
    for stretch in spans.up(node, frame.until):
        yield svg.line(frame.x(stretch.start), y, frame.x(stretch.end), y, opacity=0.4)
    for bar in spans.bars(node, frame.until, frame.since):
        if not bar.beside:
            yield from _bar(bar, spans, y, frame, uid)
    for stretch in spans.paused(node, frame.until):
        dotted = 'stroke-width="2" stroke-dasharray="2 3"'
        yield svg.line(
            frame.x(stretch.start), y, frame.x(stretch.end), y, opacity=0.9, extra=dotted
        )
    yield from svg.cuts(spans, node, y, frame, uid)
    for mark in spans.marks(node, frame.until):
        if mark.t >= frame.since:
            x = frame.x(mark.t)
            yield svg.line(x, y - frame.lane / 2, x, y + frame.lane / 2, opacity=1)


def _bar(bar: Bar, spans: Story, y: float, frame: svg.Frame, uid: str) -> Iterator[str]:
    x, width = frame.x(bar.start), frame.x(bar.end) - frame.x(bar.start)
    height = frame.lane - 1.5
    box = f'x="{x:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}"'
    shade = style.colour(bar.number)
    faint = "" if bar.word is Word.BOTH else ' fill-opacity=".3"'
    yield (
        f'<rect class="bar" data-number="{bar.number}" data-word="{bar.word}" {box} '
        f'fill="{shade}"{faint}><title>{escape(svg.says(bar, spans.terms))}</title></rect>'
    )
    if bar.word is Word.NODE:
        yield f'<rect {box} fill="url(#{uid}-x)" pointer-events="none"/>'
    if frame.lane >= _LEGIBLE and width > 24:
        ink = style.ink(shade) if bar.word is Word.BOTH else "currentColor"
        yield (
            f'<text x="{x + 4:.1f}" y="{y + 3:.1f}" font-size="8.5" font-weight="700" '
            f'fill="{ink}" pointer-events="none">{bar.number}</text>'
        )
