"""The checker's reading of a run and the pictures' agree, but for three things.

- A session that did not expire had its link cut all the while. For the checker that was no fault,
  in a picture it is one, and all is whole afterwards. The picture is right: `expire` mends the link
  whatever comes of it, and what was cut may have cost a claim.
- A claim that names nobody, of a session that no node was heard to have, is nobody's in a picture.
  For the checker it is the node's that answered by it. The checker is right.
- A claim that the watch saw before the log was read begins in a picture when the watch came, which
  is late. For the checker it begins when the log says. The checker is right.

What is not a difference: a picture shows a pause from its end to the beginning of the resume, the
checker from its beginning to the resume's end. Both are times of one fault.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import runs

import labkit.course
from benchmarks.runs import run as made_up
from labkit.story.event import Event, HoldersEvent, VerbEvent, from_json
from labkit.story.facts import History
from labkit.story.spans import Spans

VERBS = ("kill", "stop", "pause", "partition", "slow", "flaky", "expire")
#: What the lab refuses to do to a server in a state, and what a verb makes of it.
REFUSED = {"paused": ("start", "stop"), "stopped": ("pause", "resume")}
LEADS_TO = {
    "kill": "stopped",
    "stop": "stopped",
    "pause": "paused",
    "start": "running",
    "resume": "running",
}
MENDS = ("start", "start", "resume", "heal", "heal", "heal", "")


def saved() -> Iterator[tuple[str, Callable[[], list[Event]]]]:
    for path in sorted((Path(labkit.course.__file__).parent / "runs").glob("*.gz")):
        yield (
            path.name,
            lambda path=path: [
                from_json(line) for line in gzip.decompress(path.read_bytes()).splitlines()[1:]
            ],
        )
    for tell in (runs.passing_on, runs.zombie, runs.outage, runs.ensemble):
        yield tell.__name__, tell
    yield "machines", lambda: runs.machines("a", "b", "c")


def broken(seed: int) -> list[Event]:
    """Nodes and ZooKeeper's servers that are broken and mended at random; some verbs fail."""
    rng, run = random.Random(seed), runs.Script()
    names = [f"node{i}" for i in range(1, 5)]
    zookeepers = [f"zookeeper{i}" for i in range(1, 4)]
    states = dict.fromkeys([*names, *zookeepers, "zookeeper"], "running")
    for name in zookeepers:
        run.mode(0.1, name, "leader" if name == "zookeeper1" else "follower")
    for i, name in enumerate(names, 1):
        run.claims(0.5 + i / 10, i, name)
        run.says(0.6 + i / 10, name, i)
    for t in range(1, 40):
        verb, subject = rng.choice(VERBS), rng.choice([*names, "zookeeper1", "zookeeper"])
        if rng.random() < 0.5:
            verb = rng.choice(MENDS) or verb
        if subject.startswith("zookeeper") and verb == "expire":
            verb = "stop"
        state = states[subject]
        whole = subject == "zookeeper"
        impossible = verb in REFUSED.get(state, ()) or (verb == "expire" and state != "running")
        error = "no" if impossible or rng.random() < 0.15 else None
        if error is None and verb in LEADS_TO:
            for name in zookeepers if whole else [subject]:
                states[name] = LEADS_TO[verb]
            states["zookeeper"] = min(states[name] for name in zookeepers)
        took = rng.uniform(0.01, 0.6)
        run.verb(t, verb, "lab" if verb == "heal" and rng.random() < 0.2 else subject, took, error)
        name = rng.choice(names)
        run.asks(t + rng.uniform(0, 0.9), name, rng.choice([None, names.index(name) + 1]))
        if rng.random() < 0.2:
            run.frees(t + 0.95, name)
            run.claims(t + 0.97, names.index(name) + 1, name)
    return run.in_order()


RUNS = [
    *saved(),
    *((f"honest {seed}", lambda seed=seed: made_up(6, 30, seed=seed)) for seed in range(100)),
    *((f"broken {seed}", lambda seed=seed: broken(seed)) for seed in range(100)),
]


