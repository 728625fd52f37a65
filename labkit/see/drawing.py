"""A scene as SVG: the one drawing of who had which number when, live, saved, replayed and judged.

It is cheap enough to be drawn many times a second, and takes its ink from the page around it, so
that it is legible in the dark too. What events say is text in it, whatever they say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from labkit.see import style
from labkit.see.scene import Lane, Scene, headings
from labkit.story.bars import Bar, Stretch, Terms, Word
from labkit.story.stretches import Mark

WIDTH = 900.0  # units of the drawing; it is scaled to the room there is
RIGHT = 12.0
MANY = 16  # lanes: beyond that one each has no room, and they become strips

# A lane, from its upper edge: two rows of words, the bar, claims beside it, requests.
LANE = 46.0
_WORDS = (8.5, 17.0)
_BAR, _MIDDLE = 18.0, 28.0
_BESIDE = 7.0
_GAPS = 13.0  # how long clients got no answer, where that is shown

_LEFT = 74.0  # where time begins at the earliest
_LETTERS = 20  # of a lane's name; longer ones are cut
_MARGIN = 32.0  # where a machine's name stands
_BETWEEN = 8.0  # machines
_TOP = 20.0
_TITLE = 18.0  # a line of the title
_AXIS = 36.0
_KEY = 17.0  # a row of the key

_STRIPS = 480.0  # units that all strips together may take
_HIGHEST, _LOWEST = 13.0, 5.0  # a strip's height
_LEGIBLE = 9.0  # height of a strip that has room for a number, and for every name beside it


@dataclass(frozen=True)
class Look:
    """What a picture shows beside its scene."""

    uid: str  # keeps what the drawing refers to by name apart from other drawings on the page
    label: str = ""  # what it shows, in words
    title: str = ""
    gaps: bool = False  # how long nobody led, and how long clients got no answer
    focus: tuple[float, float] | None = None  # the moment that it is about
    blamed: Sequence[str] = ()
    lines: Sequence[tuple[float, str]] = field(default=())  # moments with words, such as a guess
    whole_key: bool = False  # of all that may come to be seen


class Frame:
    """Where a moment and a lane are on the drawing."""

    def __init__(self, scene: Scene, look: Look) -> None:
        self.since, self.until = scene.since, scene.until
        self.groups = scene.groups
        self.strips = len(scene.lanes) > MANY
        levels = [level for lane in scene.lanes for level in lane.levels if level is not None]
        self.levels = 0 if self.strips else max(levels, default=0)  # beyond the first
        self.lane = LANE + _BESIDE * self.levels + (_GAPS if look.gaps else 0.0)
        if self.strips:
            self.lane = min(max(_STRIPS / len(scene.lanes), _LOWEST), _HIGHEST)
        letters = min(max((len(lane.name) for lane in scene.lanes), default=0), _LETTERS)
        self.left = max(_LEFT, letters * 12 * style.LETTER + 16)
        self.left += _MARGIN if any(group.machine for group in scene.groups) else 0.0
        self.title = textwrap.wrap(look.title, 105)
        self.top = _TOP + _TITLE * len(self.title)
        self.bottom = self.top + self.lane * len(scene.lanes)
        self.bottom += _BETWEEN * max(len(scene.groups) - 1, 0)
        self._tops = [
            self.top + self.lane * at + _BETWEEN * above
            for at, above in enumerate(
                above for above, group in enumerate(scene.groups) for _ in group.names
            )
        ]

    def x(self, t: float) -> float:
        t = min(max(t, self.since), self.until)
        return self.left + (t - self.since) / (self.until - self.since) * self._width

    def y(self, lane: int) -> float:
        """The upper edge of a lane."""
        return self._tops[lane]

    @property
    def _width(self) -> float:
        return WIDTH - self.left - RIGHT


def draw(scene: Scene, look: Look) -> str:
    """The scene as SVG. Everything that happens in time is in a group of the class `time`."""
    frame = Frame(scene, look)
    keys = list(_key(scene, look, frame))
    height = frame.bottom + _AXIS + (_KEY * (1 + max(row for _, row, _ in keys)) if keys else 0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(look.label or scene.terms.title)}" '
        f'xmlns="http://www.w3.org/2000/svg" style="width:100%;max-width:1100px;height:auto" '
        f'font-family="system-ui,DejaVu Sans,sans-serif" font-size="12" fill="currentColor" '
        f'data-left="{frame.left:g}" data-right="{WIDTH - RIGHT:g}" '
        f'data-bottom="{frame.bottom:g}">',
        _patterns(look.uid),
        *_title(frame),
        *_machines(frame),
        *_names(scene, look, frame),
        *_axis(frame),
        '<g class="time">',
        *_focus(look, frame),
        *_absences(scene, look, frame),
    ]
    for at, lane in enumerate(scene.lanes):
        kind = "strip" if frame.strips else "lane"
        parts.append(f'<g class="{kind}" data-node="{escape(lane.name)}">')
        parts += (
            _strip(lane, frame.y(at), scene, frame, look.uid)
            if frame.strips
            else _lane(lane, frame.y(at), scene, frame, look)
        )
        parts.append("</g>")
    parts += _said(look, frame)
    parts.append("</g>")
    top = frame.bottom + _AXIS
    for x, row, markup in keys:
        parts.append(f'<g transform="translate({x:.1f} {top + _KEY * row:g})">{markup}</g>')
    return "".join([*parts, "</svg>"])


# --- the frame --------------------------------------------------------------------------------


def _patterns(uid: str) -> str:
    """The hatches that a drawing refers to: x is false, s serves nobody, l is a broken link."""
    lines = 'stroke="currentColor" stroke-width="1.6"'
    return (
        f'<defs><pattern id="{uid}-x" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="M0 0L6 6M6 0L0 6" stroke="{style.ALARM}" stroke-width="1.3"/></pattern>'
        f'<pattern id="{uid}-s" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V6" {lines} opacity=".3"/></pattern>'
        f'<pattern id="{uid}-l" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(-45)"><path d="M0 0V6" {lines} opacity=".18"/></pattern></defs>'
    )


def _title(frame: Frame) -> Iterator[str]:
    for i, line in enumerate(frame.title):
        yield style.text(line, 2, 15 + _TITLE * i, 13.5, weight=600)


def _machines(frame: Frame) -> Iterator[str]:
    """The names of the machines in the margin, and a rule between them; nothing if there are none.

    `<g class="machine" data-machine="a">` holds what belongs to one.
    """
    lane = 0
    for group, text in zip(frame.groups, headings(frame.groups, frame.lane / 6.6), strict=True):
        top = frame.y(lane) if group.names else 0.0
        if lane:
            yield style.line(0, top - _BETWEEN / 2, WIDTH - RIGHT, top - _BETWEEN / 2, 0.45)
        lane += len(group.names)
        if not group.machine:
            continue
        bottom, x = top + frame.lane * len(group.names), 18.0
        middle = (top + bottom) / 2
        turn = f'transform="rotate(-90 {x - 6:g} {middle:g})"' if len(text) > 2 else ""
        yield (
            f'<g class="machine" data-machine="{escape(group.machine)}">'
            f"<title>machine {escape(group.machine)}</title>"
        )
        yield style.text(text, x - 6, middle, 11, anchor="middle" if turn else "end", extra=turn)
        yield style.line(x, top + 2, x, bottom - 2, 0.6, 'stroke-width="1.5"') + "</g>"


def _names(scene: Scene, look: Look, frame: Frame) -> Iterator[str]:
    """The lanes' names, and the rules between them."""
    every = 1 if not frame.strips or frame.lane >= _LEGIBLE else 5
    firsts = {group.names[0] for group in frame.groups if group.names}
    named = {name for group in frame.groups for name in group.names[::every]}
    for at, lane in enumerate(scene.lanes):
        y, left, size = frame.y(at), frame.left, 9.0 if frame.strips else 12.0
        middle = y + (frame.lane / 2 if frame.strips else _MIDDLE)
        if lane.name in named:
            blame = f'fill="{style.ALARM}"' if lane.name in look.blamed else ""
            weight = 700 if blame else 400
            name = textwrap.shorten(lane.name, _LETTERS, placeholder="…")
            at_name = middle + size / 3
            yield style.text(name, left - 10, at_name, size, "end", blame, weight, lane.name)
        if lane.name not in firsts and not frame.strips:
            yield style.line(left, y, WIDTH - RIGHT, y, 0.15)


