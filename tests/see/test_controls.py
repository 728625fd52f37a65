"""The controls, driven without a browser, over a real lab."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest

from labkit.errors import LabError
from labkit.lab.crew import Crew, Worker
from labkit.lab.lab import Lab
from labkit.see.controls import Controls, controls
from labkit.see.live import _stage
from labkit.see.rows import NodeRow, WorkerRow, ZooKeeperRow
from labkit.servers.base import ServerState, each
from labkit.story.event import RequestEvent, VerbEvent


@pytest.fixture
def panel(lab: Lab) -> Iterator[Controls]:
    for node in lab.nodes:  # on a busy machine a short lease may lapse for a moment
        lab.wait_until(node.sequence, timeout=15)
    panel = controls(lab)
    yield panel
    panel.close()


def wait_until(condition: Callable[[], bool], timeout: float = 5) -> None:
    """Like `Lab.wait_until`, while there may be no lab."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def scaled(lab: Lab) -> list[int | None]:
    """How many nodes were wanted, one after the other."""
    verbs = [event for event in lab.timeline if isinstance(event, VerbEvent)]
    return [verb.nodes for verb in verbs if verb.verb == "scale" and verb.phase == "begin"]


def alive(lab: Lab) -> list[str]:
    return [node.name for node in lab.nodes if node.state is ServerState.RUNNING]


def test_the_slider_kills_the_longest_lived_and_new_ones_get_their_numbers(
    lab: Lab, panel: Controls
) -> None:
    lab.wait_until(lambda: "<title>node1 answers 1," in panel.picture)
    panel.slider.value = 2
    lab.wait_until(lambda: alive(lab) == ["node3", "node4"])
    lab.wait_until(lambda: set(lab.zk.get_children("/sequence")) == {"3", "4"})
    panel.slider.value = 4
    lab.wait_until(lambda: alive(lab) == ["node3", "node4", "node5", "node6"])
    lab.wait_until(lambda: "node6, ephemeral" in panel.tree)
    assert [lab.node(i).sequence() for i in (3, 4, 5, 6)] == [3, 4, 1, 2]
    lab.wait_until(lambda: panel.picture.count("<title>node5 answers 1,") == 1)
    # node1's bar: answered, then held by ZooKeeper alone.
    words = re.findall(r'data-number="1" data-word="(\w+)"', panel.picture)
    assert words == ["both", "zookeeper", "both"]


def test_more_nodes_than_rows_are_a_table_with_the_row_of_one() -> None:
    with Lab(nodes=18, backend="process", session_timeout=4) as lab:
        each(lambda node: lab.wait_until(node.sequence, timeout=15), lab.nodes)
        panel = controls(lab)

        def said(node: str) -> str:
            return next(state for name, _, state in panel.face()["cells"] if name == node)

        try:
            lab.wait_until(lambda: len(panel.face()["cells"]) == 18)
            assert panel.face()["rows"] == []
            assert 'class="strip" data-node="node18"' in panel.picture
            panel.choice.value = "node7"
            assert isinstance(panel.chosen, NodeRow)
            panel.chosen.kill.click()
            lab.wait_until(lambda: said("node7") == "stopped")
            panel.chosen.power.click()
            lab.wait_until(lambda: said("node7") == "", 15)
            panel.slider.value = 16
            lab.wait_until(lambda: len(lab.alive) == 16 and not panel._scaling, 15)
            each(lambda node: node.kill(), lab.alive[:12])
            lab.wait_until(lambda: not panel.face()["cells"], 15)
            assert 'class="strip"' not in panel.picture
            assert panel.face()["many"] is None
        finally:
            panel.close()


def test_a_drag_kills_at_once(lab: Lab, panel: Controls) -> None:
    times = []
    for value in (3, 2):
        victim = next(node for node in lab.alive)
        began = time.monotonic()
        panel.slider.value = value
        while victim.state is not ServerState.STOPPED:
            time.sleep(0.001)
        times.append(time.monotonic() - began)
        lab.wait_until(lambda: not panel._scaling)
    assert max(times) < 0.15, times


def test_quick_drags_are_coalesced(lab: Lab, panel: Controls) -> None:
    for value in (5, 6, 7, 6, 5):
        panel.slider.value = value
    lab.wait_until(lambda: not panel._scaling, timeout=10)
    scales = scaled(lab)
    assert scales[-1] == 5
    assert len(scales) <= 3
    assert len(alive(lab)) == 5


def row(panel: Controls, name: str) -> NodeRow:
    found = panel._rows[name]
    assert isinstance(found, NodeRow)
    return found


