"""The assignment picture as SVG: cheap enough to be drawn many times a second.

It says what `plots.assignment` says, in the same language, and takes its text colour from the page
around it, so that it is legible in the dark too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from labkit.see import style
from labkit.see.machines import Group, by_machine, headings
from labkit.story.bars import Bar, Stretch, Terms, Word
from labkit.story.run import Story
from labkit.story.stretches import captions, silence

WIDTH = 900.0  # units of the drawing; it is scaled to the room there is
LEFT = 74.0  # where time begins, if no machine's name stands before the lanes
RIGHT = 12.0
TOP = 22.0
LANE = 40.0
_BAR = 21.0
_BESIDE = 7.0
_AXIS = 34.0
_LETTER = 7.2  # width of a letter at 12 units
_MARGIN = 32.0  # where a machine's name stands
_GAP = 8.0  # between machines


class Frame:
    """Where a moment and a lane are on the drawing."""

    def __init__(
        self, groups: Sequence[Group], since: float, until: float, lane: float = LANE
    ) -> None:
        self.groups = groups
        self.lane = lane  # its height
        self.since, self.until = since, max(until, since + 0.1)
        self.names = [name for group in groups for name in group.names]
        self._above = [i for i, group in enumerate(groups) for _ in group.names]
        self.left = LEFT + (_MARGIN if any(group.machine for group in groups) else 0.0)
        self.bottom = TOP + lane * len(self.names) + _GAP * max(len(groups) - 1, 0)
        self.height = self.bottom + _AXIS

    def x(self, t: float) -> float:
        t = min(max(t, self.since), self.until)
        return self.left + (t - self.since) / (self.until - self.since) * self._width

    def seconds(self, pixels: float) -> float:
        return pixels * (self.until - self.since) / self._width

    def y(self, lane: int) -> float:
        return TOP + self.lane * (lane + 0.5) + _GAP * self._above[lane]

    @property
    def _width(self) -> float:
        return WIDTH - self.left - RIGHT


def assignment(
    spans: Story,
    *,
    since: float,
    until: float,
    uid: str,
    nodes: Sequence[str] | None = None,
    label: str = "",
) -> str:
    """Draw who had which number from `since` to `until`, in seconds since the timeline began.

    Of an ensemble, what each of ZooKeeper's servers was stands above the nodes, or above those on
    its machine if there are several.
    `uid` keeps what the drawing refers to by name apart from other drawings on the page.
    Everything that happens in time is in a group of the class `time`.
    """
    frame = frame_of(spans, since, until, nodes)
    servers = spans.zookeeper.servers
    parts = [
        *head(label or spans.terms.title, frame),
        patterns(uid),
        *machines(frame),
        *_lanes(frame),
        *axis(frame),
        '<g class="time">',
        *outages(spans, frame),
    ]
    for lane, name in enumerate(frame.names):
        if name in servers:
            parts += _server(spans, name, lane, frame, uid)
            continue
        parts.append(f'<g class="lane" data-node="{escape(name)}">')
        parts += _lane(spans, name, lane, frame, uid)
        parts.append("</g>")
    parts.append("</g></svg>")
    return "".join(parts)


def frame_of(spans: Story, since: float, until: float, nodes: Sequence[str] | None = None) -> Frame:
    """Where everything is that `assignment` draws."""
    servers = spans.zookeeper.servers if len(spans.zookeeper.servers) > 1 else []
    names = [*servers, *(spans.nodes if nodes is None else nodes)]
    return Frame(by_machine(names, spans.machines), since, until)


def head(label: str, frame: Frame) -> Iterator[str]:
    """The beginning of a drawing; `</svg>` ends it."""
    yield (
        f'<svg viewBox="0 0 {WIDTH:g} {frame.height:g}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg" style="width:100%;max-width:1100px;height:auto" '
        f'font-family="system-ui,DejaVu Sans,sans-serif" font-size="12" fill="currentColor">'
    )


def chip(number: int | None, *, held: bool = True) -> str:
    """A number in its colour, for tables and lists; a dash for none."""
    if number is None:
        return '<span style="opacity:.6">–</span>'
    shade = style.colour(number)
    if held:
        look = f"background:{shade};color:{style.ink(shade)};border:1px solid {shade}"
    else:
        look = f"background:{shade}33;border:1px dashed currentColor"
    return (
        f'<span style="{look};display:inline-block;min-width:1.7em;padding:0 .3em;'
        f'text-align:center;font-weight:700;border-radius:2px">{number}</span>'
    )


def patterns(uid: str) -> str:
    """The hatches that a drawing refers to."""
    return (
        f'<defs><pattern id="{uid}-x" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="M0 0L6 6M6 0L0 6" stroke="{style.ALARM}" stroke-width="1.3"/></pattern>'
        f'<pattern id="{uid}-s" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path d="M0 0V6" stroke="currentColor" '
        'stroke-width="1.6" opacity=".5"/></pattern></defs>'
    )


def machines(frame: Frame) -> Iterator[str]:
    """The names of the machines in the margin, and a rule between them; nothing if there are none.

    `<g class="machine" data-machine="a">` holds what belongs to one.
    """
    lane = 0
    for group, text in zip(frame.groups, headings(frame.groups, frame.lane, 6.6), strict=True):
        top = frame.y(lane) - frame.lane / 2 if group.names else 0.0
        if lane:
            yield line(0, top - _GAP / 2, WIDTH - RIGHT, top - _GAP / 2, opacity=0.45)
        lane += len(group.names)
        if not group.machine:
            continue
        bottom, x = top + frame.lane * len(group.names), 18.0
        middle = (top + bottom) / 2
        turn = f' transform="rotate(-90 {x - 6:g} {middle:g})"' if len(text) > 2 else ""
        anchor = "middle" if turn else "end"
        yield (
            f'<g class="machine" data-machine="{escape(group.machine)}">'
            f"<title>machine {escape(group.machine)}</title>"
            f'<text x="{x - 6:g}" y="{middle:g}" text-anchor="{anchor}" font-size="11"{turn}>'
            f"{escape(text)}</text>"
        )
        yield line(x, top + 2, x, bottom - 2, opacity=0.6, extra='stroke-width="1.5"') + "</g>"


def _lanes(frame: Frame) -> Iterator[str]:
    firsts = {group.names[0] for group in frame.groups if group.names}
    for lane, node in enumerate(frame.names):
        y, left = frame.y(lane), frame.left
        yield f'<text x="{left - 10:g}" y="{y + 4:g}" text-anchor="end">{escape(node)}</text>'
        if node not in firsts:
            yield line(left, y - LANE / 2, WIDTH - RIGHT, y - LANE / 2, opacity=0.15)


def axis(frame: Frame) -> Iterator[str]:
    """The seconds, below the lanes."""
    y = frame.bottom
    yield line(frame.left, y, WIDTH - RIGHT, y, opacity=0.5)
    step = next(s for s in _STEPS if (frame.until - frame.since) / s <= 9)
    tick = -(-frame.since // step) * step
    while tick <= frame.until + step * 1e-6:
        x = frame.x(tick)
        yield line(x, y, x, y + 4, opacity=0.5)
        yield f'<text x="{x:.1f}" y="{y + 17:g}" text-anchor="middle">{tick:g}</text>'
        tick = round(tick + step, 6)
    middle = (frame.left + WIDTH - RIGHT) / 2
    yield (
        f'<text x="{middle:g}" y="{y + 31:g}" text-anchor="middle" font-size="11" opacity=".75">'
        "seconds since the lab was made</text>"
    )


_STEPS = [m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5)]


def outages(spans: Story, frame: Frame) -> Iterator[str]:
    """When ZooKeeper served nobody."""
    what = "ZooKeeper down" if len(spans.zookeeper.servers) < 2 else "no majority"
    downs = [down for down in spans.outages(frame.until) if down.end > frame.since]
    for i, down in enumerate(downs, 1):
        x, end = frame.x(down.start), frame.x(down.end)
        room = frame.x(downs[i].start) if i < len(downs) else WIDTH
        yield (
            f'<rect class="down" x="{x:.1f}" y="4" width="{end - x:.1f}" '
            f'height="{frame.bottom - 4:g}" fill="currentColor" opacity=".13"/>'
        )
        if x + len(what) * 5.9 <= room:
            yield f'<text x="{x + 3:.1f}" y="15" font-size="10">{what}</text>'


def _server(spans: Story, server: str, lane: int, frame: Frame, uid: str) -> Iterator[str]:
    """One of ZooKeeper's servers: dark while it leads, light while it follows."""
    y = frame.y(lane)
    yield from cuts(spans, server, y, frame, uid)
    for mode in spans.zookeeper.modes[server]:
        x, end = frame.x(mode.start), frame.x(mode.end)
        if end <= x:
            continue
        leads = mode.what in ("leader", "standalone")
        fill = f'fill="url(#{uid}-s)" fill-opacity=".5"'  # it serves nobody
        if mode.what:
            fill = f'fill="{style.INK}"' if leads else 'fill="currentColor" fill-opacity=".18"'
        yield (
            f'<rect class="mode" data-mode="{escape(mode.what)}" x="{x:.1f}" '
            f'y="{y - _BAR / 2:g}" width="{end - x:.1f}" height="{_BAR:g}" {fill} '
            f'stroke="currentColor" stroke-width=".8"><title>{escape(server)} '
            f"{escape(mode.what or 'serves nobody')}, {mode.start:.2f} to "
            f"{min(mode.end, frame.until):.2f} s</title></rect>"
        )
        if mode.what and len(mode.what) * _LETTER + 6 <= end - x:
            shade = style.PAPER if leads else "currentColor"
            yield (
                f'<text x="{x + 5:.1f}" y="{y + 4:g}" font-weight="700" fill="{shade}" '
                f'pointer-events="none">{escape(mode.what)}</text>'
            )
    yield from _marks(spans, server, y, frame)


