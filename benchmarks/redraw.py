"""Does the live picture get slower, the longer a lab runs?

Processor time of one redraw of 64 nodes, after one, five and ten minutes of events.
"""

from __future__ import annotations

import time
from statistics import median

from benchmarks.report import Result, Row, at_most
from benchmarks.runs import run as made_up
from labkit.see import drawing
from labkit.see.scene import Scene
from labkit.story.run import Story

METHOD = (
    "A made-up run of honest nodes, asked 15 times a second, with a fault every three seconds; the "
    "picture shows the last minute; median of the redraws of ten seconds, one a second."
)
_WINDOW = 60.0  # seconds that the picture shows


def run(quick: bool) -> Result:
    nodes, minutes = (8, (1.0, 1.5, 2.0)) if quick else (64, (1.0, 5.0, 10.0))
    events = iter(made_up(nodes, 60 * minutes[-1] + 15))
    spans = Story()
    costs: dict[float, list[float]] = {}
    for at in minutes:
        costs[at] = []
        for second in range(10):
            while spans.end < 60 * at + second:
                spans.add(next(events))
            began = time.process_time()
            redraw(spans)
            costs[at].append(time.process_time() - began)
    first, last = median(costs[minutes[0]]), median(costs[minutes[-1]])
    bar = at_most(last / first, 1.5, "1.5 × after one minute")
    row = Row(
        f"a redraw of {nodes} nodes after {minutes[-1]:g} minutes",
        last,
        "s",
        first,
        "after one minute",
        [bar],
    )
    return Result([row], {"processor seconds, by minutes": costs}, METHOD)


def redraw(spans: Story) -> str:
    """Draw what the controls draw: the last minute."""
    since = max(spans.start, spans.end - _WINDOW)
    return drawing.draw(Scene.of(spans, since, spans.end), drawing.Look("bench"))
