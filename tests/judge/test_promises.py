"""Which promises a run has tested: each is told apart from a run that lacks just that."""

from __future__ import annotations

from history import SESSION_TIMEOUT, HistoryBuilder

from labkit.judge.report import Report
from labkit.judge.rules import check
from labkit.judge.volleys import as_runs
from labkit.story.event import IDS, Event, RequestEvent

ALL = {"answers", "unheld", "lowest-free", "liveness", "tickets", "lease"}


def judge(events: list[Event]) -> Report:
    return check(events, session_timeout=SESSION_TIMEOUT)


def a_takeover(
    *, asleep: bool = True, taken: bool = True, answered: bool = True, queued: bool = True
) -> list[Event]:
    """node1 loses its number while it sleeps, node2 takes it, and a request waits for node1."""
    run = HistoryBuilder()
    run.settle("node1")
    run.settle("node2")
    run.ask("node1")
    run.ask("node2")
    if asleep:
        run.verb("pause", "node1")
    else:
        run.verb("partition", "node1")
    run.leave("node1")
    if taken:
        run.leave("node2")
        run.settle("node2")
        if answered:
            run.ask("node2")
    request = next(run.ids)
    if queued:
        run.invoke("node1", request)
    run.verb("resume" if asleep else "heal", "node1")
    if not queued:
        run.invoke("node1", request)
    run.refuse("node1", request, "lease-lapsed")
    return run.end("node1", "node2")


def test_a_takeover_tests_everything() -> None:
    report = judge(a_takeover())
    assert report.ok
    assert report.untested == {}
    assert "not tested" not in str(report)
    assert "not tested" not in report._repr_html_()


def test_a_lease_is_not_tested_without_each_part_of_a_takeover() -> None:
    for lacking in ("asleep", "taken", "answered", "queued"):
        report = judge(a_takeover(**{lacking: False}))
        assert report.ok, lacking  # it says what it does not prove, and is no failure
        assert "lease" in report.untested, lacking
        assert "[not tested] lease: no node slept past its session's end" in str(report)
        assert ">lease</td>" in report._repr_html_()


def test_who_never_woke_has_shown_nothing() -> None:
    silent = [e for e in a_takeover() if not (isinstance(e, RequestEvent) and e.reason)]
    assert "lease" in judge(silent).untested


def a_stall(*, leader: bool = True, again: bool = True, queued: bool = True) -> list[Event]:
    """The leader sleeps and wakes up; then node1 sleeps through the end of its session."""
    run = HistoryBuilder()
    run.settle("node1")
    run.ask("node1")
    run.verb("pause", "zookeeper3" if leader else "node3")
    run.verb("resume", "zookeeper3" if leader else "node3")
    run.verb("partition", "zookeeper2")
    if again:
        run.verb("pause", "node1")
    run.leave("node1")
    request = next(run.ids)
    if queued:
        run.invoke("node1", request)
    if again:
        run.verb("resume", "node1")
    if not queued:
        run.invoke("node1", request)
    run.refuse("node1", request, "lease-lapsed")
    run.verb("heal", "zookeeper2")
    return run.end("node1")


def test_a_renewal_is_not_tested_without_each_part_of_a_stall() -> None:
    assert "renewal" not in judge(a_stall()).untested
    for lacking in ("leader", "again", "queued"):
        report = judge(a_stall(**{lacking: False}))
        assert report.ok, lacking
        assert "renewal" in report.untested, lacking
        assert ">renewal</td>" in report._repr_html_()


def test_a_quiet_run_has_tested_nothing() -> None:
    run = HistoryBuilder()
    for name in ("node1", "node2"):
        run.settle(name)
        run.ask(name)
    report = judge(run.events)
    assert set(report.untested) == ALL
    assert report.vacuous
    assert "not tested" not in str(report)  # that it is vacuous says it all


def test_two_claims_at_a_time_give_a_choice() -> None:
    run = HistoryBuilder()
    for _ in range(2):
        run.progress("node1")
    for name in ("node2", "node1"):
        run.settle(name)
    assert "lowest-free" not in judge(run.end("node1", "node2")).untested


# --- IDs --------------------------------------------------------------------------------------


def test_rows_of_ids() -> None:
    assert as_runs([]) == ()
    assert as_runs([5]) == ((5, 5),)
    assert as_runs([1, 2, 3, 10, 11, 5]) == ((1, 3), (10, 11), (5, 5))
    assert as_runs([1, 1]) == ((1, 1), (1, 1))


def with_ids(*made: tuple[str, list[int]]) -> list[Event]:
    run = HistoryBuilder()
    run.settle("node1")
    run.settle("node2")
    fault = run.fault("pause", "node3")
    for name, ids in made:
        request = next(run.ids)
        run.record(RequestEvent(name, phase="invoke", id=request, path=IDS))
        run.record(RequestEvent(name, phase="ok", id=request, path=IDS, runs=as_runs(ids)))
    run.ask("node1")
    run.heal(fault, "pause", "node3")
    return run.end("node1", "node2")


def test_ids_that_are_all_different() -> None:
    report = judge(with_ids(("node1", [*range(100)]), ("node2", [*range(100, 200)])))
    assert report.ok
    assert report.judged["ids"] == 200
    assert ">ids</td><td style='text-align:right'>200</td>" in report._repr_html_()


def test_an_id_that_two_have_made_is_told() -> None:
    report = judge(with_ids(("node1", [*range(100)]), ("node2", [99, 500])))
    (violation,) = report.violations
    assert (violation.rule, violation.subject) == ("ids", "node1,node2")
    assert violation.message.startswith("node1 and node2 both made the ID 99, at ")


def test_an_id_that_one_has_made_twice_is_told() -> None:
    for made in ([("node1", [7, 8, 7])], [("node1", [7, 8]), ("node1", [8])]):
        (violation,) = judge(with_ids(*made)).violations
        assert violation.rule == "ids"
        assert violation.subject == "node1"
        assert "twice" in violation.message


def test_ids_of_one_worker_at_two_nodes_are_what_tests_them() -> None:
    worker = 5 << 12
    apart = with_ids(("node1", [worker]), ("node2", [worker + 4096]), ("node1", [worker + 1]))
    assert "ids" in judge(apart).untested
    not_again = with_ids(("node1", [worker]), ("node2", [worker + 1]))
    assert "ids" in judge(not_again).untested
    same = with_ids(("node1", [worker]), ("node2", [worker + 1]), ("node1", [worker + 8192]))
    assert "ids" not in judge(same).untested
    nobody = [e for e in apart if not (isinstance(e, RequestEvent) and e.path == IDS)]
    assert "ids" not in judge(nobody).untested  # nobody asked for any: nothing to say of them
