"""What it costs to judge a run grows like the run, and not like its square."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.runs import SESSION_TIMEOUT, long_run
from labkit.judge.rules import check
from labkit.lab.event import Event


def _steps(events: list[Event]) -> int:
    """Lines and calls of Python that judging takes: the same on every machine, busy or not."""
    taken = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal taken
        taken += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        report = check(events, session_timeout=SESSION_TIMEOUT)
    finally:
        sys.settrace(before)
    assert not report.violations
    assert report.during_faults > len(events) / 20
    return taken


@pytest.mark.parametrize("tickets", [True, False])
def test_four_times_the_events_take_about_four_times_the_steps(tickets: bool) -> None:
    run = long_run(8, 24_000, tickets=tickets)

    assert _steps(run) <= 4.6 * _steps(run[:6_000])
