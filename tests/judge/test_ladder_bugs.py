"""Known bugs fall on the rung that is there for them, as docs/ladder.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mutants import MUTANTS
from sample_bugs import BUGS, Sound

from labkit.judge.ladder import attempt

NOTE = (Path(__file__).parent.parent.parent / "docs" / "ladder.md").read_text()

#: Bugs planted in the lab's own server, each with the rung that catches it.
PLANTED = {
    "the ticket is not removed": 2,
    "the token does not grow": 3,
    "a lost connection counts as a lost session": 5,
    "a number is answered from memory after LOST": 7,
    "whether a claim was done whose reply was lost is not looked at": 8,
    "a reservation of IDs is set without its version": 7,
    "the lease lasts T, not T/2": 9,
    "the lease lasts 0.9 T, not T/2": 9,
    "one write is enough after a lapse": 9,
    "a number too low is claimed": 11,
}


def seeds(rung: int) -> range:
    """Those of which one has to catch the bug: on rung 2 servers race, and meet by chance."""
    return range(1, 9) if rung == 2 else range(1, 2)


@pytest.mark.parametrize(("server", "rung"), BUGS, ids=[server.__name__ for server, _ in BUGS])
def test_a_bug_of_the_samples_falls_on_its_rung(server: type, rung: int) -> None:
    steps = (attempt(rung, server, seed=seed, backend="process") for seed in seeds(rung))
    assert any(step.finding is not None for step in steps)


@pytest.mark.parametrize("rung", sorted({rung for _, rung in BUGS}))
def test_without_the_bug_the_rung_holds(rung: int) -> None:
    step = attempt(rung, Sound, seed=1, backend="process")
    assert step.ok, step.verdict


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_falls_on_its_rung(bug: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == bug)
    said = (mutant.attempt(PLANTED[bug], seed=seed) for seed in seeds(PLANTED[bug]))
    assert any(step["violation"] for step in said)


def test_the_note_says_which_rung_catches_which() -> None:
    for number, (_, rung) in enumerate(BUGS, start=1):
        assert re.search(rf"^\| {number} \|.*\| {rung}, ", NOTE, re.MULTILINE), number
    for bug, rung in PLANTED.items():
        assert re.search(rf"^\| {re.escape(bug)} \| {rung}, ", NOTE, re.MULTILINE), bug
