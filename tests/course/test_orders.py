"""Exercises about an order of events: every wrong answer has a short schedule, no right one has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from labkit.course import exercises
from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.orders import Code, Orders
from labkit.explore.search import Found, search

JUDGED = [(e, e.judge) for e in exercises.ALL if isinstance(e.judge, Orders)]
IDS = [exercise.id for exercise, _ in JUDGED]
SECONDS = 2.0  # of processor time, for one wrong answer
STEPS = 12


def searched(exercise: Exercise, judge: Orders, answer: Callable[..., Any]) -> list[Found]:
    """What the judge's searches find, up to the first mistake."""
    code, found = Code(answer), []
    for wanted in judge.in_turn([make(code, f"/{exercise.id}") for make in judge.specify]):
        found.append(search(wanted, 60))
        if found[-1].violation:
            break
    return found


def test_all_that_are_about_an_order_are_judged_so() -> None:
    assert len(JUDGED) >= 19


@pytest.mark.parametrize(("exercise", "judge"), JUDGED, ids=IDS)
def test_the_answer_is_right_in_all_states(exercise: Exercise, judge: Orders) -> None:
    for found in searched(exercise, judge, exercise.answer):
        assert found.violation is None, str(found)
        assert found.complete, str(found)


@pytest.mark.parametrize(("exercise", "judge"), JUDGED, ids=IDS)
def test_each_wrong_answer_has_a_short_schedule(exercise: Exercise, judge: Orders) -> None:
    for answer in exercise.wrong:
        began = time.process_time()
        found = searched(exercise, judge, answer)[-1]
        assert found.violation, answer.__name__
        assert 1 <= len(found.schedule) <= STEPS, str(found)
        assert time.process_time() - began < SECONDS, answer.__name__
