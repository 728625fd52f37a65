"""A late write is drawn where it happened, in figures and in words."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from labkit.errors import ConfigError
from labkit.judge.recipes.team import Fact
from labkit.judge.recipes.under_fire import Broken, Judgement
from labkit.judge.recipes.verdicts import Violation
from labkit.see.verdict import late_write, under_fire


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
    picture = late_write(judgement("exclusion"))
    assert "ann: 1 from 10.0 to 12.1 s; pause at 10.2 s." in picture.alt
    assert "bob: 2 from 11.5 to 11.7 s." in picture.alt
    assert "The late write was at 12.0 s." in picture.alt
    data = picture.data()
    assert (data["since"], data["until"]) == pytest.approx((9.5, 13.0))
    assert [lane["name"] for lane in data["lanes"]] == ["ann", "bob"], "cleo had no turn then"
    assert data["lanes"][0]["asked"] == [[10.1, "ok"], [12.0, "fail"]]
    assert {"ann wrote after bob.", "a write that came too late", "pause", "frozen"} <= set(
        re.findall(r">([^<>]+)</text>", picture.svg())
    )


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
