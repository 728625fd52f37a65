"""A verdict drawn on the run that it is about. Pure: events and what is wrong in, a figure out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import matplotlib as mpl

from labkit.judge.report import Report, Violation
from labkit.judge.rungs.trial import Finding
from labkit.see import style
from labkit.see.chart import Chart
from labkit.see.plots import assignment
from labkit.story.event import Event


def verdict(
    events: Iterable[Event], report: Report, *, which: int = 0, around: float = 1.5
) -> Chart:
    """Who had which number, with the moment of the report's violation number `which` marked.

    `verdict(lab.timeline, check(lab.history()))`

    Shows `around` seconds before and after that moment, and the sentence that says what is wrong;
    without a violation, the whole run. Raises `IndexError` if there are fewer violations.
    """
    events = list(events)
    if not report.violations:
        return assignment(events, title=f"No rule was broken; {report.answered:,} answers")
    return moment(events, report.violations[which], around=around)


def moment(
    events: Iterable[Event], violation: Violation | Finding, *, around: float = 1.5
) -> Chart:
    """Who had which number when a violation began, which is marked, and `around` that moment.

    Of a violation that lasts longer than `around`, its beginning is shown.
    """
    events = list(events)
    begin = violation.begin
    end = min(max(violation.end, begin + 0.02), begin + max(around, 0.02))
    goes_on = end < violation.end
    chart = assignment(
        events,
        since=max(begin - around, min(event.t for event in events)),
        until=end + around,
        title=textwrap.fill(f"{violation.rule}: {violation.message}", 95),
    )
    with mpl.rc_context(style.SETTINGS):
        axes = chart.axes[0]
        marked = end + around if goes_on else end
        axes.axvspan(begin, marked, color=style.ALARM, alpha=0.12, linewidth=0, zorder=0.5)
        for edge in {begin} if goes_on else {begin, end}:
            axes.axvline(edge, color=style.ALARM, linestyle="--", linewidth=1, zorder=0.6)
        for label in axes.get_yticklabels():
            if label.get_text() in violation.subject.split(","):
                label.set(color=style.ALARM, fontweight="bold")
    chart.alt = f"{violation.message} {chart.alt}"
    return chart
