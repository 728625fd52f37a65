"""The run again, under a time slider and a play button.

A replay is a piece of HTML that needs neither a kernel nor a network. Without a script (GitHub, an
untrusted notebook, paper) what is left of it is the picture of the whole run.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from labkit.see import style
from labkit.see.drawing import Look, draw
from labkit.see.picture import Picture, new_id, scene_of
from labkit.see.scene import MIME, Scene
from labkit.see.walk import in_script, script
from labkit.story.bars import Word
from labkit.story.event import Event
from labkit.story.run import Story


def replay(
    events: Iterable[Event], *, since: float | None = None, until: float | None = None
) -> Replay:
    """Show a run (a timeline, or the events that `Timeline.read` gave) again, as it happened.

    `replay(Timeline.read(Path("run.jsonl")), since=2.5)`

    `since` and `until` choose a part, in seconds since the timeline began.
    """
    events = [event for event in events if until is None or event.t <= until]
    scene = scene_of(events, since, until)
    captions = [said for said in _captions(Story(events), scene.until) if said[0] >= scene.since]
    return Replay(scene, _together(sorted(captions)))


class Replay:
    """A run to watch again. A notebook shows it by itself; `html` is the piece of page it is."""

    def __init__(self, scene: Scene, captions: Sequence[tuple[float, str]]) -> None:
        look = Look(new_id(), scene.says())
        still = Picture(scene, look)
        self.alt = still.alt
        self.data = still.data()
        self.still = b64encode(still.png()).decode()
        data = {
            "uid": look.uid,
            "since": scene.since,
            "until": round(scene.until, 3),  # as the ends of the bars are
            "svg": draw(scene, look),
            "now": {
                lane.name: [
                    (round(bar.start, 3), round(bar.end, 3), bar.number, bar.word.value)
                    for bar in lane.bars
                    if not bar.beside
                ]
                for lane in scene.lanes
                if not lane.is_server
            },
            "colours": {
                n: [style.colour(n), style.ink(style.colour(n))]
                for n in {bar.number for lane in scene.lanes for bar in lane.bars}
            },
            "captions": captions,
        }
        self.html = _PAGE.format(
            uid=look.uid,
            alt=escape(self.alt),
            png=self.still,
            script=script(look.uid, "replay", f"replay({in_script(data)}, host)"),
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "text/html": self.html,
            "image/png": self.still,
            "text/plain": self.alt,
            MIME: self.data,
        }


_PAGE = """<div class="labkit-replay" data-walk="{uid}" data-lm-suppress-shortcuts="true">
<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{png}">
</div>
{script}
"""


def _together(captions: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """What happens within a tenth of a second is read at once, as of its end."""
    groups: list[list[tuple[float, str]]] = []
    for said in captions:
        if not groups or said[0] - groups[-1][0][0] > 0.1:
            groups.append([])
        groups[-1].append(said)
    return [(group[-1][0], "; ".join(text for _, text in group)) for group in groups]


def _captions(spans: Story, until: float) -> Iterable[tuple[float, str]]:
    for name in [*spans.zookeeper.servers, *spans.nodes]:
        for mark in spans.marks(name, until):
            ends = mark.verb == "session ends"
            yield mark.t, f"{name}'s session ends" if ends else f"{mark.verb} {name}"
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
