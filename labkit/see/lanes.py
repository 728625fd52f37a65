"""A chart with a lane for each server, and what is drawn into a lane: each kind has its own row.

From top to bottom: what was done to the server, the bar of what it has, the claims that stand
beside it, and the requests to it. Rows that a chart does not need take no room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from labkit.see import style
from labkit.see.chart import WIDTH, Chart
from labkit.see.machines import by_machine, headings
from labkit.story.bars import Bar, Stretch, Word
from labkit.story.requests import Request
from labkit.story.run import Story
from labkit.story.stretches import captions, silence

# Inches.
_CAPTION = 0.19
_BAR = 0.27
_BESIDE = 0.13
_ASKED = 0.15
_PAD = 0.06
_HEADER = 0.24
_GAP = 0.1  # between machines
_MARGIN = 0.3  # where a machine's name stands
_LETTER = 0.085  # what a letter takes at the body size
_NEAR = 0.045  # marks of requests that are nearer than this would cover each other

_DASHES = (0, (2.5, 1.5))


@dataclass(frozen=True)
class Rows:
    """Where the rows of a lane are, in lanes from the lane's middle."""

    lane: float  # its height, in inches
    levels: int  # of claims that stand beside bars

    @classmethod
    def of(cls, levels: int, asked: bool) -> Rows:
        """The rows of a chart with so many levels of claims beside bars."""
        below = _BESIDE * levels + (_ASKED if asked else 0.0)
        return cls(_CAPTION + _BAR + below + _PAD, levels)

    def at(self, inches: float) -> float:
        """So many inches below the lane's upper edge."""
        return inches / self.lane - 0.5

    @property
    def caption(self) -> float:
        return self.at(_CAPTION / 2)

    @property
    def bar(self) -> float:
        return self.at(_CAPTION + _BAR / 2)

    def beside(self, level: int) -> float:
        return self.at(_CAPTION + _BAR + _BESIDE * (level + 0.5))

    @property
    def asked(self) -> float:
        return self.at(_CAPTION + _BAR + _BESIDE * self.levels + _ASKED / 2)


