"""The course's exercises: one module a page, each with answers right and wrong, and a judge."""

from __future__ import annotations

from labkit.course.exercises import (
    access,
    balancing,
    barriers,
    configuration,
    doubts,
    ensembles,
    judging,
    leases,
    locks,
    machines,
    operations,
    outage,
    queues,
    races,
    recipes,
    sequence,
    sessions,
    snowflakes,
    start,
    systems,
    watches,
    znodes,
)
from labkit.course.exercises.exercise import Exercise
from labkit.errors import ConfigError

_PAGES = (
    start,
    znodes,
    sessions,
    watches,
    doubts,
    sequence,
    races,
    outage,
    leases,
    snowflakes,
    ensembles,
    balancing,
    machines,
    locks,
    barriers,
    queues,
    recipes,
    judging,
    configuration,
    access,
    operations,
    systems,
)

#: Every exercise, in the order of the pages.
ALL: tuple[Exercise, ...] = tuple(e for page in _PAGES for e in page.EXERCISES)


def find(name: str) -> Exercise:
    """The exercise of that id. Raises `ConfigError` when there is none."""
    for exercise in ALL:
        if exercise.id == name:
            return exercise
    known = ", ".join(exercise.id for exercise in ALL)
    raise ConfigError(f"There is no exercise {name!r}; there are {known}.")
