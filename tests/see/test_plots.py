"""The figures, by what they show of runs of which it is known."""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import runs
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from labkit.see import curves, plots, style
from labkit.see.chart import Chart
from labkit.story.event import Event, SessionEvent


def axes_of(chart: Chart) -> Axes:
    chart.draw_without_rendering()
    (axes,) = chart.axes
    return axes


def boxes(chart: Chart) -> dict[str, list[tuple[float, float, int]]]:
    """Bars by what they say: when they begin and end, and in which lane."""
    found: dict[str, list[tuple[float, float, int]]] = {}
    for patch in axes_of(chart).patches:
        if isinstance(patch, Rectangle) and patch.get_gid() and ":" in patch.get_gid():
            x, y = patch.get_xy()
            lane = round(y + patch.get_height() / 2 - 0.2)
            extent = round(x, 2), round(x + patch.get_width(), 2), lane
            found.setdefault(patch.get_gid(), []).append(extent)
    return found


def texts(chart: Chart) -> list[str]:
    return [text.get_text().strip() for text in axes_of(chart).texts]


def lanes(chart: Chart) -> list[str]:
    return [label.get_text() for label in axes_of(chart).get_yticklabels()]


def key(chart: Chart) -> list[str]:
    return [text.get_text() for legend in chart.legends for text in legend.get_texts()]


def test_numbers_pass_from_dead_nodes_to_new_ones() -> None:
    chart = plots.assignment(runs.passing_on())
    assert lanes(chart) == [f"node{i}" for i in range(1, 7)]
    assert boxes(chart) == {
        "node1:1:both": [(1.1, 3.06, 0)],
        "node1:1:zookeeper": [(3.06, 8.1, 0)],
        "node2:2:both": [(1.2, 3.11, 1)],
        "node2:2:zookeeper": [(3.11, 8.1, 1)],
        "node3:3:both": [(1.3, 12.0, 2)],
        "node4:4:both": [(1.4, 12.0, 3)],
        "node5:1:both": [(9.55, 12.0, 4)],
        "node6:2:both": [(9.56, 12.0, 5)],
    }
    assert texts(chart).count("1") == 3  # on both of node1's bars and on node5's
    assert texts(chart).count("kill") == 2
    assert "ZooKeeper holds it, no answer" in key(chart)
    assert "answers it, does not hold it" not in key(chart)


def test_one_number_has_one_colour_and_the_two_words_look_different() -> None:
    chart = plots.assignment(runs.zombie())
    look = {
        patch.get_gid(): (to_hex(patch.get_facecolor()), patch.get_hatch(), patch.get_linestyle())
        for patch in axes_of(chart).patches
        if patch.get_gid()
    }
    solid, hollow, false = (look[f"node2:2:{word}"] for word in ("both", "zookeeper", "node"))
    assert solid == look["node3:2:both"]
    assert solid[0] == style.colour(2).lower()
    assert solid[0] != look["node1:1:both"][0]
    assert len({solid[0], hollow[0], false[0]}) == 3
    # In black and white too: dashes for what is only held, a hatch for what is only answered.
    assert hollow[2] != solid[2]
    assert (bool(solid[1]), bool(hollow[1]), bool(false[1])) == (False, False, True)


def test_what_was_done_and_what_was_asked_is_marked() -> None:
    chart = plots.assignment(runs.zombie())
    said = set(texts(chart))
    assert {"pause", "session ends, resume", "partition", "heal", "503 session lost"} <= said
    asked = {
        line.get_gid(): [round(float(x), 2) for x in line.get_xdata()]
        for line in axes_of(chart).lines
        if line.get_gid()
    }
    assert asked == {"node1:fail": [10.21], "node2:ok": [8.51], "node3:ok": [7.51]}
    assert {"asked: answered", "asked: no number"} <= set(key(chart))


