"""Page 09: a majority decides, and a follower may answer from the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import ConnectionLoss

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- how many may fail ------------------------------------------------------------------------


def survives(servers: int) -> int:
    return (servers - 1) // 2


def _half(servers: int) -> int:
    """Of four, two may not fail: two are not more than half of four."""
    return servers // 2


def _all_but_one(servers: int) -> int:
    """As if one server could decide alone."""
    return servers - 1


def _quorum(servers: int) -> int:
    """That is how many must live."""
    return servers // 2 + 1


def _judge_survives(harness: Harness) -> None:
    for servers, wanted in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (7, 3), (9, 4)):
        why = f"More than half of {servers} must live: {servers - wanted}."
        harness.equal(harness.call(servers, kind=int), wanted, why)


# --- read what is true ------------------------------------------------------------------------

# A server has seen what its client wrote when it confirms it, and so everything before that.
_CATCHES_UP = frozenset({"sync", "create", "set", "delete", "commit"})


def read_latest(zk: KazooClient, path: str) -> str:
    zk.sync(path)
    data, _ = zk.get(path)
    return data.decode()


def _read(zk: KazooClient, path: str) -> str:
    """Reads what the server happens to know."""
    return zk.get(path)[0].decode()


def _sync_later(zk: KazooClient, path: str) -> str:
    """Catches up when it has read."""
    data, _ = zk.get(path)
    zk.sync(path)
    return data.decode()


def _twice(zk: KazooClient, path: str) -> str:
    """Reads again: the same server, the same past."""
    zk.get(path)
    return zk.get(path)[0].decode()


def _judge_latest(harness: Harness) -> None:
    path = f"{harness.root}/notice"
    harness.zk.create(path, b"old")
    if not harness.followers:
        _judge_order(harness, path)
        return
    follower = harness.followers[0]
    you, writer = harness.client(server=follower), harness.client("a writer")
    you.sync(path)
    you.calls.clear()
    harness.partition(follower)
    writer.set(path, b"new")
    run = harness.run(you, path)
    harness.wait(lambda: run.done, 0.3)
    harness.heal(follower)
    run.wait()
    # One that is cut off for too long sends its clients away; that is no fault of theirs.
    if isinstance(run.error, ConnectionLoss):
        _judge_order(harness, path)
        return
    why = f"It had been written before you asked, but {follower} did not know of it yet."
    harness.equal(run.result(str), "new", why)
    _judge_order(harness, path, you.calls)


def _judge_order(harness: Harness, path: str, calls: list[str] | None = None) -> None:
    """A server that is alone is never behind, so look at what was asked of it."""
    if calls is None:
        you = harness.client()
        harness.zk.set(path, b"new")
        harness.equal(harness.call(you, path, kind=str), "new")
        calls = you.calls
    reads = [i for i, op in enumerate(calls) if op == "get"]
    if not reads or not _CATCHES_UP.intersection(calls[: reads[-1]]):
        harness.fail(
            "It read without a `sync` or a write before: a follower that is behind would have "
            "answered from the past.",
            "reads without having caught up",
            YOU,
        )


EXERCISES = (
    Exercise(
        id="survives",
        page="09",
        title="How many may fail?",
        question=(
            "An ensemble of `servers` works as long as more than half of them are alive and reach "
            "each other. Return how many may fail."
        ),
        hints=(
            "How many make more than half of 3, of 4, of 5? The others may fail.",
            "`//` divides and rounds down.",
        ),
        answer=survives,
        wrong=(_half, _all_but_one, _quorum),
        judge=_judge_survives,
    ),
    Exercise(
        id="read-latest",
        page="09",
        title="Read what is true",
        question=(
            "Somebody has written to the znode at `path` and told you so. Return what it holds "
            "(decoded, a string). The server that `zk` talks to may be behind the others. "
            f"{HOLDS}"
        ),
        hints=(
            "A read is answered by the server that you are connected to, from what it knows.",
            "`zk.sync(path)` returns when that server has caught up with the leader.",
        ),
        answer=read_latest,
        wrong=(_read, _sync_later, _twice),
        judge=_judge_latest,
        deadline=12.0,
    ),
)
