"""The checker: honest histories pass, each kind of lie is caught and named."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeGuard

import pytest
from history import BOUND, SESSION_TIMEOUT, HistoryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import HistoryError
from labkit.judge.report import Report
from labkit.judge.rules import check
from labkit.servers.zookeeper.txnlog import Transaction
from labkit.story.event import (
    DroppedEvent,
    Event,
    FaultEvent,
    PlacedEvent,
    QuorumEvent,
    RequestEvent,
    StatusEvent,
    TransactionEvent,
    owner,
)
from labkit.story.run import silences
from labkit.story.timeline import Timeline

NODES = ("node1", "node2", "node3", "node4")


def judge(events: list[Event]) -> Report:
    return check(events, session_timeout=SESSION_TIMEOUT)


def rules(report: Report) -> set[str]:
    return {violation.rule for violation in report.violations}


def is_answer(event: Event) -> TypeGuard[RequestEvent]:
    return isinstance(event, RequestEvent) and event.phase == "ok"


def answers(events: Sequence[Event]) -> list[RequestEvent]:
    return [event for event in events if is_answer(event)]


def claims(events: Sequence[Event]) -> list[TransactionEvent]:
    """The creations of numbers' znodes, which say their owner."""
    changes = [event for event in events if isinstance(event, TransactionEvent)]
    return [change for change in changes if change.op == "create" and change.value]


def path_of(claim: TransactionEvent) -> str:
    assert claim.path is not None
    return claim.path


def three_nodes(tick: float = 0.01) -> HistoryBuilder:
    """Three nodes with a number each, and a fault in which they were asked."""
    run = HistoryBuilder(tick)
    for name in NODES[:3]:
        run.settle(name)
    fault = run.fault("pause", "node4")
    for name in NODES[:3]:
        run.ask(name)
    run.heal(fault, "pause", "node4")
    return run


@st.composite
def histories(draw: st.DrawFn) -> HistoryBuilder:
    """A run of up to four nodes that claim, answer, leave and return, in any interleaving."""
    run = HistoryBuilder()
    fault = run.fault("pause", "node4")
    step = st.tuples(st.sampled_from(NODES), st.sampled_from("ppppaal"))
    for name, action in draw(st.lists(step, min_size=30, max_size=80)):
        if action == "p":
            run.progress(name)
        elif action == "a":
            run.ask(name)
        else:
            run.leave(name)
    run.ask("node1")
    run.heal(fault, "pause", "node4")
    run.end(*NODES)
    return run


# --- honest ---


@settings(max_examples=200, deadline=None)
@given(histories())
def test_honest_histories_pass(run: HistoryBuilder) -> None:
    report = judge(run.events)
    assert report.ok, str(report)


