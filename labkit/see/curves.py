"""Numbers → figures: how a cost grows, and how long something takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from labkit.see import style
from labkit.see.chart import WIDTH, Chart

_GAP = 0.25  # seconds without a read that a reader's line has a gap for


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
    with mpl.rc_context(style.SETTINGS):
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
    with mpl.rc_context(style.SETTINGS):
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
