"""Charts, by matplotlib: how a cost grows, how often what came out, what a client was told.

They are drawn for no paper in particular: each is shown in the colours of the page around it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2s
from itertools import pairwise
from typing import Literal

import matplotlib as mpl
from kazoo.protocol.states import KazooState
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from labkit.lab.lossy import LossyClient
from labkit.see import style
from labkit.see.picture import Shown, themed

WIDTH = 9.0  # inches: a notebook's column
DASHES = (0, (2.5, 1.5))
PLATE = {"boxstyle": "square,pad=0.15", "fc": style.PAPER, "ec": "none"}  # behind words

_GAP = 0.25  # seconds without a read that a reader's line has a gap for


#: Settings that are no looks: where figures go, and what a session does with them.
_OF_THE_SESSION = ("backend", "interactive", "toolbar", "webagg", "date.", "figure.max_open")


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib as it comes, and the course's style: whatever a reader has set looks no other."""
    rc = {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(_OF_THE_SESSION)}
    with mpl.rc_context(rc | style.SETTINGS):
        yield


class Chart(Figure, Shown):
    """A figure of matplotlib's that shows itself in a notebook, and says in words what it shows."""

    def svg(self) -> str:
        with drawing():
            buffer = io.StringIO()
            self.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator")))
        drawn = buffer.getvalue()
        return themed(
            drawn, f"chart-{blake2s(drawn.encode(), digest_size=4).hexdigest()}", self.alt
        )

    def mark(self, at: float, axis: Literal["x", "y"], text: str) -> None:
        axes = self.axes[0]
        low, high = sorted(axes.get_xlim() if axis == "x" else axes.get_ylim())
        here = min(max(at, low), high)
        words = text if at == here else f"{text} (outside)"
        with drawing():
            line = axes.axvline if axis == "x" else axes.axhline
            line(here, color=style.INK, linewidth=1.2, linestyle=DASHES, zorder=5)
            label = axes.text(*((here, 1.0) if axis == "x" else (1.0, here)), words)
            if axis == "x":
                side = beside(here, low, high)
                label.set(transform=axes.get_xaxis_transform(), va="top", ha=side)
            else:
                label.set(transform=axes.get_yaxis_transform(), va="center", ha="right")
            label.set(zorder=6, bbox=PLATE)
        self.alt = f"{self.alt} {text}.".strip()


def beside(value: float, low: float, high: float) -> str:
    """On which side of its mark a label has room."""
    share = (value - low) / (high - low or 1.0)
    return "left" if share < 0.15 else "right" if share > 0.85 else "center"


def storm(
    curves: Mapping[str, Mapping[int, float]],
    *,
    measure: str = "operations per claim",
    of: str = "nodes that claim at once",
    title: str | None = None,
) -> Chart:
    """How the cost of a claim grows with the number of simultaneous claimants, per algorithm.

    `storm({"ticket": {1: 4.0, 8: 4.0}, "look, create, try again": {1: 3.0, 8: 11.5}})`

    `curves` maps an algorithm's name to {claimants: cost}; both axes are logarithmic, so that a
    straight line is a power and its steepness the exponent, which is written at its end. `of` says
    what is counted where it is not claimants.
    """
    title = title or f"{measure[:1].upper()}{measure[1:]}, by {of}"
    with drawing():
        chart = Chart(figsize=(WIDTH, 4.2), layout="constrained")
        axes = chart.add_subplot(xscale="log", yscale="log")
        axes.set(xlabel=of, ylabel=measure)
        axes.set_title(title)
        axes.spines["left"].set_visible(True)
        ends = sorted(_curves(axes, curves), key=lambda end: end[1])
        _number_powers(axes, sorted({n for curve in curves.values() for n in curve}))
        _write_at(axes, ends)
    chart.alt = f"{measure} against {of}: " + "; ".join(
        f"{name}, from {curve[min(curve)]:.3g} for {min(curve)} to {curve[max(curve)]:.3g} "
        f"for {max(curve)}"
        for name, curve in curves.items()
    )
    return chart


