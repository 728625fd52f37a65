"""The run again, under a time slider and a play button.

A replay is a piece of HTML that needs neither a kernel nor a network. Without a script (GitHub, an
untrusted notebook, paper) what is left of it is the static figure.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import count
from typing import Any
from uuid import uuid4

from labkit.see import plots, style, svg
from labkit.story.bars import Bar, Word
from labkit.story.event import Event
from labkit.story.run import Story

_uids = count(1)


def replay(
    events: Iterable[Event], *, since: float | None = None, until: float | None = None
) -> Replay:
    """Show a run (a timeline, or the events that `Timeline.read` gave) again, as it happened.

    `replay(Timeline.read(Path("run.jsonl")), since=2.5)`

    `since` and `until` choose a part, in seconds since the timeline began.
    """
    events = list(events)
    if until is not None:
        events = [event for event in events if event.t <= until]
    spans = Story(events)
    since = min(spans.start, spans.end) if since is None else since
    until = spans.end if until is None else until
    draw = plots.quorum if len(spans.zookeeper.servers) > 1 else plots.assignment
    chart = draw(events, since=since, until=until)
    return Replay(spans, since, max(until, since + 0.1), chart)


class Replay:
    """A run to watch again. A notebook shows it by itself; `html` is the piece of page it is."""

    def __init__(self, spans: Story, since: float, until: float, still: plots.Chart) -> None:
        # Ids on one page, and of a page that is put together out of several runs, must not meet.
        uid = f"replay-{uuid4().hex[:8]}-{next(_uids)}"
        bars = {node: spans.bars(node, until) for node in spans.nodes}
        words = {bar.word for of_node in bars.values() for bar in of_node}
        data = {
            "uid": uid,
            "since": since,
            "until": round(until, 3),  # as the ends of the bars are
            "left": svg.frame_of(spans, since, until).left,
            "right": svg.WIDTH - svg.RIGHT,
            "svg": svg.assignment(spans, since=since, until=until, uid=uid, label=still.alt)
            + svg.key(words, uid, spans.terms),
            "now": {
                node: [_said(bar) for bar in of_node if not bar.beside]
                for node, of_node in bars.items()
            },
            "colours": {n: [style.colour(n), style.ink(style.colour(n))] for n in spans.numbers},
            "captions": sorted(said for said in _captions(spans, until) if said[0] >= since),
        }
        self.alt = still.alt
        self.still = b64encode(still.png(dpi=110)).decode()
        self.html = _PAGE.format(
            uid=uid,
            alt=escape(self.alt),
            png=self.still,
            data=_in_script(data),
            script=files("labkit").joinpath("see/replay.js").read_text(),
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html, "image/png": self.still, "text/plain": self.alt}


_PAGE = """<div class="labkit-replay" data-replay="{uid}" data-lm-suppress-shortcuts="true">
<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{png}">
</div>
<script>(function () {{
const data = {data};
{script}
}})();</script>
"""


def _in_script(data: dict[str, Any]) -> str:
    """JSON that cannot end the script it stands in, nor begin a comment or a script inside it."""
    text = json.dumps(data).replace("</", "<\\/")
    return re.sub(r"<(?=!|script)", r"\\u003c", text, flags=re.IGNORECASE)


def _said(bar: Bar) -> tuple[float, float, int, str]:
    return round(bar.start, 3), round(bar.end, 3), bar.number, bar.word.value


def _captions(spans: Story, until: float) -> Iterable[tuple[float, str]]:
    for name in [*spans.zookeeper.servers, *spans.nodes]:
        for mark in spans.marks(name, until):
            yield mark.t, f"{mark.verb} {name}"
    for server, modes in spans.zookeeper.modes.items():
        for mode in modes:
            yield mode.start, f"{server}: {mode.what or 'serves nobody'}"
    for node in spans.nodes:
        for bar in spans.bars(node, until):
            if bar.word is Word.NODE:
                yield bar.start, f"{node} {spans.terms.says[bar.word].format(bar.number)}"
    thing = spans.terms.thing
    for claim in spans.held_bars(until):
        yield claim.start, f"{claim.node} gets {thing}{claim.number}"
        if claim.end < until:
            yield claim.end, f"{thing}{claim.number} of {claim.node} is free"
    for down in spans.outages(until):
        yield down.start, "ZooKeeper goes down"
        if down.end < until:
            yield down.end, "ZooKeeper is back"
