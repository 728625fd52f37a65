"""Pages 09 and 09b: a majority decides, and a follower may answer from the past."""

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


# --- who leads ---------------------------------------------------------------------------------


def leads(servers: dict[int, int], size: int) -> int | None:
    if 2 * len(servers) <= size:
        return None  # no majority, no leader
    return max(servers, key=lambda server: (servers[server], server))


def _without_majority(servers: dict[int, int], size: int) -> int | None:
    """Two that have lost the other three may not decide anything."""
    return max(servers, key=lambda server: (servers[server], server), default=None)


def _largest_id(servers: dict[int, int], size: int) -> int | None:
    """The id only decides between servers that know the same."""
    return max(servers) if 2 * len(servers) > size else None


def _longest_log(servers: dict[int, int], size: int) -> int | None:
    """Compares counters, as if a leader of old could still win by having proposed much."""
    if 2 * len(servers) <= size:
        return None
    return max(servers, key=lambda server: (servers[server] & 0xFFFFFFFF, server))


def _judge_leads(harness: Harness) -> None:
    first, second = 0x1_0000_0009, 0x2_0000_0001
    for servers, size, wanted, why in (
        ({1: first, 2: first, 3: first}, 3, 3, "All know the same: the largest id decides."),
        ({1: first + 1, 2: first, 3: first}, 3, 1, "Server 1 knows of one proposal more."),
        ({2: first, 3: first}, 3, 3, "Two of three are a majority."),
        ({3: first}, 3, None, "One of three is no majority."),
        ({1: second, 2: first, 3: first}, 3, 1, "Its zxid is of a newer epoch, so it is larger."),
        ({4: first, 5: first}, 5, None, "Two of five are no majority."),
        ({1: first, 2: first}, 4, None, "Half of four is no majority."),
        ({1: first, 2: second, 5: first + 7}, 5, 2, "A newer epoch beats any counter."),
        ({}, 3, None, "Nobody is alive."),
    ):
        harness.equal(harness.call(dict(servers), size), wanted, why)


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


# --- as new as somebody told you ---------------------------------------------------------------


def read_since(zk: KazooClient, path: str, zxid: int) -> str:
    data, stat = zk.get(path)
    if stat.mzxid < zxid:
        zk.sync(path)
        data, stat = zk.get(path)
    return data.decode()


def _trusting(zk: KazooClient, path: str, zxid: int) -> str:
    """Takes what the server happens to know."""
    return zk.get(path)[0].decode()


def _always(zk: KazooClient, path: str, zxid: int) -> str:
    """Pays for the way to the leader, also when there is no need."""
    zk.sync(path)
    return zk.get(path)[0].decode()


def _forgetful(zk: KazooClient, path: str, zxid: int) -> str:
    """Catches up, and returns what it had read before."""
    data, stat = zk.get(path)
    if stat.mzxid < zxid:
        zk.sync(path)
    return data.decode()


def _by_birth(zk: KazooClient, path: str, zxid: int) -> str:
    """Compares when the znode was created, which no write changes."""
    data, stat = zk.get(path)
    if stat.czxid < zxid:
        zk.sync(path)
        data, stat = zk.get(path)
    return data.decode()


def _judge_since(harness: Harness) -> None:
    path = f"{harness.root}/notice"
    harness.zk.create(path, b"old")
    if not harness.followers:
        _judge_need(harness, path)
        return
    follower = harness.followers[0]
    you, writer = harness.client(server=follower), harness.client("a writer")
    you.sync(path)
    harness.partition(follower)
    zxid = writer.set(path, b"new").mzxid
    run = harness.run(you, path, zxid)
    harness.wait(lambda: run.done, 0.3)
    harness.heal(follower)
    run.wait()
    if not isinstance(run.error, ConnectionLoss):  # cut off for too long, it sends clients away
        why = f"The zxid is of a write that {follower} did not know of yet."
        harness.equal(run.result(str), "new", why)
    _judge_need(harness, path)


def _judge_need(harness: Harness, path: str) -> None:
    """What is new enough needs no sync; what is not needs one before the read that counts."""
    you = harness.client()
    stat = harness.zk.set(path, b"newer")
    you.sync(path)
    you.calls.clear()
    harness.equal(harness.call(you, path, stat.mzxid, kind=str), "newer")
    if you.calls != ["get"]:
        harness.fail(
            f"The server knew of that write, and you called {', '.join(you.calls)}: one `get` is "
            "enough. A sync asks the leader, so don't pay for it without need.",
            "asks the leader without need",
            YOU,
        )
    you.calls.clear()
    harness.call(you, path, stat.mzxid + 1000, kind=str)  # of a write that nobody knows of yet
    if you.calls != ["get", "sync", "get"]:
        harness.fail(
            "It had read something older than the zxid that it was given, and did not catch up "
            f"before it returned: it called {', '.join(you.calls)}.",
            "returns what is too old",
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
        id="leads",
        page="09",
        title="Who may lead?",
        question=(
            "`servers` are those that are alive and reach each other, each with the last zxid on "
            "its disk, such as `{1: 0x100000007, 3: 0x100000007}`; the ensemble has `size` servers "
            "in all. Return the number of the one that will lead: the one that knows most, and "
            "among those that know the same, the one with the largest number. Return `None` if "
            "they can't elect a leader."
        ),
        hints=(
            "How many make a majority of `size`? Fewer elect nobody.",
            "Compare whole zxids: the epoch is in the upper half, so a newer one is larger.",
            "`max(servers, key=lambda server: (servers[server], server))`",
        ),
        answer=leads,
        wrong=(_without_majority, _largest_id, _longest_log),
        judge=_judge_leads,
    ),
    Exercise(
        id="read-latest",
        page="09b",
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
    ),
    Exercise(
        id="read-since",
        page="09b",
        title="As new as you were told",
        question=(
            "Somebody has written to the znode at `path`, and tells you the `zxid` of that write. "
            "Return what the znode holds (decoded, a string), as of that write or a later one. "
            "The znode's `stat.mzxid` says which write was the last one that your server knows "
            "of. A `sync` asks the leader: call it only if you need it. If a call ends in "
            "`ConnectionLoss`, let it through: nothing was changed, and the caller may ask again."
        ),
        hints=(
            "`data, stat = zk.get(path)`: is `stat.mzxid` as large as `zxid`?",
            "If not: `zk.sync(path)`, and then read again.",
        ),
        answer=read_since,
        wrong=(_trusting, _always, _forgetful, _by_birth),
        judge=_judge_since,
    ),
)
