"""The record: on one clock, bounded, written and read without loss, followed as it grows."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from labkit.errors import HistoryError
from labkit.servers.links.fault import LinkFault
from labkit.servers.zookeeper.txnlog import Transaction
from labkit.story.event import (
    IDS,
    KINDS,
    AttachedEvent,
    CrewEvent,
    DroppedEvent,
    FaultEvent,
    HistoryEvent,
    Holder,
    HoldersEvent,
    PlacedEvent,
    PredictionEvent,
    QuorumEvent,
    RequestEvent,
    SessionEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
)
from labkit.story.timeline import Timeline

ONE_OF_EACH = [
    RequestEvent("node1", phase="ok", id=1, number=1, token=7, lease_ms=900.5),
    RequestEvent("node1", phase="ok", id=4, path=IDS, runs=((7, 9), (12, 12))),
    VerbEvent("node1", verb="slow", phase="begin", id=2, link=LinkFault("slow", delay=0.3)),
    FaultEvent("node1,node2", fault="partition", phase="begin", id=3, link=LinkFault("refuse")),
    StatusEvent("node1", number=1, session="0x1", session_timeout_ms=2000, asked=0.1),
    AttachedEvent("zookeeper", hosts="h:1/a"),
    PlacedEvent("node1", machine="a"),
    QuorumEvent("zookeeper1", mode=None),
    HoldersEvent(
        "zookeeper", numbers={1: Holder("node1", "0x1", 7)}, tickets=("ticket-1",), zxid=9
    ),
    CrewEvent("lab", root="/jobs", names=("ann", "bob")),
    SessionEvent("lab", state="CONNECTED"),
    TransactionEvent("zookeeper", zxid=7, session="0x1", op="create", path="/a", value="ü"),
    DroppedEvent("lab", events=3, kinds={"request": 3}),
    HistoryEvent("lab"),
    PredictionEvent("lab", question="How many?", predicted=[1, "two"], truth={"a": None}),
]


def kill(number: int = 1) -> VerbEvent:
    return VerbEvent("node1", verb="kill", phase="begin", id=number)


def answer(number: int) -> RequestEvent:
    return RequestEvent("node1", phase="ok", id=number)


def transaction(timeline: Timeline, zxid: int, t: float, **fields: object) -> Transaction:
    values = {"op": "create", "path": "/sequence/1", "data": b'{"owner": "node1"}', **fields}
    return Transaction(
        zxid=zxid, time=timeline.epoch + t, session=0x10, cxid=1, ephemeral=True, **values
    )  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    timeline = Timeline()
    for event in ONE_OF_EACH:
        timeline.record(event)
    timeline.write(tmp_path / "run.jsonl")
    assert Timeline.read(tmp_path / "run.jsonl") == list(timeline)
    assert {type(event) for event in timeline} == set(KINDS.values())


@pytest.mark.parametrize(
    "line",
    ["", "[]", '{"t": 1, "kind": "wedding", "subject": "lab", "data": {}}', '{"kind": "history"}'],
)
def test_a_file_that_is_no_timeline_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text(f'{{"epoch": 0}}\n{line}\n')
    with pytest.raises(HistoryError, match="This is no event of a timeline"):
        Timeline.read(tmp_path / "run.jsonl")


def test_a_field_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    said = '{"t": 1.5, "kind": "session", "subject": "lab", "data": {"state": "LOST", "mood": 3}}'
    (tmp_path / "run.jsonl").write_text(f'{{"epoch": 0}}\n{said}\n')
    assert Timeline.read(tmp_path / "run.jsonl") == [SessionEvent("lab", t=1.5, state="LOST")]


def test_many_threads_write_in_the_order_of_time() -> None:
    timeline = Timeline()

    def write() -> None:
        for _ in range(500):
            timeline.record(kill())

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [event.t for event in timeline]
    assert len(times) == 4000
    assert times == sorted(times)


def test_memory_is_bounded_and_the_last_word_of_everybody_is_kept() -> None:
    timeline = Timeline(limit=100)
    timeline.record(PlacedEvent("node1", machine="a"))
    timeline.record(StatusEvent("node1", number=1))
    timeline.record(StatusEvent("node1", number=2))
    timeline.record(HoldersEvent("zookeeper", numbers={}, zxid=1))
    for i in range(1000):
        timeline.record(answer(i))
    assert len(timeline) <= 100
    *others, dropped = (event for event in timeline if not isinstance(event, RequestEvent))
    assert [replace(event, t=0.0) for event in others] == [
        PlacedEvent("node1", machine="a"),
        StatusEvent("node1", number=2),
        HoldersEvent("zookeeper", numbers={}, zxid=1),
    ]
    assert isinstance(dropped, DroppedEvent)
    last = list(timeline)[-1]
    assert isinstance(last, RequestEvent)
    assert last.id == 999


def test_transactions_are_merged_by_time_and_only_once() -> None:
    timeline = Timeline()
    timeline.record(kill())
    time.sleep(0.05)
    timeline.record(kill())
    log = [
        transaction(timeline, 7, -0.5),
        # Two parts of one transaction.
        transaction(timeline, 8, 0.025),
        transaction(timeline, 8, 0.025, op="delete", path="/sequence/ticket-x", data=None),
    ]
    assert timeline.merge_transactions(log) == 3
    more = [*log, transaction(timeline, 9, 0.03)]
    assert timeline.merge_transactions(more) == 1
    assert timeline.merge_transactions(more) == 0
    found = [e.zxid if isinstance(e, TransactionEvent) else e.kind for e in timeline]
    assert found == [7, "verb", 8, 8, 9, "verb"]
    first = next(iter(timeline))
    assert isinstance(first, TransactionEvent)
    assert first.t < 0
    assert first.session == "0x10"
    assert first.value == '{"owner": "node1"}'


def test_a_tail_reads_every_event_once() -> None:
    timeline = Timeline(limit=50)
    tail = timeline.tail()
    seen: list[int] = []
    for i in range(200):
        timeline.record(answer(i))
        if i % 7 == 0:
            events, anew = tail.read()
            assert not anew
            seen += [event.id for event in events if isinstance(event, RequestEvent)]
    seen += [event.id for event in tail.read()[0] if isinstance(event, RequestEvent)]
    assert seen == list(range(200))


def test_a_tail_begins_anew_when_the_past_has_changed() -> None:
    timeline = Timeline()
    tail = timeline.tail()
    timeline.record(kill())
    tail.read()
    timeline.merge_transactions([transaction(timeline, 1, -1.0)])
    assert tail.wait(0)
    events, anew = tail.read()
    assert anew
    assert [event.kind for event in events] == ["transaction", "verb"]
    assert not tail.wait(0)


def test_a_tail_wakes_when_something_happens() -> None:
    timeline = Timeline()
    tail = timeline.tail()
    assert not tail.wait(0.01)
    threading.Timer(0.05, timeline.record, [kill()]).start()
    began = time.monotonic()
    assert tail.wait(5.0)
    assert time.monotonic() - began < 1.0


# --- what is kept, and what is said of the rest ---


def test_what_a_run_is_judged_by_outlives_all_else() -> None:
    timeline = Timeline(limit=100)
    timeline.record(kill())
    timeline.record(FaultEvent("node1", fault="kill", phase="begin", id=2))
    timeline.merge_transactions([transaction(timeline, 7, 0.0)])
    for i in range(1000):
        timeline.record(answer(i))
    kinds = [event.kind for event in timeline]
    assert {"verb", "fault", "transaction"} < set(kinds)
    (dropped,) = [event for event in timeline if isinstance(event, DroppedEvent)]
    assert dropped.kinds == {"request": 1000 - kinds.count("request")}
    assert dropped.events == 1000 - kinds.count("request")


def test_heartbeats_are_left_out_unless_they_are_asked_for() -> None:
    timeline = Timeline()
    log = [
        transaction(timeline, 1, 0.1),
        *(transaction(timeline, 2 + i, 0.2, op="setData") for i in range(5)),
        transaction(timeline, 9, 0.3, op="setData", path="/light"),
    ]
    assert timeline.merge_transactions(log) == 2
    assert [e.path for e in timeline if isinstance(e, TransactionEvent)] == [
        "/sequence/1",
        "/light",
    ]
    assert timeline.merge_transactions(log, heartbeats=True) == 5


def test_transactions_have_a_bound_of_their_own() -> None:
    timeline = Timeline(limit=100)
    timeline.record(kill())
    log = [transaction(timeline, zxid, -1 + zxid / 10_000) for zxid in range(1, 1001)]
    timeline.merge_transactions(log)
    kept = [event.zxid for event in timeline if isinstance(event, TransactionEvent)]
    assert 180 <= len(kept) <= 200
    assert kept == list(range(1001 - len(kept), 1001))
    assert any(event.kind == "verb" for event in timeline)
    (dropped,) = [event for event in timeline if isinstance(event, DroppedEvent)]
    assert dropped.zxid == kept[0] - 1
    assert timeline.merge_transactions(log) == 0


def test_verbs_too_are_bounded() -> None:
    timeline = Timeline(limit=100)
    for i in range(1000):
        timeline.record(kill(i))
    assert len(timeline) <= 201


def test_what_is_missing_is_written_and_read(tmp_path: Path) -> None:
    timeline = Timeline(limit=10)
    for i in range(100):
        timeline.record(answer(i))
    timeline.write(tmp_path / "run.jsonl")
    events = Timeline.read(tmp_path / "run.jsonl")
    assert events == list(timeline)
    assert [event.kinds for event in events if isinstance(event, DroppedEvent)]


def test_a_reader_that_missed_something_begins_anew() -> None:
    timeline = Timeline(limit=50)
    tail = timeline.tail()
    for i in range(200):
        timeline.record(answer(i))
    events, anew = tail.read()
    assert anew
    assert events == list(timeline)
    assert tail.read() == ([], False)


# --- clocks ---


@dataclass
class Clocks:
    """A machine's two clocks, and ZooKeeper's log with the wall clock's times in it."""

    monotonic: float = 1000.0
    wall: float = 5_000_000.0
    zxid: int = 0

    def __post_init__(self) -> None:
        self.timeline = Timeline(clock=lambda: self.monotonic, wall=lambda: self.wall)
        self.log: list[Transaction] = []
        self.expected: list[float] = []

    def pass_by(self, seconds: float, *, looks: float = 0.2) -> None:
        """Time goes by, and ZooKeeper makes a change now and then."""
        for _ in range(round(seconds / looks)):
            self.monotonic += looks / 2
            self.wall += looks / 2
            self.change()
            self.monotonic += looks / 2
            self.wall += looks / 2
            self.timeline.now()

    def change(self, skew: float = 0.0) -> None:
        self.zxid += 1
        t = self.wall + skew - self.timeline.epoch
        self.log.append(transaction(self.timeline, self.zxid, t))
        self.expected.append(self.monotonic - 1000.0)

    def placed(self) -> list[float]:
        self.timeline.merge_transactions(self.log)
        return [event.t for event in self.timeline if event.kind == "transaction"]


