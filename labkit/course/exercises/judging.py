"""Page 13: green means nothing until a fault and a request overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import Harness


class Said(NamedTuple):
    """One answer that somebody got: which node, which number, with which fencing token, when."""

    node: str
    number: int
    token: int
    asked: float
    answered: float

    def __repr__(self) -> str:
        when = f"{self.asked:g}–{self.answered:g} s"
        return f"{self.node}: {self.number}, token {self.token}, {when}"


# --- stale answers ----------------------------------------------------------------------------


def stale_answers(answers: list[Said]) -> list[Said]:
    stale = []
    for old in answers:
        for new in answers:
            if new.number == old.number and new.token > old.token and new.answered < old.asked:
                stale.append(old)
                break
    return stale


def _two_nodes(answers: list[Said]) -> list[Said]:
    """A number may pass from one node to another."""
    return [
        one
        for one in answers
        if any(o.number == one.number and o.node != one.node for o in answers)
    ]


def _out_of_order(answers: list[Said]) -> list[Said]:
    """Two requests that overlap may be answered in either order."""
    return [
        old
        for old in answers
        if any(
            new.number == old.number and new.token > old.token and new.answered < old.answered
            for new in answers
        )
    ]


def _any_number(answers: list[Said]) -> list[Said]:
    """Tokens of different numbers say nothing about each other's holders."""
    return [
        old
        for old in answers
        if any(new.token > old.token and new.answered < old.asked for new in answers)
    ]


def _judge_stale(harness: Harness) -> None:
    root = harness.root
    tokens = []
    for name in ("1", "2"):  # real claims: the holder of 1 goes, another comes
        harness.rival.create(f"{root}/{name}", ephemeral=True)
        tokens.append(harness.zk.exists(f"{root}/{name}").czxid)
    harness.rival.delete(f"{root}/1")
    harness.rival.create(f"{root}/1", ephemeral=True)
    newer = harness.zk.exists(f"{root}/1").czxid
    before, after = Said("node1", 1, tokens[0], 0.0, 0.1), Said("node3", 1, newer, 2.0, 2.1)
    zombie = Said("node1", 1, tokens[0], 3.0, 3.1)
    during = Said("node1", 1, tokens[0], 1.9, 2.4)
    other = Said("node2", 2, tokens[1], 3.0, 3.1)
    for answers, wanted, why in (
        ([before, after], [], "The number passed from node1 to node3, which is as it should be."),
        ([before, after, zombie], [zombie], "It was asked after the newer claim had been seen."),
        ([after, zombie, before], [zombie], "The list may be in any order."),
        ([before, after, during], [], "It was asked before anybody had seen the newer claim."),
        ([before, after, other], [], "Number 2 is another number, with tokens of its own."),
        ([], [], ""),
    ):
        for answer in answers:
            harness.note("the answers", str(answer))
        harness.equal(harness.call(list(answers), kind=list), wanted, why)


# --- a run that proves nothing ----------------------------------------------------------------


def is_vacuous(
    requests: Sequence[tuple[float, float, bool]], faults: Sequence[tuple[float, float]]
) -> bool:
    for asked, ended, _ in requests:
        for begin, end in faults:
            if asked < end and begin < ended:
                return not any(ok for _, _, ok in requests)
    return True


def _no_fault(
    requests: Sequence[tuple[float, float, bool]], faults: Sequence[tuple[float, float]]
) -> bool:
    """There was a fault; but did anybody ask while it lasted?"""
    return not faults or not any(ok for _, _, ok in requests)


def _within(
    requests: Sequence[tuple[float, float, bool]], faults: Sequence[tuple[float, float]]
) -> bool:
    """Requests are short, and those that are not hang over the fault's edge."""
    tested = any(b <= asked and ended <= e for asked, ended, _ in requests for b, e in faults)
    return not tested or not any(ok for _, _, ok in requests)


def _only_overlap(
    requests: Sequence[tuple[float, float, bool]], faults: Sequence[tuple[float, float]]
) -> bool:
    """A run in which every request failed has tested nothing, either."""
    return not any(asked < e and b < ended for asked, ended, _ in requests for b, e in faults)


def _judge_vacuous(harness: Harness) -> None:
    early, late = (0.0, 0.1, True), (9.0, 9.1, True)
    inside, hanging, around = (2.2, 2.3, True), (1.9, 2.4, False), (1.0, 5.0, True)
    refused = (2.2, 2.3, False)
    fault = [(2.0, 3.0)]
    for requests, faults, wanted, why in (
        ([early, late], [], True, "There was no fault."),
        ([early, late], fault, True, "Nobody asked while the fault lasted."),
        ([early, inside], fault, False, "One asked in the middle of the fault."),
        ([early, hanging], fault, False, "One asked before the fault and waited into it."),
        ([around], fault, False, "One waited all through the fault."),
        ([refused, hanging], fault, True, "Nobody ever got a number."),
        ([], fault, True, "Nobody asked."),
        ([late], [(0.5, 1.0), (8.5, 9.05)], False, "The second fault met a request."),
    ):
        harness.equal(harness.call(requests, faults, kind=bool), wanted, why)


EXERCISES = (
    Exercise(
        id="stale-answers",
        page="13",
        title="Catch the zombie",
        question=(
            "`answers` is a list of answers that clients got, in any order; each has `.node`, "
            "`.number`, `.token`, `.asked` and `.answered` (seconds). Return the stale ones: those "
            "that were *asked* for when an answer with a newer token for the same number had "
            "already been *answered*."
        ),
        hints=(
            "A number may pass from one node to another; that alone is no mistake.",
            "Compare each answer with each other: same number, newer token, and `new.answered < "
            "old.asked`.",
            "Requests that overlap prove nothing: either may have been served first.",
        ),
        answer=stale_answers,
        wrong=(_two_nodes, _out_of_order, _any_number),
        judge=_judge_stale,
    ),
    Exercise(
        id="vacuous",
        page="13",
        title="A run that proves nothing",
        question=(
            "`requests` is a list of `(asked, ended, ok)`, `faults` a list of `(begin, end)`, all "
            "in seconds. Return `True` if the run proves nothing: if no request overlapped a fault "
            "(at least for a moment), or no request was ok."
        ),
        hints=(
            "Two stretches of time overlap if each begins before the other ends.",
            "A run in which nobody ever got a number cannot have given one out twice.",
        ),
        answer=is_vacuous,
        wrong=(_no_fault, _within, _only_overlap),
        judge=_judge_vacuous,
    ),
)
