"""The recorder, on real nodes and a real ZooKeeper: what it writes, what it survives, its cost."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

import pytest
from kazoo.client import KazooClient

from labkit.lab.connection import Connection
from labkit.lab.lab import Lab
from labkit.lab.recorder import Recorder
from labkit.story.bars import Word
from labkit.story.event import Event, HoldersEvent, QuorumEvent, SessionEvent, StatusEvent
from labkit.story.run import Story
from labkit.story.timeline import Timeline

E = TypeVar("E", bound=Event)


def last(lab: Lab, kind: type[E], subject: str) -> E | None:
    events = [e for e in lab.timeline if isinstance(e, kind) and e.subject == subject]
    return events[-1] if events else None


def status(lab: Lab, node: str) -> StatusEvent:
    """The node's last status; if there is none yet, one that says nothing."""
    return last(lab, StatusEvent, node) or StatusEvent(node, reachable=False)


def held(lab: Lab) -> dict[int, str | None]:
    holders = last(lab, HoldersEvent, "zookeeper")
    return {n: holder.owner for n, holder in holders.numbers.items()} if holders else {}


def session(lab: Lab) -> str:
    said = last(lab, SessionEvent, "lab")
    return said.state if said else ""


def test_a_number_passes_on_and_the_record_shows_it(lab: Lab) -> None:
    assert [node.sequence() for node in lab.nodes] == [1, 2, 3, 4]
    lab.wait_until(lambda: len(held(lab)) == 4)
    lab.scale(2)
    lab.wait_until(lambda: held(lab) == {3: "node3", 4: "node4"})
    lab.scale(4)
    lab.wait_until(lambda: len(held(lab)) == 4)
    lab.wait_until(lambda: status(lab, "node6").number == 2)

    spans = Story(lab.timeline)
    assert {bar.number: bar.node for bar, _ in spans.held()} == {
        1: "node5",
        2: "node6",
        3: "node3",
        4: "node4",
    }
    lab.timeline.merge_transactions(lab.zookeeper.transactions())
    exact = Story(lab.timeline)
    for node in ("node1", "node2"):
        both, ghost = exact.bars(node)
        assert (both.word, ghost.word) == (Word.BOTH, Word.ZOOKEEPER)
        # A heartbeat may have been sent just before the kill, so the session lives a timeout more.
        assert 0.5 < ghost.end - ghost.start < 2.0
    for node in ("node3", "node4", "node5", "node6"):
        assert {bar.word for bar in exact.bars(node)} == {Word.BOTH}
    # The watch and the log tell the same, to the watch's reaction time.
    for live, logged in zip(spans.held_bars(), exact.held_bars(), strict=True):
        assert (live.number, live.node, live.token) == (logged.number, logged.node, logged.token)
        assert live.start == pytest.approx(logged.start, abs=0.3)
        assert live.end == pytest.approx(logged.end, abs=0.3)


def test_it_survives_a_restart_of_zookeeper(lab: Lab) -> None:
    lab.node(1).sequence()
    lab.zookeeper.stop()
    lab.wait_until(lambda: session(lab) == "SUSPENDED")
    lab.wait_until(lambda: status(lab, "node1").number is None)
    lab.zookeeper.start()
    lab.wait_until(lambda: session(lab) == "CONNECTED", timeout=10)
    lab.wait_until(lambda: status(lab, "node1").number == 1, timeout=10)
    lab.wait_until(lambda: lab.node(2).sequence() == 2, timeout=10)
    lab.wait_until(lambda: held(lab) == {1: "node1", 2: "node2"}, timeout=10)


def test_a_node_that_is_back_before_it_was_missed_is_not_called_silent() -> None:
    body = b'{"name": "node1", "number": 1}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    asked = []

    def restart_all_the_time(server: socket.socket) -> None:
        while True:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:  # a process that ends after its first answer; the next is there
                    asked.append(connection.recv(1000))
                    connection.sendall(answer)
            if server.fileno() < 0:
                return

    timeline = Timeline()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=restart_all_the_time, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        recorder = Recorder(timeline, lambda: [("node1", url)], interval=0.02).start()
        deadline = time.monotonic() + 20
        while len(asked) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        recorder.stop()
    assert len(asked) >= 5
    said = [event for event in timeline if isinstance(event, StatusEvent)]
    assert [event.reachable for event in said] == [True]


def test_it_catches_up_with_a_node_that_has_just_been_started(lab: Lab) -> None:
    """A claim need not say whose it is: then only its session tells, by its node's word."""
    node, timeline = lab.node(1), Timeline()
    recorder = Recorder(timeline, lambda: [(node.name, node.url)], interval=0.4).start()

    def said() -> StatusEvent | None:
        return next((e for e in reversed(list(timeline)) if isinstance(e, StatusEvent)), None)

    try:
        for _ in range(3):
            node.stop()
            lab.wait_until(lambda: (event := said()) is not None and not event.reachable)
            node.start()
            recorder.catch_up(lambda _: True)
            event = said()
            assert event is not None
            assert event.session
    finally:
        recorder.stop()


def test_an_attempt_from_before_a_start_is_not_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """As to a container's address when the container was not there yet: nobody says no."""
    timeline, tried = Timeline(), threading.Event()

    class FirstInVain(Connection):
        async def open(self) -> asyncio.StreamWriter:
            if not tried.is_set():
                tried.set()
                await asyncio.sleep(60)
            return await super().open()

    monkeypatch.setattr("labkit.lab.recorder.Connection", FirstInVain)
    with Lab(1, backend="process", record=False) as lab:
        node = lab.node(1)
        recorder = Recorder(timeline, lambda: [(node.name, node.url)], interval=0.05).start()
        try:
            assert tried.wait(5)
            recorder.catch_up(lambda _: True)
            said = [event for event in timeline if isinstance(event, StatusEvent)]
            assert [event.reachable for event in said] == [False, True]
        finally:
            recorder.stop()


