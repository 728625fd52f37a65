"""The live picture costs the same, however long the lab has been running."""

from __future__ import annotations

from steps import steps

from benchmarks.redraw import redraw
from labkit.story.event import TransactionEvent
from labkit.story.run import Story

_NODES = 8


def _spans(seconds: int) -> Story:
    """Every five seconds each node loses its number and claims it again, under a new session."""
    spans, zxid = Story(), 0
    for t in range(0, seconds, 5):
        for i in range(1, _NODES + 1):
            session, value = f"0x{i}{t:04x}", f'{{"owner": "node{i}"}}'
            for op, after in (("create", 0), ("closeSession", 4)):
                zxid += 1
                spans.add(
                    TransactionEvent(
                        "zookeeper",
                        t=t + after,
                        zxid=zxid,
                        session=session,
                        op=op,
                        path=f"/sequence/{i}" if op == "create" else None,
                        value=value if op == "create" else None,
                        ephemeral=True,
                    )
                )
    spans.start = 0.0
    return spans


def _redrawing(spans: Story) -> int:
    redraw(spans)  # reads what is new; a picture is redrawn several times a second
    taken, picture = steps(lambda: redraw(spans))
    assert picture.count('class="bar"') >= _NODES * 10
    return taken


def test_a_redraw_after_ten_minutes_costs_about_what_it_costs_after_one() -> None:
    assert _redrawing(_spans(600)) <= 1.15 * _redrawing(_spans(60))