def cuts(spans: Story, name: str, y: float, frame: Frame, uid: str) -> Iterator[str]:
    """When the server's link was cut, slow or flaky."""
    for cut in spans.broken(name, frame.until):
        x, end = frame.x(cut.start), frame.x(cut.end)
        if end > x:
            yield (
                f'<rect x="{x:.1f}" y="{y - frame.lane / 2 + 1:g}" width="{end - x:.1f}" '
                f'height="{frame.lane - 2:g}" fill="url(#{uid}-s)" opacity=".35"/>'
            )


def _lane(spans: Story, node: str, lane: int, frame: Frame, uid: str) -> Iterator[str]:
    y = frame.y(lane)
    yield from cuts(spans, node, y, frame, uid)
    bars = spans.bars(node, frame.until, frame.since)
    for start, end in _between(spans.up(node, frame.until), bars):
        yield line(frame.x(start), y, frame.x(end), y, opacity=0.55)
    for start, end in _between(spans.paused(node, frame.until), bars):
        dotted = 'stroke-width="2.5" stroke-dasharray="2 4"'
        yield line(frame.x(start), y, frame.x(end), y, opacity=0.7, extra=dotted)
    for quiet in spans.quiet(node, frame.until):
        taken = (b.start < quiet.end and quiet.start < b.end and not b.beside for b in bars)
        if quiet.what and not any(taken):
            yield from _small(silence(quiet.what), frame.x(quiet.start), frame.x(quiet.end), y - 4)
    for bar in bars:
        yield from _bar(bar, y, frame, uid, spans.terms)
    yield from _marks(spans, node, y, frame)
    last: dict[str, float] = {}
    for request in spans.requests(node, frame.until, frame.since):
        x = frame.x(request.done)
        if x - last.get(request.outcome, 0) >= 2:  # closer ones would cover each other
            last[request.outcome] = x
            yield _request(request.outcome, x, y + 18)


