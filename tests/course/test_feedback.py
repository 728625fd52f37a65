"""What a reader is told of an answer, before anything has run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labkit.course import exercises
from labkit.course.exercises import harness
from labkit.course.guess import Amount
from labkit.course.markup import Note
from labkit.lab.display import Table


def nothing(zk: Any) -> None:
    zk.exists("/a")


def early(zk: Any) -> None:
    if zk is None:
        return


@pytest.mark.parametrize(
    ("function", "returns"),
    [
        (nothing, False),
        (early, False),
        (lambda zk: zk.exists("/a"), True),
        (lambda zk: 0, True),
    ],
)
def test_whether_a_return_is_missing(function: Callable[[Any], Any], returns: bool) -> None:
    assert harness._returns(function) is returns


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "ms"),
        ("7", "✓ noted"),
        ("7 ms", "✓ noted"),
        ("11", "✗ asked for: 0 to 10"),
        ("many", "✗ asked for: 0 to 10"),
    ],
)
def test_a_number_that_is_typed_gets_a_sign(typed: str, said: str) -> None:
    box = Amount((0, 10), "ms")
    box.hear("1")
    box.hear(typed)
    shown = box.html()
    assert said in shown
    assert ("✓" in shown, "✗" in shown) == ("✓" in said, "✗" in said)


def test_no_heading_ends_in_two_marks() -> None:
    for exercise in exercises.ALL:
        assert exercise.heading[-2] not in ".?!"


def test_marks_of_markup_are_for_markup() -> None:
    assert repr(Note("**Ask** `zk`.", None)) == "○ Ask `zk`."
    html = Table("a lab", "no engine. `labkit doctor` says more.", [], None).html()
    assert "<code>labkit doctor</code>" in html
    assert "`" not in html
