"""What it costs to judge a run grows like the run, and not like its square."""

from __future__ import annotations

import pytest
from steps import steps

from benchmarks.runs import SESSION_TIMEOUT, long_run
from labkit.judge.rules import check
from labkit.story.event import Event


def _judging(events: list[Event]) -> int:
    taken, report = steps(lambda: check(events, session_timeout=SESSION_TIMEOUT))
    assert not report.violations
    assert report.during_faults > len(events) / 20
    return taken


@pytest.mark.parametrize("tickets", [True, False])
def test_four_times_the_events_take_about_four_times_the_judging(tickets: bool) -> None:
    run = long_run(8, 24_000, tickets=tickets)

    assert _judging(run) <= 4.6 * _judging(run[:6_000])