def test_a_frozen_node_delays_nobody(lab: Lab) -> None:
    lab.wait_until(lambda: last(lab, StatusEvent, "node4"))
    lab.node(1).pause()
    lab.wait_until(lambda: status(lab, "node1").error == "no answer")
    said = status(lab, "node1")
    times = {"t": said.t, "asked": said.asked, "previous_until": said.previous_until}
    assert said == StatusEvent("node1", reachable=False, error="no answer", **times)
    began = lab.timeline.now()
    lab.node(2).sequence()
    lab.wait_until(lambda: status(lab, "node2").number == 1, timeout=1.0)
    assert lab.timeline.now() - began < 1.0
    lab.node(1).resume()
    lab.wait_until(lambda: status(lab, "node1").reachable, timeout=2.0)


def test_polling_never_claims(lab: Lab) -> None:
    lab.wait_until(lambda: all(last(lab, StatusEvent, node.name) for node in lab.nodes))
    paths = {txn.path for txn in lab.zookeeper.transactions() if txn.path}
    assert not {path for path in paths if path.startswith("/sequence/")}
    assert status(lab, "node1").reason == "not-asked"


def test_only_changes_are_written(lab: Lab) -> None:
    lab.node(1).sequence()
    lab.wait_until(lambda: status(lab, "node1").number == 1)
    before = len(lab.timeline)
    time.sleep(1.0)  # five polls and as many heartbeats
    assert len(lab.timeline) - before <= 2


def test_it_costs_less_than_a_tenth_of_a_core_at_32_nodes() -> None:
    with Lab(nodes=32, backend="process", session_timeout=5) as lab:
        for node in lab.nodes:
            node.sequence()
        lab.wait_until(lambda: len(held(lab)) == 32, timeout=20)
        (thread,) = (t for t in threading.enumerate() if t.name == "labkit-recorder")
        assert thread.ident is not None
        clock = time.pthread_getcpuclockid(thread.ident)
        began, spent = time.monotonic(), time.clock_gettime(clock)
        time.sleep(3.0)
        share = (time.clock_gettime(clock) - spent) / (time.monotonic() - began)
        assert share < 0.1, f"{share:.1%} of a core"


@pytest.fixture
def mute() -> Iterator[tuple[str, str]]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "node9", f"http://127.0.0.1:{server.getsockname()[1]}"


def test_nothing_is_left_when_it_stops(mute: tuple[str, str]) -> None:
    timeline = Timeline()
    nodes = [mute, ("node8", "http://127.0.0.1:9")]
    recorder = Recorder(timeline, lambda: nodes)
    assert recorder.start() is recorder.start()  # twice is once
    deadline = time.monotonic() + 5
    while len(timeline) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    recorder.stop()
    recorder.stop()
    said = [event for event in timeline if isinstance(event, StatusEvent)]
    assert {e.subject: e.reachable for e in said} == {"node8": False, "node9": False}
    assert "labkit-recorder" not in {thread.name for thread in threading.enumerate()}


def test_nodes_come_and_go(lab: Lab) -> None:
    timeline = Timeline()
    nodes = [(lab.node(1).name, lab.node(1).url)]
    recorder = Recorder(timeline, lambda: list(nodes), interval=0.05).start()
    lab.wait_until(lambda: len(timeline) == 1)
    nodes[:] = [(lab.node(2).name, lab.node(2).url)]
    lab.wait_until(lambda: len(timeline) == 2)
    lab.node(1).kill()
    time.sleep(0.3)
    recorder.stop()
    assert [event.subject for event in timeline] == ["node1", "node2"]
    # And it can be started again.
    recorder.start()
    recorder.stop()


def test_the_modes_of_an_ensemble() -> None:
    with Lab(nodes=1, ensemble=3, backend="process", session_timeout=2) as lab:
        names = [server.name for server in lab.zookeeper.servers]

        def modes() -> dict[str, str | None]:
            said = {name: last(lab, QuorumEvent, name) for name in names}
            return {name: event.mode if event else None for name, event in said.items()}

        lab.wait_until(
            lambda: sorted(map(str, modes().values())) == ["follower", "follower", "leader"]
        )
        leader = lab.zookeeper.leader
        assert leader is not None
        leader.kill()

        def elected() -> bool:
            """The two others have agreed; before that, one of them may have no mode either."""
            now = modes()
            return now.pop(leader.name) is None and sorted(map(str, now.values())) == [
                "follower",
                "leader",
            ]

        lab.wait_until(elected, timeout=10)
        assert Story(lab.timeline).outages() == []  # two of three still are a majority
        assert "Processing srvr" not in lab.zookeeper.leader.logs(
            200
        )  # polling does not flood the log


def test_the_first_claim_may_come_at_any_moment() -> None:
    class Late(KazooClient):
        """Sees /sequence made right after it has found none."""

        def exists_async(self, path: str, watch: object = None) -> object:
            lab.zk.create("/sequence/1", b'{"owner": "node1"}', ephemeral=True, makepath=True)
            return super().exists_async(path, watch)

    with Lab(nodes=0, backend="process", record=False) as lab:
        client = Late(hosts=lab.zookeeper.hosts)
        client.start()
        recorder = Recorder(lab.timeline, list, client).start()
        try:
            lab.wait_until(lambda: held(lab) == {1: "node1"}, timeout=3)
        finally:
            recorder.stop()
            client.stop()
            client.close()
