"""Page 10b: where servers stand, and how many of them a machine may take along."""

from __future__ import annotations

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import Harness

# --- how many machines may die ----------------------------------------------------------------


def machines_to_lose(servers: list[int]) -> int:
    total, left, lost = sum(servers), sum(servers), 0
    for here in sorted(servers, reverse=True):  # at the worst, the fullest machines
        left -= here
        if 2 * left <= total:
            break
        lost += 1
    return lost


def _by_machines(servers: list[int]) -> int:
    """A majority of the machines; what counts is the majority of ZooKeeper's servers."""
    return (len(servers) - 1) // 2


def _by_servers(servers: list[int]) -> int:
    """As if each server died alone; a machine takes all of its servers along."""
    return (sum(servers) - 1) // 2


def _at_best(servers: list[int]) -> int:
    """The emptiest machines first: nobody chooses which ones die."""
    total, left, lost = sum(servers), sum(servers), 0
    for here in sorted(servers):
        left -= here
        if 2 * left <= total:
            break
        lost += 1
    return lost


def _half_is_enough(servers: list[int]) -> int:
    """Goes on with half of them; it takes more than half."""
    total, left, lost = sum(servers), sum(servers), 0
    for here in sorted(servers, reverse=True):
        left -= here
        if 2 * left < total:
            break
        lost += 1
    return lost


def _judge_lose(harness: Harness) -> None:
    for servers, wanted, why in (
        ([1, 1, 1], 1, "Two of three are left."),
        ([3], 0, "All three are on one machine."),
        ([2, 1], 0, "The first machine has two of three."),
        ([2, 2, 1], 1, "Three of five are left, or four."),
        ([3, 1, 1], 0, "The first machine has three of five."),
        ([1, 1, 1, 1, 1], 2, "Three of five are left."),
        ([2, 2], 0, "Two of four are no majority."),
        ([1, 1, 1, 1], 1, "Three of four are left; two would be no majority."),
        (
            [1, 2, 1, 1],
            1,
            "After one death at least three of five are left, after two perhaps only two.",
        ),
        ([1, 0, 1, 1, 0], 1, "At the worst, both dead machines had a server."),
    ):
        harness.equal(harness.call(list(servers), kind=int), wanted, why)


# --- how many to run --------------------------------------------------------------------------


def nodes_to_run(needed: int, machines: int) -> int:
    nodes = needed
    while nodes - -(-nodes // machines) < needed:  # the fullest machine dies
        nodes += 1
    return nodes


def _one_more(needed: int, machines: int) -> int:
    """Enough for the death of one node, but a machine has several."""
    return needed + 1


def _proportional(needed: int, machines: int) -> int:
    """Forgets that nodes can't be divided, so that some machine has more than its share."""
    return needed * machines // (machines - 1)


def _twice(needed: int, machines: int) -> int:
    """Safe, and paid for twice: with more machines, each has a smaller share."""
    return 2 * needed


def _judge_run(harness: Harness) -> None:
    for needed, machines, wanted in (
        (2, 2, 4),
        (4, 3, 6),
        (1, 2, 2),
        (3, 3, 5),
        (6, 3, 9),
        (7, 3, 11),
        (5, 4, 7),
        (10, 5, 13),
        (1, 9, 2),
    ):
        most = -(-wanted // machines)
        why = f"With {wanted} on {machines} machines, one has up to {most}; {needed} must be left."
        harness.equal(harness.call(needed, machines, kind=int), wanted, why)


EXERCISES = (
    Exercise(
        id="machines-to-lose",
        page="10b",
        title="How many machines may die?",
        question="`servers` says how many of ZooKeeper's servers are on each machine, such as "
        "`[2, 2, 1]`. Return the largest number of machines that may die, no matter which, so that "
        "those that are left still have more than half of all servers.",
        hints=(
            "Nobody chooses which machines die: think of the worst ones.",
            "Take away the fullest machine, again and again, for as long as more than half of all "
            "servers are left.",
        ),
        answer=machines_to_lose,
        wrong=(_by_machines, _by_servers, _at_best, _half_is_enough),
        judge=_judge_lose,
    ),
    Exercise(
        id="nodes-to-run",
        page="10b",
        title="How many to run?",
        question="`needed` nodes have to be left when one of the `machines` has died. Nodes are "
        "spread evenly: no machine has two more than another. Return the smallest number of nodes "
        "to run.",
        hints=(
            "The fullest machine has the number of nodes divided by that of machines, rounded up.",
            "Begin with `needed`, and add nodes for as long as too few would be left.",
        ),
        answer=nodes_to_run,
        wrong=(_one_more, _proportional, _twice),
        judge=_judge_run,
    ),
)