def test_zookeepers_absence_is_a_band() -> None:
    chart = plots.assignment(runs.outage())
    (band,) = (p for p in axes_of(chart).patches if p.get_gid() == "zookeeper-down")
    assert isinstance(band, Rectangle)
    assert (band.get_x(), band.get_x() + band.get_width()) == (2.2, 5.5)
    assert "ZooKeeper down" in texts(chart)


def test_a_ghost_stands_beside_its_successor_without_covering_it() -> None:
    chart = plots.assignment(runs.outage())
    ghost, new = (
        next(p for p in axes_of(chart).patches if p.get_gid() == gid)
        for gid in ("node1:1:zookeeper", "node1:5:both")
    )
    assert isinstance(ghost, Rectangle)
    assert isinstance(new, Rectangle)
    assert not ghost.get_bbox().get_points()[0][1] < new.get_bbox().get_points()[1][1] - 1e-9


def test_a_part_of_a_run() -> None:
    chart = plots.assignment(runs.passing_on(), since=5.0, until=9.0)
    assert axes_of(chart).get_xlim() == (5.0, 9.0)
    assert set(boxes(chart)) == {
        "node1:1:zookeeper",
        "node2:2:zookeeper",
        "node3:3:both",
        "node4:4:both",
    }


def test_the_future_is_not_known() -> None:
    chart = plots.assignment(runs.passing_on(), until=5.0)
    assert boxes(chart)["node1:1:zookeeper"] == [(3.06, 5.0, 0)]
    assert lanes(chart) == ["node1", "node2", "node3", "node4"]


def test_modes_of_an_ensemble() -> None:
    chart = plots.quorum(runs.ensemble())
    assert lanes(chart) == ["zookeeper1", "zookeeper2", "zookeeper3", "node1"]
    assert texts(chart).count("leader") == 3
    assert texts(chart).count("follower") == 4
    assert "no majority" in texts(chart)
    (failed,) = (line for line in axes_of(chart).lines if line.get_gid() == "node1:fail")
    assert [5.2 < x < 8 for x in failed.get_xdata()] == [True] * 5
    assert "Leaders in turn: zookeeper2, zookeeper3, zookeeper2." in chart.alt


def test_the_measured_gap_is_marked() -> None:
    chart = plots.quorum(runs.ensemble())
    bands = {
        patch.get_gid(): (patch.get_x(), patch.get_x() + patch.get_width())
        for patch in axes_of(chart).patches
        if isinstance(patch, Rectangle) and patch.get_gid()
    }
    assert bands["leaderless"] == pytest.approx((2.01, 2.6))
    assert bands["zookeeper-down"] == pytest.approx((5.21, 7.9))
    assert "no leader for 0.6 s" in texts(chart)
    assert "3.00 s" in texts(chart)  # from node1's last answer to its next one
    assert "node1: 17 of 22 requests answered, without an answer for 3.00 s." in chart.alt


def test_a_part_of_an_ensembles_run_tells_of_that_part() -> None:
    chart = plots.quorum(runs.ensemble(), since=8.5)
    assert chart.alt == "Leaders in turn: zookeeper2. node1: 6 of 6 requests answered."


def test_what_was_done_to_zookeepers_servers_is_marked() -> None:
    run = runs.Script()
    run.mode(0.1, "zookeeper1", "leader")
    run.verb(1.0, "pause", "zookeeper1", took=0.01)
    run.verb(2.0, "partition", "zookeeper2")
    run.verb(3.0, "heal", "lab")
    chart = plots.quorum(run.in_order())
    assert {"pause", "partition", "heal"} <= set(texts(chart))
    link = next(p for p in axes_of(chart).patches if p.get_gid() == "zookeeper2-link-cut")
    assert isinstance(link, Rectangle)
    assert (link.get_x(), link.get_x() + link.get_width()) == pytest.approx((2.01, 3.0))


