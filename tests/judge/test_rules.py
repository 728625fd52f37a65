"""The checker: honest histories pass, each kind of lie is caught and named."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from story import BOUND, SESSION_TIMEOUT, Story

from labkit.errors import HistoryError
from labkit.judge.facts import silences
from labkit.judge.report import Report
from labkit.judge.rules import check
from labkit.lab.event import Event
from labkit.lab.timeline import Timeline
from labkit.servers.zookeeper.txnlog import Transaction

NODES = ("node1", "node2", "node3", "node4")


def judge(events: list[Event]) -> Report:
    return check(events, session_timeout=SESSION_TIMEOUT)


def rules(report: Report) -> set[str]:
    return {violation.rule for violation in report.violations}


def told(tick: float = 0.01) -> Story:
    """Three nodes with a number each, and a fault in which they were asked."""
    story = Story(tick)
    for name in NODES[:3]:
        story.settle(name)
    fault = story.fault("pause", "node4")
    for name in NODES[:3]:
        story.ask(name)
    story.heal(fault, "pause", "node4")
    return story


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A run of up to four nodes that claim, answer, leave and return, in any interleaving."""
    story = Story()
    fault = story.fault("pause", "node4")
    step = st.tuples(st.sampled_from(NODES), st.sampled_from("ppppaal"))
    for name, action in draw(st.lists(step, min_size=30, max_size=80)):
        if action == "p":
            story.progress(name)
        elif action == "a":
            story.ask(name)
        else:
            story.leave(name)
    story.ask("node1")
    story.heal(fault, "pause", "node4")
    story.end(*NODES)
    return story


# --- honest ---


@settings(max_examples=200, deadline=None)
@given(stories())
def test_honest_histories_pass(story: Story) -> None:
    report = judge(story.events)
    assert report.ok, str(report)


