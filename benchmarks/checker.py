"""What does it cost to judge a long run?

Processor time of `check` on made-up runs of 24,000, 240,000 and a million events.
"""

from __future__ import annotations

import gc
import time

from benchmarks.report import Result, Row, at_most
from benchmarks.runs import SESSION_TIMEOUT, long_run
from labkit.judge.rules import check

METHOD = (
    "Made-up runs of 16 honest nodes, asked 15 times a second, with a fault every three seconds; "
    "processor time, the least of three."
)


def run(quick: bool) -> Result:
    sizes = (2_000, 20_000, 40_000) if quick else (24_000, 240_000, 1_000_000)
    times = {size: _costs(size) for size in sizes}
    small, large, largest = (min(times[size]) for size in sizes)
    rows = [
        Row(
            f"judging {sizes[1]:,} events",
            large,
            "s",
            small,
            f"{sizes[0]:,} events",
            [at_most(large / small, 12, "12 × as long")],
        ),
        Row(f"judging {sizes[2]:,} events", largest, "s", None, "", [at_most(largest, 10, "10 s")]),
    ]
    return Result(rows, {"processor seconds": times}, METHOD)


def _costs(size: int) -> list[float]:
    events = long_run(16, size)
    took = []
    for _ in range(3):
        gc.collect()
        began = time.process_time()
        report = check(events, session_timeout=SESSION_TIMEOUT)
        took.append(time.process_time() - began)
        assert not report.violations
    return took
