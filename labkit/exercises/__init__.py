"""The course's exercises: one module a page, each with answers right and wrong, and a judge."""

from __future__ import annotations

from labkit.errors import ConfigError
from labkit.exercises import (
    sequence,
)
from labkit.exercises.exercise import Exercise

#: Every exercise, in the order of the pages.
ALL: tuple[Exercise, ...] = (*sequence.EXERCISES,)


def find(name: str) -> Exercise:
    """The exercise of that id. Raises `ConfigError` when there is none."""
    for exercise in ALL:
        if exercise.id == name:
            return exercise
    known = ", ".join(exercise.id for exercise in ALL)
    raise ConfigError(f"There is no exercise {name!r}; there are {known}.")