@pytest.mark.parametrize("tell", [pytest.param(tell, id=name) for name, tell in RUNS])
def test_both_readings_say_the_same(tell: Callable[[], list[Event]]) -> None:
    events = tell()
    history = History([as_a_fault(event) for event in events], 0.05, 2.0)
    spans = Spans(events)
    assert requests(history) == shown_requests(spans, history.nodes)
    assert claims(history) == shown_claims(spans)
    assert down(history, spans) == shown_down(history, spans)
    assert cuts(history, events) == shown_cuts(spans, events)
    assert_frozen_within_pauses(history, spans)


def as_a_fault(event: Event) -> Event:
    """The same, but a session that did not expire is one that did: the link was cut, and mended."""
    failed = isinstance(event, VerbEvent) and event.verb == "expire" and event.error
    return replace(event, error=None) if failed else event


def requests(history: History) -> dict[str, list[tuple[float, float, str]]]:
    over = [r for r in history.requests if r.end is not r.begin or r.phase != "unknown"]
    return {
        node: sorted((r.invoke, r.done, r.outcome) for r in over if r.node == node)
        for node in history.nodes
    }


def shown_requests(spans: Spans, nodes: list[str]) -> dict[str, list[tuple[float, float, str]]]:
    return {n: sorted((r.invoke, r.done, r.outcome) for r in spans.requests(n)) for n in nodes}


def claims(history: History) -> list[tuple[int, str, float, float]]:
    return sorted((c.order, c.owner or "?", c.begin, c.end) for c in history.claims)


def shown_claims(spans: Spans) -> list[tuple[int, str, float, float]]:
    return sorted((c.number, c.node, c.start, c.end) for c in spans.claims(float("inf")))


def down(history: History, spans: Spans) -> list[str]:
    return [node for node in spans.nodes if node in history._down]


def shown_down(history: History, spans: Spans) -> list[str]:
    return [node for node in spans.nodes if spans.state(node) in ("stopped", "paused")]


def cuts(history: History, events: list[Event]) -> dict[str, list[tuple[float, float]]]:
    """When each server's link was not whole."""
    found: dict[str, list[tuple[float, float]]] = {}
    for fault in history.faults:
        if fault.what in ("partition", "slow", "flaky", "expire") and fault.cause in verbs(events):
            for target in fault.targets:
                found.setdefault(target, []).append((fault.begin, fault.end))
    return {target: united(stretches) for target, stretches in found.items()}


def shown_cuts(spans: Spans, events: list[Event]) -> dict[str, list[tuple[float, float]]]:
    found = {
        name: united([(s.start, s.end) for s in spans.broken(name, float("inf"))])
        for name in [*spans.nodes, *spans.zookeeper.servers]
    }
    return {name: stretches for name, stretches in found.items() if stretches}


def verbs(events: list[Event]) -> set[int]:
    return {event.id for event in events if isinstance(event, VerbEvent)}


def united(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for begin, end in sorted(stretches):
        if out and begin <= out[-1][1]:
            begin, end = out[-1][0], max(out[-1][1], end)
            out.pop()
        out.append((begin, end))
    return out


def test_whose_a_claim_is_that_names_nobody() -> None:
    run = runs.Script()
    run.says(0.5, "node1", None, "not-asked")
    token = run.claims(1.0, 1, "node1", exact=False)
    run.change(1.0, "0xunheard", "create", path="/sequence/1", ephemeral=True)
    run.asks(1.1, "node1", 1, token=token)
    events = [e for e in run.in_order() if not isinstance(e, HoldersEvent)]
    assert [claim.owner for claim in History(events, 0.05, 2.0).claims] == ["node1"]
    assert [claim.node for claim in Spans(events).claims()] == ["?"]


def test_when_a_claim_begins_that_the_watch_saw_first() -> None:
    run = runs.Script()
    run.claims(1.0, 1, "node1", exact=False)
    run.change(1.1, "0xnode1", "create", path="/sequence/1", ephemeral=True)
    assert [claim.begin for claim in History(run.events, 0.05, 2.0).claims] == [1.1]
    assert [claim.start for claim in Spans(run.events).claims(9.0)] == [1.0]


def assert_frozen_within_pauses(history: History, spans: Spans) -> None:
    for node in spans.nodes:
        pauses = [f for f in history.faults if f.what == "pause" and node in f.targets]
        for frozen in spans.paused(node, float("inf")):
            assert any(p.begin <= frozen.start and frozen.end <= p.end for p in pauses)
