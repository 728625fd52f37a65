"""Page 16: servers are restarted in an order, and an ensemble changes only with two majorities."""

from __future__ import annotations

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import Harness

# --- the order of a rolling restart ------------------------------------------------------------


def restart_order(modes: dict[str, str | None]) -> list[str]:
    if None in modes.values():
        return []  # one is missing already
    return sorted(modes, key=lambda name: (modes[name] == "leader", name))


def _by_name(modes: dict[str, str | None]) -> list[str]:
    """If the leader comes first, the next leader is restarted too: two elections or three."""
    return [] if None in modes.values() else sorted(modes)


def _in_spite(modes: dict[str, str | None]) -> list[str]:
    """With one server missing, the next one that is stopped may be one too many."""
    return sorted(modes, key=lambda name: (modes[name] == "leader", name))


def _without_leader(modes: dict[str, str | None]) -> list[str]:
    """The leader has to be restarted as well, only last."""
    return [] if None in modes.values() else sorted(n for n in modes if modes[n] != "leader")


def _judge_order(harness: Harness) -> None:
    leader, follower = "leader", "follower"
    for modes, wanted, why in (
        (
            {"zk1": leader, "zk2": follower, "zk3": follower},
            ["zk2", "zk3", "zk1"],
            "The leader comes last, so that there is one election.",
        ),
        (
            {"zk1": follower, "zk2": "observer", "zk3": leader, "zk4": follower},
            ["zk1", "zk2", "zk4", "zk3"],
            "The leader comes last; all others in the order of their names.",
        ),
        (
            {"zk1": leader, "zk2": None, "zk3": follower},
            [],
            "zk2 serves nobody: find out why, before another one is stopped.",
        ),
    ):
        harness.equal(harness.call(dict(modes), kind=list), wanted, why)


# --- may it change? ----------------------------------------------------------------------------


def may_change(old: set[str], new: set[str], alive: set[str]) -> bool:
    return all(2 * len(voters & alive) > len(voters) for voters in (old, new))


def _old_only(old: set[str], new: set[str], alive: set[str]) -> bool:
    """The new voters would begin without a majority."""
    return 2 * len(old & alive) > len(old)


def _new_only(old: set[str], new: set[str], alive: set[str]) -> bool:
    """The old voters may be deciding something else at the same time."""
    return 2 * len(new & alive) > len(new)


def _all_together(old: set[str], new: set[str], alive: set[str]) -> bool:
    """A majority of both together need not be a majority of each."""
    return 2 * len((old | new) & alive) > len(old | new)


def _judge_change(harness: Harness) -> None:
    def servers(ids: str) -> set[str]:
        return {f"zk{i}" for i in ids}

    for old, new, alive, wanted, why in (
        ("123", "12345", "12345", True, "Everybody lives."),
        ("123", "12345", "12", False, "Of the five new voters, two live: no majority."),
        ("123", "345", "1345", True, "Two of the old voters live, and all of the new."),
        ("123", "345", "345", False, "Of the three old voters, one lives: no majority."),
        ("123", "3456789", "13456", True, "Two of three, and four of seven."),
        ("12345", "123", "145", False, "Of the three new voters, one lives: no majority."),
    ):
        given = harness.call(servers(old), servers(new), servers(alive), kind=bool)
        harness.equal(given, wanted, why)


EXERCISES = (
    Exercise(
        id="restart-order",
        page="16",
        title="In which order?",
        question=(
            "`modes` says of each server by name what it is: `leader`, `follower`, `observer`, or "
            "`None` if it serves nobody. Return the names in the order of a rolling restart that "
            "makes one election: the leader last, the others by name. If a server serves nobody, "
            "return an empty list."
        ),
        hints=(
            "Is `None` among the values? Then nothing may be stopped.",
            "`False` sorts before `True`: `key=lambda name: (modes[name] == 'leader', name)`.",
        ),
        answer=restart_order,
        wrong=(_by_name, _in_spite, _without_leader),
        judge=_judge_order,
    ),
    Exercise(
        id="may-change",
        page="16",
        title="May it change?",
        question=(
            "`old` and `new` are the voters before and after a reconfiguration, `alive` the "
            "servers that are up and reach each other; all three are sets of names. Return whether "
            "the change can be made: a majority of the old voters has to agree to go, and a "
            "majority of the new ones has to be there to go on."
        ),
        hints=(
            "`old & alive` are the old voters that live. Are they more than half of `old`?",
            "Ask the same of `new`; both have to be true.",
        ),
        answer=may_change,
        wrong=(_old_only, _new_only, _all_together),
        judge=_judge_change,
    ),
)
