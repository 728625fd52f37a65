"""A run that is read event by event, and asked in between, is the run that is read at once."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs

import labkit.course
from benchmarks.runs import run as made_up
from labkit.story.event import Event, HoldersEvent, from_json
from labkit.story.run import Story
from labkit.story.stretches import Mark

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
    *((f"honest {seed}", lambda seed=seed: made_up(6, 20, seed=seed)) for seed in range(10)),
    *((f"broken {seed}", lambda seed=seed: broken(seed)) for seed in range(40)),
]


def everything(story: Story) -> list[object]:
    """Whatever can be asked of a run."""
    servers = [*story.nodes, *story.zookeeper.servers]
    by_name = (
        *(story.bars, story.quiet, story.up, story.paused, story.broken, story.marks),
        *(story.state, story.answer, story.is_broken, story.healed_at, story.bound),
    )
    return [
        story.numbers,
        story.held(),
        story.held_bars(),
        story.outages(),
        story.zookeeper.leaderless(),
        {server: modes for server, modes in story.zookeeper.modes.items() if modes},
        [(r.node, r.invoke, r.done, r.outcome) for r in story.number_requests],
        story.during_faults,
        story.faults,
        story.fault_count,
        story.live_nodes,
        story.times,
        [(z.name, z.owner, z.begin, z.end, z.born, z.died) for z in story.claims],
        [(z.name, z.begin, z.end) for z in story.tickets],
        dict(story.owners),
        *(ask(server) for ask in by_name for server in servers),
    ]


@pytest.mark.parametrize("tell", [pytest.param(tell, id=name) for name, tell in RUNS])
def test_asking_in_between_changes_nothing(tell: Callable[[], list[Event]]) -> None:
    events = tell()
    step = max(len(events) // 7, 1)
    story = Story()
    for i, event in enumerate(events):
        story.add(event)
        if i % step == 0:
            everything(story)
    assert everything(story) == everything(Story(events))


@pytest.mark.parametrize("seed", range(5))
def test_the_log_may_come_in_any_order_of_time(seed: int) -> None:
    events = made_up(6, 20, seed=seed)
    late = Story()
    for i, event in enumerate(sorted(events, key=lambda e: e.t + getattr(e, "zxid", 0) % 3 / 30)):
        late.add(event)
        if i % 400 == 0:
            everything(late)
    held, claims = late.held(), [(z.zxid, z.begin, z.end, z.born) for z in late.claims]
    story = Story(events)
    assert held == story.held()
    assert claims == [(z.zxid, z.begin, z.end, z.born) for z in story.claims]


def test_a_claim_that_names_nobody_is_of_the_node_that_answered_by_it() -> None:
    run = runs.Script()
    run.says(0.5, "node1", None, "not-asked")
    token = run.claims(1.0, 1, "node1", exact=False)
    run.change(1.0, "0xunheard", "create", path="/sequence/1", ephemeral=True)
    run.asks(1.1, "node1", 1, token=token)
    events = [e for e in run.in_order() if not isinstance(e, HoldersEvent)]
    story = Story(events)
    assert [claim.owner for claim in story.claims] == ["node1"]
    assert [claim.node for claim in story.held_bars()] == ["node1"]


def test_a_claim_that_the_watch_saw_first_begins_when_the_log_says() -> None:
    run = runs.Script()
    run.claims(1.0, 1, "node1", exact=False)
    run.change(1.1, "0xnode1", "create", path="/sequence/1", ephemeral=True)
    assert [claim.start for claim in Story(run.events).held_bars(9.0)] == [1.1]


def test_a_fault_has_two_beginnings_and_two_ends() -> None:
    run = runs.Script()
    run.says(0.5, "node1", 1)
    run.verb(1.0, "partition", "node1", took=0.4)
    run.verb(3.0, "heal", "node1", took=0.6)
    story = Story(run.in_order())
    (fault,) = story.faults
    assert (fault.begin, fault.took, fault.mending, fault.end) == (1.0, 1.4, 3.0, 3.6)
    assert [(cut.start, cut.end) for cut in story.broken("node1")] == [(1.4, 3.0)]
    assert story.marks("node1") == [Mark(1.4, "partition"), Mark(3.0, "heal")]
    assert story.in_trouble(1.1, 1.2)
    assert story.in_trouble(3.3, 3.4)


@pytest.mark.parametrize(("verb", "at"), [("kill", 2.5), ("stop", 2.1), ("pause", 2.5)])
def test_a_mark_stands_where_answers_end(verb: str, at: float) -> None:
    run = runs.Script()
    run.claims(0.5, 1, "node1")
    run.says(0.6, "node1", 1)
    run.verb(2.0, verb, "node1", took=0.5)
    run.asks(2.0, "node1", 1, took=0.05)  # it was not dead yet
    if verb == "stop":
        run.frees(2.1, "node1")  # it ends its session, and then itself
    story = Story(run.in_order())
    assert story.marks("node1") == [Mark(at, verb)]
    assert max(bar.end for bar in story.bars("node1") if bar.word == "both") == at


def test_the_end_of_a_session_is_a_mark_unless_the_node_was_stopped() -> None:
    run = runs.Script()
    for i, verb in ((1, "kill"), (2, "stop")):
        run.claims(0.5, i, f"node{i}")
        run.says(0.6, f"node{i}", i)
        run.verb(2.0, verb, f"node{i}", took=0.2)
    run.frees(2.1, "node2")
    run.frees(7.0, "node1")
    story = Story(run.in_order())
    assert story.marks("node1") == [Mark(2.2, "kill"), Mark(7.0, "session ends")]
    assert story.marks("node2") == [Mark(2.1, "stop")]
    assert story.marks("node1", until=5.0) == [Mark(2.2, "kill")]


def test_a_reading_that_forgets_remembers_the_last_requests() -> None:
    run = runs.Script()
    for i in range(45_000):
        run.asks(i / 100, "node1", 1, took=0.001)
    story = Story(run.events, forgets=True)
    assert 10_000 <= len(story.requests("node1")) <= 20_000
    assert story.requests("node1")[-1].done == run.events[-1].t