def _curves(
    axes: Axes, curves: Mapping[str, Mapping[int, float]]
) -> Iterator[tuple[float, float, str, str]]:
    """Draw the curves; yields each one's end, x and y, what to write there, and its colour."""
    shades = [style.PALETTE[i] for i in (0, 4, 2, 6, 7, 3)]
    markers, dashes = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
    for i, (name, curve) in enumerate(curves.items()):
        counts = sorted(curve)
        shade = shades[i % len(shades)]
        axes.plot(
            counts,
            [curve[n] for n in counts],
            color=shade,
            linewidth=2,
            marker=markers[i % len(markers)],
            linestyle=dashes[i % len(dashes)],
            label=name,
        )
        yield counts[-1], curve[counts[-1]], f"{name}{_growth(curve)}", shade


def _number_powers(axes: Axes, counts: Sequence[int]) -> None:
    """Number two logarithmic axes, and leave room on the right for the curves' labels."""
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=style.LINE, linewidth=0.6)
    axes.set_xlim(counts[0] / 1.15, counts[-1] * (counts[-1] / counts[0]) ** 0.5)


def _write_at(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write beside each end, the lowest first, without one label covering another."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # fixed, so that what is written does not move it
    places = _places([y for _, y, *_ in ends], low, high)
    for (x, y, text, shade), place in zip(ends, places, strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(_COLUMN, place),
            textcoords="axes fraction",
            va="center",
            color=style.INK,
            fontweight="bold",
            fontsize=9,
            bbox={"boxstyle": "square,pad=0.15", "fc": style.PAPER, "ec": shade, "lw": 1.2},
            arrowprops={"arrowstyle": "-", "color": shade, "lw": 0.8, "ls": ":"},
        )


def seen(
    readers: Mapping[str, Sequence[tuple[float, float]]], *, title: str | None = None
) -> Chart:
    """What each of some readers saw of one value over time: a line of steps for each.

    `seen({"by a follower": [(0.0, 1), (0.1, 1), (0.2, 2)]})`

    `readers` maps a name to (time in seconds, value). Where a reader got nothing for a quarter of
    a second, its line has a gap.
    """
    with drawing():
        chart = Chart(figsize=(WIDTH, 4.2), layout="constrained")
        axes = chart.add_subplot()
        axes.set(xlabel="seconds since the lab was made", ylabel="value that was read")
        axes.set_title(title or "What each reader saw, and when")
        axes.spines["left"].set_visible(True)
        axes.grid(axis="y", color=style.LINE, linewidth=0.6)
        for i, (name, samples) in enumerate(readers.items()):
            times, values = _with_gaps(samples)
            axes.plot(
                times,
                values,
                drawstyle="steps-post",
                label=name,
                linewidth=4.5 - 1.4 * i,
                color=[style.PALETTE[at] for at in (3, 4, 0, 2)][i % 4],
                linestyle=("-", "-", "--", ":")[i % 4],
            )
        if readers:
            axes.legend(loc="upper left", frameon=False)
    chart.alt = "What each reader saw. " + " ".join(
        f"{name}: {_steps(samples)}." for name, samples in readers.items()
    )
    return chart


def _with_gaps(samples: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    for t, value in samples:
        if times and t - times[-1] > _GAP:
            times.append(times[-1])
            values.append(math.nan)
        times.append(t)
        values.append(value)
    return times, values


def _steps(samples: Sequence[tuple[float, float]]) -> str:
    """How often, what, and where it stood still for longer than the others' steps."""
    if not samples:
        return "nothing"
    stood = max(
        (later - begin for (begin, _), (later, _) in pairwise(_changes(samples))), default=0.0
    )
    return (
        f"{samples[0][1]:g} to {samples[-1][1]:g} in {len(samples)} reads, the same one for "
        f"{stood:.1f} s at most"
    )


def _changes(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """When a value was first seen; and the last sample."""
    found = [samples[0]]
    for sample in samples:
        if sample[1] != found[-1][1]:
            found.append(sample)
    return [*found, samples[-1]]


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


_SHARES = (style.PALETTE[2], style.PALETTE[4], style.PALETTE[0], style.PALETTE[1])
_HATCHES = ("", "xxx", "///", "...")


def shares(ways: Mapping[str, Mapping[str, int]], title: str) -> Chart:
    """A bar for each way, cut into how often each outcome came: `{way: {outcome: times}}`.

    `shares({"set": {"done": 9, "refused": 1}}, "Ten writes")`

    Outcomes have the same colour and hatch in all bars, in the order in which they come first.
    """
    outcomes = list(dict.fromkeys(name for counts in ways.values() for name in counts))
    looks = {
        name: (
            _SHARES[i % len(_SHARES)],
            _HATCHES[i % len(_HATCHES)],
        )
        for i, name in enumerate(outcomes)
    }
    with drawing():
        chart = Chart(figsize=(WIDTH, 1.3 + 0.5 * len(ways)), layout="constrained")
        axes = chart.add_subplot()
        axes.set_title(title)
        axes.set_yticks(range(len(ways)), list(ways))
        axes.set_ylim(len(ways) - 0.5, -0.5)
        axes.set_xlim(0, max(sum(counts.values()) for counts in ways.values()))
        axes.tick_params(axis="y", length=0)
        for row, counts in enumerate(ways.values()):
            left = 0
            for name, times in counts.items():
                shade, hatch = looks[name]
                axes.barh(row, times, 0.62, left, color=shade, hatch=hatch, edgecolor=style.PAPER)
                if times:
                    axes.text(
                        left + times / 2,
                        row,
                        str(times),
                        ha="center",
                        va="center",
                        fontweight="bold",
                        bbox={"boxstyle": "square,pad=0.2", "fc": style.PAPER, "ec": "none"},
                    )
                left += times
        for name, (shade, hatch) in looks.items():
            axes.bar(0, 0, 0, color=shade, hatch=hatch, edgecolor=style.PAPER, label=name)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=len(outcomes),
            frameon=False,
        )
    chart.alt = f"{title}. " + " ".join(
        f"{way}: {', '.join(f'{times} {name}' for name, times in counts.items())}."
        for way, counts in ways.items()
    )
    return chart


_LEVELS = (KazooState.LOST, KazooState.SUSPENDED, KazooState.CONNECTED)
_SHADES = {
    KazooState.CONNECTED: style.PALETTE[2],
    KazooState.SUSPENDED: style.PALETTE[1],
    KazooState.LOST: style.ALARM,
}


def states(client: LossyClient, since: float = 0.0, until: float | None = None) -> Chart:
    """The states that kazoo has told a client, from `since` to `until` on the lab's timeline.

    `states(lab.client("you"))`

    A grey band is a time in which the client's link was cut. Seconds count from `since`.
    """
    end = client.clock() if until is None else until
    told = [(at, state) for at, state in client.told if at <= end]
    before = [state for at, state in told if at <= since]
    steps = [(since, before[-1]), *(s for s in told if s[0] > since)] if before else told
    with drawing():
        chart = Chart(figsize=(WIDTH, 2.3), layout="constrained")
        axes = chart.add_subplot()
        axes.set(xlim=(0, end - since), ylim=(-0.5, 2.7), xlabel="seconds")
        axes.set_yticks(range(3), _LEVELS)
        axes.set_title(f"What kazoo told {client.name!r} of its connection")
        for begin, healed in client.cuts:
            stop = end if healed is None else min(healed, end)
            if stop > since:
                axes.axvspan(max(begin - since, 0), stop - since, color=style.BAND, zorder=0)
                axes.text((max(begin, since) + stop) / 2 - since, 2.45, "link cut", ha="center")
        for (at, state), (then, next_state) in pairwise([*steps, (end, "")]):
            level = _LEVELS.index(state)
            axes.plot(
                (at - since, then - since),
                (level, level),
                color=_SHADES[state],
                linewidth=6,
                solid_capstyle="butt",
            )
            if next_state:
                levels = (level, _LEVELS.index(next_state))
                axes.plot((then - since,) * 2, levels, color=style.QUIET, linewidth=1)
                axes.annotate(
                    f"{then - since:.1f} s",
                    (then - since, levels[1]),
                    xytext=(3, 7),
                    textcoords="offset points",
                    fontsize=8.5,
                )
    words = (f"{state} at {at - since:.1f} s" for at, state in steps)
    chart.alt = f"What the client was told of its connection: {', '.join(words)}."
    return chart
