"""How far a reader is: on the page that this kernel runs, and in the whole course."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from labkit.course.page import Cell, Text, calls, exercise_calls, files
from labkit.course.record import Book, Outcome, Record
from labkit.files import Unreadable


@dataclass(frozen=True)
class Part:
    """What there is to predict and to solve on a page."""

    name: str
    exercises: tuple[str, ...]  # their ids
    questions: tuple[str, ...]

    def passed(self, record: Record) -> int:
        """How many of its exercises are solved."""
        return sum(record.outcomes.get(e) is Outcome.PASSED for e in self.exercises)

    def made(self, record: Record) -> int:
        """How many of its questions were answered before they were revealed."""
        return sum(question in record.predictions for question in self.questions)

    def right(self, record: Record) -> int:
        """How many of these answers were right."""
        return sum(record.predictions.get(q, ("", False))[1] for q in self.questions)


class Standing:
    """What this kernel's page has asked, and the reader's record."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._exercises: dict[str, None] = {}
        self._questions: dict[str, None] = {}

    def ask(self, question: str) -> None:
        """The page has shown this question."""
        self._questions[question] = None

    def show(self, exercise: str) -> None:
        """The page has shown this exercise."""
        self._exercises[exercise] = None

    def predict(self, question: str, said: str, right: bool) -> None:
        """The reader has predicted, and it was revealed."""
        self._book.note(lambda record: record.predict(question, said, right))

    def solve(self, exercise: str, outcome: Outcome) -> None:
        """The reader has tried."""
        if outcome is not Outcome.NOT_ATTEMPTED:
            self._book.note(lambda record: record.solve(exercise, outcome))

    def climb(self, rungs: Iterable[int]) -> None:
        """The reader's server has held on these rungs of the ladder."""
        self._book.note(lambda record: record.climb(rungs))

    def told(self) -> str:
        """The page in a line, and the whole course where something is kept."""
        record = self._book.read()
        here = Part("", tuple(self._exercises), tuple(self._questions))
        outcomes = [record.outcomes.get(e, Outcome.NOT_ATTEMPTED) for e in here.exercises]
        counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in Outcome]
        text = f"**Exercises:** {', '.join(counts)}."
        if total := len(here.questions):
            made, right = here.made(record), here.right(record)
            text += f" **Predictions:** {made} of {total} made, {right} right."
        if record.rungs:
            from labkit.judge.rungs import RUNGS  # loads what breaks servers

            text += f" **Your server** stands on rung {record.height} of {len(RUNGS)}."
        if where := self._book.where:
            text += f"\n\n**The whole course:** {_in_words(_course(), record)} {where}"
        return text


#: One for all labs of a page: a kernel runs one page.
standing = Standing(Book())


def facts() -> list[dict[str, Any]]:
    """The whole course as another program reads it: an object for each page."""
    record = Book(_on_stderr).read()
    return [
        {
            "page": part.name,
            "exercises": len(part.exercises),
            "passed": part.passed(record),
            "questions": len(part.questions),
            "predicted": part.made(record),
            "right": part.right(record),
        }
        for part in _course()
    ]


def where() -> str:
    """A sentence: where it is kept, or why it is not; "" if the reader wants nothing kept."""
    book = Book(_on_stderr)
    book.read()
    return book.where


def _on_stderr(said: str) -> None:
    print(said, file=sys.stderr)


def _in_words(parts: Sequence[Part], record: Record) -> str:
    exercises, questions = (
        sum(map(len, of)) for of in zip(*((p.exercises, p.questions) for p in parts), strict=True)
    )
    passed, made, right = (
        sum(count(part, record) for part in parts) for count in (Part.passed, Part.made, Part.right)
    )
    return (
        f"{passed} of {exercises} exercises passed; {made} of {questions} predictions made, "
        f"{right} right."
    )


@cache
def _course() -> tuple[Part, ...]:
    return tuple(
        Part(
            page.name,
            _constants(page, exercise_calls),
            _constants(page, lambda cell: calls(cell, "predict")),
        )
        for page in _readable()
    )


def _readable() -> Iterator[Text]:
    """The course's pages; one that can't be read is named, and the others count."""
    for path in files():
        try:
            yield Text.read(path)
        except Unreadable as error:
            _on_stderr(str(error))


def _constants(page: Text, find: Callable[[Cell], list[ast.Call]]) -> tuple[str, ...]:
    """The second argument of each call that is found, which says what it is about."""
    code = (cell for cell in page.cells if cell.cell_type == "code")
    found = (call.args[1] for cell in code for call in find(cell))
    return tuple(dict.fromkeys(ast.literal_eval(argument) for argument in found))
