"""Events → figures. Pure: nothing here asks a server or keeps a state.

Every function returns a `Chart`, a matplotlib figure that a notebook shows by itself and that says
in words (`.alt`) what it shows.
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from labkit.lab.event import Event
from labkit.see import style
from labkit.see.spans import Bar, Story, Word, captions, silence

_WIDTH = 9.0  # inches: a notebook's column
_LANE = 0.5  # inches a lane
_BAR = 0.5  # of a lane: a number's bar
_BESIDE = 0.15  # of a lane: a claim beside it
_DASHES = (0, (2.5, 1.5))
_LETTER = 0.085  # inches a letter takes at the body size


class Chart(Figure):
    """A figure that shows itself in a notebook, sharp, and says in words what it shows."""

    alt: str = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (round(inches * 96) for inches in self.get_size_inches())
        data = {"image/png": b64encode(self.png()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt}}

    def png(self, dpi: int = 160) -> bytes:
        """The figure as PNG bytes."""
        with mpl.rc_context(style.SETTINGS):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()


def assignment(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Chart:
    """Who had which number when: one lane a node, one bar a number.

    A solid bar is a number that the node answers and ZooKeeper holds for it. Where the two differ
    both are seen: an empty bar is held for a node that does not answer it, a hatched one is
    answered by a node that does not hold it any more. `since` and `until` choose a part, in
    seconds since the timeline began.
    """
    story = Story(_until(events, until))
    nodes = story.nodes
    title = title or "Which node has which number"
    chart, axes, (left, right) = _lanes(nodes, story, since, until, title)
    _outages(axes, story, right)
    words: set[Word] = set()
    asked: set[str] = set()
    for lane, node in enumerate(nodes):
        bars = story.bars(node, right, left)
        words |= {bar.word for bar in bars}
        _life(axes, story, node, lane, right, bars)
        for bar in bars:
            _bar(axes, bar, lane, left, right)
        _marks(axes, story, node, lane, left, right)
        asked |= _requests(axes, story, node, lane, left, right)
    _key(axes, words, asked)
    chart.alt = _in_words(story, nodes, right)
    return chart


def numbers(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Chart:
    """Who held each number when, by ZooKeeper's word, with the fencing token of every claim.

    A hatched bar below is an answer by a node that did not hold the number.
    """
    story = Story(_until(events, until))
    lanes = story.numbers
    title = title or "Which number belongs to which node"
    names = [str(number) for number in lanes]
    chart, axes, (left, right) = _lanes(names, story, since, until, title)
    axes.set_ylabel("number")
    _outages(axes, story, right)
    claims = [bar for bar in story.claims(right) if bar.end > left]
    false = [
        bar for node in story.nodes for bar in story.bars(node, right)
        if bar.word is Word.NODE and bar.end > left
    ]  # fmt: skip
    for bar in claims:
        label = [f"{bar.node} · token {bar.token}", bar.node, bar.node.removeprefix("node")]
        _box(axes, bar, lanes.index(bar.number), left, right, Word.BOTH, label)
    for bar in false:
        lane = lanes.index(bar.number)
        _box(axes, replace(bar, beside=True), lane, left, right, Word.NODE, [])
        _words(axes, f"{bar.node} still answers {bar.number}", bar.end, right, lane + 0.36)
    if false:
        _key(axes, {Word.NODE}, set())
    holders = Counter(bar.number for bar in claims)
    chart.alt = "Holders of each number in turn. " + " ".join(
        f"{number}: {', '.join(bar.node for bar in claims if bar.number == number)}."
        for number in sorted(holders)
    )
    return chart


def quorum(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Chart:
    """What each ZooKeeper server was (leader, follower, without a quorum) and who got answers."""
    story = Story(_until(events, until))
    servers = story.servers
    nodes = [node for node in story.nodes if story.requests(node)]
    title = title or "Which server leads, and who gets an answer"
    chart, axes, (left, right) = _lanes([*servers, *nodes], story, since, until, title)
    shades = {"leader": style.INK, "standalone": style.INK, "follower": style.LINE}
    for lane, server in enumerate(servers):
        for mode in story.modes[server]:
            start, end = max(mode.start, left), min(mode.end, right)
            if start >= end:
                continue
            shade = shades.get(mode.what)
            box = _rectangle(axes, start, end, lane, _BAR, shade or style.PAPER, style.INK)
            if shade is None:
                box.set(hatch="///", edgecolor=style.LINE)
            else:
                _label(axes, [mode.what, mode.what[0]], start, end, lane, style.ink(shade))
    _outages(axes, story, right)
    asked: set[str] = set()
    for lane, node in enumerate(nodes, len(servers)):
        axes.hlines(lane, left, right, color=style.LINE, linewidth=0.8, zorder=1)
        asked |= _requests(axes, story, node, lane, left, right, drop=0.0)
    _key(axes, set(), asked, [Patch(facecolor="none", edgecolor=style.LINE, hatch="///",
                                    label="serves nobody")])  # fmt: skip
    answered = Counter(r.outcome for node in nodes for r in story.requests(node))
    led = sorted((m.start, s) for s in servers for m in story.modes[s] if m.what == "leader")
    leaders = ", ".join(server for _, server in led) or "none"
    chart.alt = f"Leaders in turn: {leaders}. Requests: {dict(answered)}."
    return chart


def storm(
    curves: Mapping[str, Mapping[int, float]],
    *,
    measure: str = "operations per claim",
    of: str = "nodes that claim at once",
    title: str | None = None,
) -> Chart:
    """How the cost of a claim grows with the number of simultaneous claimants, per algorithm.

    `curves` maps an algorithm's name to {claimants: cost}; both axes are logarithmic, so that a
    straight line is a power and its steepness the exponent, which is written at its end. `of` says
    what is counted where it is not claimants.
    """
    title = title or f"{measure[:1].upper()}{measure[1:]}, as more nodes start at once"
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(_WIDTH, 4.2), layout="constrained")
        axes = chart.add_subplot(xscale="log", yscale="log")
        axes.set(xlabel=of, ylabel=measure)
        axes.set_title(title)
        axes.spines["left"].set_visible(True)
        shades = [style.PALETTE[i] for i in (0, 4, 2, 6, 7, 3)]
        markers, dashes = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
        ends: list[tuple[float, float, str, str]] = []
        for i, (name, curve) in enumerate(curves.items()):
            counts = sorted(curve)
            shade = shades[i % len(shades)]
            axes.plot(
                counts, [curve[n] for n in counts], color=shade, linewidth=2,
                marker=markers[i % len(markers)], linestyle=dashes[i % len(dashes)], label=name,
            )  # fmt: skip
            ends.append((counts[-1], curve[counts[-1]], f"{name}{_growth(curve)}", shade))
        counts = sorted({n for curve in curves.values() for n in curve})
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color=style.LINE, linewidth=0.6)
        axes.set_xlim(counts[0] / 1.15, counts[-1] * (counts[-1] / counts[0]) ** 0.5)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)  # fixed, so that what is written does not move it
        ends.sort(key=lambda end: end[1])
        places = _places([y for _, y, *_ in ends], low, high)
        for (x, y, text, shade), place in zip(ends, places, strict=True):
            axes.annotate(
                text, (x, y), xytext=(_COLUMN, place), textcoords="axes fraction", va="center",
                color=style.INK, fontweight="bold", fontsize=9,
                bbox={"boxstyle": "square,pad=0.15", "fc": style.PAPER, "ec": shade, "lw": 1.2},
                arrowprops={"arrowstyle": "-", "color": shade, "lw": 0.8, "ls": ":"},
            )  # fmt: skip
    chart.alt = f"{measure} against {of}: " + "; ".join(
        f"{name}, from {curve[min(curve)]:.3g} for {min(curve)} to {curve[max(curve)]:.3g} "
        f"for {max(curve)}"
        for name, curve in curves.items()
    )
    return chart


def latency(freed: Mapping[str, Sequence[float]], *, session_timeout: float) -> Chart:
    """How long after its cause a number was free again: a dot for each time, a bar at the median.

    `freed` maps a cause ("stop", "kill", …) to times in seconds, such as `times_to_free` finds.
    """
    causes = [cause for cause in freed if freed[cause]]
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(_WIDTH, 1.5 + 0.55 * len(causes)), layout="constrained")
        axes = chart.add_subplot()
        for lane, cause in enumerate(causes):
            times = sorted(freed[cause])
            # Dots that would cover each other are set side by side, the same way every time.
            offsets = [((i % 5) - 2) * 0.08 for i in range(len(times))]
            axes.plot(
                times, [lane + offset for offset in offsets], "o", markersize=5, alpha=0.75,
                color=style.colour(1), markeredgecolor=style.PAPER, markeredgewidth=0.5,
            )  # fmt: skip
            middle = median(times)
            axes.vlines(middle, lane - 0.32, lane + 0.32, color=style.INK, linewidth=2)
            axes.annotate(
                f"median {_duration(middle)}", (times[-1], lane), xytext=(9, 0), va="center",
                textcoords="offset points", fontsize=8.5, fontweight="bold",
            )  # fmt: skip
        axes.axvline(session_timeout, color=style.ALARM, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"session timeout {_duration(session_timeout)}", (session_timeout, 1),
            xycoords=("data", "axes fraction"), xytext=(-5, -2), textcoords="offset points",
            ha="right", va="top", color=style.ALARM, fontsize=8.5,
        )  # fmt: skip
        slowest = max([session_timeout, *(t for cause in causes for t in freed[cause])])
        quickest = min((t for cause in causes for t in freed[cause]), default=slowest)
        if quickest < slowest / 30:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
            axes.set_xlim(max(quickest, 1e-4) / 2, slowest * (slowest / quickest) ** 0.2)
        else:
            axes.set_xlim(0, slowest * 1.2)
        axes.set_yticks(range(len(causes)), causes)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(causes) - 0.4, -0.9)
        axes.set(xlabel="time until the number is free")
        axes.set_title("How long a number stays taken, by what happened to its holder")
    chart.alt = f"Times until a number is free; session timeout {session_timeout:g} s. " + " ".join(
        f"{cause}: median {median(freed[cause]):.3g} s of {len(freed[cause])}." for cause in causes
    )
    return chart


def times_to_free(events: Iterable[Event]) -> dict[str, list[float]]:
    """Seconds from a verb on a node (stop, kill, pause, partition, expire) to the end of its claim.

    Exact where transactions have been merged. A claim that outlives the fault is left out.
    """
    story = Story(events)
    claims = story.claims(math.inf)
    freed: dict[str, list[float]] = {}
    for node in story.nodes:
        marks = story.marks(node)
        for i, mark in enumerate(marks):
            if mark.verb not in ("stop", "kill", "pause", "partition", "expire"):
                continue
            after = [m.t for m in marks[i + 1 :] if m.verb in ("start", "resume", "heal")]
            healed = after[0] if after else math.inf
            for claim in claims:
                if claim.node == node and claim.start < mark.t <= claim.end < healed:
                    freed.setdefault(mark.verb, []).append(claim.end - mark.t)
    return freed


# --- lanes ------------------------------------------------------------------------------------


def _until(events: Iterable[Event], until: float | None) -> Iterable[Event]:
    return events if until is None else (event for event in events if event.t <= until)


def _lanes(
    names: Sequence[str], story: Story, since: float | None, until: float | None, title: str
) -> tuple[Chart, Axes, tuple[float, float]]:
    left = since if since is not None else min(story.start, story.end)
    right = max(until if until is not None else story.end, left + 0.1)
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(_WIDTH, 1.45 + _LANE * max(len(names), 1)), layout="constrained")
        axes = chart.add_subplot()
        axes.set_xlim(left, right)
        axes.set_ylim(len(names) - 0.4, -0.9 if story.outages(right) else -0.6)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("seconds since the lab was made")
        axes.set_title(title)
        for lane in range(1, len(names)):
            axes.axhline(lane - 0.5, color=style.LINE, linewidth=0.5, zorder=0)
    return chart, axes, (left, right)


def _life(
    axes: Axes, story: Story, node: str, lane: int, right: float, bars: Sequence[Bar]
) -> None:
    """The thin line on which bars sit: there while the process is; the reasons for silence."""
    for up in story.up(node, right):
        axes.hlines(lane, up.start, up.end, color=style.QUIET, linewidth=1, zorder=1)
    for paused in story.paused(node, right):
        line = axes.hlines(lane, paused.start, paused.end, color=style.QUIET, zorder=1.1)
        line.set(linestyle=(0, (1, 2)), linewidth=2)
    for cut in story.broken(node, right):
        box = _rectangle(axes, cut.start, cut.end, lane, 0.96, style.BAND, "none", zorder=0.6)
        box.set(hatch="\\\\\\", edgecolor=style.LINE, linewidth=0)
        _words(axes, f"link {cut.what}", cut.start, cut.end, lane + 0.41)
    for quiet in story.quiet(node, right):
        free = [b for b in bars if b.start < quiet.end and quiet.start < b.end and not b.beside]
        if quiet.what and not free:
            _words(axes, silence(quiet.what), quiet.start, quiet.end, lane - 0.14)


def _bar(axes: Axes, bar: Bar, lane: int, left: float, right: float) -> None:
    _box(axes, bar, lane, left, right, bar.word, [str(bar.number)])


def _box(
    axes: Axes, bar: Bar, lane: int, left: float, right: float, word: Word, labels: Sequence[str]
) -> None:
    start, end = max(bar.start, left), min(bar.end, right)
    height, middle = (_BESIDE, lane + 0.35) if bar.beside else (_BAR, lane)
    shade = style.colour(bar.number)
    face = {
        Word.BOTH: shade,
        Word.NODE: style.pale(shade, 0.45),
        Word.ZOOKEEPER: style.pale(shade),
    }[word]
    box = _rectangle(axes, start, end, middle, height, face, style.INK)
    box.set_gid(f"{bar.node}:{bar.number}:{word}")
    if word is Word.ZOOKEEPER:
        box.set(linewidth=1.2, linestyle=_DASHES)
    elif word is Word.NODE:
        box.set(edgecolor=style.ALARM, hatch="xxx", linewidth=1.2)
    elif mark := style.hatch(bar.number):
        box.set(hatch=mark)
    ink = style.ink(face) if word is Word.BOTH else style.INK
    size = 7.0 if bar.beside else 10.5
    _label(axes, labels, start, end, middle, ink, size, plate=word is Word.NODE)


def _rectangle(
    axes: Axes, start: float, end: float, middle: float, height: float, face: str, edge: str,
    zorder: float = 2,
) -> Rectangle:  # fmt: skip
    box = Rectangle((start, middle - height / 2), end - start, height)
    box.set(facecolor=face, edgecolor=edge, linewidth=0.8, zorder=zorder)
    axes.add_patch(box)
    return box


def _label(
    axes: Axes, choices: Sequence[str], start: float, end: float, middle: float, ink: str,
    size: float = 9.5, plate: bool = False,
) -> None:  # fmt: skip
    """Write the first choice that fits into the bar, at its beginning; none, if none fits."""
    room = _inches(axes, end - start)
    for text in choices:
        wanted = len(text) * _LETTER * size / 9.5
        if wanted + 0.06 <= room:
            left, right = axes.get_xlim()
            pad = min(0.07, (room - wanted) / 2) / _inches(axes, 1) if right > left else 0
            label = axes.text(start + pad, middle, text, ha="left", va="center_baseline")
            label.set(color=ink, fontsize=size, fontweight="bold", zorder=4, clip_on=True)
            if plate:  # a hatch runs through letters
                label.set_bbox({"boxstyle": "square,pad=0.12", "fc": style.PAPER, "ec": "none"})
            return


def _words(axes: Axes, text: str, start: float, end: float, y: float) -> None:
    """Write small beside the bars, if there is room."""
    left, right = axes.get_xlim()
    start, end = max(start, left), min(end, right)
    if len(text) * _LETTER * 0.75 <= _inches(axes, end - start):
        axes.text(start, y, f" {text}", va="center", fontsize=7.5, color=style.INK, zorder=4)


def _inches(axes: Axes, seconds: float) -> float:
    left, right = axes.get_xlim()
    return seconds / (right - left) * (_WIDTH - 1.1)


def _marks(axes: Axes, story: Story, node: str, lane: int, left: float, right: float) -> None:
    """What was done to the node: a tick through its lane, and the word where there is room."""
    marks = [mark for mark in story.marks(node, right) if left <= mark.t <= right]
    for mark in marks:
        axes.vlines(mark.t, lane - 0.36, lane + 0.3, color=style.INK, linewidth=1.3, zorder=3)
    written = -math.inf
    for at, text in captions(marks, near=0.06 / _inches(axes, 1)):
        width = len(text) * _LETTER * 0.8
        flip = _inches(axes, right - at) < width  # too near the edge: write leftwards
        if _inches(axes, at - written) >= 0:
            axes.text(
                at, lane - 0.37, f"{text} " if flip else f" {text}", va="center",
                ha="right" if flip else "left", fontsize=7.5, color=style.INK, zorder=4,
            )  # fmt: skip
            written = at + width / _inches(axes, 1)


_OUTCOMES = {
    "ok": ("|", style.INK, "asked: answered"),
    "fail": ("x", style.ALARM, "asked: 503"),
    "unknown": ("$?$", style.ALARM, "asked: no answer"),
}


def _requests(
    axes: Axes, story: Story, node: str, lane: int, left: float, right: float, drop: float = 0.46
) -> set[str]:
    """A mark below the bar for each request, where it ended."""
    seen = set()
    requests = story.requests(node, right, left)
    for outcome, (marker, shade, label) in _OUTCOMES.items():
        times = [r.t for r in requests if r.outcome == outcome]
        if times:
            seen.add(outcome)
            axes.plot(
                times, [lane + drop] * len(times), linestyle="", marker=marker, color=shade,
                markersize=4.5, markeredgewidth=1, zorder=3.5, label=label, gid=f"{node}:{outcome}",
            )  # fmt: skip
    return seen


def _outages(axes: Axes, story: Story, right: float) -> None:
    left, _ = axes.get_xlim()
    what = "ZooKeeper down" if len(story.servers) < 2 else "no majority"
    downs = [down for down in story.outages(right) if down.end >= left]
    for i, down in enumerate(downs, 1):
        room = downs[i].start if i < len(downs) else right
        axes.axvspan(down.start, down.end, color=style.BAND, zorder=0.5, gid="zookeeper-down")
        _words(axes, what, down.start, room, -0.72)


def _key(axes: Axes, words: set[Word], asked: set[str], further: Sequence[Patch] = ()) -> None:
    grey = style.QUIET
    handles: list[Any] = []
    if words - {Word.BOTH} or asked:
        if Word.BOTH in words:
            handles.append(Patch(fc=grey, ec=style.INK, label="answers it and holds it"))
        if Word.ZOOKEEPER in words:
            handles.append(Patch(fc=style.pale(grey), ec=style.INK, lw=1.2, ls=_DASHES,
                                 label="ZooKeeper holds it, no answer"))  # fmt: skip
        if Word.NODE in words:
            handles.append(Patch(fc=style.pale(grey, 0.45), ec=style.ALARM, hatch="xxx",
                                 label="answers it, does not hold it"))  # fmt: skip
    handles += further
    for outcome in _OUTCOMES:
        if outcome in asked:
            marker, shade, label = _OUTCOMES[outcome]
            handles += axes.plot([], [], linestyle="", marker=marker, color=shade, markersize=5,
                                 markeredgewidth=1.2, label=label)  # fmt: skip
    if handles:
        rows = 1 if len(handles) <= 5 else 2
        with mpl.rc_context(style.SETTINGS):
            axes.figure.legend(
                handles=handles, loc="outside lower left", ncols=-(-len(handles) // rows),
                frameon=False, fontsize=8, handlelength=1.8, columnspacing=1.4,
            )  # fmt: skip


def _in_words(story: Story, nodes: Sequence[str], right: float) -> str:
    lines = []
    for node in nodes:
        bars = story.bars(node, right)
        said = [f"{bar.number} from {bar.start:.1f} to {bar.end:.1f} s{_how(bar)}" for bar in bars]
        lines.append(f"{node}: {', '.join(said) or 'no number'}.")
    return "Numbers of each node over time. " + " ".join(lines)


def _how(bar: Bar) -> str:
    return {
        Word.BOTH: "",
        Word.ZOOKEEPER: " (held, not answered)",
        Word.NODE: " (answered, not held)",
    }[bar.word]


# --- curves -----------------------------------------------------------------------------------


def _growth(curve: Mapping[int, float]) -> str:
    """The exponent over the upper half of a curve, as " ∝ N^1.0"; "" if it cannot be told."""
    counts = sorted(n for n in curve if n > 1 and curve[n] > 0)
    if len(counts) < 2:
        return ""
    low, high = counts[len(counts) // 2 - 1], counts[-1]
    power = math.log(curve[high] / curve[low]) / math.log(high / low)
    return f"  ∝ N^{power:.1f}" if abs(power) >= 0.15 else "  constant"


_COLUMN = 0.7  # of the width: where curves' labels begin
_ROW = 0.085  # of the height: what a label needs


def _places(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Where to write beside curves that end at these heights, the lowest first, from 0 to 1.

    As near as can be without one label covering another.
    """
    places: list[float] = []
    for height in heights:
        lowest = places[-1] + _ROW if places else 0.0
        places.append(max(lowest, math.log(height / low) / math.log(high / low)))
    for i in reversed(range(len(places))):  # and down again from the top
        highest = places[i + 1] - _ROW if i + 1 < len(places) else 1.0
        places[i] = min(highest, places[i])
    return places


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


__all__ = [
    "Chart", "assignment", "latency", "numbers", "quorum", "storm", "times_to_free",
]  # fmt: skip