@settings(max_examples=50, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_clock_of_the_log_may_be_off_by_less_than_the_tolerance(
    run: HistoryBuilder, rng
) -> None:
    events = [
        replace(e, t=e.t + rng.uniform(-0.04, 0.04)) if isinstance(e, TransactionEvent) else e
        for e in run.events
    ]
    report = judge(events)
    assert report.ok, str(report)


def nameless(events: Sequence[Event], forgotten: Sequence[int]) -> list[Event]:
    """The same run by servers that give no tokens; of some claims nobody knows whose they are."""
    return [
        replace(event, token=None)
        if isinstance(event, RequestEvent)
        else replace(event, value=None)
        if isinstance(event, TransactionEvent) and event.zxid in forgotten
        else event
        for event in events
    ]


@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_a_claim_may_name_nobody(run: HistoryBuilder, data: st.DataObject) -> None:
    """As that of a server of one's own that dies before anybody has asked for its session."""
    zxids = [claim.zxid for claim in claims(run.events)]
    report = judge(nameless(run.events, data.draw(st.lists(st.sampled_from(zxids)))))
    assert report.ok, str(report)


def test_by_a_claim_that_names_nobody_one_node_may_answer() -> None:
    run = three_nodes()
    run.leave("node1")
    run.t += 0.2
    run.settle("node4")
    forgotten = run.zxid
    for name in ("node4", "node4", "node1"):
        run.claims(name, 1, None)
    report = judge(nameless(run.end(*NODES[1:]), [forgotten]))
    assert rules(report) == {"answers", "unheld"}
    assert {violation.subject for violation in report.violations} == {"node1"}
    assert "at that moment node4 held 1" in report.violations[0].message


def test_a_storm_of_claims_with_tickets_is_no_hole() -> None:
    run = three_nodes()
    names = [f"node{i}" for i in range(10, 40)]
    for name in names:
        run.connect(name)
        run.queue(name)
    for name in names:
        run.look(name)
    for name in reversed(names):  # the last in the queue may well create first
        run.claim(name)
    assert judge(run.end(*names, *NODES[:3])).ok


def test_a_slow_claim_may_be_higher_than_what_is_free_by_now() -> None:
    run = three_nodes()
    run.connect("node4")
    run.queue("node4")
    run.look("node4")
    run.leave("node2")
    run.claim("node4")
    assert run.numbers.keys() == {1, 3, 4}
    assert judge(run.end(*NODES)).ok


def test_a_request_that_began_before_the_end_of_a_claim_may_be_answered_after_it() -> None:
    run = three_nodes()
    run.invoke("node1", 900)
    token = run.node("node1").token
    run.leave("node1")
    run.t += 1
    run.answer("node1", 900, 1, token)
    assert judge(run.end("node2", "node3")).ok


def test_an_older_answer_may_arrive_while_the_newer_one_is_under_way() -> None:
    run = three_nodes()
    old = run.node("node1").token
    run.invoke("node1", 900)
    run.leave("node1")
    run.settle("node4")
    assert run.node("node4").number == 1
    run.ask("node4")
    run.answer("node1", 900, 1, old)
    assert "answers" not in rules(judge(run.end(*NODES)))


def test_a_node_that_stays_dead_owes_no_answer() -> None:
    run = three_nodes()
    run.verb("kill", "node3")
    run.invoke("node3", 801)
    run.record(RequestEvent("node3", phase="unknown", id=801, error="refused"))
    run.leave("node3")
    assert judge(run.end("node1", "node2")).ok


# --- answers ---


def test_an_older_token_after_a_newer_answer() -> None:
    run = three_nodes()
    old = run.node("node1").token
    run.leave("node1")
    run.settle("node4")
    run.ask("node4")
    run.claims("node1", 1, old)
    report = judge(run.end(*NODES))
    assert rules(report) == {"answers", "unheld"}
    (violation,) = report.violations_of("answers")
    assert violation.subject == "node1"
    since = max(claim.t for claim in claims(run.events) if claim.path == "/sequence/1")
    said = violation.events[-1].t
    assert violation.message == (
        f"node1 answered 1 at {said:.2f} s; at that moment node4 held 1, since {since:.2f} s."
    )
    assert [e.subject for e in violation.events] == ["node4"] * 2 + ["node1"] * 2


def test_verdicts_say_in_plain_words_who_had_the_number() -> None:
    run = three_nodes()
    old = run.node("node1").token
    run.claims("node1", 7, 4711)  # a number that nobody has
    run.leave("node1")
    run.t += 0.1
    run.claims("node1", 1, old)  # nobody has it yet
    run.settle("node4")
    run.ask("node4")
    for _ in range(3):
        run.claims("node1", 1, old)
    run.leave("node4")
    run.claims("node2", 1, old)
    said = [violation.message for violation in judge(run.end(*NODES)).violations]
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
    run = three_nodes()
    run.claims("node2", 1, run.node("node1").token)
    report = judge(run.end(*NODES[:3]))
    assert rules(report) == {"answers", "unheld"}
    assert report.violations_of("answers")[0].subject == "node1,node2"
    assert "the claim that its token names is node1's" in report.violations_of("unheld")[0].message


def test_two_nodes_contradict_each_other_when_the_second_answers() -> None:
    run = three_nodes()
    token = run.node("node1").token
    for name in ("node2", "node3", "node4", "node5"):
        run.t += 1
        run.claims(name, 1, token)
    events = run.end(*NODES)
    asked = [e.t for e in events if isinstance(e, RequestEvent) and e.phase == "invoke"]
    (found,) = (v for v in judge(events).violations_of("answers") if "node5" in v.subject)
    begin, end = rf"{found.begin:.1f}", rf"{found.end:.2f}"
    assert found.begin in asked
    assert re.fullmatch(
        rf"node1 answered 1 at [\d.]+ s, node2 at {begin}\d s and 3 more until {end} s; "
        "all by the same claim, which only one node can have made.",
        found.message,
    ), found.message


def test_two_nodes_without_any_token() -> None:
    run = three_nodes()
    run.claims("node2", 9, None)
    run.claims("node3", 9, None)
    assert rules(judge(run.end(*NODES[:3]))) == {"answers", "unheld"}


def test_without_tokens_a_number_may_pass_from_node_to_node_but_not_back() -> None:
    run = three_nodes()
    run.claims("node1", 1, None)
    run.leave("node1")
    run.settle("node4")
    run.claims("node4", 1, None)
    assert rules(judge([*run.events])) == set()
    run.claims("node1", 1, None)
    assert "answers" in rules(judge([*run.events]))


# --- unheld ---


def test_a_number_that_was_never_held() -> None:
    run = three_nodes()
    run.claims("node2", 7, 4711)
    report = judge(run.end(*NODES[:3]))
    assert rules(report) == {"unheld"}
    assert "it had never held it, and nobody held it at that moment" in report.violations[0].message


@pytest.mark.parametrize("path", ["/sequence/0", "/sequence/04"])
def test_a_znode_that_is_no_number(path: str) -> None:
    run = three_nodes()
    node = run.node("node4")
    run.connect("node4")
    assert node.session is not None
    token = run.change(node.session, ("create", path, "node4"))
    run.claims("node4", int(path.rsplit("/", 1)[1]), token)
    assert "unheld" in rules(judge(run.end(*NODES[:3])))


def _nameless(node: str, *paths: str) -> tuple[HistoryBuilder, int]:
    """A run in which a node's last claim says only by its session whose it is; its czxid."""
    run = three_nodes()
    run.connect(node)
    session = run.node(node).session
    assert session is not None
    run.record(StatusEvent(node, reachable=True, session=session))
    for path in paths:
        token = run.change(session, ("create", path, None))
    return run, token


@pytest.mark.parametrize("given", [7000, 0, 1])
def test_a_token_that_names_no_claim_is_told_as_that(given: int) -> None:
    run, token = _nameless("node4", "/sequence/4")
    for _ in range(3):
        run.claims("node4", 4, given)
    report = judge(run.end(*NODES[:3]))
    (violation,) = report.violations
    assert violation.rule == "unheld"
    assert violation.message.endswith(
        f"; its token {given} names no claim of number 4; the znode's czxid is {token}."
    )


def test_the_token_of_another_number_is_told_as_that() -> None:
    run, token = _nameless("node4", "/sequence/4")
    other = run.node("node2").token
    run.claims("node4", 4, other)
    (violation,) = judge(run.end(*NODES[:3])).violations
    assert f"its token {other} names number 2; the znode's czxid is {token}" in violation.message


def test_counters_of_two_holders_accuse_nobody_of_an_older_claim() -> None:
    run = three_nodes()
    for _ in range(3):
        run.claims("node1", 1, 900)
    run.leave("node1")
    run.settle("node4")
    run.claims("node4", 1, 800)
    report = judge(run.end("node2", "node3", "node4"))
    assert {violation.rule for violation in report.violations} == {"unheld"}
    assert all("names no claim of number 1" in v.message for v in report.violations)


def test_a_number_that_is_held_no_more() -> None:
    run = three_nodes()
    token = run.node("node3").token
    run.leave("node3")
    run.t += 0.1
    for _ in range(5):
        run.claims("node3", 3, token)
    report = judge(run.end("node1", "node2", "node3"))
    (violation,) = report.violations
    assert violation.rule == "unheld"
    assert "and 4 more times until" in violation.message


@settings(max_examples=100, deadline=None)
@given(histories(), st.data())
def test_any_answer_with_another_number_is_caught(run: HistoryBuilder, data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(answers(run.events)))
    assert event.number is not None
    run.events[run.events.index(event)] = replace(event, number=event.number + 1)
    assert "unheld" in rules(judge(run.events))


@settings(max_examples=100, deadline=None)
@given(histories(), st.data())
def test_any_late_answer_is_caught(run: HistoryBuilder, data: st.DataObject) -> None:
    """Somebody whose claim has ended answers by it once more at the very end."""
    run.leave(data.draw(st.sampled_from(NODES)))
    run.t += 0.1
    run.end(*NODES)
    current = {node.token for node in run.nodes.values()}
    gone = [claim for claim in claims(run.events) if claim.zxid not in current]
    claim = data.draw(st.sampled_from(gone))
    name, number = owner(claim.value), int(path_of(claim).rsplit("/", 1)[1])
    assert name is not None
    run.claims(name, number, claim.zxid)
    found = rules(judge(run.events))
    assert "unheld" in found
    tokens = [e.token for e in answers(run.events) if e.number == number]
    assert ("answers" in found) == any(token and token > claim.zxid for token in tokens)


# --- lowest-free ---


def test_a_hole_below() -> None:
    run = three_nodes()
    run.connect("node4")
    run.queue("node4")
    run.node("node4").target = 6
    run.claim("node4")
    report = judge(run.end(*NODES))
    assert rules(report) == {"lowest-free"}
    assert "at least 2 smaller numbers were free" in report.violations[0].message
    assert report.violations[0].subject == "node4"


def test_a_ticket_behind_excuses_nothing() -> None:
    run = three_nodes()
    run.connect("node4")
    run.queue("node4")
    run.connect("node5")
    run.queue("node5")
    run.node("node4").target = 5
    run.claim("node4")
    report = judge(run.end(*NODES, "node5"))
    assert rules(report) == {"lowest-free"}
    assert "at least 1 smaller number was free" in report.violations[0].message


@pytest.mark.parametrize(
    "ticket", ["wait-{}", "ticket-{}", "{}", "line/x{}", "7{}", "a ticket of mine: {}"]
)
def test_any_sequential_ephemeral_is_a_ticket(ticket: str) -> None:
    run = three_nodes()
    first, second = "0x901", "0x902"
    mine, other = (f"/sequence/{ticket.format(f'{n:010}')}" for n in (18, 17))
    run.change(first, ("create", other, None))
    run.change(second, ("create", mine, None))
    run.change(second, ("create", "/sequence/5", "node5"), ("delete", mine, None))
    run.change(first, ("create", "/sequence/4", "node4"), ("delete", other, None))
    report = judge(run.end(*NODES[:3]))
    assert report.ok, report
    run.change(first, ("create", mine, None))
    assert rules(judge(run.end(*NODES[:3]))) == {"tickets"}


def test_a_queue_elsewhere_excuses_nothing() -> None:
    run = three_nodes()
    run.change("0x901", ("create", "/sequence/a/line-0000000001", None))
    run.change("0x902", ("create", "/sequence/b/line-0000000002", None))
    run.change(
        "0x902", ("create", "/sequence/5", "node5"), ("delete", "/sequence/b/line-0000000002", None)
    )
    assert "lowest-free" in rules(judge(run.end(*NODES[:3])))


def test_a_dead_ticket_ahead_excuses_nothing() -> None:
    run = three_nodes()
    run.connect("node5")
    run.queue("node5")
    run.leave("node5")
    run.connect("node4")
    run.queue("node4")
    run.node("node4").target = 5
    run.claim("node4")
    assert rules(judge(run.end(*NODES))) == {"lowest-free"}


def test_a_claim_without_a_ticket_is_judged_from_the_request_that_led_to_it() -> None:
    run = HistoryBuilder()
    for number, name in enumerate(("node1", "node2"), start=1):
        run.connect(name)
        session = run.node(name).session
        run.invoke(name, 700 + number)
        run.change(session, ("create", f"/sequence/{number}", name))
        run.answer(name, 700 + number, number, None)
    run.connect("node3")
    run.leave("node1")  # long before anybody asks node3
    run.t += 1
    run.invoke("node3", 703)
    run.change(run.node("node3").session, ("create", "/sequence/3", "node3"))
    run.answer("node3", 703, 3, None)
    report = judge(run.events)
    assert rules(report) == {"lowest-free"}
    assert report.violations[0].subject == "node3"


@settings(max_examples=100, deadline=None)
@given(histories(), st.data())
def test_any_higher_number_is_a_hole(run: HistoryBuilder, data: st.DataObject) -> None:
    """One claim is moved up, with its end and its answers, to a number nobody else ever had."""
    claim = data.draw(st.sampled_from(claims(run.events)))
    for at, event in enumerate(run.events):
        match event:
            case TransactionEvent(session=claim.session, path=claim.path):
                run.events[at] = replace(event, path="/sequence/99")
            case RequestEvent(token=claim.zxid):
                run.events[at] = replace(event, number=99)
    assert rules(judge(run.events)) == {"lowest-free"}


@pytest.mark.parametrize("name", ["9", "ticket-node4-0000000900"])
def test_what_a_transaction_makes_and_deletes_was_never_there(name: str) -> None:
    run = three_nodes()
    run.connect("node4")
    session = run.node("node4").session
    assert session is not None
    run.change(
        session, ("create", f"/sequence/{name}", "node4"), ("delete", f"/sequence/{name}", None)
    )
    report = judge(run.end(*NODES[:3], "node4"))
    assert report.ok, report


def test_a_ticket_made_and_deleted_with_its_claim_excuses_nothing() -> None:
    run = three_nodes()
    run.connect("node4")
    session = run.node("node4").session
    assert session is not None
    ticket = "/sequence/ticket-node4-0000000900"
    run.change(
        session,
        ("create", ticket, None),
        ("create", "/sequence/9", "node4"),
        ("delete", ticket, None),
    )
    assert rules(judge(run.end(*NODES[:3]))) == {"lowest-free"}


# --- liveness ---


def test_a_node_that_does_not_come_back() -> None:
    run = three_nodes()
    run.leave("node2")
    start = run.t
    while run.t < start + BOUND + 0.5:
        run.ask("node1")
        run.ask("node2")
        run.ask("node3")
    report = judge(run.events)
    assert rules(report) == {"liveness"}
    (violation,) = report.violations
    assert violation.subject == "node2"
    assert "no-connection" in violation.message
    assert violation.end - violation.begin == pytest.approx(BOUND)


@settings(max_examples=50, deadline=None)
@given(histories(), st.sampled_from(NODES))
def test_any_dead_node_is_caught(run: HistoryBuilder, name: str) -> None:
    healed = max(e.t for e in run.events if isinstance(e, FaultEvent))
    for at, event in enumerate(run.events):
        if event.t > healed and event.subject == name and is_answer(event):
            run.events[at] = RequestEvent(
                name, t=event.t, phase="fail", id=event.id, status=503, reason="session-lost"
            )
    assert rules(judge(run.events)) == {"liveness"}


def test_an_answer_before_the_healing_does_not_count() -> None:
    run = HistoryBuilder()
    fault = run.fault("partition", "node1")
    run.settle("node1")
    run.ask("node1")
    run.heal(fault, "partition", "node1")
    run.leave("node1")
    run.ask("node1")
    run.t += BOUND
    run.ask("node1")
    assert rules(judge(run.events)) == {"liveness"}


@pytest.mark.parametrize(("answers", "found"), [(True, set()), (False, {"liveness"})])
def test_who_is_asked_late_must_answer_then(answers: bool, found: set[str]) -> None:
    run = HistoryBuilder()
    run.settle("node1")
    fault = run.fault("partition", "node1")
    run.ask("node1")
    run.heal(fault, "partition", "node1")
    run.t += 2 * BOUND
    if not answers:
        run.leave("node1")
    run.ask("node1")
    report = judge(run.events)
    assert rules(report) == found
    assert report.ok is answers, report


def refusing(run: HistoryBuilder, seconds: float) -> list[Event]:
    """node2 loses its session, and says no for a while."""
    run.leave("node2")
    until = run.t + seconds
    while run.t < until:
        for name in NODES[:3]:
            run.ask(name)
    return run.events


def test_a_node_has_the_session_timeout_that_it_negotiated() -> None:
    run = three_nodes()
    run.record(StatusEvent("node2", session_timeout_ms=5000))
    run.record(StatusEvent("node2", session_timeout_ms=4000))
    run.record(StatusEvent("node2", session_timeout_ms=None))
    events = refusing(run, BOUND + 1)
    assert rules(judge(list(events))) == set()
    (violation,) = judge(refusing(run, 4.0)).violations
    assert violation.end - violation.begin == pytest.approx(6.0)


def test_a_negotiated_timeout_may_be_shorter_than_the_labs() -> None:
    run = three_nodes()
    run.record(StatusEvent("node2", session_timeout_ms=1000))
    assert rules(check(refusing(run, BOUND + 0.5), session_timeout=60)) == {"liveness"}


def test_a_ticket_may_wait_as_long_as_its_own_session() -> None:
    run = three_nodes()
    run.connect("node4")
    session = run.node("node4").session
    run.record(StatusEvent("node4", session=session, session_timeout_ms=10_000))
    run.queue("node4")
    run.t += 2 * BOUND
    assert judge(run.end(*NODES)).ok
    run.queue("node4")
    run.t += 11
    assert rules(judge(run.end(*NODES))) == {"tickets"}


def test_a_request_that_its_client_gave_up_proves_nothing() -> None:
    run = three_nodes()
    run.invoke("node4", 900)
    error = "KeyboardInterrupt"
    run.record(RequestEvent("node4", phase="unknown", id=900, error=error, abandoned=True))
    report = judge(run.end(*NODES[:3]))
    assert rules(report) == set()
    assert report.unknown == 1
    assert report.judged["liveness"] == 3
    assert "liveness of node4" in report.vacuous[0]


# --- verbs that fail, and ensembles ---


@pytest.mark.parametrize("verb", ["slow", "flaky", "partition", "kill", "stop", "pause"])
def test_a_verb_that_failed_is_no_fault(verb: str) -> None:
    run = HistoryBuilder()
    run.settle("node1")
    run.verb(verb, "node1", error="no such thing here")
    report = judge(run.end("node1"))
    assert report.faults == 0
    assert report.vacuous == ("no fault was injected",)


def test_a_session_that_did_not_expire_had_its_link_cut_all_the_while() -> None:
    run = HistoryBuilder()
    run.settle("node1")
    run.verb("partition", "node1")
    run.verb("expire", "node1", error="the session did not end")  # and mends the link
    report = judge(run.end("node1"))
    assert report.faults == 2
    assert not report.violations
    assert "liveness" not in report.untested


def test_a_verb_that_failed_takes_back_only_its_own() -> None:
    run = HistoryBuilder()
    run.settle("node1")
    run.settle("node2")
    run.verb("kill", "node1")
    run.verb("kill", "node1", error="it is dead")
    run.verb("pause", "node1", error="it is dead")
    run.ask("node2")
    report = judge(run.end("node2"))
    assert report.ok, report
    assert report.faults == 1


def test_a_dead_node_that_refused_a_pause_and_started_must_answer() -> None:
    run = three_nodes()
    run.verb("kill", "node2")
    run.verb("pause", "node2", error="it is dead")
    run.verb("start", "node2")
    run.leave("node2")
    begin = run.t
    while run.t < begin + BOUND + 0.5:
        for name in NODES[:3]:
            run.ask(name)
    report = judge(run.events)
    assert [violation.subject for violation in report.violations] == ["node2"]
    assert report.judged["liveness"] == 3


def test_an_expired_session_takes_a_cut_link_with_it() -> None:
    run = three_nodes()
    run.verb("partition", "node2")
    run.verb("expire", "node2")
    assert judge(run.end(*NODES[:3])).ok


def test_an_ensemble_stopped_as_a_whole_is_healed_server_by_server() -> None:
    run = three_nodes()
    for number in (1, 2, 3):
        run.record(QuorumEvent(f"zookeeper{number}", mode="follower"))
    run.verb("stop", "zookeeper")
    run.ask("node1")
    for number in (1, 2, 3):
        run.verb("start", f"zookeeper{number}")
    run.leave("node2")
    begin = run.t
    while run.t < begin + BOUND + 0.5:
        for name in NODES[:3]:
            run.ask(name)
    report = judge(run.events)
    assert [violation.subject for violation in report.violations] == ["node2"]


def test_a_server_of_an_ensemble_that_stays_down_is_said() -> None:
    run = three_nodes()
    run.record(QuorumEvent("zookeeper2", mode="follower"))
    run.verb("stop", "zookeeper")
    run.verb("start", "zookeeper1")
    report = judge(run.end(*NODES[:3]))
    assert report.judged["liveness"] == 0
    assert report.vacuous == (
        "liveness of node1, node2 and node3 was not judged: what was broken was not healed",
    )


def test_stopping_an_ensemble_is_one_fault() -> None:
    run = HistoryBuilder()
    run.settle("node1")
    for number in (1, 2, 3):
        run.record(QuorumEvent(f"zookeeper{number}", mode="follower"))
    run.verb("stop", "zookeeper")
    run.verb("start", "zookeeper")
    assert judge(run.end("node1")).faults == 1


def test_where_servers_stand_changes_no_verdict() -> None:
    run = three_nodes()
    run.verb("stop", "zookeeper")
    run.verb("start", "zookeeper1")
    events = run.end(*NODES[:3])
    placed = [PlacedEvent(f"zookeeper{n}", t=0.0, machine=f"m{n}") for n in (1, 2, 3)]
    assert judge([*placed, *events]) == judge(events)


# --- tickets ---


def test_a_ticket_left() -> None:
    run = three_nodes()
    run.change(run.node("node1").session, ("create", "/sequence/ticket-lost-0000009999", None))
    report = judge(run.end(*NODES[:3]))
    assert rules(report) == {"tickets"}
    assert "ticket-lost-0000009999" in report.violations[0].message


@settings(max_examples=50, deadline=None)
@given(histories(), st.data())
def test_any_ticket_left_is_caught(run: HistoryBuilder, data: st.DataObject) -> None:
    """The claim that some node ended up with forgot to delete its ticket."""
    tokens = {node.token for node in run.nodes.values()}
    deletes = [
        at
        for at, e in enumerate(run.events)
        if isinstance(e, TransactionEvent) and e.op == "delete" and e.zxid in tokens
    ]
    del run.events[data.draw(st.sampled_from(deletes))]
    assert "tickets" in rules(judge(run.events))


def test_a_ticket_that_waits_through_a_fault_is_not_left() -> None:
    run = three_nodes()
    run.connect("node4")
    fault = run.fault("restart-zookeeper", "zookeeper1")
    run.queue("node4")
    run.t += 5 * BOUND
    run.heal(fault, "restart-zookeeper", "zookeeper1")
    assert judge(run.end(*NODES)).ok


# --- vacuous ---


@pytest.mark.parametrize(
    ("drop", "reason"),
    [
        (lambda e: isinstance(e, FaultEvent), "no fault was injected"),
        (lambda e: isinstance(e, RequestEvent) and e.t < 0.3, "no request overlapped a fault"),
        (lambda e: isinstance(e, TransactionEvent), "no transaction log"),
        (lambda e: isinstance(e, RequestEvent) and e.t > 1, "liveness of node1, node2 and node3"),
    ],
)
def test_a_run_that_proves_nothing_is_not_ok(drop, reason: str) -> None:
    run = three_nodes()
    fault_end = next(e.t for e in run.events if isinstance(e, FaultEvent) and e.phase == "end")
    run.t = max(run.t, 1.0)
    events = run.end(*NODES[:3])
    assert judge(events).ok
    assert fault_end < 0.3
    report = judge([e for e in events if not drop(e)])
    assert not report.ok
    assert any(reason in sentence for sentence in report.vacuous), report.vacuous


def test_a_run_without_an_answer_is_not_ok() -> None:
    events = three_nodes().end(*NODES[:3])
    report = judge([replace(e, phase="fail") if is_answer(e) else e for e in events])
    assert not report.ok
    assert "no request was answered" in report.vacuous


def test_an_empty_timeline_is_vacuous() -> None:
    assert judge([]).vacuous
    assert not judge([]).ok


# --- a beginning that is missing ---


def cut(events: list[Event], before: float, *kinds: str) -> list[Event]:
    """What a timeline that grew too long would have kept."""
    gone = [event for event in events if event.t < before and event.kind in kinds]
    assert {event.kind for event in gone} == set(kinds)
    dropped = DroppedEvent(
        "lab",
        t=before,
        events=len(gone),
        kinds=Counter(event.kind for event in gone),
        zxid=max((event.zxid for event in gone if isinstance(event, TransactionEvent)), default=0),
    )
    return [dropped, *(event for event in events if event not in gone)]


def test_a_request_that_lost_its_beginning_is_left_out() -> None:
    run = three_nodes()
    asked = next(e.t for e in run.events if isinstance(e, RequestEvent))
    report = judge(cut(run.end(*NODES[:3]), asked + 0.001, "request"))
    assert report.violations == ()
    assert report.answered == 8
    assert report.vacuous == (
        "the beginning is missing: the timeline grew too long, and has dropped 1 event",
    )


@pytest.mark.parametrize("tokens", [True, False])
def test_who_claimed_before_the_log_begins_is_not_accused(tokens: bool) -> None:
    run = three_nodes()
    begin = run.t
    events = run.end(*NODES)
    if not tokens:
        events = [replace(e, token=None) if is_answer(e) else e for e in events]
    report = judge(cut(events, begin, "transaction"))
    assert report.violations == ()
    assert "the beginning is missing" in report.vacuous[0]
    assert report.judged["unheld"] == 2  # node4's own
    assert report.judged["lowest-free"] == 0


def test_a_lab_that_ran_for_days_accuses_nobody() -> None:
    run = three_nodes()
    for _ in range(100):
        for name in NODES[:3]:
            run.ask(name)
    run.settle("node4")
    now = 0.0
    timeline = Timeline(limit=50, clock=lambda: now, wall=lambda: now)
    log = []
    for event in run.end(*NODES):
        now = event.t
        if not isinstance(event, TransactionEvent):
            timeline.record(event)
            continue
        value = event.value.encode() if event.value else None
        session = int(event.session, 16)
        log.append(Transaction(event.zxid, now, session, 1, event.op, event.path, value, True))
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
    run = three_nodes()
    begin = run.t
    run.settle("node4")
    run.claims("node4", 9, 4711)
    assert rules(judge(cut(run.end(*NODES), begin, "transaction"))) == {"unheld"}


def test_nobody_is_accused_when_what_was_broken_is_not_known() -> None:
    run = three_nodes()
    run.verb("partition", "node2")
    begin = run.t + 0.001
    events = refusing(run, BOUND + 1)
    report = judge(cut(events, begin, "verb"))
    assert report.violations == ()
    assert report.judged["liveness"] == 0
    assert report.judged["tickets"] == 0


def test_statuses_may_go() -> None:
    run = three_nodes()
    run.record(StatusEvent("node1", session=run.node("node1").session))
    begin = run.t + 0.001
    assert judge(cut(run.end(*NODES[:3]), begin, "status")).ok


# --- the report ---


def test_a_report_reads_well() -> None:
    run = three_nodes()
    run.claims("node<2>", 7, 4711)
    report = judge(run.end(*NODES[:3]))
    assert report.answered == 10
    assert str(report).startswith("1 violation: 10 answered, 0 failed, 0 unknown; ")
    assert "node&lt;2&gt; answered 7 at " in report._repr_html_()
    data = report.violations[0].to_json()
    assert data["rule"] == "unheld"
    assert len(data["events"]) == 2


@pytest.mark.parametrize("phases", [("ok",), ("invoke", "invoke")])
def test_requests_that_contradict_each_other_are_refused(
    phases: tuple[Literal["invoke", "ok"], ...],
) -> None:
    events = [RequestEvent("node1", phase=p, id=1, number=1) for p in phases]
    with pytest.raises(HistoryError, match="Request 1 to node1"):
        judge(events)


def test_a_long_run_is_judged_quickly() -> None:
    run = three_nodes(tick=0.001)
    names = [f"node{i}" for i in range(10, 210)]
    for name in names:
        run.connect(name)
        run.queue(name)
    for name in names:
        run.settle(name)
    for _ in range(50):
        fault = run.fault("pause", "node4")
        for name in names:
            run.ask(name)
        run.heal(fault, "pause", "node4")
    events = run.end(*names, *NODES[:3])
    begin = time.process_time()
    report = judge(events)
    assert report.ok
    assert report.answered > 10_000
    assert time.process_time() - begin < 3


def test_a_silence_is_counted_from_a_moment_on() -> None:
    run = three_nodes()
    run.ask("node1")
    run.t += 60.0  # nobody asks meanwhile
    since = run.t
    run.ask("node1")
    run.t += 2.0
    run.ask("node1")
    assert silences(run.events)["node1"] > 60
    assert silences(run.events, since)["node1"] == pytest.approx(2.01, abs=0.02)