@pytest.mark.parametrize("step", [10.0, -10.0, 0.3, -0.3])
def test_a_clock_that_is_set_moves_nothing(step: float) -> None:
    clocks = Clocks()
    clocks.pass_by(15)
    clocks.wall += step
    clocks.change()  # before anybody has noticed
    clocks.pass_by(15)
    clocks.wall -= step
    clocks.pass_by(15)
    assert clocks.placed() == pytest.approx(clocks.expected, abs=0.01)


def test_a_laptop_that_slept_moves_nothing() -> None:
    clocks = Clocks()
    clocks.pass_by(3)
    clocks.wall += 3600  # the monotonic clock stood still
    clocks.pass_by(3)
    clocks.timeline.record(kill())
    assert clocks.placed() == pytest.approx(clocks.expected, abs=0.01)
    assert list(clocks.timeline)[-1].kind == "verb"


def test_what_happened_elsewhere_while_the_laptop_slept_stands_where_it_slept() -> None:
    clocks = Clocks()
    clocks.pass_by(3)
    clocks.wall += 1800
    clocks.change()
    clocks.wall += 1800
    clocks.pass_by(3)
    assert clocks.placed() == pytest.approx(clocks.expected, abs=0.01)


def test_only_a_step_is_remembered_of_the_clocks() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.pass_by(1)
        clocks.wall += 0.0001
    assert len(clocks.timeline._steps) <= 3
    assert clocks.placed() == pytest.approx(clocks.expected, abs=0.01)


def test_a_thread_that_is_held_up_between_the_clocks_is_no_step() -> None:
    clocks = Clocks()

    def held_up() -> float:
        clocks.monotonic += 0.02
        clocks.wall += 0.02
        return clocks.wall

    timeline = Timeline(clock=lambda: clocks.monotonic, wall=held_up)
    for _ in range(10):
        timeline.now()
    assert len(timeline._steps) == 1


@pytest.mark.parametrize("skew", [2.5, -2.5])
def test_a_clock_elsewhere_may_be_wrong_by_a_constant(skew: float) -> None:
    clocks = Clocks()
    clocks.timeline.correct(skew)
    for _ in range(10):
        clocks.monotonic += 0.1
        clocks.wall += 0.1
        clocks.change(skew)
    assert clocks.placed() == pytest.approx(clocks.expected, abs=0.01)