def _between(stretches: Sequence[Stretch], bars: Sequence[Bar]) -> Iterator[tuple[float, float]]:
    """What of the stretches no bar covers."""
    for stretch in stretches:
        at = stretch.start
        for bar in bars:
            if not bar.beside and bar.end > at and bar.start < stretch.end:
                if bar.start > at:
                    yield at, bar.start
                at = bar.end
        if at < stretch.end:
            yield at, stretch.end


def _bar(bar: Bar, y: float, frame: Frame, uid: str, terms: Terms) -> Iterator[str]:
    x, width = frame.x(bar.start), frame.x(bar.end) - frame.x(bar.start)
    height = _BESIDE if bar.beside else _BAR
    top = y + 11 if bar.beside else y - _BAR / 2
    shade = style.colour(bar.number)
    box = f'x="{x:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}"'
    ink = "currentColor"
    if bar.word is Word.BOTH:
        look = f'fill="{shade}" stroke="currentColor" stroke-width=".8"'
        ink = style.ink(shade)
    elif bar.word is Word.ZOOKEEPER:
        look = (
            f'fill="{shade}" fill-opacity=".25" stroke="currentColor" stroke-dasharray="4 2.5" '
            'stroke-width="1.2"'
        )
    else:
        look = f'fill="{shade}" fill-opacity=".45" stroke="{style.ALARM}" stroke-width="1.6"'
    number, word = bar.number, bar.word
    yield f'<rect class="bar" data-number="{number}" data-word="{word}" {box} {look}>'
    yield f"<title>{escape(says(bar, terms))}</title></rect>"
    if bar.word is Word.NODE:
        yield f'<rect {box} fill="url(#{uid}-x)" pointer-events="none"/>'
    text, size = str(bar.number), 8.0 if bar.beside else 14.0
    wide = len(text) * _LETTER * size / 12
    if wide + 4 <= width:
        pad = min(7.0, (width - wide) / 2)
        if bar.word is Word.NODE:
            yield (
                f'<rect x="{x + pad - 2:.1f}" y="{y - 8:g}" width="{wide + 5:.1f}" height="16" '
                f'fill="{style.PAPER}"/>'
            )
            ink = style.INK
        yield (
            f'<text x="{x + pad:.1f}" y="{top + height / 2 + size * 0.36:.1f}" fill="{ink}" '
            f'font-size="{size:g}" font-weight="700" pointer-events="none">{text}</text>'
        )