def test_buttons(lab: Lab, panel: Controls) -> None:
    one, two = row(panel, "node1"), row(panel, "node2")
    one.kill.click()
    lab.wait_until(lambda: lab.node(1).state is ServerState.STOPPED)
    lab.wait_until(lambda: one.power.verb == "start")
    assert one.ask.disabled
    one.power.click()
    lab.wait_until(lambda: lab.node(1).state is ServerState.RUNNING)
    two.pause.click()
    lab.wait_until(lambda: lab.node(2).state is ServerState.PAUSED)
    lab.wait_until(lambda: two.pause.verb == "resume")
    assert two.pause.pressed
    two.pause.click()
    lab.wait_until(lambda: lab.node(2).state is ServerState.RUNNING)
    row(panel, "node3").ask.click()
    lab.wait_until(lambda: any("node3 answers 3, token" in said for said in panel.messages))
    row(panel, "node4").power.click()
    lab.wait_until(lambda: lab.node(4).state is ServerState.STOPPED)


def test_a_node_is_cut_off_and_healed(lab: Lab, panel: Controls) -> None:
    cut = row(panel, "node1").cut
    assert cut.verb == "partition"
    cut.click()
    lab.wait_until(lambda: lab.node(1).status()["number"] is None)
    lab.wait_until(lambda: "503 " in row(panel, "node1").state)
    assert (cut.verb, cut.pressed) == ("heal", True)
    cut.click()
    lab.wait_until(lambda: lab.node(1).sequence() > 0, timeout=15)


def test_rows_stay_where_they_are_and_a_new_one_takes_a_place_that_is_free(
    lab: Lab, panel: Controls
) -> None:
    def places() -> dict[str, int]:
        return {r["name"]: at for at, r in enumerate(panel.face()["rows"]) if r is not None}

    before = places()
    assert before == {"node1": 0, "node2": 1, "node3": 2, "node4": 3}
    height = panel.face()["reserved"]
    for count in (2, 4, 1, 4, 0, 4):
        panel.slider.value = count
        lab.wait_until(lambda: not panel._scaling, timeout=15)
        assert len(lab.alive) == count
        lab.wait_until(lambda: set(places()) >= {node.name for node in lab.alive})
        now = places()
        assert {name: now[name] for name in before.keys() & now.keys()} == {
            name: before[name] for name in before.keys() & now.keys()
        }
        assert max(now.values()) < height == panel.face()["reserved"]
        before = now


def test_a_reader_in_a_browser_does_what_a_call_does(lab: Lab, panel: Controls) -> None:
    panel.hear("slider", 3)
    lab.wait_until(lambda: len(alive(lab)) == 3)
    verbs = [verb for verb, *_ in panel.face()["rows"][3]["buttons"]]
    assert verbs == ["stop", "kill", "pause", "partition", "ask"]
    panel.hear("press", ["node4", verbs.index("pause")])
    lab.wait_until(lambda: lab.node(4).state is ServerState.PAUSED)
    panel.hear("press", ["node9", 0])  # gone meanwhile
    panel.hear("zookeeper", False)
    lab.wait_until(lambda: "does not answer" in panel.tree)
    panel.hear("room", 300)
    lab.wait_until(lambda: panel.face()["time"][3] == 300 / panel.window.value)
    panel.hear("window", 60)
    lab.wait_until(lambda: panel.face()["time"][3] == 300 / 60)


def test_what_is_saved_is_not_what_later_cells_did(lab: Lab, panel: Controls) -> None:
    assert "run the page" in panel.saved().lower()
    lab.wait_until(lambda: 'data-node="node1"' in panel.saved())
    panel._next_cell()
    lab.add_node().sequence()
    lab.wait_until(lambda: 'data-node="node5"' in panel.picture)
    assert 'data-node="node5"' not in panel.saved()
    panel._next_cell()  # one more: the reader's hand was not here
    assert 'data-node="node5"' not in panel.saved()
    panel.hear("slider", 4)
    panel._next_cell()
    assert 'data-node="node5"' in panel.saved()


def test_zookeeper_is_stopped_and_started(lab: Lab, panel: Controls) -> None:
    panel.zookeeper.value = False
    lab.wait_until(lambda: "does not answer" in panel.tree)
    lab.wait_until(lambda: panel.face()["zookeeper"] == [False, False])
    lab.wait_until(lambda: 'class="down"' in panel.picture)
    panel.zookeeper.value = True
    lab.wait_until(lambda: lab.node(1).sequence() == 1, timeout=15)
    assert panel.zookeeper.value


def test_clients_ask_all_the_time_while_they_are_on(lab: Lab, panel: Controls) -> None:
    def asked() -> int:
        return sum(isinstance(event, RequestEvent) for event in lab.timeline)

    before = asked()
    panel.clients.value = True
    lab.wait_until(lambda: asked() > before + 100, timeout=15)
    panel.clients.value = False
    lab.wait_until(lambda: "let clients ask no more: done" in panel.messages[-1])
    after = asked()
    time.sleep(0.3)
    assert asked() == after


