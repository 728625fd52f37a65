"""A late write is drawn where it happened, in figures and in words."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from matplotlib.text import Text

from labkit.errors import ConfigError
from labkit.judge.recipes.team import Fact
from labkit.judge.recipes.trial import Broken, Judgement
from labkit.judge.recipes.verdicts import Violation
from labkit.see.recipes import moment, under_fire


def judgement(*rules: str) -> Judgement:
    """ann sleeps in her turn, bob has his, and ann writes; cleo had hers long before."""
    told = [
        ("cleo", "in", 100.5),
        ("cleo", "out", 100.6),
        ("ann", "in", 110.0),
        ("ann", "write", 110.1),
        ("bob", "in", 111.5),
        ("bob", "write", 111.6),
        ("bob", "out", 111.7),
        ("ann", "write", 112.0),
        ("ann", "failed", 112.1),
    ]
    return Judgement(
        "lock",
        "kazoo.recipe.lock:Lock",
        1,
        (Broken("pause", "ann", 110.2, 112.0),),
        tuple(Violation(rule, 112.0, "ann", "ann wrote after bob.") for rule in rules),
        (),
        {"writes": 3},
        "process",
        "3.8.0",
        100.0,
        tuple(Fact(at, worker, what) for worker, what, at in told),
    )


def test_the_turns_around_a_late_write_are_drawn() -> None:
    chart = moment(judgement("exclusion"))
    assert "Turns: ann 10.0 to 12.1 s; bob 11.5 to 11.7 s." in chart.alt
    assert "The late write was at 12.0 s." in chart.alt
    words = {text.get_text() for text in chart.findobj(Text)}
    assert {"ann", "bob", "ann wrote after bob."} <= words
    assert "cleo" not in words
    (cross,) = (line for line in chart.axes[0].lines if line.get_marker() == "X")
    assert list(cross.get_xdata()) == [12.0]
    low, high = chart.axes[0].get_xlim()
    assert low == pytest.approx(9.5)
    assert high == pytest.approx(13.0)


def test_a_recipe_under_fire_shows_its_verdict_and_the_moment() -> None:
    with pytest.raises(ConfigError, match="no judge for a semaphore"):
        under_fire("semaphore", "kazoo.recipe.lock:Lock")
    shown = under_fire(
        "lock",
        "labkit.judge.recipes.fenced:FencedLock",
        faults=["kill"],
        seconds=2,
        backend="process",
    )
    assert shown.ok, repr(shown)
    html = shown._repr_html_()  # type: ignore[attr-defined]
    assert "✓ holds" in html
    assert "<img" not in html
    for rules, pictures in ((("exclusion",), 1), (("progress",), 0), (("lost", "exclusion"), 1)):
        parts = {f.name: getattr(judgement(*rules), f.name) for f in fields(Judgement)}
        html = replace(shown, **parts)._repr_html_()  # type: ignore[attr-defined]
        assert html.count("<img") == pictures
        assert html.count("ann wrote after bob.") >= 1