def test_claims_that_stand_beside_each_other_do_not_meet() -> None:
    run = runs.Script()
    run.says(0.5, "node1", None, "", seen=0)
    for number in (1, 9, 10):  # each of a session that has gone, and whose claim has not
        run.claims(number / 10 + 1, number, "node1")
    run.says(3.0, "node1", 10)
    chart = plots.assignment(run.in_order())
    chart.draw_without_rendering()
    found = [p for p in axes_of(chart).patches if (p.get_gid() or "").endswith(":zookeeper")]
    beside = [p.get_window_extent() for p in found]
    assert len(beside) >= 2
    assert not any(a.overlaps(b) for i, a in enumerate(beside) for b in beside[:i])


def test_requests_that_come_thick_are_thinned_out_where_they_would_cover_each_other() -> None:
    run = runs.Script()
    run.says(0.0, "node1", 1, seen=0)
    for i in range(2000):
        run.asks(i / 200, "node1", 1, took=0.001)
    chart = plots.assignment(run.in_order())
    (line,) = (line for line in axes_of(chart).lines if line.get_gid() == "node1:ok")
    assert 100 < len(line.get_xdata()) < 220


@pytest.mark.parametrize("name", ["passing_on", "zombie", "outage"])
@pytest.mark.parametrize("draw", [plots.assignment, plots.quorum])
def test_no_words_cover_each_other(name: str, draw: Callable[..., Chart]) -> None:
    chart = draw(getattr(runs, name)())
    chart.draw_without_rendering()
    found = [
        (text.get_text(), text.get_window_extent())
        for text in axes_of(chart).texts
        if text.get_text().strip()
    ]
    for i, (one, a) in enumerate(found):
        for other, b in found[:i]:
            assert not a.padded(-1).overlaps(b), f"{one} and {other}"


def test_a_storms_growth_is_written_at_its_curve() -> None:
    square = {n: float(n * n) for n in (1, 2, 4, 8, 16)}
    flat = dict.fromkeys((1, 2, 4, 8, 16), 3.0)
    chart = curves.storm({"retry": square, "rank": flat}, measure="attempts")
    axes = axes_of(chart)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert texts(chart) == ["rank  constant", "retry  ∝ N^2.0"]
    retry = next(line for line in axes.lines if line.get_label() == "retry")
    assert list(retry.get_ydata()) == list(square.values())
    assert len({line.get_marker() for line in axes.lines}) == 2  # a second cue beside colour


