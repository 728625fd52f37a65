"""The planted bugs can be planted, and the one that most runs miss is caught."""

from __future__ import annotations

import compileall

import pytest
from mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_planted(mutant: Mutant) -> None:
    with mutant.planted() as directory:
        assert compileall.compile_dir(directory / "labkit" / "node", quiet=1)


def test_they_are_told_apart() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len({m.changes for m in MUTANTS})
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS})


@pytest.mark.slow
def test_a_missing_lease_is_caught() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "there is no lease")
    said = mutant.chaos(1, 9, "--faults=pause-holder", "--nodes=3", "--ensemble=1")
    assert "lease" not in said["untested"]
    assert {violation["rule"] for violation in said["violations"]} >= {"unheld"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "fault", "rule"),
    [
        ("the lease lasts T, not T/2", "pause-leader", "unheld"),
        ("the lease lasts 0.9 T, not T/2", "pause-leader", "unheld"),
        ("one write is enough after a lapse", "pause-leader", "unheld"),
        ("a reservation of IDs is set without its version", "pause-holder", "ids"),
        ("a reservation of IDs is set without its version", "cut-holder", "ids"),
    ],
)
def test_a_single_fault_shows_the_bug_that_it_is_for(name: str, fault: str, rule: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    said = mutant.chaos(1, 10, f"--faults={fault}", "--nodes=6")
    assert rule in {violation["rule"] for violation in said["violations"]}, said
    sound = Mutant("none", ()).chaos(1, 10, f"--faults={fault}", "--nodes=6")
    assert not sound["violations"], sound
    assert not {"renewal", "ids"} & sound["untested"].keys() - {
        "renewal" if rule == "ids" else "ids"
    }


def test_a_text_that_is_not_there_cannot_be_replaced() -> None:
    wrong = Mutant("wrong", (("lease.py", "no such text", ""),))
    with pytest.raises(ValueError, match="lease.py has 0 times 'no such text'"), wrong.planted():
        pass
