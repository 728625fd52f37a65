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
    said = mutant.chaos(1, 9, "--faults=pause-holder", "--nodes=3")
    assert "lease" not in said["untested"]
    assert {violation["rule"] for violation in said["violations"]} >= {"unheld"}


def test_a_text_that_is_not_there_cannot_be_replaced() -> None:
    wrong = Mutant("wrong", (("lease.py", "no such text", ""),))
    with pytest.raises(ValueError, match="lease.py has 0 times 'no such text'"), wrong.planted():
        pass
