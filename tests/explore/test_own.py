"""The lab's own node in every schedule: nothing right is blamed, and each planted bug is found."""

from __future__ import annotations

import pytest
from own_bugs import FOUND, LEASES, MUTANTS, NOTE, OUTSIDE, Lease, explored, lasting

from labkit.explore import own
from labkit.explore.search import search
from labkit.explore.specification import Specification
from labkit.node import lease

_SOUND = [own.node(2, 2, 0), own.node(1, 2, 1), own.ids(2, 1, 0), own.ids(2, 2, 0, 1)]


@pytest.mark.parametrize("wanted", _SOUND, ids=[f"{w.name}, {w.scope[:7]}" for w in _SOUND])
def test_our_own_node_is_right_in_all_states(wanted: Specification) -> None:
    found = search(wanted, 60)
    assert found.violation is None, str(found)
    assert found.complete


@pytest.mark.parametrize(("part", "breaks"), [(0.75, False), (0.8, True)])
def test_a_lease_holds_for_what_a_server_has_not_reported(
    monkeypatch: pytest.MonkeyPatch, part: float, breaks: bool
) -> None:
    monkeypatch.setattr(lease, "LEASE", part)
    found = search(own.lease(1 / 4, ("goes dark",), 1), 60)
    assert (found.violation == "node answers 1, which it does not hold") == breaks, str(found)
    assert found.complete != breaks


def test_a_touch_that_still_succeeds_gives_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = own.lease(0, ("freezes",), 1)
    monkeypatch.setattr(lease.Lease, "acknowledged", _renew_at_once)
    found = search(wanted, 60)
    assert found.violation is not None
    kinds = [step["kind"] for step in found.schedule]
    assert kinds.index("begins to end") < kinds.index("expires")


def _renew_at_once(held: lease.Lease, sent: float) -> None:
    lease.Lease.__init__(held, held._clock, own.T, sent)


@pytest.mark.long
@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_has_a_shortest_schedule(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert explored(mutant, FOUND[name])["violation"] is not None


@pytest.mark.long
@pytest.mark.parametrize("lease", LEASES, ids=[lease.what for lease in LEASES])
def test_a_lease_breaks_from_there_on(lease: Lease) -> None:
    sound, broken = (explored(lasting(p), lease.scope) for p in (lease.holds, lease.breaks))
    assert sound["complete"], sound["violation"]
    assert broken["violation"] is not None


def test_every_planted_bug_is_in_the_note() -> None:
    assert {mutant.name for mutant in MUTANTS} == {*FOUND, *OUTSIDE}
    text = NOTE.read_text()
    for name in (*FOUND, *OUTSIDE):
        assert name in text, name
