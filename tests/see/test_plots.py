"""Charts, by what they show of figures of which it is known."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
from matplotlib.axes import Axes

from labkit.see import plots, style
from labkit.see.plots import Chart


def axes_of(chart: Chart) -> Axes:
    chart.draw_without_rendering()
    (axes,) = chart.axes
    return axes


def texts(chart: Chart) -> list[str]:
    return [text.get_text().strip() for text in axes_of(chart).texts]


def test_a_storms_growth_is_written_at_its_curve() -> None:
    square = {n: float(n * n) for n in (1, 2, 4, 8, 16)}
    flat = dict.fromkeys((1, 2, 4, 8, 16), 3.0)
    chart = plots.storm({"retry": square, "rank": flat}, measure="attempts")
    axes = axes_of(chart)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert texts(chart) == ["rank  constant", "retry  ∝ N^2.0"]
    retry = next(line for line in axes.lines if line.get_label() == "retry")
    assert list(retry.get_ydata()) == list(square.values())
    assert len({line.get_marker() for line in axes.lines}) == 2  # a second cue beside colour


@pytest.mark.parametrize(
    "theirs",
    [
        {"lines.linewidth": 9.0, "axes.grid": True, "font.size": 22.0, "axes.facecolor": "red"},
        {"svg.fonttype": "none", "savefig.transparent": True, "savefig.bbox": "tight"},
        {"path.sketch": (1, 100, 2), "axes.prop_cycle": mpl.cycler(color=["k"]), "figure.dpi": 300},
        "dark_background",
        "ggplot",
    ],
)
def test_a_chart_looks_the_same_whatever_style_a_reader_has_set(theirs: Any) -> None:
    curves = {"retry": {n: float(n * n) for n in (1, 2, 4)}}
    plain = plots.storm(curves, measure="attempts").svg()
    with matplotlib.style.context(theirs):
        assert plots.storm(curves, measure="attempts").svg() == plain
        assert mpl.rcParams["font.size"] != style.SETTINGS["font.size"]


def test_labels_of_curves_that_end_together_do_not_cover_each_other() -> None:
    ends = {
        name: {1: 1.0, 64: end} for name, end in zip("abcde", (8, 8.1, 8.2, 90, 91), strict=True)
    }
    chart = plots.storm(ends)
    chart.draw_without_rendering()
    patches = [label.get_bbox_patch() for label in axes_of(chart).texts]
    boxes = [patch.get_window_extent() for patch in patches if patch]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_what_each_reader_saw_has_steps_and_gaps() -> None:
    quick = [(t / 10, float(t // 5)) for t in range(40)]
    late = [(t / 10, 1.0 if t < 20 else float(t // 5)) for t in range(5, 40) if not 10 <= t < 20]
    chart = plots.seen({"leader": quick, "late": late})
    lines = {line.get_label(): line for line in axes_of(chart).lines}
    assert list(lines) == ["leader", "late"]
    assert not np.isnan(lines["leader"].get_ydata()).any()
    assert np.isnan(lines["late"].get_ydata()).sum() == 1  # it got nothing for a second
    assert "leader: 0 to 7 in 40 reads, the same one for 0.5 s at most." in chart.alt
    assert "late: 1 to 7 in 25 reads, the same one for 1.5 s at most." in chart.alt
    assert plots.seen({}).png()
    assert "nobody: nothing." in plots.seen({"nobody": []}).alt


def test_a_chart_takes_its_ink_from_the_page_and_meets_no_other() -> None:
    one, other = (plots.shares({"set": {"done": 9, "refused": n}}, "Writes") for n in (1, 2))
    for chart in (one, other):
        svg = chart.svg()
        assert "currentColor" in svg
        assert not re.search(f"{style.INK}|{style.PAPER}|<style|<metadata|<!DOCTYPE", svg, re.I)
        assert 'aria-label="Writes. set: 9 done, ' in svg
    ids = [set(re.findall(r'\bid="([^"]+)"', chart.svg())) for chart in (one, other)]
    assert ids[0].isdisjoint(ids[1])
    again = plots.shares({"set": {"done": 9, "refused": 1}}, "Writes")
    assert again.svg() == plots.shares({"set": {"done": 9, "refused": 1}}, "Writes").svg()
    bundle, _ = one._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