def _axis(frame: Frame) -> Iterator[str]:
    """The seconds, below the lanes. Before the lab was made there were none."""
    y = frame.bottom
    yield style.line(frame.left, y, WIDTH - RIGHT, y, 0.5)
    step = next(s for s in _STEPS if (frame.until - frame.since) / s <= 9)
    tick = max(-(-frame.since // step) * step, 0.0)
    while tick <= frame.until + step * 1e-6:
        x = frame.x(tick)
        yield style.line(x, y, x, y + 4, 0.5)
        yield style.text(f"{tick:g}", x, y + 16, 12, "middle")
        tick = round(tick + step, 6)
    middle = (frame.left + WIDTH - RIGHT) / 2
    yield style.text("seconds since the lab was made", middle, y + 30, 11, "middle")


_STEPS = [m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5)]


# --- over all lanes ---------------------------------------------------------------------------


def _absences(scene: Scene, look: Look, frame: Frame) -> Iterator[str]:
    """When ZooKeeper served nobody, and, with `gaps`, when nobody led."""
    bands = [("down", down, scene.absence) for down in scene.outages]
    if look.gaps:
        bands += [
            ("leaderless", gap, f"no leader for {gap.end - gap.start:.1f} s")
            for gap in scene.leaderless
        ]
    bands.sort(key=lambda band: band[1].start)
    for i, (kind, band, text) in enumerate(bands, 1):
        x, end = frame.x(band.start), frame.x(band.end)
        room = frame.x(bands[i][1].start) if i < len(bands) else WIDTH
        yield (
            f'<rect class="{kind}" x="{x:.1f}" y="{frame.top - 16:g}" width="{end - x:.1f}" '
            f'height="{frame.bottom - frame.top + 16:g}" fill="currentColor" opacity=".13">'
            f"<title>{escape(text)}, {band.start:.2f} to {band.end:.2f} s</title></rect>"
        )
        if x + style.wide(text, 10) <= room:
            yield style.text(text, x + 3, frame.top - 5, 10)


def _focus(look: Look, frame: Frame) -> Iterator[str]:
    """The moment that a verdict is about; what lies beyond the picture has no edge."""
    if look.focus is None:
        return
    begin, end = look.focus
    x, right = frame.x(begin), frame.x(end)
    height = frame.bottom - frame.top + 16
    yield (
        f'<rect class="focus" x="{x:.1f}" y="{frame.top - 16:g}" width="{right - x:.1f}" '
        f'height="{height:g}" fill="{style.ALARM}" opacity=".14"/>'
    )
    for t in (begin, end):
        if frame.since < t < frame.until:
            yield _upright(frame.x(t), frame, style.ALARM)


def _said(look: Look, frame: Frame) -> Iterator[str]:
    for t, text in look.lines:
        x = frame.x(t)
        yield _upright(x, frame, "currentColor")
        left = x + style.wide(text, 11) + 6 > WIDTH
        beyond = "" if frame.since <= t <= frame.until else " (outside)"
        anchor, x = ("end", x - 4) if left else ("start", x + 4)
        yield style.text(text + beyond, x, frame.top - 5, 11, anchor, weight=600)


def _upright(x: float, frame: Frame, shade: str) -> str:
    return (
        f'<path d="M{x:.1f} {frame.top - 16:g}V{frame.bottom:g}" stroke="{shade}" '
        'stroke-width="1.4" stroke-dasharray="5 3" fill="none"/>'
    )


# --- in one lane ------------------------------------------------------------------------------


def _lane(lane: Lane, y: float, scene: Scene, frame: Frame, look: Look) -> Iterator[str]:
    yield from _broken(lane, y, frame, look.uid)
    for mode in lane.modes:
        yield from _mode(lane.name, mode, y, frame, look.uid)
    middle = y + _MIDDLE
    for start, end in _between(lane.up, lane.bars):
        yield style.line(frame.x(start), middle, frame.x(end), middle, 0.55)
    for start, end in _between(lane.paused, lane.bars):
        yield style.line(frame.x(start), middle, frame.x(end), middle, 0.8, _FROZEN)
    for quiet in lane.quiet:
        taken = (b.start < quiet.end and quiet.start < b.end and not b.beside for b in lane.bars)
        x, end = frame.x(quiet.start), frame.x(quiet.end)
        if not any(taken) and style.wide(quiet.what, 9.5) <= end - x:
            yield style.text(quiet.what, x + 3, middle - 4, 9.5)
    for bar, level in zip(lane.bars, lane.levels, strict=True):
        yield from _bar(bar, level, y, scene.terms, frame, look.uid)
    yield from _marks(lane.marks, y, frame)
    asked = y + _MIDDLE + _BAR / 2 + 5 + _BESIDE * frame.levels
    at: dict[str, list[float]] = {}
    for one in lane.asked:
        x = frame.x(one.t)
        if x - at.setdefault(one.outcome, [0.0])[-1] >= 2:  # closer ones would cover each other
            at[one.outcome].append(x)
    for outcome, places in at.items():
        yield _requests(outcome, places[1:], asked)
    if look.gaps and not lane.is_server:
        for gap in lane.gaps:
            yield from _gap(gap, y + frame.lane - 5, frame)


_FROZEN = 'stroke-width="2.5" stroke-dasharray="2 4" class="frozen"'


def _mode(name: str, mode: Stretch, y: float, frame: Frame, uid: str) -> Iterator[str]:
    """What one of ZooKeeper's servers was: dark while it leads, light while it follows."""
    x, end = frame.x(mode.start), frame.x(mode.end)
    leads, what = mode.what in ("leader", "standalone"), mode.what or "serves nobody"
    fill = f'fill="url(#{uid}-s)"'  # it serves nobody
    if mode.what:
        fill = f'fill="{style.QUIET}"' if leads else 'fill="currentColor" fill-opacity=".12"'
    yield (
        f'<rect class="mode" data-mode="{escape(mode.what)}" x="{x:.1f}" '
        f'y="{y + _MIDDLE - _BAR / 2:g}" width="{end - x:.1f}" height="{_BAR:g}" {fill} '
        f'stroke="currentColor" stroke-width=".8"><title>{escape(name)} {escape(what)}, '
        f"{mode.start:.2f} to {mode.end:.2f} s</title></rect>"
    )
    if mode.what and style.wide(mode.what, 12) <= end - x:
        ink = f'fill="{style.ink(style.QUIET)}"' if leads else ""
        yield style.text(mode.what, x + 5, y + _MIDDLE + 4, 12, extra=ink, weight=700)


def _broken(lane: Lane, y: float, frame: Frame, uid: str) -> Iterator[str]:
    """When the server's link was cut, slow or flaky."""
    for cut in lane.broken:
        x, end = frame.x(cut.start), frame.x(cut.end)
        what = "link cut" if cut.what == "cut" else f"{cut.what} link"
        yield (
            f'<rect class="broken" x="{x:.1f}" y="{y + 1:g}" width="{end - x:.1f}" '
            f'height="{frame.lane - 2:g}" fill="url(#{uid}-l)"><title>{escape(lane.name)}: '
            f"{escape(what)}, {cut.start:.2f} to {cut.end:.2f} s</title></rect>"
        )


def _between(stretches: Iterable[Stretch], bars: Sequence[Bar]) -> Iterator[tuple[float, float]]:
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


def _bar(
    bar: Bar, level: int | None, y: float, terms: Terms, frame: Frame, uid: str
) -> Iterator[str]:
    x, width = frame.x(bar.start), frame.x(bar.end) - frame.x(bar.start)
    if level is None:
        height, top, size = _BAR, y + _MIDDLE - _BAR / 2, 13.0
    else:
        height, size = _BESIDE - 1, 7.5
        top = y + _MIDDLE + _BAR / 2 + 1 + _BESIDE * level
    yield from _box(bar, x, top, width, height, terms, uid)
    text = str(bar.number)
    wide = len(text) * style.LETTER * size
    if wide + 4 > width:
        return
    pad, ink = min(7.0, (width - wide) / 2), "currentColor"
    if bar.word is Word.BOTH:
        ink = style.ink(style.colour(bar.number))
    elif bar.word is Word.NODE:  # a hatch runs through letters
        ink = "#000000"
        yield (
            f'<rect x="{x + pad - 2:.1f}" y="{top + 2:g}" width="{wide + 4:.1f}" '
            f'height="{height - 4:g}" fill="#FFFFFF"/>'
        )
    fill = f'fill="{ink}" pointer-events="none"'
    yield style.text(text, x + pad, top + height / 2 + size * 0.36, size, extra=fill, weight=700)


def _box(
    bar: Bar, x: float, top: float, width: float, height: float, terms: Terms, uid: str
) -> Iterator[str]:
    """A bar, filled as its word says."""
    box = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    look = {
        Word.BOTH: 'stroke="currentColor" stroke-width=".8"',
        Word.ZOOKEEPER: 'fill-opacity=".25" stroke="currentColor" stroke-dasharray="4 2.5" '
        'stroke-width="1.2"',
        Word.NODE: f'fill-opacity=".45" stroke="{style.ALARM}" stroke-width="1.6"',
    }[bar.word]
    token = "" if bar.token is None else f" (token {bar.token})"
    says = f"{bar.node} {terms.says[bar.word].format(bar.number)}{token}"
    yield (
        f'<rect class="bar" data-number="{bar.number}" data-word="{bar.word}" {box} '
        f'fill="{style.colour(bar.number)}" {look}><title>{escape(says)}, '
        f"{bar.start:.2f} to {bar.end:.2f} s</title></rect>"
    )
    if bar.word is Word.NODE:
        yield f'<rect {box} fill="url(#{uid}-x)" pointer-events="none"/>'


def _marks(marks: Sequence[Mark], y: float, frame: Frame) -> Iterator[str]:
    """What was done to the server: a tick through its bar, and the words above it."""
    for mark in marks:
        x = frame.x(mark.t)
        yield (
            f'<path d="M{x:.1f} {y + 10:g}V{y + _MIDDLE + _BAR / 2 + 2:g}" stroke="currentColor" '
            f'stroke-width="1.5"><title>{escape(mark.verb)}, {mark.t:.2f} s</title></path>'
        )
    for text, x, row in captions([(frame.x(mark.t), mark.verb) for mark in marks]):
        yield style.text(text, x, y + _WORDS[row], 9.5, extra='class="mark"')


def captions(marks: Sequence[tuple[float, str]]) -> list[tuple[str, float, int]]:
    """Where the words of marks stand, of which none covers another: text, left edge, row.

    The row near the bar is 1, the one above it 0. Words that have no room in either join those
    that take it, and where even these are too long it says how many there are.
    """
    placed: list[tuple[float, int, list[str]]] = []  # where it begins, row, verbs
    ends = [-1.0, -1.0]
    for x, verb in marks:
        near = bool(placed) and x - placed[-1][0] <= 5
        row = next((row for row in (1, 0) if ends[row] <= _begin(x, [verb])), None)
        if near or row is None:
            at = len(placed) - 1 if near else _last(placed, 0 if ends[0] < ends[1] else 1)
            _, row, verbs = placed[at]
            verbs.append(verb)
            end = _begin(placed[at][0], verbs) + style.wide(_joined(verbs), 9.5)
            ends[row] = max(ends[row], end)
        else:
            placed.append((x, row, [verb]))
            ends[row] = _begin(x, [verb]) + style.wide(verb, 9.5)
    return [(_joined(verbs), _begin(x, verbs), row) for x, row, verbs in placed]


def _last(placed: Sequence[tuple[float, int, list[str]]], row: int) -> int:
    return max(i for i, (_, of, _) in enumerate(placed) if of == row)


def _joined(verbs: Sequence[str]) -> str:
    """`pause, heal`; of many verbs the first, and how many others."""
    text = ", ".join(verbs)
    few = len(verbs) == 1 or (len(verbs) <= 3 and len(text) <= 26)
    return text if few else f"{verbs[0]} and {len(verbs) - 1} more"


def _begin(x: float, verbs: Sequence[str]) -> float:
    """Where the words of a mark begin: beside it, or before it where the edge is too near."""
    wide = style.wide(_joined(verbs), 9.5)
    return x + 3 if x + 3 + wide <= WIDTH else x - 3 - wide


def _gap(gap: Stretch, y: float, frame: Frame) -> Iterator[str]:
    """How long the clients of a node got no answer, where that is more than a moment."""
    x, end = frame.x(gap.start), frame.x(gap.end)
    if end - x < 22:
        return
    text = f"{gap.end - gap.start:.2f} s"
    wide = style.wide(text, 9.5)
    inside = wide + 20 <= end - x
    middle, half = (x + end) / 2, wide / 2 if inside else 0.0
    yield style.line(x, y, middle - half, y, 0.9, 'class="gap"')
    yield style.line(middle + half, y, end, y, 0.9)
    for at in (x, end):
        yield style.line(at, y - 4, at, y + 4, 0.9)
    anchor, at = ("middle", middle) if inside else ("start", end + 3)
    if inside or end + wide < WIDTH:
        yield style.text(text, at, y + 3.5, 9.5, anchor)


def _requests(outcome: str, places: Sequence[float], y: float) -> str:
    """A mark for each; all that ended alike are one path: a browser draws hundreds at once."""
    if outcome == "ok":
        path = "".join(f"M{x:.1f} {y - 3:g}v5" for x in places)
        return f'<path class="ok" d="{path}" stroke="currentColor" opacity=".9"/>'
    if outcome == "fail":
        path = "".join(f"M{x - 2.5:.1f} {y - 3:g}l5 5m0 -5l-5 5" for x in places)
        return f'<path class="fail" d="{path}" stroke="{style.ALARM}" stroke-width="1.6"/>'
    across = " ".join(f"{x:.1f}" for x in places)
    return (
        f'<text class="unknown" x="{across}" y="{y + 3:g}" font-size="9" text-anchor="middle" '
        f'font-weight="700" fill="{style.ALARM}">{"?" * len(places)}</text>'
    )


def _strip(lane: Lane, y: float, scene: Scene, frame: Frame, uid: str) -> Iterator[str]:
    """A lane where there are many: its words have no room, and are titles."""
    middle, height = y + frame.lane / 2, frame.lane - 1.5
    for stretch in lane.up:
        yield style.line(frame.x(stretch.start), middle, frame.x(stretch.end), middle, 0.4)
    for mode in lane.modes:
        yield from _mode(lane.name, mode, middle - _MIDDLE, frame, uid)
    for bar in lane.bars:
        if bar.beside:
            continue
        x, width = frame.x(bar.start), frame.x(bar.end) - frame.x(bar.start)
        yield from _box(bar, x, middle - height / 2, width, height, scene.terms, uid)
        if frame.lane >= _LEGIBLE and width > 24:
            ink = style.ink(style.colour(bar.number)) if bar.word is Word.BOTH else "currentColor"
            fill = f'fill="{ink}" pointer-events="none"'
            yield style.text(str(bar.number), x + 4, middle + 3, 8.5, extra=fill, weight=700)
    for stretch in lane.paused:
        yield style.line(frame.x(stretch.start), middle, frame.x(stretch.end), middle, 0.9, _FROZEN)
    yield from _broken(lane, y, frame, uid)
    for mark in lane.marks:
        x = frame.x(mark.t)
        yield (
            f'<path d="M{x:.1f} {y:g}v{frame.lane:g}" stroke="currentColor" stroke-width="1.5">'
            f"<title>{escape(mark.verb)} {escape(lane.name)}, {mark.t:.2f} s</title></path>"
        )


# --- the key ----------------------------------------------------------------------------------


def _key(scene: Scene, look: Look, frame: Frame) -> Iterator[tuple[float, int, str]]:
    """What bars and marks mean, as far as they occur: each with its place, across and in rows."""
    x, row = 2.0, 0
    for sample, text in _samples(scene, look):
        wide = 32 + style.wide(text, 11)
        if x + wide > WIDTH and x > 2:
            x, row = 2.0, row + 1
        yield x, row, f"{sample}{style.text(text, 30, 10, 11)}"
        x += wide + 8


def _samples(scene: Scene, look: Look) -> Iterator[tuple[str, str]]:
    whole, lanes = look.whole_key, scene.lanes
    words = set(Word) if whole else scene.words
    grey = f'fill="{style.QUIET}"'
    looks = {
        Word.BOTH: f'{grey} stroke="currentColor" stroke-width=".8"',
        Word.ZOOKEEPER: f'{grey} fill-opacity=".25" stroke="currentColor" '
        'stroke-dasharray="4 2.5" stroke-width="1.2"',
        Word.NODE: f'fill="url(#{look.uid}-x)" stroke="{style.ALARM}" stroke-width="1.6"',
    }
    box = '<rect x="1" y="1" width="24" height="10" {}/>'
    outcomes = {asked.outcome for lane in lanes for asked in lane.asked}
    if words - {Word.BOTH} or outcomes:
        for word, filled in looks.items():
            if word in words:
                yield box.format(filled), scene.terms.key[word]
    if any(not mode.what for lane in lanes for mode in lane.modes) or (whole and scene.is_ensemble):
        hatch = f'fill="url(#{look.uid}-s)" stroke="currentColor" stroke-width=".8"'
        yield box.format(hatch), "serves nobody"
    if whole or any(lane.broken for lane in lanes):
        yield box.format(f'fill="url(#{look.uid}-l)"'), "link cut, slow or flaky"
    if whole or any(lane.paused for lane in lanes):
        yield style.line(1, 6, 25, 6, 0.8, _FROZEN), "frozen"
    for outcome, text in scene.outcomes.items():
        if whole or (outcome in outcomes and len(lanes) <= MANY):
            yield _requests(outcome, [13], 7), text
