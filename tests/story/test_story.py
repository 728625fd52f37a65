"""What the two words say, from runs of which it is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import runs

import labkit
from labkit.story.bars import Bar, Word
from labkit.story.event import KINDS, CrewEvent, Holder, HoldersEvent
from labkit.story.run import Story


def said(bars: list[Bar]) -> list[tuple[int, float, float, str]]:
    return [(b.number, round(b.start, 2), round(b.end, 2), b.word.value) for b in bars]


def refused(run: runs.Script, t: float, verb: str, subject: str, took: float = 0.01) -> None:
    """A verb that began, and failed."""
    run.verb(t, verb, subject, took, error="it would not")


def test_a_number_passes_from_a_dead_node_to_a_new_one() -> None:
    spans = Story(runs.passing_on())
    assert said(spans.bars("node1")) == [
        (1, 1.1, 3.06, "both"),  # until it is killed
        (1, 3.06, 8.1, "zookeeper"),  # until the session times out
    ]
    assert said(spans.bars("node5")) == [(1, 9.55, 12.0, "both")]
    assert spans.numbers == [1, 2, 3, 4]
    assert [bar.node for bar in spans.held_bars() if bar.number == 1] == ["node1", "node5"]


def test_a_zombie_is_seen() -> None:
    spans = Story(runs.zombie())
    assert said(spans.bars("node2")) == [
        (2, 1.0, 2.01, "both"),
        (2, 2.01, 7.0, "zookeeper"),
        (2, 8.1, 9.0, "node"),
    ]
    assert [(s.start, s.end) for s in spans.paused("node2")] == [(2.01, 8.0)]


def test_a_cut_link_makes_a_node_silent_while_its_claim_stands() -> None:
    spans = Story(runs.zombie())
    assert said(spans.bars("node1")) == [
        (1, 1.0, 9.8, "both"),
        (1, 9.8, 11.6, "zookeeper"),
        (1, 11.6, 12.5, "both"),
    ]
    assert [(s.start, s.end, s.what) for s in spans.broken("node1")] == [(9.41, 11.0, "cut")]
    assert [(s.end, s.what) for s in spans.quiet("node1")] == [(1.1, ""), (11.6, "lease-lapsed")]
    assert [m.verb for m in spans.marks("node1")] == ["partition", "heal"]


def test_a_new_session_stands_beside_its_ghost() -> None:
    spans = Story(runs.outage())
    assert said(spans.bars("node1")) == [
        (1, 0.5, 2.2, "both"),
        (1, 2.2, 10.5, "zookeeper"),
        (5, 6.0, 12.0, "both"),
    ]
    assert [bar.beside for bar in spans.bars("node1")] == [False, True, False]
    assert [(s.start, s.end) for s in spans.outages()] == [(2.2, 5.5)]


def test_zookeeper_is_away_from_when_it_has_stopped_until_somebody_is_connected() -> None:
    run = runs.Script()
    run.claims(0.9, 1, "node1")
    for t in (1.0, 1.8):
        run.says(t, "node1", 1)
    run.verb(1.6, "stop", "zookeeper", took=0.3)
    run.says(2.0, "node1", None, "no-connection")
    run.verb(4.0, "start", "zookeeper", took=0.8)
    run.ends(4.5)
    run.says(5.6, "node1", 1)
    spans = Story(run.in_order())
    assert [(round(s.start, 2), s.end) for s in spans.outages()] == [(1.9, 4.5)]
    # In between the samples, the node's word ended with ZooKeeper.
    assert said(spans.bars("node1")) == [(1, 0.9, 1.9, "both"), (1, 1.9, 5.6, "zookeeper")]


def test_who_was_connected_before_says_nothing_about_a_zookeeper_that_stops() -> None:
    run = runs.Script()
    run.verb(1.0, "stop", "zookeeper", took=0.3)
    run.ends(1.2)
    run.ends(2.0)
    assert [s.start for s in Story(run.in_order()).outages()] == [1.3]


def test_the_past_is_what_it_was() -> None:
    spans = Story(runs.passing_on())
    assert said(spans.bars("node1", until=2.0)) == [(1, 1.1, 2.0, "both")]
    assert said(spans.bars("node1", since=5.0)) == [(1, 3.06, 8.1, "zookeeper")]
    assert spans.bars("node5", until=9.0) == []


def test_the_watch_speaks_where_the_log_has_not_been_merged() -> None:
    run = runs.Script()
    run.says(0.1, "node1", None, "")
    run.claims(1.0, 1, "node1", exact=False)
    run.says(1.1, "node1", 1)
    run.frees(3.0, "node1", exact=False)
    run.says(3.1, "node1", None, "session-lost")
    spans = Story(run.in_order())
    assert said(spans.bars("node1")) == [(1, 1.0, 3.0, "both")]


def test_a_late_listing_does_not_contradict_the_log() -> None:
    run = runs.Script()
    run.claims(1.0, 1, "node1")
    run.lists(1.05)  # says what was so at the zxid of the claim …
    run.frees(1.04, "node1")  # … but is written down after this
    spans = Story(run.in_order())
    assert said(spans.bars("node1", until=2.0)) == [(1, 1.0, 1.04, "zookeeper")]
    assert spans.held() == []


def test_the_same_number_again_is_another_claim() -> None:
    run = runs.Script()
    first = run.claims(1.0, 1, "node1")
    run.says(1.1, "node1", 1, token=first)
    run.frees(2.0, "node1")
    second = run.claims(2.5, 1, "node1")
    run.says(3.0, "node1", 1, token=second)
    bars = Story(run.in_order()).bars("node1", until=4.0)
    assert [(b.token, b.start, b.end, b.word, b.beside) for b in bars] == [
        (first, 1.0, 2.0, Word.BOTH, False),
        # It answered with the old token until it was heard to answer with the new one.
        (first, 2.0, 3.0, Word.NODE, False),
        (second, 2.5, 3.0, Word.ZOOKEEPER, True),
        (second, 3.0, 4.0, Word.BOTH, False),
    ]


def test_answers_speak_where_nobody_polls() -> None:
    run = runs.Script()
    run.asks(1.0, "node1", 1)
    run.asks(2.0, "node1", 1)
    run.asks(3.0, "node1", 2)
    spans = Story(run.in_order())
    assert [(n, w) for n, _, _, w in said(spans.bars("node1", until=4.0))] == [
        (1, "node"),
        (2, "node"),
    ]
    assert [r.number for r in spans.requests("node1")] == [1, 1, 2]


def test_an_answer_between_two_polls_is_a_flash_unless_a_poll_confirms_it() -> None:
    run = runs.Script()
    run.says(1.0, "node1", None, "session-lost")
    run.asks(2.0, "node1", 7)
    run.ends(5.0)
    (bar,) = Story(run.in_order()).bars("node1")
    assert bar.word is Word.NODE
    assert bar.end - bar.start < 0.5
    run.says(2.1, "node1", 7)
    (bar,) = Story(run.in_order()).bars("node1")
    assert bar.end == 5.0


def test_a_short_pause_does_not_end_an_answer_for_good() -> None:
    run = runs.Script()
    run.claims(1.0, 1, "node1")
    run.says(1.1, "node1", 1)
    run.verb(2.0, "pause", "node1")
    run.verb(2.3, "resume", "node1")
    spans = Story(run.in_order())
    assert spans.answer("node1") == 1
    assert [w for *_, w in said(spans.bars("node1", until=3.0))] == ["both", "zookeeper", "both"]


def test_an_ensemble_is_down_without_a_majority() -> None:
    spans = Story(runs.ensemble())
    assert spans.zookeeper.servers == ["zookeeper1", "zookeeper2", "zookeeper3"]
    assert [(s.start, s.end) for s in spans.outages()] == [(5.21, 7.9)]
    assert [s.what for s in spans.zookeeper.modes["zookeeper3"]] == ["follower", "", "leader", ""]


def test_who_led_and_when_nobody_did() -> None:
    ensemble = Story(runs.ensemble()).zookeeper
    assert [(round(g.start, 2), g.end) for g in ensemble.leaderless()] == [(2.01, 2.6), (5.21, 8.0)]


def test_a_server_that_was_frozen_for_a_moment_is_what_it_was() -> None:
    run = runs.Script()
    run.mode(0.1, "zookeeper1", "leader")
    run.verb(1.0, "pause", "zookeeper1", took=0.1)
    run.verb(1.5, "resume", "zookeeper1", took=0.1)
    modes = Story(run.in_order()).zookeeper.modes["zookeeper1"]
    assert [(m.what, m.start) for m in modes] == [("leader", 0.1), ("", 1.1), ("leader", 1.6)]


def test_a_server_that_was_frozen_for_long_is_what_it_says_when_it_wakes() -> None:
    run = runs.Script()
    run.mode(0.1, "zookeeper1", "leader")
    run.verb(1.0, "pause", "zookeeper1", took=0.1)
    run.mode(2.3, "zookeeper1", None)
    run.verb(4.0, "resume", "zookeeper1", took=0.1)
    run.mode(4.5, "zookeeper1", "follower")
    modes = Story(run.in_order()).zookeeper.modes["zookeeper1"]
    assert [(m.what, m.start) for m in modes] == [("leader", 0.1), ("", 1.1), ("follower", 4.5)]


def test_what_a_crews_workers_hold_is_told_apart_from_the_nodes_numbers() -> None:
    run = runs.Script()
    run.says(0.5, "node1", 1)
    run.claims(0.4, 1, "node1")
    run.add(1.0, CrewEvent("lab", root="/jobs", names=("ann",)))
    run.says(1.1, "ann", None)
    run.lists(1.2)  # of /sequence, which is none of the crew's business
    run.change(1.5, "0xann", "create", path="/jobs/item-0000000007", ephemeral=True)
    run.says(1.6, "ann", 7, seen=0)
    run.verb(2.0, "kill", "ann")
    run.frees(3.0, "ann")
    run.lists(4.0)
    spans = Story(run.in_order())
    assert spans.nodes == ["ann"]
    assert said(spans.bars("ann")) == [
        (7, 1.5, 1.6, "zookeeper"),
        (7, 1.6, 2.01, "both"),
        (7, 2.01, 3.0, "zookeeper"),
    ]


@pytest.mark.parametrize(
    ("verb", "state"), [("kill", "stopped"), ("stop", "stopped"), ("pause", "paused")]
)
def test_what_a_node_is_now(verb: str, state: str) -> None:
    run = runs.Script()
    run.says(1.0, "node1", 1)
    assert Story(run.in_order()).state("node1") == "running"
    run.verb(2.0, verb, "node1")
    assert Story(run.in_order()).state("node1") == state
    assert Story(run.in_order()).answer("node1") is None


def test_a_verb_that_failed_changed_nothing() -> None:
    run = runs.Script()
    run.says(1.0, "node1", 1)
    run.verb(2.0, "kill", "node1", took=0.1, error="no such process")
    assert Story(run.in_order()).answer("node1") == 1


@pytest.mark.parametrize("verb", ["slow", "flaky", "partition"])
def test_a_link_that_could_not_be_broken_is_not_cut(verb: str) -> None:
    run = runs.Script()
    run.says(1.0, "node1", 1)
    refused(run, 2.0, verb, "node1")
    spans = Story(run.in_order())
    assert not spans.is_broken("node1")
    assert spans.broken("node1") == []
    assert spans.marks("node1") == []


def test_a_link_that_was_cut_before_stays_so_when_something_else_fails() -> None:
    run = runs.Script()
    run.verb(1.0, "partition", "node1")
    refused(run, 2.0, "slow", "node1")
    refused(run, 3.0, "partition", "node1")
    spans = Story(run.in_order())
    assert [(s.start, s.what) for s in spans.broken("node1")] == [(1.01, "cut")]
    assert spans.is_broken("node1")


def test_a_session_that_did_not_expire_leaves_no_cut_link() -> None:
    run = runs.Script()
    refused(run, 1.0, "expire", "node1", took=7.0)
    spans = Story(run.in_order())
    assert not spans.is_broken("node1")
    assert [(s.start, s.end) for s in spans.broken("node1")] == [(1.0, 8.0)]


def test_servers_that_could_not_be_stopped_are_up() -> None:
    run = runs.Script()
    for i in (1, 2, 3):
        run.mode(0.5, f"zookeeper{i}", "follower")
    run.verb(1.0, "kill", "zookeeper1")
    refused(run, 2.0, "stop", "zookeeper")
    assert Story(run.in_order()).outages() == []
    run.verb(3.0, "kill", "zookeeper2")  # that leaves one of three
    assert [stretch.start for stretch in Story(run.in_order()).outages()] == [3.01]


def test_node2_comes_before_node10() -> None:
    run = runs.Script()
    for i in (10, 2, 1):
        run.says(1.0, f"node{i}", None, "")
    assert Story(run.in_order()).nodes == ["node1", "node2", "node10"]


def test_a_status_that_an_answer_overtook_does_not_take_it_back() -> None:
    run = runs.Script()
    run.says(1.0, "node1", None, "not-asked")
    run.asks(2.0, "node1", 1)
    run.says(2.02, "node1", None, "still-claiming", asked=2.005)
    run.says(2.2, "node1", 1)
    run.ends(3.0)
    (bar,) = Story(run.in_order()).bars("node1")
    assert (round(bar.start, 2), bar.end) == (2.01, 3.0)


def test_a_refusal_ends_an_answer_before_a_poll_does() -> None:
    run = runs.Script()
    run.says(1.0, "node1", 1)
    run.asks(2.0, "node1", None)
    run.says(2.2, "node1", None, "lease-lapsed")
    (bar,) = Story(run.in_order()).bars("node1")
    assert round(bar.end, 2) == 2.01


def test_a_refusal_that_an_answer_overtook_does_not_take_it_back() -> None:
    run = runs.Script()
    run.asks(2.0, "node1", 1)
    run.asks(1.5, "node1", None, took=0.6)  # it had been said before the claim succeeded
    run.ends(3.0)
    (bar,) = Story(run.in_order()).bars("node1")
    assert bar.end == 3.0


def test_a_late_watch_makes_nobody_a_zombie() -> None:
    run = runs.Script()
    run.asks(0.5, "node1", 1, token=101)
    assert run.claims(1.05, 1, "node1", exact=False) == 101
    run.says(1.2, "node1", 1, token=101)
    run.verb(3.0, "stop", "node1", took=0.05)
    run.frees(3.1, "node1", exact=False)
    (bar,) = Story(run.in_order()).bars("node1")
    assert said([bar]) == [(1, 0.51, 3.05, "both")]


def test_a_late_poll_confirms_the_same_answer() -> None:
    run = runs.Script()
    run.says(1.0, "node1", None, "not-asked")
    token = run.claims(2.0, 1, "node1")
    run.asks(1.95, "node1", 1, took=0.06, token=token)
    run.says(2.02, "node1", None, "still-claiming", asked=1.98)
    run.says(3.5, "node1", 1, token=token, seen=1.52)  # the machine was busy
    run.ends(5.0)
    assert said(Story(run.in_order()).bars("node1")) == [(1, 2.0, 5.0, "both")]


def test_a_node_answers_one_number_at_a_time() -> None:
    run = runs.Script()
    run.claims(1.0, 1, "node1")
    run.says(1.1, "node1", 1, token=101)
    token = run.claims(2.5, 5, "node1")
    run.says(3.0, "node1", 5, token=token, seen=1.1)  # one or the other, from 1.9 on
    assert sorted(said(Story(run.in_order()).bars("node1", until=4.0))) == [
        (1, 1.0, 2.5, "both"),
        (1, 2.5, 4.0, "zookeeper"),
        (5, 2.5, 4.0, "both"),
    ]


def test_a_watch_that_says_when_it_looked_before_makes_nobody_a_zombie() -> None:
    run = runs.Script()
    run.add(0.5, CrewEvent("lab", root="/jobs", names=("ann",)))
    run.says(1.0, "ann", 27, seen=0)
    held = {27: Holder(None, "0xann", 101)}
    # It looked at 0.9 and only then at 1.3: the mark was there before the work began.
    run.add(
        1.3, HoldersEvent("zookeeper", root="/jobs", numbers=held, zxid=101, previous_until=0.9)
    )
    run.says(2.0, "ann", None, seen=0)
    run.add(2.4, HoldersEvent("zookeeper", root="/jobs", numbers={}, zxid=102, previous_until=1.9))
    (bar,) = Story(run.in_order()).bars("ann")
    assert said([bar]) == [(27, 1.0, 2.0, "both")]


def test_pictures_and_judges_ask_the_story_and_read_no_events() -> None:
    kinds = "|".join(kind.__name__ for kind in KINDS.values())
    reads = re.compile(rf"isinstance\([^)]*\b({kinds})|case ({kinds})\(")
    found = {
        str(path): match[0]
        for room in ("see", "judge")
        for path in (Path(labkit.__file__).parent / room).rglob("*.py")
        if (match := reads.search(path.read_text()))
    }
    assert found == {}
