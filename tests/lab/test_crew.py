"""A crew: its workers do a job, are killed and frozen; what they hold, ZooKeeper says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import dropwhile

import pytest
from kazoo.exceptions import KazooException

from labkit.errors import InvalidTransition, ServerNotFound
from labkit.lab.crew import Crew, Worker
from labkit.lab.lab import Lab
from labkit.servers.base import ServerState
from labkit.story.bars import Word
from labkit.story.run import Story

TIMEOUT = 1.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(nodes=0, backend="process") as lab:
        lab.zk.ensure_path("/jobs")
        yield lab


def hold(me: Worker) -> None:
    """Hold a znode of one's own, and work for ever."""
    path = me.zk.create("/jobs/item-", ephemeral=True, sequence=True)
    with me.has(path):
        me.work(60)


def holds(lab: Lab, *numbers: int) -> bool:
    """Whether ZooKeeper holds these, by what the timeline says."""
    return [bar.number for bar, _ in Story(lab.timeline).held()] == list(numbers)


def words(lab: Lab, name: str) -> list[tuple[int, Word]]:
    """What a worker and ZooKeeper say, from when they agree: on a busy machine it says so late."""
    bars = (bar for bar in Story(lab.history()).bars(name) if bar.end - bar.start > 0.02)
    agreed = dropwhile(lambda bar: bar.word is not Word.BOTH, bars)
    return [(bar.number, bar.word) for bar in agreed]


def test_a_killed_worker_holds_what_it_has_until_its_session_ends(lab: Lab) -> None:
    crew = lab.crew(hold, "ann bob", "/jobs", session_timeout=TIMEOUT)
    lab.wait_until(lambda: holds(lab, 0, 1))
    assert {worker.item for worker in crew.workers} == {0, 1}
    lab.wait_until(lambda: words(lab, "ann") == [(0, Word.BOTH)])
    began = lab.timeline.now()
    crew["ann"].kill()
    assert lab.timeline.now() - began < 0.5
    assert crew["ann"].state is ServerState.STOPPED
    lab.wait_until(lambda: holds(lab, 1), timeout=10)
    assert lab.timeline.now() - began > TIMEOUT / 2
    assert words(lab, "ann") == [(0, Word.BOTH), (0, Word.ZOOKEEPER)]
    crew["ann"].start()
    lab.wait_until(lambda: holds(lab, 1, 2))


def test_a_frozen_worker_wakes_as_a_zombie(lab: Lab) -> None:
    crew = lab.crew(hold, ["ann"], "/jobs", session_timeout=TIMEOUT)
    lab.wait_until(lambda: holds(lab, 0))
    crew["ann"].pause()
    assert crew["ann"].state is ServerState.PAUSED
    lab.wait_until(lambda: holds(lab), timeout=10)
    crew["ann"].resume()
    lab.wait_until(lambda: words(lab, "ann")[-1:] == [(0, Word.NODE)])
    assert words(lab, "ann") == [(0, Word.BOTH), (0, Word.ZOOKEEPER), (0, Word.NODE)]


def test_what_a_frozen_worker_asks_waits(lab: Lab) -> None:
    asked = threading.Event()

    def ask(me: Worker) -> None:
        asked.wait()
        me.zk.create("/jobs/asked")

    crew = lab.crew(ask, ["ann"], "/jobs", session_timeout=TIMEOUT)
    crew["ann"].pause()
    asked.set()
    crew["ann"].zk.handler.sleep_func(0.2)
    assert lab.zk.exists("/jobs/asked") is None
    crew["ann"].resume()
    lab.wait_until(lambda: lab.zk.exists("/jobs/asked"))
    crew.wait(5)


def test_a_worker_that_dies_does_nothing_more(lab: Lab) -> None:
    done = []

    def work(me: Worker) -> None:
        me.zk.create("/jobs/item-", ephemeral=True, sequence=True)
        try:
            me.die()
        except Exception:  # a job that catches everything dies all the same
            done.append("caught")
        done.append("survived")

    crew = lab.crew(work, ["ann"], "/jobs", session_timeout=TIMEOUT)
    crew.wait(5)
    assert done == []
    assert lab.zk.get_children("/jobs") == ["item-0000000000"]  # its session lives on


def test_a_worker_that_is_done_leaves_in_order(lab: Lab) -> None:
    def work(me: Worker) -> None:
        path = me.zk.create("/jobs/item-", ephemeral=True, sequence=True)
        with me.has(path):
            me.work(0.1)

    lab.crew(work, "ann bob", "/jobs", session_timeout=30.0).wait(5)
    lab.wait_until(lambda: lab.zk.get_children("/jobs") == [])


def test_what_ends_a_job_is_told(lab: Lab) -> None:
    def fail(me: Worker) -> None:
        raise ValueError("a slip of the reader's")

    crew = lab.crew(fail, "ann bob", "/jobs")
    with pytest.raises(ValueError, match="a slip"):
        crew.wait(5)


def test_a_worker_that_waits_for_a_notice_can_be_killed(lab: Lab) -> None:
    told = threading.Event()

    def wait(me: Worker) -> None:
        while True:
            with suppress(KazooException):
                me.zk.exists("/jobs/never", watch=lambda event: told.set())
                told.wait()

    crew = lab.crew(wait, ["ann"], "/jobs", session_timeout=TIMEOUT)
    lab.wait_until(lambda: crew["ann"].state is ServerState.RUNNING)
    crew["ann"].kill()
    lab.wait_until(lambda: "labkit-worker-ann" not in {t.name for t in threading.enumerate()})


def test_what_makes_no_sense_is_refused(lab: Lab) -> None:
    crew = lab.crew(hold, ["ann"], "/jobs")
    with pytest.raises(InvalidTransition, match="ann is running"):
        crew["ann"].start()
    with pytest.raises(InvalidTransition, match="ann is running"):
        crew["ann"].resume()
    with pytest.raises(ServerNotFound, match="There is no eve in this crew; it has ann"):
        crew["eve"].kill()
    with pytest.raises(InvalidTransition, match="Still at work after 0.1 s: ann"):
        crew.wait(0.1)
    crew["ann"].kill()
    with pytest.raises(InvalidTransition, match="ann is stopped"):
        crew["ann"].kill()


def test_nothing_is_left_of_a_crew() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Lab(nodes=0, ensemble=3, backend="process") as lab:
        lab.zk.ensure_path("/jobs")
        first = lab.crew(hold, "ann bob cleo", "/jobs", session_timeout=TIMEOUT)
        lab.wait_until(lambda: holds(lab, 0, 1, 2))
        first["ann"].kill()
        first["bob"].pause()
        second: Crew = lab.crew(hold, "dora", "/jobs")
        assert [worker.name for worker in lab.workers] == ["dora"]
        assert {worker.state for worker in first.workers} == {ServerState.STOPPED}
        lab.wait_until(lambda: second["dora"].state is ServerState.RUNNING)
        second["dora"].pause()
    left = {thread.name for thread in threading.enumerate()} - before
    assert {name for name in left if name.startswith(("labkit", "zk"))} == set()
