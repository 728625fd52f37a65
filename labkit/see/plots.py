"""Events → figures. Pure: nothing here asks a server or keeps a state.

Every function returns a `Chart`, a matplotlib figure that a notebook shows by itself and that says
in words (`.alt`) what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.patches import Patch

from labkit.see import style
from labkit.see.chart import Chart
from labkit.see.lanes import Lanes, Rows, levels, unanswered
from labkit.story.bars import Bar, Stretch
from labkit.story.event import Event
from labkit.story.run import Story


def assignment(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Chart:
    """Who had which number when: one lane a node, one bar a number.

    `assignment(lab.history(), since=2.5)`

    A solid bar is a number that the node answers and ZooKeeper holds for it. Where the two differ
    both are seen: an empty bar is held for a node that does not answer it, a hatched one is
    answered by a node that does not hold it any more. `since` and `until` choose a part, in
    seconds since the timeline began. Of a crew (`lab.crew`), workers stand for nodes and what they
    work on for numbers.
    """
    spans = Story(_until(events, until))
    nodes = spans.nodes
    bars = {node: spans.bars(node, until, -1.0 if since is None else since) for node in nodes}
    rows = Rows.of(_levels(bars.values()), any(spans.requests(n, until, since or 0) for n in nodes))
    lanes = Lanes(
        nodes, spans, rows, title or spans.terms.title, since, until, bool(spans.outages())
    )
    lanes.outages()
    for node, lane in lanes.lane.items():
        lanes.life(node, lane, bars[node])
        lanes.bars(bars[node], lane)
        lanes.marks(node, lane)
        lanes.requests(node, lane, rows.asked)
    lanes.key({bar.word for of_node in bars.values() for bar in of_node}, spans.terms.key)
    said = [f"{_where(n, spans)}: {_in_words(n, bars[n], spans, lanes)}." for n in lanes.lane]
    said += [
        f"ZooKeeper down from {down.start:.1f} to {down.end:.1f} s."
        for down in spans.outages(lanes.right)
        if down.end >= lanes.left
    ]
    lanes.chart.alt = " ".join([f"{spans.terms.alt} over time.", *said])
    return lanes.chart


def quorum(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Chart:
    """What each ZooKeeper server was (leader, follower, without a quorum) and who got answers.

    `quorum(lab.history(), until=20)`

    Where nobody led, and where a node's clients got no answer, it says for how long.
    """
    spans = Story(_until(events, until))
    ensemble = spans.zookeeper
    servers = ensemble.servers
    nodes = [node for node in spans.nodes if spans.requests(node, until, since or 0)]
    rows = Rows.of(0, asked=False)
    title = title or "Which server leads, and who gets an answer"
    lanes = Lanes([*servers, *nodes], spans, rows, title, since, until, header=True)
    lanes.outages()
    downs = spans.outages(lanes.right)
    gaps = [g for g in ensemble.leaderless() if not any(_meet(g, down) for down in downs)]
    lanes.header(gaps, "no leader for {seconds:.1f} s", "leaderless", len(servers))
    for server in servers:
        lane = lanes.lane[server]
        _modes(lanes, server, lane)
        lanes.faults(server, lane)
        lanes.marks(server, lane)
    for node in nodes:
        lane = lanes.lane[node]
        middle = lane + rows.bar
        lanes.axes.hlines(middle, lanes.left, lanes.right, color=style.LINE, linewidth=0.8)
        lanes.faults(node, lane)
        lanes.requests(node, lane, rows.bar)
        lanes.gaps(node, lane)
    hatch = Patch(facecolor="none", edgecolor=style.LINE, hatch="///", label="serves nobody")
    lanes.key(set(), spans.terms.key, [hatch])
    lanes.chart.alt = _quorum_in_words(spans, nodes, lanes)
    return lanes.chart


def _modes(lanes: Lanes, server: str, lane: float) -> None:
    shades = {"leader": style.INK, "standalone": style.INK, "follower": style.LINE}
    middle, height = lane + lanes.rows.bar, 0.27 / lanes.rows.lane
    for mode in lanes.spans.zookeeper.modes[server]:
        start, end = max(mode.start, lanes.left), min(mode.end, lanes.right)
        if start >= end:
            continue
        shade = shades.get(mode.what)
        box = lanes.rectangle(start, end, middle, height, shade or style.PAPER, style.INK)
        if shade is None:
            box.set(hatch="///", edgecolor=style.LINE)
        else:
            lanes.label([mode.what], start, end, middle, style.ink(shade))


def _quorum_in_words(spans: Story, nodes: Sequence[str], lanes: Lanes) -> str:
    modes = spans.zookeeper.modes
    led = sorted(
        (m.start, server)
        for server in modes
        for m in modes[server]
        if m.what == "leader" and m.end > lanes.left
    )
    said = f"Leaders in turn: {', '.join(server for _, server in led) or 'none'}."
    for node in nodes:
        requests = spans.requests(node, lanes.right, lanes.left)
        gaps = [f"{gap.end - gap.start:.2f} s" for gap in unanswered(requests)]
        without = f", without an answer for {' and '.join(gaps)}" if gaps else ""
        answered = sum(request.outcome == "ok" for request in requests)
        said += f" {_where(node, spans)}: {answered} of {len(requests)} requests answered{without}."
    return said


def _where(name: str, spans: Story) -> str:
    """A server, and the machine that it is on if there are several."""
    several = len(set(spans.machines.values())) > 1 and name in spans.machines
    return f"{name} on machine {spans.machines[name]}" if several else name


def _until(events: Iterable[Event], until: float | None) -> Iterable[Event]:
    return events if until is None else (event for event in events if event.t <= until)


def _levels(of_nodes: Iterable[Sequence[Bar]]) -> int:
    """How many claims stand beside bars at the same time, at most."""
    found = (level for bars in of_nodes for level in levels(bars) if level is not None)
    return max(found, default=-1) + 1


def _in_words(node: str, bars: Sequence[Bar], spans: Story, lanes: Lanes) -> str:
    had = [
        f"{bar.number} from {bar.start:.1f} to {bar.end:.1f} s{spans.terms.how[bar.word]}"
        for bar in bars
    ]
    marks = spans.marks(node, lanes.right)
    done = [f"{mark.verb} at {mark.t:.1f} s" for mark in marks if mark.t >= lanes.left]
    return "; ".join([", ".join(had) or spans.terms.none, *([", ".join(done)] if done else [])])


def _meet(one: Stretch, other: Stretch) -> bool:
    return one.start < other.end and other.start < one.end