def says(bar: Bar, terms: Terms) -> str:
    """A bar in words."""
    token = "" if bar.token is None else f" (token {bar.token})"
    says = terms.says[bar.word].format(bar.number)
    return f"{bar.node} {says}{token}, {bar.start:.2f} to {bar.end:.2f} s"


def _marks(spans: Story, node: str, y: float, frame: Frame) -> Iterator[str]:
    marks = [mark for mark in spans.marks(node, frame.until) if mark.t >= frame.since]
    for mark in marks:
        x = frame.x(mark.t)
        yield line(x, y - 16, x, y + 12, opacity=1, extra='stroke-width="1.5"')
    written = 0.0
    for at, text in captions(marks, near=frame.seconds(5), letter=frame.seconds(5.6)):
        x, width = frame.x(at), len(text) * 5.6
        if x >= written:
            anchor, shift = ("end", -3) if x + width > WIDTH else ("start", 3)
            yield (
                f'<text class="mark" x="{x + shift:.1f}" y="{y - 12:g}" font-size="9.5" '
                f'text-anchor="{anchor}">{escape(text)}</text>'
            )
            written = x + width


def _request(outcome: str, x: float, y: float) -> str:
    if outcome == "ok":
        return line(x, y - 3, x, y + 1, opacity=0.9, extra='class="ok"')
    if outcome == "fail":
        path = f"M{x - 2.5:.1f} {y - 4:g}l5 5m0 -5l-5 5"
        return f'<path class="fail" d="{path}" stroke="{style.ALARM}" stroke-width="1.6"/>'
    return (
        f'<text class="unknown" x="{x:.1f}" y="{y + 2:g}" text-anchor="middle" font-size="9" '
        f'font-weight="700" fill="{style.ALARM}">?</text>'
    )


def _small(text: str, x: float, end: float, y: float) -> Iterator[str]:
    if len(text) * 5.4 <= end - x:
        yield f'<text x="{x + 3:.1f}" y="{y:g}" font-size="9.5">{escape(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, opacity: float, extra: str = "") -> str:
    """A line from one point to another."""
    return (
        f'<path d="M{x1:.1f} {y1:g}L{x2:.1f} {y2:g}" stroke="currentColor" '
        f'opacity="{opacity:g}" {extra}/>'
    )


def key(words: set[Word], uid: str, terms: Terms) -> str:
    """What the three kinds of bars mean, as far as they occur, in HTML."""
    looks = {
        Word.BOTH: 'fill="#767676" stroke="currentColor"',
        Word.ZOOKEEPER: 'fill="#767676" fill-opacity=".25" stroke="currentColor" '
        'stroke-dasharray="4 2.5"',
        Word.NODE: f'fill="url(#{uid}-x)" stroke="{style.ALARM}"',
    }
    items = (
        f'<span style="margin-right:1.6em;white-space:nowrap"><svg width="26" height="12" '
        f'aria-hidden="true"><rect x="1" y="1" width="24" height="10" {looks[word]}/></svg> '
        f"{terms.key[word]}</span>"
        for word in Word
        if word in words
    )
    return f'<div style="font-size:.85em;padding-left:4px">{"".join(items)}</div>'