def test_labels_of_curves_that_end_together_do_not_cover_each_other() -> None:
    ends = {
        name: {1: 1.0, 64: end} for name, end in zip("abcde", (8, 8.1, 8.2, 90, 91), strict=True)
    }
    chart = curves.storm(ends)
    chart.draw_without_rendering()
    patches = [label.get_bbox_patch() for label in axes_of(chart).texts]
    boxes = [patch.get_window_extent() for patch in patches if patch]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_what_each_reader_saw_has_steps_and_gaps() -> None:
    quick = [(t / 10, float(t // 5)) for t in range(40)]
    late = [(t / 10, 1.0 if t < 20 else float(t // 5)) for t in range(5, 40) if not 10 <= t < 20]
    chart = curves.seen({"leader": quick, "late": late})
    lines = {line.get_label(): line for line in axes_of(chart).lines}
    assert list(lines) == ["leader", "late"]
    assert not np.isnan(lines["leader"].get_ydata()).any()
    assert np.isnan(lines["late"].get_ydata()).sum() == 1  # it got nothing for a second
    assert "leader: 0 to 7 in 40 reads, the same one for 0.5 s at most." in chart.alt
    assert "late: 1 to 7 in 25 reads, the same one for 1.5 s at most." in chart.alt
    assert curves.seen({}).png()
    assert "nobody: nothing." in curves.seen({"nobody": []}).alt


@pytest.mark.parametrize("name", ["passing_on", "zombie", "outage"])
def test_in_black_and_white_every_bar_is_seen(name: str) -> None:
    chart = plots.assignment(getattr(runs, name)())
    axes = axes_of(chart)
    dpi = 160
    grey = np.asarray(Image.open(io.BytesIO(chart.png(dpi))).convert("L"))
    for patch in axes.patches:
        if not (isinstance(patch, Rectangle) and ":" in (patch.get_gid() or "")):
            continue
        x, y = patch.get_xy()
        left, middle = axes.transData.transform((x, y + patch.get_height() / 2)) * dpi / chart.dpi
        across = grey[round(grey.shape[0] - middle), round(left) - 3 : round(left) + 8]
        assert int(across.max()) - int(across.min()) > 40, patch.get_gid()


def test_a_chart_shows_itself_and_says_what_it_shows() -> None:
    chart = plots.assignment(runs.zombie())
    data, about = chart._repr_mimebundle_()
    size = Image.open(io.BytesIO(b64decode(data["image/png"]))).size
    assert size[0] > 1.5 * about["image/png"]["width"]  # sharp on a dense screen
    assert about["image/png"]["width"] <= 900  # as wide as a notebook
    assert "node2: 2 from 1.0 to 2.0 s" in about["image/png"]["alt"]
    assert "2 from 8.1 to 9.0 s (answered, not held)" in data["text/plain"]


NODES = ["node1", "node4", "node2", "node5", "node3", "node6"]


def test_rows_stand_by_machine() -> None:
    chart = plots.assignment(runs.machines("a", "b", "c"))
    assert lanes(chart) == NODES
    assert [text for text in texts(chart) if "machine" in text] == [
        "machine a",
        "machine b",
        "machine c",
    ]
    at = [float(tick) for tick in axes_of(chart).get_yticks()]
    steps = [below - above for above, below in pairwise(at)]
    assert steps[0::2] == pytest.approx([1, 1, 1])
    assert steps[1::2] == pytest.approx([steps[1]] * 2)
    assert 1.05 < steps[1] < 1.3  # a little gap
    assert texts(chart).count("kill") == texts(chart).count("partition") == 2
    assert "node4 on machine a: 4 from 0.8" in chart.alt


def test_zookeepers_servers_stand_with_the_nodes_of_their_machine() -> None:
    chart = plots.quorum(runs.machines("b", "c", "a"))
    assert lanes(chart) == [
        *("zookeeper3", "node3", "node6"),
        *("zookeeper1", "node1", "node4"),
        *("zookeeper2", "node2", "node5"),
    ]
    low, high = axes_of(chart).get_ylim()
    (band,) = (p for p in axes_of(chart).patches if p.get_gid() == "leaderless")
    assert isinstance(band, Rectangle)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((high, low))


@pytest.mark.parametrize("names", [("a", "b", "c"), ("m-10-0-12-1", "a.long.example.org", "z")])
@pytest.mark.parametrize("draw", [plots.assignment, plots.quorum])
def test_a_machines_name_covers_no_other(
    draw: Callable[..., Chart], names: tuple[str, ...]
) -> None:
    chart = draw(runs.machines(*names))
    axes = axes_of(chart)
    rows = [label.get_window_extent() for label in axes.get_yticklabels()]
    found = [t for t in axes.texts if t.get_rotation() == 90 or t.get_text() in names]
    named = [text.get_window_extent() for text in found]
    assert len(named) == 3
    for i, name in enumerate(named):
        assert not any(name.overlaps(other) for other in [*rows, *named[:i]])
        assert chart.bbox.x0 <= name.x0 < name.x1 < min(row.x0 for row in rows)


@pytest.mark.parametrize("draw", [plots.assignment, plots.quorum])
def test_on_one_machine_nothing_is_said_of_it(draw: Callable[..., Chart]) -> None:
    without, one = draw(runs.machines()), draw(runs.machines("a", "a", "a"))
    assert "machine" not in without.alt + " ".join(texts(without))
    assert lanes(without)[-1] in ("node6", "6")
    assert without.png() == one.png()


@pytest.mark.parametrize("draw", [plots.assignment, plots.quorum], ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("events", [[], [SessionEvent("lab", t=1.0, state="CONNECTED")]])
def test_nothing_happened(draw: object, events: list[Event]) -> None:
    assert draw(events).png()  # type: ignore[operator]
