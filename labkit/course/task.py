"""Predictions, exercises, hints: what makes a reader think before the page tells.

On a page:

    from labkit import Lab, exercise, predict, progress

    p = predict(lab, "node2 stops, then node4 asks. Its number?", [2, 4])
    p                                                                     # buttons, and words
    predict(lab, "How many of 30 are done twice?", number=(0, 30))        # a box for a number
    predict(lab, "Who answers first?", order=["node3", "node1", "node2"]) # in which order
    p.reveal(lab.node(4).sequence())                                      # right, or not

    ex = exercise(lab, "lowest-free")
    ex                                      # what to write
    def lowest_free(children):              # ex.stub
        ...

    ex.check(lowest_free)                   # passed, failed or not attempted
    ex.hint()                               # the next hint
    ex.solution()                           # the answer
    ex.spot()                               # which of three answers is right?
    progress()                              # how far you are, and where that is kept

Nothing here waits for the reader: what is not answered is *not predicted* or *not attempted*.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from labkit.course import exercises
from labkit.course.attempt import Verdict, judge
from labkit.course.exercises.exercise import Exercise
from labkit.course.markup import Words, without_marks
from labkit.course.spot import Spot
from labkit.course.standing import standing
from labkit.lab.lab import Lab


def exercise(lab: Lab, name: str | None = None) -> Task:
    """An exercise of the course, by its id: `exercise(lab, "lease-left")`.

    Without an id, any one is drawn: `exercise(lab).spot()`. Raises `ConfigError` for an id that
    there is not.
    """
    return Task(lab, random.choice(exercises.ALL) if name is None else exercises.find(name))


class Task:
    """An exercise in a reader's hands."""

    def __init__(self, lab: Lab, exercise: Exercise) -> None:
        self._lab = lab
        self._exercise = exercise
        self._hints = 0

    @property
    def stub(self) -> str:
        """What to fill in."""
        return self._exercise.stub

    def check(self, function: Callable[..., Any]) -> Verdict:
        """Run the reader's function against the lab's ZooKeeper, and judge it."""
        standing.show(self._exercise.id)
        verdict = judge(self._lab, self._exercise, function)
        standing.solve(self._exercise.id, verdict.outcome)
        return verdict

    def hint(self) -> Words:
        """The next hint; after the last one, the first again."""
        hints = self._exercise.hints
        number = self._hints % len(hints)
        self._hints += 1
        more = "" if number + 1 < len(hints) else "\n\nThat was the last one: `ex.solution()`."
        return Words(f"**Hint {number + 1} of {len(hints)}.** {hints[number]}{more}")

    def solution(self) -> Words:
        """One answer; there are others."""
        return Words(f"One way to do it:\n\n```python\n{self._exercise.solution}\n```")

    def spot(self, seed: int | None = None) -> Spot:
        """A quiz of three answers to it, two of which have a bug; a `seed` draws the same again."""
        return Spot(self._lab, self._exercise, seed)

    def _text(self) -> str:
        standing.show(self._exercise.id)
        wanted = self._exercise
        return f"**Exercise: {wanted.heading}** {wanted.question}\n\nWrite `{wanted.signature}`."

    def __repr__(self) -> str:
        return without_marks(self._text())

    def _repr_markdown_(self) -> str:
        return self._text()


def progress() -> Words:
    """How far the reader is, on this page and in the course, and where it is kept: `progress()`."""
    return Words(standing.told())
