"""A verdict's figure: the moment is marked, the sentence is there, in the picture and in words."""

from __future__ import annotations

from xml.etree import ElementTree

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
    picture = verdict(events, report, around=0.5)
    violation = report.violations[0]
    scene = picture.scene
    assert (scene.since, scene.until) == pytest.approx(
        (violation.begin - 0.5, violation.end + 0.51), abs=0.02
    )
    assert picture.look.focus == pytest.approx((violation.begin, violation.end), abs=0.02)
    assert picture.look.blamed == ["node1"]
    assert picture.look.title == f"answers: {violation.message}"
    assert picture.alt.startswith(violation.message)
    root = ElementTree.fromstring(picture.svg())
    red = [e.text for e in root.iter() if e.get("fill") == style.ALARM and e.text]
    assert red == ["node1"]
    assert sum(e.get("stroke-dasharray") == "5 3" for e in root.iter()) == 2
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
    picture = verdict(events, report, around=0.5)
    assert (picture.scene.since, picture.scene.until) == pytest.approx(
        (violation.begin - 0.5, violation.begin + 1), abs=0.02
    )
    assert picture.look.focus is not None
    assert picture.look.focus[1] >= picture.scene.until, "it does not seem to end there"


def test_a_clean_run_is_shown_whole() -> None:
    events = three_nodes().end(*NODES[:3])
    picture = verdict(events, judge(events))
    assert "No rule was broken; 9 answers" in picture.look.title
    assert picture.scene.until == pytest.approx(max(event.t for event in events))
