"""Page 12b: a lock's holder that wakes up writes after its successor."""

from __future__ import annotations

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import Harness

Events = list[tuple[str, str]]


def late_writes(events: Events) -> list[int]:
    turn: dict[str, int] = {}  # when each worker was last let in
    newest, late = -1, []
    for place, (worker, what) in enumerate(events):
        if what == "in":
            turn[worker] = place
        elif turn[worker] < newest:
            late.append(place)
        else:
            newest = turn[worker]
    return late


def _not_the_last(events: Events) -> list[int]:
    """Whoever came after it has not written yet; so nothing of it can have been undone."""
    last, late = "", []
    for place, (worker, what) in enumerate(events):
        if what == "in":
            last = worker
        elif worker != last:
            late.append(place)
    return late


def _first_turn(events: Events) -> list[int]:
    """A worker comes back for another turn, which is its newest."""
    turn: dict[str, int] = {}
    newest, late = -1, []
    for place, (worker, what) in enumerate(events):
        if what == "in":
            turn.setdefault(worker, place)
        elif turn[worker] < newest:
            late.append(place)
        else:
            newest = turn[worker]
    return late


def _forgetful(events: Events) -> list[int]:
    """A late write takes the resource back to an older turn; the next one counts as late, too."""
    turn: dict[str, int] = {}
    newest, late = -1, []
    for place, (worker, what) in enumerate(events):
        if what == "in":
            turn[worker] = place
            continue
        if turn[worker] < newest:
            late.append(place)
        newest = turn[worker]
    return late


def _judge_late(harness: Harness) -> None:
    for told, wanted, why in (
        ("a in, a writes, b in, b writes", [], "One came after the other."),
        ("a in, b in, b writes, a writes", [3], "b came after a, and had written."),
        ("a in, b in, a writes, b writes", [], "When a wrote, b had not written yet."),
        ("a in, b in, b writes, a in, a writes", [], "a had come again, after b."),
        (
            "a in, b in, b writes, a writes, b writes, a writes",
            [3, 5],
            "b is still the newest that has written, whatever a does.",
        ),
        ("a in, b in, c in, c writes, a writes, b writes", [4, 5], "c is newer than both."),
        ("", [], "Nothing happened."),
    ):
        events = []
        for part in told.split(", ") if told else []:
            worker, what = part.split()
            events.append((worker, what.removesuffix("s")))
            harness.note(f"worker {worker}", what)
        harness.equal(harness.call(events, kind=list), wanted, why)


EXERCISES = (
    Exercise(
        id="late-writes",
        page="12b",
        title="Be the judge of a lock",
        question=(
            "`events` is what a lock's workers did, in order: `('ann', 'in')` when ann was let in, "
            "`('ann', 'write')` when she wrote to the resource. Return the places of all late "
            "writes, counted from 0: those of a worker that was let in *before* somebody who has "
            "already written. Workers come again and again; what counts is the newest turn of each."
        ),
        hints=(
            "Give each turn a number that grows: the place of its `in` will do.",
            "Remember the largest number that has written, as a resource does with tokens.",
            "A late write does not make that number smaller.",
        ),
        answer=late_writes,
        wrong=(_not_the_last, _first_turn, _forgetful),
        judge=_judge_late,
    ),
)