def test_each_of_zookeepers_servers_has_a_row() -> None:
    with Lab(nodes=1, ensemble=3, backend="process", session_timeout=2.0) as lab:
        lab.node(1).sequence()
        leader = lab.zookeeper.leader
        assert leader is not None
        panel = controls(lab)
        assert list(panel._rows) == ["zookeeper1", "zookeeper2", "zookeeper3", "node1"]
        led = panel._rows[leader.name]
        assert isinstance(led, ZooKeeperRow)
        lab.wait_until(lambda: led.state == "leader")
        led.kill.click()
        lab.wait_until(lambda: leader.state is ServerState.STOPPED)
        lab.wait_until(lambda: led.state == "stopped" and led.pause.disabled)
        lab.wait_until(lambda: lab.zookeeper.leader, timeout=15)
        lab.wait_until(lambda: panel.picture.count('data-mode="leader"') == 2, timeout=15)
        lab.wait_until(lambda: led.power.verb == "start")
        led.power.click()
        lab.wait_until(lambda: leader.mode == "follower", timeout=15)
        other = next(r for name, r in panel._rows.items() if name not in (leader.name, "node1"))
        assert isinstance(other, ZooKeeperRow)
        other.cut.click()
        lab.wait_until(lambda: other.cut.verb == "heal")
        other.cut.click()
        lab.wait_until(lambda: other.cut.verb == "partition")
        panel.close()


def test_each_worker_of_a_crew_has_a_row() -> None:
    def job(me: Worker) -> None:
        path = me.zk.create("/jobs/item-", ephemeral=True, sequence=True, makepath=True)
        with me.has(path):
            me.work(60)

    with Lab(nodes=0, backend="process") as lab:
        crew = lab.crew(job, "ann bob", "/jobs", session_timeout=1.0)
        lab.wait_until(lambda: len(lab.zk.get_children("/jobs")) == 2)
        panel = controls(lab)
        try:
            break_workers(lab, crew, panel)
        finally:
            panel.close()


def break_workers(lab: Lab, crew: Crew, panel: Controls) -> None:
    ann = panel._rows["ann"]
    assert isinstance(ann, WorkerRow)
    lab.wait_until(lambda: panel.picture.count('data-word="both"') == 2)
    assert panel.face()["slider"] is None  # there is no node to slide
    ann.pause.click()
    lab.wait_until(lambda: crew["ann"].state is ServerState.PAUSED)
    lab.wait_until(lambda: ann.pause.verb == "resume")
    ann.pause.click()
    lab.wait_until(lambda: crew["ann"].state is ServerState.RUNNING)
    ann.power.click()
    lab.wait_until(lambda: crew["ann"].state is ServerState.STOPPED)
    lab.wait_until(lambda: "/jobs" in panel.tree and "bob, ephemeral" in panel.tree)
    lab.close()
    wait_until(lambda: not panel.again.disabled)
    panel.again.click()  # the lab, and a crew like the one that it had
    wait_until(lambda: len(lab.workers) == 2, timeout=20)
    wait_until(lambda: panel.picture.count('data-word="both"') == 2, timeout=20)


def test_every_error_is_shown(lab: Lab, panel: Controls) -> None:
    lab.zookeeper.stop()
    lab.wait_until(lambda: lab.node(1).status()["number"] is None)
    row(panel, "node1").ask.click()
    lab.wait_until(lambda: "503" in panel.messages[-1])
    assert panel.face()["message"] == [panel.messages[-1], True]
    lab.zookeeper.start()
    panel.do("a mistake", lambda: 1 / 0)
    lab.wait_until(lambda: "ZeroDivisionError" in panel.messages[-1])


def test_what_cells_do_is_shown_too(lab: Lab, panel: Controls) -> None:
    lab.node(1).kill()
    lab.wait_until(lambda: panel.slider.value == 3)
    time.sleep(0.3)  # the slider followed; nobody scaled
    assert len(alive(lab)) == 3
    assert scaled(lab) == []


def test_a_session_timeout_for_new_nodes(lab: Lab, panel: Controls) -> None:
    panel.session_timeout.value = 3.0
    node = lab.add_node()
    lab.wait_until(lambda: node.status()["session_timeout_ms"] == 3000)
    assert lab.node(1).status()["session_timeout_ms"] == 1000


def test_no_updates_while_nobody_looks(lab: Lab, panel: Controls) -> None:
    panel.hear("views", 1)  # as the browser reports it
    panel.hear("views", 0)
    time.sleep(0.5)
    before = panel.pictures
    time.sleep(0.5)
    assert panel.pictures == before
    panel.hear("views", 1)
    lab.wait_until(lambda: panel.pictures > before)


