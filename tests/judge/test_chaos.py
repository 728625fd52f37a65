"""Runs under fire, on real servers: what is right passes, what is wrong is caught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit.errors import ConfigError
from labkit.judge.chaos import chaos
from labkit.judge.report import RULES
from labkit.judge.schedule import ENSEMBLE_FAULTS, FAULT_KINDS, TAKEOVERS, schedule
from labkit.lab.lab import Lab
from labkit.see.verdict import verdict
from labkit.servers.base import ServerState
from labkit.story.event import FaultEvent

TIMEOUT = 2.0


@pytest.fixture(scope="module")
def target() -> Iterator[Lab]:
    with Lab(4, backend="process", session_timeout=TIMEOUT, request_deadline=1.0) as lab:
        yield lab


def test_the_lowest_free_number_survives_every_kind_of_fault(target: Lab) -> None:
    said: list[tuple[str, float | None]] = []
    result = chaos(target, seed=7, seconds=10, ids=True, progress=lambda *what: said.append(what))
    assert result.ok, str(result)
    assert result.report.answered > 200
    assert result.report.during_faults > 100
    assert all(result.report.judged[rule] for rule in RULES)
    plan = schedule(
        7, 10, [f"node{i}" for i in range(1, 5)], ["zookeeper1"], session_timeout=TIMEOUT
    )
    assert [fault.kind for fault in result.faults] == [fault.kind for fault in plan]
    begun = [event.t for event in _faults(target) if event.phase == "begin"]
    assert [fault.begin for fault in result.faults] == pytest.approx(begun, abs=1e-3)  # one clock
    assert {node.state for node in target.nodes} == {ServerState.RUNNING}
    fractions = [fraction for _, fraction in said if fraction is not None]
    assert 0 <= fractions[0] < 0.1
    assert fractions[-1] > 0.9

    data = result.to_json()
    assert (data["seed"], data["vacuous"], data["violations"]) == (7, False, [])
    assert data["answered"] + data["failed"] + data["unknown"] > 300
    assert {fault["kind"] for fault in data["faults"]} <= set(FAULT_KINDS)
    assert data["longest_silence"].keys() == {node.name for node in target.nodes}
    assert str(result).startswith("seed 7, ")
    assert "<li>" in result._repr_html_()


def test_the_samples_algorithm_is_caught() -> None:
    # Eight that start at once: the sample was tried by starting one after the other.
    with Lab(
        8, backend="process", session_timeout=TIMEOUT, request_deadline=1.0, claim="original"
    ) as lab:
        result = chaos(lab, seed=7, seconds=9)
        assert not result.ok
        found = {violation.rule for violation in result.report.violations}
        assert {"answers", "unheld"} <= found
        assert {violation["rule"] for violation in result.to_json()["violations"]} == found
        first = result.report.violations[0]
        assert verdict(lab.timeline, result.report).alt.startswith(first.message)


def test_whatever_ends_a_run_everything_is_healed(target: Lab) -> None:
    class Enough(Exception):
        pass

    def interrupt(what: str, _: float | None) -> None:
        if "node" in what:
            raise Enough

    for kind in ("kill", "pause", "partition"):
        with pytest.raises(Enough):
            chaos(target, seed=3, seconds=12, faults=[kind], progress=interrupt)  # type: ignore[list-item]
        assert {node.state for node in target.nodes} == {ServerState.RUNNING}
        target.wait_until(lambda: len({node.sequence() for node in target.nodes}) == 4, 10)
    phases = [event.phase for event in _faults(target)]
    assert phases.count("begin") == phases.count("end") >= 3


@pytest.mark.long
def test_takeovers_test_the_lease(target: Lab) -> None:
    kinds = [kind for kind in TAKEOVERS if kind not in ENSEMBLE_FAULTS]
    result = chaos(target, seed=1, seconds=13, faults=kinds)
    assert result.ok, str(result)
    assert {fault.kind for fault in result.faults} == set(kinds)
    assert "lease" not in result.report.untested
    assert result.to_json()["untested"] == result.report.untested
    for fault in result.faults:
        holder, rival = fault.targets
        assert holder != rival
    assert {node.state for node in target.nodes} == {ServerState.RUNNING}
    # Not the numbers from before: after a fault, a node may hold a larger one than it would now.
    target.wait_until(lambda: len({node.sequence() for node in target.nodes}) == 4, 10)


def test_a_single_server_has_no_leader_that_could_sleep(target: Lab) -> None:
    with pytest.raises(ConfigError, match="can't have pause-leader: take 3 or more, and 2 s"):
        chaos(target, seed=1, seconds=20, faults=["pause-leader"])


def test_a_takeover_that_is_interrupted_is_healed(target: Lab) -> None:
    class Enough(Exception):
        pass

    def interrupt(what: str, fraction: float | None) -> None:
        if fraction and fraction > 0.3:
            raise Enough

    with pytest.raises(Enough):
        chaos(target, seed=1, seconds=9, faults=["pause-holder"], progress=interrupt)
    assert {node.state for node in target.nodes} == {ServerState.RUNNING}
    target.wait_until(lambda: len({node.sequence() for node in target.nodes}) == 4, 10)


def test_a_run_without_faults_is_vacuous(target: Lab) -> None:
    result = chaos(target, seed=1, seconds=1, faults=[])
    (reason,) = result.report.vacuous
    assert reason in ("no fault was injected", "no request overlapped a fault")
    assert not result.ok
    assert result.to_json()["vacuous"] is True


def test_a_run_too_short_is_refused_before_anything_breaks(target: Lab) -> None:
    before = len(_faults(target))
    with pytest.raises(ConfigError, match=r"take 5\.3 s or more"):
        chaos(target, seed=1, seconds=5)
    assert len(_faults(target)) == before


def _faults(lab: Lab) -> list[FaultEvent]:
    return [event for event in lab.timeline if isinstance(event, FaultEvent)]
