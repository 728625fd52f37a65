"""How fast is every schedule seen?

Processor time of the search through all that can happen to two and to three users of the lock of
page 11, with one fault.
"""

from __future__ import annotations

import gc
import time

from benchmarks.report import Result, Row, at_least, at_most
from labkit.course.exercises.locks import acquire
from labkit.explore.ready import lock
from labkit.explore.search import Found, search

METHOD = "The answer of page 11's `acquire`; one fault of any kind; processor time, one core."


def run(quick: bool) -> Result:
    two, two_seconds = _search(2)
    three, three_seconds = _search(2 if quick else 3)
    speed = three.steps / three_seconds
    rows = [
        Row(
            f"all {two.states:,} states of a lock, 2 users",
            two_seconds,
            "s",
            bars=[at_most(two_seconds, 3, "3 s")],
        ),
        Row(
            f"all {three.states:,} states of a lock, 3 users",
            three_seconds,
            "s",
            bars=[at_most(three_seconds, 30, "30 s")],
        ),
        Row("steps of a search", speed, "/s", bars=[at_least(speed, 30_000, "30,000/s")]),
    ]
    data = {"states": [two.states, three.states], "seconds": [two_seconds, three_seconds]}
    return Result(rows, data, METHOD)


def _search(users: int) -> tuple[Found, float]:
    gc.collect()
    began = time.process_time()
    found = search(lock(acquire, users, 1), seconds=300)
    seconds = time.process_time() - began
    assert found.complete
    assert found.violation is None
    return found, seconds
