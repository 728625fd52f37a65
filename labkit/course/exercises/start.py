"""Page 00: a real ZooKeeper, and a server that is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import RIVAL, Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient


def is_taken(zk: KazooClient, path: str) -> bool:
    return zk.exists(path) is not None


def _written(zk: KazooClient, path: str) -> bool:
    """Asks whether something is written in it; a znode may be empty and there all the same."""
    try:
        return bool(zk.get(path)[0])
    except NoNodeError:
        return False


def _whatever(zk: KazooClient, path: str) -> Any:
    """Returns what ZooKeeper said, which is neither True nor False."""
    return zk.exists(path)


def _judge(harness: Harness) -> None:
    you, holder, path = harness.client(), harness.client("the holder"), f"{harness.root}/1"
    harness.equal(harness.call(you, path, kind=bool), False, "There is no such znode.")
    holder.create(path, b"node1", ephemeral=True)
    harness.equal(harness.call(you, path, kind=bool), True)
    harness.cut(holder)
    harness.equal(
        harness.call(you, path, kind=bool),
        True,
        "Its holder is silent, but ZooKeeper waits for it.",
    )
    harness.expire(holder)
    harness.equal(harness.call(you, path, kind=bool), False, "Its holder's session has timed out.")
    harness.client(RIVAL).create(path, ephemeral=True)
    harness.equal(
        harness.call(you, path, kind=bool), True, "The znode is there, though nothing is in it."
    )


EXERCISES = (
    Exercise(
        id="is-taken",
        page="00",
        title="Is it taken?",
        question=(
            "A number is taken when there is a znode for it. `zk` is a client of the lab's "
            "ZooKeeper, `path` a path such as `/sequence/1`. Return `True` if that znode is "
            "there, and `False` if it is not. (`zk.exists(path)` returns facts about the znode, "
            "or `None`.)"
        ),
        hints=(
            "`zk.exists(path)` returns `None` when there is no such znode.",
            "Compare: `... is not None` is `True` or `False`.",
        ),
        answer=is_taken,
        wrong=(_written, _whatever),
        judge=_judge,
    ),
)
