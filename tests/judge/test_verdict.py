"""A verdict's figure: the moment is marked, the sentence is there, in the picture and in words."""

from __future__ import annotations

import pytest
from history import HistoryBuilder
from test_rules import NODES, judge, three_nodes

from labkit.see import style
from labkit.see.verdict import verdict


def _zombie() -> HistoryBuilder:
    run = three_nodes()
    old = run.node("node1").token
    run.leave("node1")
    run.settle("node4")
    run.ask("node4")
    run.t += 5
    run.claims("node1", 1, old)
    return run


def test_the_moment_of_a_violation_is_marked() -> None:
    events = _zombie().end(*NODES)
    report = judge(events)
    chart = verdict(events, report, around=0.5)
    (axes,) = chart.axes
    violation = report.violations[0]
    assert axes.get_xlim() == pytest.approx((violation.begin - 0.5, violation.end + 0.51), abs=0.02)
    assert {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"} >= {
        violation.begin
    }
    blamed = [t.get_text() for t in axes.get_yticklabels() if t.get_color() == style.ALARM]
    assert blamed == ["node1"]
    assert axes.get_title(loc="left").replace("\n", " ") == f"answers: {violation.message}"
    assert chart.alt.startswith(violation.message)
    assert verdict(events, report, which=1).alt.startswith(report.violations[1].message)


def test_of_a_violation_that_goes_on_the_beginning_is_shown() -> None:
    run = three_nodes()
    old = run.node("node1").token
    run.leave("node1")
    run.settle("node4")
    run.ask("node4")
    for _ in range(40):
        run.t += 0.5
        run.claims("node1", 1, old)
    events = run.end(*NODES)
    report = judge(events)
    violation = report.violations[0]
    assert violation.end - violation.begin > 15
    (axes,) = verdict(events, report, around=0.5).axes
    left, right = axes.get_xlim()
    assert (left, right) == pytest.approx((violation.begin - 0.5, violation.begin + 1), abs=0.02)
    (marked,) = (patch for patch in axes.patches if patch.get_alpha() == 0.12)
    assert marked.get_window_extent().x1 >= axes.bbox.x1 - 0.5, "it does not seem to end there"


def test_a_clean_run_is_shown_whole() -> None:
    events = three_nodes().end(*NODES[:3])
    chart = verdict(events, judge(events))
    assert "No rule was broken; 9 answers" in chart.axes[0].get_title(loc="left")
    assert chart.axes[0].get_xlim()[1] == pytest.approx(max(event.t for event in events))
