"""Schedules: drawn from a seed, always healed in time, never two on one server."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ConfigError
from labkit.judge.schedule import (
    ALL_KINDS,
    ENSEMBLE_FAULTS,
    FAULT_KINDS,
    HOLDER,
    LEADER,
    MACHINE_FAULTS,
    TAKEOVERS,
    schedule,
)
from labkit.servers.links.fault import LinkFault

NODES = [f"node{i}" for i in range(1, 9)]
ONE = ["zookeeper1"]
THREE = ["zookeeper1", "zookeeper2", "zookeeper3"]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(),
    seconds=st.floats(8, 60),
    nodes=st.integers(1, 16),
    servers=st.sampled_from([ONE, THREE]),
    kinds=st.sets(st.sampled_from(FAULT_KINDS), min_size=1),
    timeout=st.floats(0.5, 4),
)
def test_every_schedule_can_be_carried_out(seed, seconds, nodes, servers, kinds, timeout) -> None:
    names = [f"node{i}" for i in range(1, nodes + 1)]
    try:
        faults = schedule(seed, seconds, names, servers, sorted(kinds), session_timeout=timeout)
    except ConfigError:
        assert kinds <= set(TAKEOVERS)  # which need more time than others
        return
    assert faults or (kinds <= set(TAKEOVERS) and nodes == 1)
    assert {fault.kind for fault in faults} <= kinds
    for fault in faults:
        assert 1 <= fault.begin < fault.end <= seconds - timeout - 2 + 0.001
        assert fault.targets
        assert set(fault.targets) <= {*names, *servers, LEADER, HOLDER}
        assert (fault.targets == (HOLDER,)) == (fault.kind in TAKEOVERS)
        assert (fault.link is not None) == (fault.kind == "partition")
    for one, other in combinations(faults, 2):
        if one.begin < other.end and other.begin < one.end:
            assert not {one.kind, other.kind} & set(TAKEOVERS)
            assert not set(one.targets) & set(other.targets)
            touched = [t for f in (one, other) for t in {_service(t) for t in f.targets}]
            assert touched.count("zookeeper") < 2


def _service(target: str) -> str:
    return "zookeeper" if target == LEADER or target.startswith("zookeeper") else target


def test_the_same_seed_draws_the_same_faults() -> None:
    assert schedule(7, 20, NODES, ONE) == schedule(7, 20, NODES, ONE)
    assert len({tuple(schedule(seed, 20, NODES, ONE)) for seed in range(50)}) == 50


def test_thirty_seconds_are_enough_for_every_kind() -> None:
    complete = [
        {fault.kind for fault in schedule(seed, 30, NODES, ONE)} == set(FAULT_KINDS)
        for seed in range(100)
    ]
    assert sum(complete) >= 95


def test_thirty_seconds_are_enough_for_every_takeover() -> None:
    kinds = [kind for kind in ALL_KINDS if kind not in MACHINE_FAULTS]
    drawn = [
        {f.kind for f in schedule(seed, 30, NODES, THREE, kinds)} & set(TAKEOVERS)
        for seed in range(100)
    ]
    assert sum(found == set(TAKEOVERS) for found in drawn) >= 99


@pytest.mark.parametrize(
    ("seconds", "takeovers"),
    [(11, set()), (13, {"pause-holder"}), (20, set(TAKEOVERS) - set(ENSEMBLE_FAULTS))],
)
def test_a_run_that_is_long_enough_has_takeovers(seconds: float, takeovers: set[str]) -> None:
    drawn = [{f.kind for f in schedule(seed, seconds, NODES, ONE)} for seed in range(100)]
    assert sum(kinds & set(TAKEOVERS) == takeovers for kinds in drawn) >= 99
    assert all(kinds - set(TAKEOVERS) for kinds in drawn)  # and others beside them
    alone = schedule(1, seconds, ["node1"], ONE)  # nobody is there to take its number
    assert not {fault.kind for fault in alone} & set(TAKEOVERS)


def test_targets_and_links_of_every_sort_are_drawn() -> None:
    faults = [fault for seed in range(100) for fault in schedule(seed, 20, NODES, THREE)]
    killed = {len(fault.targets) for fault in faults if fault.kind == "kill"}
    assert {1, 3, 5, 8} <= killed
    for kind in ("pause", "partition", "kill-leader"):
        assert any(f.targets == (LEADER,) for f in faults if f.kind == kind)
    cuts = {(f.link.kind, f.link.direction) for f in faults if f.link is not None}
    assert cuts == {("drop", "both"), ("drop", "to"), ("drop", "from"), ("refuse", "both")}
    for kind in ("pause", "restart-zookeeper"):
        lengths = [fault.end - fault.begin for fault in faults if fault.kind == kind]
        assert min(lengths) < 2.0 < max(lengths)


def test_a_run_too_short_to_judge_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"take 5\.3 s or more"):
        schedule(1, 5, NODES, ONE)
    assert schedule(1, 5.4, NODES, ONE)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose among kill, pause"):
        schedule(1, 20, NODES, ONE, ["meteor"])  # type: ignore[list-item]


def test_no_kind_means_no_fault() -> None:
    assert schedule(1, 20, NODES, ONE, []) == []


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"every": 0}])
def test_a_link_fault_refuses_nonsense(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkFault("slow", **wrong)


def test_a_machines_faults_hit_all_that_is_on_it() -> None:
    machines = [["zookeeper1", "node1"], ["zookeeper2", "node2", "node3"]]
    drawn = [
        fault
        for seed in range(10)
        for fault in schedule(seed, 30, NODES, ONE, MACHINE_FAULTS, machines=machines)
    ]
    assert {fault.kind for fault in drawn} == set(MACHINE_FAULTS)
    assert {fault.targets for fault in drawn} == {tuple(machine) for machine in machines}
    with pytest.raises(ConfigError, match="several machines"):
        schedule(1, 30, NODES, ONE, MACHINE_FAULTS)
