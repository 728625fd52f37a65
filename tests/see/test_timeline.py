"""The record: on one clock, bounded, written and read without loss, followed as it grows."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from labkit.timeline import Timeline
from labkit.zookeeper import Transaction


def transaction(timeline: Timeline, zxid: int, t: float, **fields: object) -> Transaction:
    values = {"op": "create", "path": "/sequence/1", "data": b'{"owner": "node1"}', **fields}
    return Transaction(
        zxid=zxid, time=timeline.epoch + t, session=0x10, cxid=1, ephemeral=True, **values
    )  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    timeline = Timeline()
    # A verb's details may have any name, also that of an event's own fields.
    timeline.record("verb", "node1", verb="partition", kind="drop", t=3, subject="x", phase="begin")
    timeline.record("holders", "zookeeper", numbers={"1": {"owner": "node1"}}, tickets=[])
    timeline.write(tmp_path / "run.jsonl")
    assert Timeline.read(tmp_path / "run.jsonl") == list(timeline)


def test_many_threads_write_in_the_order_of_time() -> None:
    timeline = Timeline()

    def write() -> None:
        for _ in range(500):
            timeline.record("verb", "node1", verb="kill")

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
    timeline.record("status", "node1", number=1)
    timeline.record("status", "node1", number=2)
    timeline.record("holders", "zookeeper", numbers={}, tickets=[])
    for i in range(1000):
        timeline.record("request", "node1", phase="ok", id=i)
    assert len(timeline) <= 100
    kept = [event for event in timeline if event.kind != "request"]
    assert [(event.kind, event.data.get("number")) for event in kept] == [
        ("status", 2),
        ("holders", None),
    ]
    assert list(timeline)[-1].data["id"] == 999


def test_transactions_are_merged_by_time_and_only_once() -> None:
    timeline = Timeline()
    timeline.record("verb", "node1", verb="kill")
    time.sleep(0.05)
    timeline.record("verb", "node2", verb="kill")
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
    found = [(event.kind, event.data.get("zxid")) for event in timeline]
    assert found == [
        ("transaction", 7),
        ("verb", None),
        ("transaction", 8),
        ("transaction", 8),
        ("transaction", 9),
        ("verb", None),
    ]
    first = next(iter(timeline))
    assert first.t < 0
    assert first.data["session"] == "0x10"
    assert first.data["value"] == '{"owner": "node1"}'


def test_a_tail_reads_every_event_once() -> None:
    timeline = Timeline(limit=50)
    tail = timeline.tail()
    seen: list[int] = []
    for i in range(200):
        timeline.record("request", "node1", id=i)
        if i % 7 == 0:
            events, anew = tail.read()
            assert not anew
            seen += [event.data["id"] for event in events]
    seen += [event.data["id"] for event in tail.read()[0]]
    assert seen == list(range(200))


def test_a_tail_begins_anew_when_the_past_has_changed() -> None:
    timeline = Timeline()
    tail = timeline.tail()
    timeline.record("verb", "node1", verb="kill")
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
    threading.Timer(0.05, timeline.record, ("verb", "node1")).start()
    began = time.monotonic()
    assert tail.wait(5.0)
    assert time.monotonic() - began < 1.0