@settings(max_examples=50, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_the_clock_of_the_log_may_be_off_by_less_than_the_tolerance(story: Story, rng) -> None:
    events = [
        replace(e, t=e.t + rng.uniform(-0.04, 0.04)) if e.kind == "transaction" else e
        for e in story.events
    ]
    report = judge(events)
    assert report.ok, str(report)


def test_a_storm_of_claims_with_tickets_is_no_hole() -> None:
    story = told()
    names = [f"node{i}" for i in range(10, 40)]
    for name in names:
        story.connect(name)
        story.queue(name)
    for name in names:
        story.look(name)
    for name in reversed(names):  # the last in the queue may well create first
        story.claim(name)
    assert judge(story.end(*names, *NODES[:3])).ok


def test_a_slow_claim_may_be_higher_than_what_is_free_by_now() -> None:
    story = told()
    story.connect("node4")
    story.queue("node4")
    story.look("node4")
    story.leave("node2")
    story.claim("node4")
    assert story.numbers.keys() == {1, 3, 4}
    assert judge(story.end(*NODES)).ok


def test_a_request_that_began_before_the_end_of_a_claim_may_be_answered_after_it() -> None:
    story = told()
    story.record("request", "node1", phase="invoke", id=900, path="/sequence")
    token = story.node("node1").token
    story.leave("node1")
    story.t += 1
    story.answer("node1", 900, 1, token)
    assert judge(story.end("node2", "node3")).ok


def test_an_older_answer_may_arrive_while_the_newer_one_is_under_way() -> None:
    story = told()
    old = story.node("node1").token
    story.record("request", "node1", phase="invoke", id=900, path="/sequence")
    story.leave("node1")
    story.settle("node4")
    assert story.node("node4").number == 1
    story.ask("node4")
    story.answer("node1", 900, 1, old)
    assert "answers" not in rules(judge(story.end(*NODES)))


def test_a_node_that_stays_dead_owes_no_answer() -> None:
    story = told()
    story.record("verb", "node3", verb="kill", phase="begin", id=800)
    story.record("verb", "node3", verb="kill", phase="end", id=800)
    story.record("request", "node3", phase="invoke", id=801, path="/sequence")
    story.record("request", "node3", phase="unknown", id=801, error="refused")
    story.leave("node3")
    assert judge(story.end("node1", "node2")).ok


# --- answers ---


def test_an_older_token_after_a_newer_answer() -> None:
    story = told()
    old = story.node("node1").token
    story.leave("node1")
    story.settle("node4")
    story.ask("node4")
    story.claims("node1", 1, old)
    report = judge(story.end(*NODES))
    assert rules(report) == {"answers", "unheld"}
    (violation,) = report.violations_of("answers")
    assert violation.subject == "node1"
    since = max(e.t for e in story.events if e.data.get("path") == "/sequence/1")
    said = violation.events[-1].t
    assert violation.message == (
        f"node1 answered 1 at {said:.2f} s; at that moment node4 held 1, since {since:.2f} s."
    )
    assert [e.subject for e in violation.events] == ["node4"] * 2 + ["node1"] * 2


def test_verdicts_say_in_plain_words_who_had_the_number() -> None:
    story = told()
    old = story.node("node1").token
    story.claims("node1", 7, 4711)  # a number that nobody has
    story.leave("node1")
    story.t += 0.1
    story.claims("node1", 1, old)  # nobody has it yet
    story.settle("node4")
    story.ask("node4")
    for _ in range(3):
        story.claims("node1", 1, old)
    story.leave("node4")
    story.claims("node2", 1, old)
    said = [violation.message for violation in judge(story.end(*NODES)).violations]
    patterns = (
        r"node1 answered 7 at [\d.]+ s; it had never held it, and nobody held it at that moment\.",
        r"node1 answered 1 at [\d.]+ s, and 3 more times until [\d.]+ s; it had held it from "
        r"[\d.]+ s to [\d.]+ s, and nobody held it at that moment\.",
        r"node1 answered 1 at [\d.]+ s, and 2 more times until [\d.]+ s; at that moment node4 held "
        r"1, since [\d.]+ s\.",
        r"node2 answered 1 at [\d.]+ s, though node4, a newer holder, had answered it at .* s\.",
        r"node2 answered 1 at [\d.]+ s; the claim that its token names is node1's\.",
    )
    for pattern in patterns:
        assert any(re.fullmatch(pattern, message) for message in said), (pattern, said)


def test_two_nodes_with_one_token() -> None:
    story = told()
    story.claims("node2", 1, story.node("node1").token)
    report = judge(story.end(*NODES[:3]))
    assert rules(report) == {"answers", "unheld"}
    assert report.violations_of("answers")[0].subject == "node1,node2"
    assert "the claim that its token names is node1's" in report.violations_of("unheld")[0].message


def test_two_nodes_without_any_token() -> None:
    story = told()
    story.claims("node2", 9, None)
    story.claims("node3", 9, None)
    assert rules(judge(story.end(*NODES[:3]))) == {"answers", "unheld"}


def test_without_tokens_a_number_may_pass_from_node_to_node_but_not_back() -> None:
    story = told()
    story.claims("node1", 1, None)
    story.leave("node1")
    story.settle("node4")
    story.claims("node4", 1, None)
    assert rules(judge([*story.events])) == set()
    story.claims("node1", 1, None)
    assert "answers" in rules(judge([*story.events]))


# --- unheld ---


def test_a_number_that_was_never_held() -> None:
    story = told()
    story.claims("node2", 7, 4711)
    report = judge(story.end(*NODES[:3]))
    assert rules(report) == {"unheld"}
    assert "it had never held it, and nobody held it at that moment" in report.violations[0].message


@pytest.mark.parametrize("path", ["/sequence/0", "/sequence/04"])
def test_a_znode_that_is_no_number(path: str) -> None:
    story = told()
    node = story.node("node4")
    story.connect("node4")
    assert node.session is not None
    token = story.change(node.session, ("create", path, "node4"))
    story.claims("node4", int(path.rsplit("/", 1)[1]), token)
    assert "unheld" in rules(judge(story.end(*NODES[:3])))


def test_a_number_that_is_held_no_more() -> None:
    story = told()
    token = story.node("node3").token
    story.leave("node3")
    story.t += 0.1
    for _ in range(5):
        story.claims("node3", 3, token)
    report = judge(story.end("node1", "node2", "node3"))
    (violation,) = report.violations
    assert violation.rule == "unheld"
    assert "and 4 more times until" in violation.message


@settings(max_examples=100, deadline=None)
@given(stories(), st.data())
def test_any_answer_with_another_number_is_caught(story: Story, data: st.DataObject) -> None:
    answers = [i for i, e in enumerate(story.events) if e.data.get("phase") == "ok"]
    at = data.draw(st.sampled_from(answers))
    event = story.events[at]
    story.events[at] = replace(event, data={**event.data, "number": event.data["number"] + 1})
    assert "unheld" in rules(judge(story.events))


@settings(max_examples=100, deadline=None)
@given(stories(), st.data())
def test_any_late_answer_is_caught(story: Story, data: st.DataObject) -> None:
    """Somebody whose claim has ended answers by it once more at the very end."""
    story.leave(data.draw(st.sampled_from(NODES)))
    story.t += 0.1
    story.end(*NODES)
    gone = [
        e.data
        for e in story.events
        if e.data.get("op") == "create"
        and e.data["value"]
        and e.data["zxid"] not in {node.token for node in story.nodes.values()}
    ]
    claim = data.draw(st.sampled_from(gone))
    number = int(claim["path"].rsplit("/", 1)[1])
    story.claims(claim["value"].split('"')[3], number, claim["zxid"])
    found = rules(judge(story.events))
    assert "unheld" in found
    newer = [e for e in story.events if e.data.get("phase") == "ok" and e.data["number"] == number]
    assert ("answers" in found) == any(e.data["token"] > claim["zxid"] for e in newer)


# --- lowest-free ---


def test_a_hole_below() -> None:
    story = told()
    story.connect("node4")
    story.queue("node4")
    story.node("node4").target = 6
    story.claim("node4")
    report = judge(story.end(*NODES))
    assert rules(report) == {"lowest-free"}
    assert "at least 2 smaller numbers were free" in report.violations[0].message
    assert report.violations[0].subject == "node4"


def test_a_ticket_behind_excuses_nothing() -> None:
    story = told()
    story.connect("node4")
    story.queue("node4")
    story.connect("node5")
    story.queue("node5")
    story.node("node4").target = 5
    story.claim("node4")
    report = judge(story.end(*NODES, "node5"))
    assert rules(report) == {"lowest-free"}
    assert "at least 1 smaller number was free" in report.violations[0].message


def test_a_dead_ticket_ahead_excuses_nothing() -> None:
    story = told()
    story.connect("node5")
    story.queue("node5")
    story.leave("node5")
    story.connect("node4")
    story.queue("node4")
    story.node("node4").target = 5
    story.claim("node4")
    assert rules(judge(story.end(*NODES))) == {"lowest-free"}


def test_a_claim_without_a_ticket_is_judged_from_the_request_that_led_to_it() -> None:
    story = Story()
    for number, name in enumerate(("node1", "node2"), start=1):
        story.connect(name)
        session = story.node(name).session
        story.record("request", name, phase="invoke", id=700 + number, path="/sequence")
        story.change(session, ("create", f"/sequence/{number}", name))
        story.answer(name, 700 + number, number, None)
    story.connect("node3")
    story.leave("node1")  # long before anybody asks node3
    story.t += 1
    story.record("request", "node3", phase="invoke", id=703, path="/sequence")
    story.change(story.node("node3").session, ("create", "/sequence/3", "node3"))
    story.answer("node3", 703, 3, None)
    report = judge(story.events)
    assert rules(report) == {"lowest-free"}
    assert report.violations[0].subject == "node3"


@settings(max_examples=100, deadline=None)
@given(stories(), st.data())
def test_any_higher_number_is_a_hole(story: Story, data: st.DataObject) -> None:
    """One claim is moved up, with its end and its answers, to a number nobody else ever had."""
    creates = [e.data for e in story.events if e.data.get("op") == "create" and e.data["value"]]
    claim = data.draw(st.sampled_from(creates))
    path, session, token = claim["path"], claim["session"], claim["zxid"]
    for at, event in enumerate(story.events):
        if event.kind == "transaction" and event.data["session"] == session:
            if event.data["path"] == path:
                story.events[at] = replace(event, data={**event.data, "path": "/sequence/99"})
        elif event.data.get("token") == token:
            story.events[at] = replace(event, data={**event.data, "number": 99})
    assert rules(judge(story.events)) == {"lowest-free"}


@pytest.mark.parametrize("name", ["9", "ticket-node4-0000000900"])
def test_what_a_transaction_makes_and_deletes_was_never_there(name: str) -> None:
    story = told()
    story.connect("node4")
    session = story.node("node4").session
    assert session is not None
    story.change(
        session, ("create", f"/sequence/{name}", "node4"), ("delete", f"/sequence/{name}", None)
    )
    report = judge(story.end(*NODES[:3], "node4"))
    assert report.ok, report


def test_a_ticket_made_and_deleted_with_its_claim_excuses_nothing() -> None:
    story = told()
    story.connect("node4")
    session = story.node("node4").session
    assert session is not None
    ticket = "/sequence/ticket-node4-0000000900"
    story.change(
        session,
        ("create", ticket, None),
        ("create", "/sequence/9", "node4"),
        ("delete", ticket, None),
    )
    assert rules(judge(story.end(*NODES[:3]))) == {"lowest-free"}


# --- liveness ---


def test_a_node_that_does_not_come_back() -> None:
    story = told()
    story.leave("node2")
    start = story.t
    while story.t < start + BOUND + 0.5:
        story.ask("node1")
        story.ask("node2")
        story.ask("node3")
    report = judge(story.events)
    assert rules(report) == {"liveness"}
    (violation,) = report.violations
    assert violation.subject == "node2"
    assert "no-connection" in violation.message
    assert violation.end - violation.begin == pytest.approx(BOUND)


@settings(max_examples=50, deadline=None)
@given(stories(), st.sampled_from(NODES))
def test_any_dead_node_is_caught(story: Story, name: str) -> None:
    healed = max(e.t for e in story.events if e.kind == "fault")
    for at, event in enumerate(story.events):
        if event.t > healed and event.subject == name and event.data.get("phase") == "ok":
            data = {"phase": "fail", "id": event.data["id"], "reason": "session-lost"}
            story.events[at] = replace(event, data=data)
    assert rules(judge(story.events)) == {"liveness"}


def test_an_answer_before_the_healing_does_not_count() -> None:
    story = Story()
    fault = story.fault("partition", "node1")
    story.settle("node1")
    story.ask("node1")
    story.heal(fault, "partition", "node1")
    story.leave("node1")
    story.ask("node1")
    story.t += BOUND
    story.ask("node1")
    assert rules(judge(story.events)) == {"liveness"}


@pytest.mark.parametrize(("answers", "found"), [(True, set()), (False, {"liveness"})])
def test_who_is_asked_late_must_answer_then(answers: bool, found: set[str]) -> None:
    story = Story()
    story.settle("node1")
    fault = story.fault("partition", "node1")
    story.ask("node1")
    story.heal(fault, "partition", "node1")
    story.t += 2 * BOUND
    if not answers:
        story.leave("node1")
    story.ask("node1")
    report = judge(story.events)
    assert rules(report) == found
    assert report.ok is answers, report


def refusing(story: Story, seconds: float) -> list[Event]:
    """node2 loses its session, and says no for a while."""
    story.leave("node2")
    until = story.t + seconds
    while story.t < until:
        for name in NODES[:3]:
            story.ask(name)
    return story.events


def test_a_node_has_the_session_timeout_that_it_negotiated() -> None:
    story = told()
    story.record("status", "node2", session_timeout_ms=5000)
    story.record("status", "node2", session_timeout_ms=4000)
    story.record("status", "node2", session_timeout_ms=None)
    events = refusing(story, BOUND + 1)
    assert rules(judge(list(events))) == set()
    (violation,) = judge(refusing(story, 4.0)).violations
    assert violation.end - violation.begin == pytest.approx(6.0)


def test_a_negotiated_timeout_may_be_shorter_than_the_labs() -> None:
    story = told()
    story.record("status", "node2", session_timeout_ms=1000)
    assert rules(check(refusing(story, BOUND + 0.5), session_timeout=60)) == {"liveness"}


def test_a_ticket_may_wait_as_long_as_its_own_session() -> None:
    story = told()
    story.connect("node4")
    session = story.node("node4").session
    story.record("status", "node4", session=session, session_timeout_ms=10_000)
    story.queue("node4")
    story.t += 2 * BOUND
    assert judge(story.end(*NODES)).ok
    story.queue("node4")
    story.t += 11
    assert rules(judge(story.end(*NODES))) == {"tickets"}


def test_a_request_that_its_client_gave_up_proves_nothing() -> None:
    story = told()
    story.record("request", "node4", phase="invoke", id=900, path="/sequence")
    story.record(
        "request", "node4", phase="unknown", id=900, error="KeyboardInterrupt", abandoned=True
    )
    report = judge(story.end(*NODES[:3]))
    assert rules(report) == set()
    assert report.unknown == 1
    assert report.judged["liveness"] == 3
    assert "liveness of node4" in report.vacuous[0]


# --- verbs that fail, and ensembles ---


@pytest.mark.parametrize("verb", ["slow", "flaky", "partition", "kill", "stop", "pause", "expire"])
def test_a_verb_that_failed_is_no_fault(verb: str) -> None:
    story = Story()
    story.settle("node1")
    story.verb(verb, "node1", error="no such thing here")
    report = judge(story.end("node1"))
    assert report.faults == 0
    assert report.vacuous == ("no fault was injected",)


def test_a_verb_that_failed_takes_back_only_its_own() -> None:
    story = Story()
    story.settle("node1")
    story.settle("node2")
    story.verb("kill", "node1")
    story.verb("kill", "node1", error="it is dead")
    story.verb("pause", "node1", error="it is dead")
    story.ask("node2")
    report = judge(story.end("node2"))
    assert report.ok, report
    assert report.faults == 1


def test_a_dead_node_that_refused_a_pause_and_started_must_answer() -> None:
    story = told()
    story.verb("kill", "node2")
    story.verb("pause", "node2", error="it is dead")
    story.verb("start", "node2")
    story.leave("node2")
    begin = story.t
    while story.t < begin + BOUND + 0.5:
        for name in NODES[:3]:
            story.ask(name)
    report = judge(story.events)
    assert [violation.subject for violation in report.violations] == ["node2"]
    assert report.judged["liveness"] == 3


def test_an_expired_session_takes_a_cut_link_with_it() -> None:
    story = told()
    story.verb("partition", "node2")
    story.verb("expire", "node2")
    assert judge(story.end(*NODES[:3])).ok


def test_an_ensemble_stopped_as_a_whole_is_healed_server_by_server() -> None:
    story = told()
    for number in (1, 2, 3):
        story.record("quorum", f"zookeeper{number}", mode="follower")
    story.verb("stop", "zookeeper")
    story.ask("node1")
    for number in (1, 2, 3):
        story.verb("start", f"zookeeper{number}")
    story.leave("node2")
    begin = story.t
    while story.t < begin + BOUND + 0.5:
        for name in NODES[:3]:
            story.ask(name)
    report = judge(story.events)
    assert [violation.subject for violation in report.violations] == ["node2"]


def test_a_server_of_an_ensemble_that_stays_down_is_said() -> None:
    story = told()
    story.record("quorum", "zookeeper2", mode="follower")
    story.verb("stop", "zookeeper")
    story.verb("start", "zookeeper1")
    report = judge(story.end(*NODES[:3]))
    assert report.judged["liveness"] == 0
    assert report.vacuous == (
        "liveness of node1, node2 and node3 was not judged: what was broken was not healed",
    )


def test_stopping_an_ensemble_is_one_fault() -> None:
    story = Story()
    story.settle("node1")
    for number in (1, 2, 3):
        story.record("quorum", f"zookeeper{number}", mode="follower")
    story.verb("stop", "zookeeper")
    story.verb("start", "zookeeper")
    assert judge(story.end("node1")).faults == 1


# --- tickets ---


def test_a_ticket_left() -> None:
    story = told()
    story.change(story.node("node1").session, ("create", "/sequence/ticket-lost-0000009999", None))
    report = judge(story.end(*NODES[:3]))
    assert rules(report) == {"tickets"}
    assert "ticket-lost-0000009999" in report.violations[0].message


@settings(max_examples=50, deadline=None)
@given(stories(), st.data())
def test_any_ticket_left_is_caught(story: Story, data: st.DataObject) -> None:
    """The claim that some node ended up with forgot to delete its ticket."""
    tokens = {node.token for node in story.nodes.values()}
    deletes = [
        at
        for at, e in enumerate(story.events)
        if e.data.get("op") == "delete" and e.data["zxid"] in tokens
    ]
    del story.events[data.draw(st.sampled_from(deletes))]
    assert "tickets" in rules(judge(story.events))


def test_a_ticket_that_waits_through_a_fault_is_not_left() -> None:
    story = told()
    story.connect("node4")
    fault = story.fault("restart-zookeeper", "zookeeper1")
    story.queue("node4")
    story.t += 5 * BOUND
    story.heal(fault, "restart-zookeeper", "zookeeper1")
    assert judge(story.end(*NODES)).ok


# --- vacuous ---


@pytest.mark.parametrize(
    ("drop", "reason"),
    [
        (lambda e: e.data.get("phase") in ("ok", "invoke"), "no request was answered"),
        (lambda e: e.kind == "fault", "no fault was injected"),
        (lambda e: e.kind == "request" and e.t < 0.3, "no request overlapped a fault"),
        (lambda e: e.kind == "transaction", "no transaction log"),
        (lambda e: e.kind == "request" and e.t > 1, "liveness of node1, node2 and node3"),
    ],
)
def test_a_run_that_proves_nothing_is_not_ok(drop, reason: str) -> None:
    story = told()
    fault_end = next(e.t for e in story.events if e.data.get("phase") == "end")
    story.t = max(story.t, 1.0)
    events = story.end(*NODES[:3])
    assert judge(events).ok
    assert fault_end < 0.3
    kept = [e for e in events if not drop(e)] if reason != "no request was answered" else [
        replace(e, data={**e.data, "phase": "fail"}) if e.data.get("phase") == "ok" else e
        for e in events
    ]  # fmt: skip
    report = judge(kept)
    assert not report.ok
    assert any(reason in sentence for sentence in report.vacuous), report.vacuous


def test_an_empty_timeline_is_vacuous() -> None:
    assert judge([]).vacuous
    assert not judge([]).ok


# --- a beginning that is missing ---


def cut(events: list[Event], before: float, *kinds: str) -> list[Event]:
    """What a timeline that grew too long would have kept."""
    gone = [event for event in events if event.t < before and event.kind in kinds]
    assert {event.kind for event in gone} == set(kinds)
    zxids = [event.data["zxid"] for event in gone if event.kind == "transaction"]
    said = {
        "events": len(gone),
        "kinds": {kind: sum(event.kind == kind for event in gone) for kind in kinds},
        "zxid": max(zxids, default=0),
    }
    kept = [event for event in events if event not in gone]
    return [Event(before, "dropped", "lab", said), *kept]


def test_a_request_that_lost_its_beginning_is_left_out() -> None:
    story = told()
    asked = next(e.t for e in story.events if e.data.get("phase") == "invoke")
    report = judge(cut(story.end(*NODES[:3]), asked + 0.001, "request"))
    assert report.violations == ()
    assert report.answered == 8
    assert report.vacuous == (
        "the beginning is missing: the timeline grew too long, and has dropped 1 event",
    )


@pytest.mark.parametrize("tokens", [True, False])
def test_who_claimed_before_the_log_begins_is_not_accused(tokens: bool) -> None:
    story = told()
    begin = story.t
    events = story.end(*NODES)
    if not tokens:
        events = [
            replace(e, data={**e.data, "token": None}) if e.data.get("token") else e
            for e in events
        ]  # fmt: skip
    report = judge(cut(events, begin, "transaction"))
    assert report.violations == ()
    assert "the beginning is missing" in report.vacuous[0]
    assert report.judged["unheld"] == 2  # node4's own
    assert report.judged["lowest-free"] == 0


def test_a_lab_that_ran_for_days_accuses_nobody() -> None:
    story = told()
    for _ in range(100):
        for name in NODES[:3]:
            story.ask(name)
    story.settle("node4")
    now = 0.0
    timeline = Timeline(limit=50, clock=lambda: now, wall=lambda: now)
    log = []
    for event in story.end(*NODES):
        now = event.t
        if event.kind != "transaction":
            timeline.record(event.kind, event.subject, **event.data)
            continue
        said = event.data
        value = said["value"] and said["value"].encode()
        session = int(said["session"], 16)
        log.append(
            Transaction(said["zxid"], now, session, 1, said["op"], said["path"], value, True)
        )
        for beat in range(100):
            zxid = 1_000_000 + 100 * len(log) + beat
            log.append(Transaction(zxid, now, session, 1, "setData", "/sequence/1", value))
    timeline.merge_transactions(log)
    report = judge(list(timeline))
    assert report.violations == ()
    assert report.answered > 10
    assert report.judged["unheld"] == report.answered
    assert any("the beginning is missing" in reason for reason in report.vacuous)


def test_a_lie_is_caught_also_when_the_beginning_is_missing() -> None:
    story = told()
    begin = story.t
    story.settle("node4")
    story.claims("node4", 9, 4711)
    assert rules(judge(cut(story.end(*NODES), begin, "transaction"))) == {"unheld"}


def test_nobody_is_accused_when_what_was_broken_is_not_known() -> None:
    story = told()
    story.verb("partition", "node2")
    begin = story.t + 0.001
    events = refusing(story, BOUND + 1)
    report = judge(cut(events, begin, "verb"))
    assert report.violations == ()
    assert report.judged["liveness"] == 0
    assert report.judged["tickets"] == 0


def test_statuses_may_go() -> None:
    story = told()
    story.record("status", "node1", session=story.node("node1").session)
    begin = story.t + 0.001
    assert judge(cut(story.end(*NODES[:3]), begin, "status")).ok


# --- the report ---


def test_a_report_reads_well() -> None:
    story = told()
    story.claims("node<2>", 7, 4711)
    report = judge(story.end(*NODES[:3]))
    assert report.answered == 10
    assert str(report).startswith("1 violation: 10 answered, 0 failed, 0 unknown; ")
    assert "node&lt;2&gt; answered 7 at " in report._repr_html_()
    data = report.violations[0].to_json()
    assert data["rule"] == "unheld"
    assert len(data["events"]) == 2


@pytest.mark.parametrize("phases", [("ok",), ("invoke", "invoke")])
def test_requests_that_contradict_each_other_are_refused(phases: tuple[str, ...]) -> None:
    events = [Event(0.0, "request", "node1", {"phase": p, "id": 1, "number": 1}) for p in phases]
    with pytest.raises(HistoryError, match="Request 1 to node1"):
        judge(events)


def test_a_long_run_is_judged_quickly() -> None:
    story = told(tick=0.001)
    names = [f"node{i}" for i in range(10, 210)]
    for name in names:
        story.connect(name)
        story.queue(name)
    for name in names:
        story.settle(name)
    for _ in range(50):
        fault = story.fault("pause", "node4")
        for name in names:
            story.ask(name)
        story.heal(fault, "pause", "node4")
    events = story.end(*names, *NODES[:3])
    begin = time.process_time()
    report = judge(events)
    assert report.ok
    assert report.answered > 10_000
    assert time.process_time() - begin < 3


def test_a_silence_is_counted_from_a_moment_on() -> None:
    story = told()
    story.ask("node1")
    story.t += 60.0  # nobody asks meanwhile
    since = story.t
    story.ask("node1")
    story.t += 2.0
    story.ask("node1")
    assert silences(story.events)["node1"] > 60
    assert silences(story.events, since)["node1"] == pytest.approx(2.01, abs=0.02)