def test_a_closed_lab_is_started_again_by_a_drag(lab: Lab, panel: Controls) -> None:
    lab.close()
    panel._painter.join(timeout=3)
    assert not panel._painter.is_alive()
    assert "closed" in panel.messages[-1]
    assert row(panel, "node1").ask.disabled
    panel.slider.value = 3
    lab.wait_until(lambda: not panel._scaling, timeout=15)
    assert alive(lab) == ["node2", "node3", "node4"]
    assert [node.sequence() for node in lab.alive] == [2, 3, 4]
    lab.wait_until(lambda: panel.picture.count("<title>node4 answers 4,") == 1)
    assert not row(panel, "node4").ask.disabled
    assert panel.again.disabled


def test_a_closed_lab_is_started_again_by_its_button(lab: Lab, panel: Controls) -> None:
    lab.close()
    lab.wait_until(lambda: not panel.again.disabled)
    panel.again.click()
    panel.again.click()
    lab.wait_until(lambda: "done" in panel.messages[-1], timeout=15)
    assert [node.sequence() for node in lab.nodes] == [1, 2, 3, 4]
    row(panel, "node1").kill.click()
    lab.wait_until(lambda: lab.node(1).state is ServerState.STOPPED)


def test_a_lab_that_cannot_be_started_again_says_why(
    lab: Lab, panel: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.close()
    panel._painter.join(timeout=3)

    def refused() -> Lab:
        raise LabError("There is no room for a lab.")

    with monkeypatch.context() as patch:
        patch.setattr(lab, "start", refused)
        panel.slider.value = 3
        wait_until(lambda: "no room" in panel.messages[-1] and not panel._scaling)
    panel.slider.value = 2
    wait_until(lambda: len(lab.alive) == 2 if panel._painter.is_alive() else False, 15)


def test_a_drag_while_the_button_starts_the_lab_comes_after(lab: Lab, panel: Controls) -> None:
    lab.close()
    lab.wait_until(lambda: not panel.again.disabled)
    panel.again.click()
    panel.slider.value = 3
    panel.slider.value = 2
    wait_until(lambda: panel._painter.is_alive() and not panel._scaling, 15)
    assert alive(lab) == ["node3", "node4"]
    panel.slider.value = 3
    lab.wait_until(lambda: len(lab.alive) == 3)


def test_a_click_while_the_lab_is_being_closed(lab: Lab, panel: Controls) -> None:
    panel.do("close", lab.close)
    wait_until(lambda: not panel.again.disabled)
    panel.again.click()
    wait_until(lambda: panel._painter.is_alive(), 15)
    assert [node.sequence() for node in lab.nodes] == [1, 2, 3, 4]
    assert lab in Lab.all_open()


def test_an_engine_that_does_not_answer_for_once_is_told(
    lab: Lab, panel: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(panel, "_draw", Mock(side_effect=LabError("The engine is busy.")))
        wait_until(lambda: panel.messages[-1] == "The engine is busy.")
        drawn = panel.pictures
    wait_until(lambda: panel.pictures > drawn)
    assert panel.messages.count("The engine is busy.") == 1


def test_a_closed_panel_leaves_nothing_behind(lab: Lab) -> None:
    before = dict(_stage().pieces)
    panel = controls(lab)
    for count in (0, 4, 0, 4, 0, 4):
        panel.slider.value = count
        lab.wait_until(lambda: not panel._scaling, timeout=15)
    lab.wait_until(lambda: len(panel._rows) == 8)  # and four of the dead
    panel.close()
    assert _stage().pieces == before


def test_a_closed_panel_starts_nothing(lab: Lab) -> None:
    panel = controls(lab)
    panel.close()
    lab.close()
    panel.slider.value = 1
    assert "make new ones" in panel.messages[-1]


def test_closing_leaves_no_thread(lab: Lab) -> None:
    panel = controls(lab)
    row(panel, "node1").ask.click()
    panel.close()
    panel.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith(("labkit-controls", "labkit-verb"))]


def test_five_pictures_a_second_with_sixteen_nodes() -> None:
    with Lab(nodes=16, backend="process", session_timeout=2) as lab:
        panel = controls(lab)
        try:
            for _ in range(3):
                for node in lab.nodes:
                    node.sequence()
            before, began = panel.pictures, time.monotonic()
            time.sleep(3.0)
            rate = (panel.pictures - before) / (time.monotonic() - began)
        finally:
            panel.close()
        assert rate >= 5, f"{rate:.1f} pictures a second"
        assert panel.picture.count('class="bar"') == 16