class Lanes:
    """The chart, and the pens that draw into it. `left` and `right` are in seconds.

    `lane` says of each name where it is, from the top; those on one machine are beside each other.
    """

    def __init__(
        self,
        names: Sequence[str],
        spans: Story,
        rows: Rows,
        title: str,
        since: float | None,
        until: float | None,
        header: bool = False,
    ) -> None:
        self.spans = spans
        self.rows = rows
        self.left = since if since is not None else min(spans.start, spans.end)
        self.right = max(until if until is not None else spans.end, self.left + 0.1)
        self._seen: set[str] = set()  # outcomes of requests
        self.groups = by_machine(names, spans.machines)
        self.has_machines = any(group.machine for group in self.groups)
        gap = _GAP / rows.lane
        self.lane: dict[str, float] = {}
        for above, group in enumerate(self.groups):
            for name in group.names:
                self.lane[name] = len(self.lane) + above * gap
        bottom = max(self.lane.values(), default=0) + 0.5
        top = _HEADER / rows.lane if header else 0.0
        with mpl.rc_context(style.SETTINGS):
            height = 1.15 + rows.lane * (bottom + 0.5 + top)
            self.chart = Chart(figsize=(WIDTH, height), layout="constrained")
            self.axes: Axes = self.chart.add_subplot()
            self.axes.set_xlim(self.left, self.right)
            self.axes.set_ylim(bottom, -0.5 - top)
            self.axes.set_yticks([at + rows.bar for at in self.lane.values()], list(self.lane))
            self.axes.tick_params(axis="y", length=0)
            self.axes.set_xlabel("seconds since the lab was made")
            self.axes.set_title(title)
            for group in self.groups:
                for name in group.names[1:]:
                    at = self.lane[name] - 0.5
                    self.axes.axhline(at, color=style.LINE, linewidth=0.5, zorder=0)
            if self.has_machines:
                self._machines()

    def _machines(self) -> None:
        """A rule between machines, and in the margin, beside the lanes' names, their own."""
        longest = max(map(len, self.lane))
        beside = ScaledTranslation(-longest * _LETTER - 0.1, 0, self.chart.dpi_scale_trans)
        margin = blended_transform_factory(self.axes.transAxes + beside, self.axes.transData)
        words = headings(self.groups, self.rows.lane, _LETTER)
        for group, text in zip(self.groups, words, strict=True):
            begin, end = self.lane[group.names[0]] - 0.5, self.lane[group.names[-1]] + 0.5
            if group is not self.groups[0]:
                at = begin - _GAP / 2 / self.rows.lane
                self.axes.axhline(at, color=style.QUIET, linewidth=0.8, zorder=1)
            if text:
                line = self.axes.vlines(0, begin + 0.04, end - 0.04, color=style.QUIET)
                line.set(transform=margin, clip_on=False, linewidth=1.5)
                self.axes.annotate(
                    text,
                    (0, (begin + end) / 2),
                    xycoords=margin,
                    xytext=(-4, 0),
                    textcoords="offset points",
                    rotation=90 if len(text) > 2 else 0,
                    ha="right",
                    va="center",
                    annotation_clip=False,
                )

    # --- over all lanes ---

    def header(
        self, stretches: Sequence[Stretch], what: str, gid: str, lanes: int | None = None
    ) -> None:
        """Shade stretches of time, with words above; `lanes` says how many lanes down.

        `{seconds}` in the words is how long it lasted. Machines are shaded all the way down.
        """
        low, high = self.axes.get_ylim()
        bottom = low if lanes is None or self.has_machines else lanes - 0.5
        shown = [s for s in stretches if s.end >= self.left and s.start <= self.right]
        for i, stretch in enumerate(shown, 1):
            room = shown[i].start if i < len(shown) else self.right
            box = Rectangle(
                (stretch.start, high), stretch.end - stretch.start, bottom - high, zorder=0.5
            )
            box.set(facecolor=style.BAND, gid=gid)
            self.axes.add_patch(box)
            text = what.format(seconds=stretch.end - stretch.start)
            self.words(text, stretch.start, room, -0.5 - _HEADER / 2 / self.rows.lane)

    def outages(self, lanes: int | None = None) -> None:
        """Shade the time in which ZooKeeper, or the majority of it, was down."""
        alone = len(self.spans.zookeeper.servers) < 2
        what = "ZooKeeper down" if alone else "no majority"
        self.header(self.spans.outages(self.right), what, "zookeeper-down", lanes)

    # --- in one lane ---

    def life(self, name: str, lane: float, bars: Sequence[Bar]) -> None:
        """The thin line on which bars sit: there while the process is; the reasons for silence."""
        y, spans, axes = lane + self.rows.bar, self.spans, self.axes
        for up in spans.up(name, self.right):
            axes.hlines(y, up.start, up.end, color=style.QUIET, linewidth=1, zorder=1)
        self.faults(name, lane)
        for quiet in spans.quiet(name, self.right):
            over = [b for b in bars if b.start < quiet.end and quiet.start < b.end and not b.beside]
            if quiet.what and not over:
                self.words(silence(quiet.what), quiet.start, quiet.end, y - 0.09 / self.rows.lane)

    def faults(self, name: str, lane: float) -> None:
        """When the server was frozen, and when its link was cut, slow or flaky."""
        for paused in self.spans.paused(name, self.right):
            line = self.axes.hlines(
                lane + self.rows.bar, paused.start, paused.end, color=style.QUIET, zorder=1.1
            )
            line.set(linestyle=(0, (1, 2)), linewidth=2)
        for cut in self.spans.broken(name, self.right):
            box = Rectangle((cut.start, lane - 0.48), cut.end - cut.start, 0.96)
            box.set(facecolor=style.BAND, hatch="\\\\\\", edgecolor=style.LINE, linewidth=0)
            box.set(zorder=0.6, gid=f"{name}-link-{cut.what}")
            self.axes.add_patch(box)

    def bars(self, bars: Sequence[Bar], lane: float) -> None:
        """A node's bars, each with its number."""
        for bar, level in zip(bars, levels(bars), strict=True):
            self.box(bar, lane, bar.word, [str(bar.number)], level)

    def box(
        self, bar: Bar, lane: float, word: Word, labels: Sequence[str], level: int | None = None
    ) -> None:
        """One bar, with the first of the labels that fits; `level` is set for one that stands
        beside others.
        """
        start, end = max(bar.start, self.left), min(bar.end, self.right)
        beside = level is not None
        height = (_BESIDE - 0.02 if beside else _BAR) / self.rows.lane
        middle = lane + (self.rows.bar if level is None else self.rows.beside(level))
        shade = style.colour(bar.number)
        face = {
            Word.BOTH: shade,
            Word.NODE: style.pale(shade, 0.45),
            Word.ZOOKEEPER: style.pale(shade),
        }[word]
        box = self.rectangle(start, end, middle, height, face, style.INK)
        box.set_gid(f"{bar.node}:{bar.number}:{word}")
        if word is Word.ZOOKEEPER:
            box.set(linewidth=1.2, linestyle=_DASHES)
        elif word is Word.NODE:
            box.set(edgecolor=style.ALARM, hatch="xxx", linewidth=1.2)
        elif mark := style.hatch(bar.number):
            box.set(hatch=mark)
        ink = style.ink(face) if word is Word.BOTH else style.INK
        plate = word is Word.NODE or (word is Word.BOTH and bool(style.hatch(bar.number)))
        self.label(
            labels,
            start,
            end,
            middle,
            style.INK if plate else ink,
            7.0 if beside else 10.5,
            plate=plate,
        )

    def rectangle(
        self, start: float, end: float, middle: float, height: float, face: str, edge: str
    ) -> Rectangle:
        """A box around a height."""
        box = Rectangle((start, middle - height / 2), end - start, height)
        box.set(facecolor=face, edgecolor=edge, linewidth=0.8, zorder=2)
        self.axes.add_patch(box)
        return box

    def label(
        self,
        choices: Sequence[str],
        start: float,
        end: float,
        middle: float,
        ink: str,
        size: float = 9.5,
        plate: bool = False,
    ) -> None:
        """Write the first choice that fits into a bar, at its beginning; none, if none fits."""
        room = self.inches(end - start)
        for text in choices:
            wanted = len(text) * _LETTER * size / 9.5
            if wanted + 0.06 <= room:
                pad = min(0.07, (room - wanted) / 2) / self.inches(1)
                label = self.axes.text(
                    start + pad,
                    middle,
                    text,
                    ha="left",
                    va="center_baseline",
                    color=ink,
                    fontsize=size,
                    fontweight="bold",
                    zorder=4,
                    clip_on=True,
                )
                if plate:  # a hatch runs through letters
                    label.set_bbox({"boxstyle": "square,pad=0.12", "fc": style.PAPER, "ec": "none"})
                return

    def words(self, text: str, start: float, end: float, y: float) -> None:
        """Write small, if there is room."""
        start, end = max(start, self.left), min(end, self.right)
        if len(text) * _LETTER * 0.75 <= self.inches(end - start):
            self.axes.text(
                start, y, f" {text}", va="center", fontsize=7.5, color=style.INK, zorder=4
            )

    def marks(self, name: str, lane: float) -> None:
        """What was done to the server: a tick through its bar, and the word where there is room."""
        rows, axes = self.rows, self.axes
        marks = [m for m in self.spans.marks(name, self.right) if self.left <= m.t <= self.right]
        top, bottom = rows.at(0.03), rows.at(_CAPTION + _BAR + 0.02)
        for mark in marks:
            axes.vlines(mark.t, lane + top, lane + bottom, color=style.INK, linewidth=1.3, zorder=3)
        written = -math.inf
        letter = _LETTER * 0.8 / self.inches(1)
        for at, text in captions(marks, near=0.06 / self.inches(1), letter=letter):
            width = len(text) * letter
            flip = self.right - at < width  # too near the edge: write leftwards
            begin = at - width if flip else at
            if begin >= written:
                axes.text(
                    at,
                    lane + rows.caption,
                    f"{text} " if flip else f" {text}",
                    va="center",
                    ha="right" if flip else "left",
                    fontsize=7.5,
                    color=style.INK,
                    zorder=4,
                )
                written = at if flip else at + width

    def requests(self, name: str, lane: float, row: float) -> None:
        """A mark for each request, where it ended; nearer ones would cover each other."""
        requests = self.spans.requests(name, self.right, self.left)
        for outcome, (marker, shade, label) in _OUTCOMES.items():
            times: list[float] = []
            for request in requests:
                if request.outcome == outcome and (
                    not times or self.inches(request.done - times[-1]) >= _NEAR
                ):
                    times.append(request.done)
            if times:
                self._seen.add(outcome)
                self.axes.plot(
                    times,
                    [lane + row] * len(times),
                    linestyle="",
                    marker=marker,
                    color=shade,
                    markersize=4.5,
                    markeredgewidth=1,
                    zorder=3.5,
                    label=label,
                    gid=f"{name}:{outcome}",
                )

    def gaps(self, name: str, lane: float) -> None:
        """How long the clients of a node got no answer, where that is more than a moment."""
        for gap in unanswered(self.spans.requests(name, self.right, self.left)):
            y, seconds = lane + self.rows.caption, gap.end - gap.start
            if self.inches(seconds) < 0.25:
                continue
            self.axes.annotate(
                "",
                (gap.start, y),
                (gap.end, y),
                zorder=4,
                arrowprops={
                    "arrowstyle": "<->",
                    "color": style.INK,
                    "lw": 1,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
            text = f" {seconds:.2f} s "
            fits = len(text) * _LETTER * 0.8 <= self.inches(seconds)
            self.axes.text(
                (gap.start + gap.end) / 2 if fits else gap.end,
                y,
                text,
                va="center",
                ha="center" if fits else "left",
                fontsize=7.5,
                color=style.INK,
                zorder=5,
                bbox={"boxstyle": "square,pad=0.05", "fc": style.PAPER, "ec": "none"},
            )

    def inches(self, seconds: float) -> float:
        """How much room so many seconds have."""
        room = WIDTH - 1.1 - (_MARGIN if self.has_machines else 0.0)
        return seconds / (self.right - self.left) * room

    # --- the key ---

    def key(
        self, words: set[Word], meanings: Mapping[Word, str], further: Sequence[Patch] = ()
    ) -> None:
        """What bars and marks mean, as far as they occur."""
        grey = style.QUIET
        looks: dict[Word, dict[str, Any]] = {
            Word.BOTH: {"fc": grey, "ec": style.INK},
            Word.ZOOKEEPER: {"fc": style.pale(grey), "ec": style.INK, "lw": 1.2, "ls": _DASHES},
            Word.NODE: {"fc": style.pale(grey, 0.45), "ec": style.ALARM, "hatch": "xxx"},
        }
        handles: list[Any] = []
        if words - {Word.BOTH} or self._seen:
            handles += [Patch(label=meanings[w], **looks[w]) for w in looks if w in words]
        handles += further
        for outcome, (marker, shade, label) in _OUTCOMES.items():
            if outcome in self._seen:
                handles += self.axes.plot(
                    [],
                    [],
                    linestyle="",
                    marker=marker,
                    color=shade,
                    markersize=5,
                    markeredgewidth=1.2,
                    label=label,
                )
        if handles:
            rows = 1 if len(handles) <= 5 else 2
            with mpl.rc_context(style.SETTINGS):
                self.chart.legend(
                    handles=handles,
                    loc="outside lower left",
                    ncols=-(-len(handles) // rows),
                    frameon=False,
                    fontsize=8,
                    handlelength=1.8,
                    columnspacing=1.4,
                )


_OUTCOMES = {
    "ok": ("|", style.INK, "asked: answered"),
    "fail": ("x", style.ALARM, "asked: no number"),
    "unknown": ("$?$", style.ALARM, "asked: no answer"),
}


def levels(bars: Iterable[Bar]) -> list[int | None]:
    """For each of a node's bars, the level on which it stands beside the others; None for those
    that stand in the lane itself. Bars of one level do not meet.
    """
    ends: list[float] = []
    found: list[int | None] = []
    for bar in bars:
        if not bar.beside:
            found.append(None)
            continue
        level = next((i for i, end in enumerate(ends) if end <= bar.start), len(ends))
        ends[level : level + 1] = [bar.end]
        found.append(level)
    return found


def unanswered(requests: Sequence[Request]) -> list[Stretch]:
    """From an answer to the next one, where requests in between got none."""
    gaps: list[Stretch] = []
    last, failed = None, False
    for request in requests:
        if request.outcome != "ok":
            failed = True
        else:
            if failed and last is not None:
                gaps.append(Stretch(last, request.done))
            last, failed = request.done, False
    return gaps
