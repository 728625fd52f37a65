"""Page 03b: the error is silent about the one thing that you want to know."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss, NodeExistsError, NoNodeError

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_WRITES = ("set", "transaction")  # by which a reader may count


# --- add one, exactly once --------------------------------------------------------------------


def increment(zk: KazooClient, path: str) -> None:
    mark = f"{path}/{uuid.uuid4().hex}"
    while not zk.retry(zk.exists, mark):
        value, stat = zk.retry(zk.get, path)
        change = zk.transaction()
        change.set_data(path, str(int(value) + 1).encode(), version=stat.version)
        change.create(mark)
        with suppress(ConnectionLoss):  # done or not: the mark will tell
            change.commit()
    with suppress(NoNodeError):  # sent again after a lost reply
        zk.retry(zk.delete, mark)


def _bare_delete(zk: KazooClient, path: str) -> None:
    """Counts well, and breaks when the reply to its last delete is lost."""
    mark = f"{path}/{uuid.uuid4().hex}"
    while not zk.retry(zk.exists, mark):
        value, stat = zk.retry(zk.get, path)
        change = zk.transaction()
        change.set_data(path, str(int(value) + 1).encode(), version=stat.version)
        change.create(mark)
        with suppress(ConnectionLoss):
            change.commit()
    zk.retry(zk.delete, mark)


def _once_more(zk: KazooClient, path: str) -> None:
    """After an error, once more: what had been done is done twice."""
    while True:
        value, stat = zk.retry(zk.get, path)
        try:
            zk.set(path, str(int(value) + 1).encode(), version=stat.version)
            return
        except (ConnectionLoss, BadVersionError):
            pass


def _refused_is_done(zk: KazooClient, path: str) -> None:
    """Takes a refusal after an error for its own success: it may have been a rival's."""
    while True:
        value, stat = zk.retry(zk.get, path)
        new = str(int(value) + 1).encode()
        try:
            zk.set(path, new, version=stat.version)
            return
        except BadVersionError:
            continue
        except ConnectionLoss:
            pass
        with suppress(BadVersionError):
            zk.retry(zk.set, path, new, version=stat.version)
        return


def _one_higher(zk: KazooClient, path: str) -> None:
    """Looks whether the counter has grown: as if nobody else counted."""
    value, stat = zk.retry(zk.get, path)
    while int(zk.retry(zk.get, path)[0]) == int(value):
        with suppress(ConnectionLoss, BadVersionError):
            zk.set(path, str(int(value) + 1).encode(), version=stat.version)


def _unversioned(zk: KazooClient, path: str) -> None:
    """Leaves a mark, but writes over what a rival has written in the meantime."""
    mark = f"{path}/{uuid.uuid4().hex}"
    while not zk.retry(zk.exists, mark):
        value, _ = zk.retry(zk.get, path)
        change = zk.transaction()
        change.set_data(path, str(int(value) + 1).encode())
        change.create(mark)
        with suppress(ConnectionLoss):
            change.commit()


def _judge_increment(harness: Harness) -> None:
    path, expected = f"{harness.root}/counter", 0
    harness.zk.create(path, b"0")
    rival = harness.rival

    def counter() -> int:
        return int(harness.zk.get(path)[0])

    def rival_counts(_: str = "") -> None:
        nonlocal expected
        expected += 1
        value, stat = rival.get(path)
        rival.set(path, str(int(value) + 1).encode(), version=stat.version)

    def count(what: str) -> None:
        nonlocal expected
        expected += 1
        harness.call(you, path)
        if counter() != expected:
            harness.fail(
                f"{what}: the counter should be {expected} now, and is {counter()}.",
                f"the counter is {counter()}, not {expected}",
            )

    you = harness.client()
    count("Nothing was broken")
    for op in _WRITES:
        you.before(op, rival_counts)
    count("A rival counted between your read and your write")
    you = harness.client()
    before = counter()
    for op in _WRITES:
        harness.lose_reply(you, op, lambda: counter() > before)
    count("The reply to your write was lost")
    you = harness.client()
    for op in _WRITES:
        harness.lose_request(you, op)
    count("Your write was lost on its way")
    you = harness.client()
    for op in _WRITES:
        harness.lose_request(you, op)
        you.before(op, rival_counts)
    count("Your write was lost on its way, and a rival counted")
    you = harness.client()
    harness.lose_reply(you, "delete", lambda: not harness.zk.get_children(path))
    count("The reply to your delete was lost")


# --- mine, or another's -----------------------------------------------------------------------


def mine(zk: KazooClient, path: str, name: str) -> bool:
    while True:
        try:
            zk.create(path, name.encode(), ephemeral=True)
            return True
        except ConnectionLoss:
            continue
        except NodeExistsError:
            pass
        try:
            _, stat = zk.retry(zk.get, path)
            return stat.ephemeralOwner == zk.client_id[0]
        except NoNodeError:
            continue  # it went away between the two: try again


def _exists_is_lost(zk: KazooClient, path: str, name: str) -> bool:
    """Sent again after the error, its own znode looks like another's."""
    try:
        zk.retry(zk.create, path, name.encode(), ephemeral=True)
        return True
    except NodeExistsError:
        return False


def _error_is_lost(zk: KazooClient, path: str, name: str) -> bool:
    """Takes the error for a no: what it holds then, nobody knows."""
    try:
        zk.create(path, name.encode(), ephemeral=True)
        return True
    except (ConnectionLoss, NodeExistsError):
        return False


def _by_name(zk: KazooClient, path: str, name: str) -> bool:
    """Looks at the name alone: a znode of its own earlier session is soon gone."""
    while True:
        try:
            zk.create(path, name.encode(), ephemeral=True)
            return True
        except ConnectionLoss:
            continue
        except NodeExistsError:
            return bool(zk.retry(zk.get, path)[0] == name.encode())


def _judge_mine(harness: Harness) -> None:
    rival = harness.rival

    def ask(path: str, expected: bool, why: str) -> None:
        harness.equal(harness.call(you, path, "ann", kind=bool), expected, why)

    you = harness.client()
    ask(f"{harness.root}/free", True, "Nobody else wanted it.")
    rival.create(f"{harness.root}/taken", b"bob", ephemeral=True)
    ask(f"{harness.root}/taken", False, "A rival had it.")
    path = f"{harness.root}/lost"
    harness.lose_reply(you, "create", lambda: harness.zk.exists(path) is not None)
    ask(path, True, "Your create was carried out, and its reply was lost.")
    path = f"{harness.root}/late"
    harness.lose_request(you, "create")
    you.before("create", lambda _: rival.create(path, b"bob", ephemeral=True))
    ask(path, False, "Your create was lost on its way, and a rival was faster.")
    rival.create(f"{harness.root}/ghost", b"ann", ephemeral=True)
    ask(f"{harness.root}/ghost", False, "That znode is another session's, whatever its data say.")


EXERCISES = (
    Exercise(
        id="increment",
        page="03b",
        title="Add one, exactly once",
        question=(
            "The znode at `path` holds a number as text. Add one to it, exactly once, whatever "
            "reply or request is lost, and while others add to it too; return when it is done. A "
            "call may end in `ConnectionLoss` at any time; your session survives."
        ),
        hints=(
            "`zk.retry(zk.get, path)` is safe. A `set` that is sent again is not.",
            "A version keeps you from overwriting a rival; it doesn't tell who has written.",
            "In one transaction: the new number, with its version, and a znode of your own below "
            "`path`. Whether that znode is there answers everything.",
        ),
        answer=increment,
        wrong=(_once_more, _refused_is_done, _one_higher, _unversioned, _bare_delete),
        judge=_judge_increment,
        deadline=15.0,
    ),
    Exercise(
        id="mine",
        page="03b",
        title="Mine, or another's",
        question=(
            "Create an ephemeral znode at `path` with `name` as its data. Return whether it is "
            "*yours*: `True` also if the reply was lost (a call may end in `ConnectionLoss`, and "
            "your session survives), `False` if another session has it. A "
            "session's id is in `zk.client_id[0]`, and a znode's owner in its "
            "`stat.ephemeralOwner`."
        ),
        hints=(
            "After `ConnectionLoss` the znode is there or not: send the create again.",
            "`NodeExistsError` may speak of your own znode.",
            "`zk.get(path)` returns the data and the stat, whose `ephemeralOwner` is a session.",
        ),
        answer=mine,
        wrong=(_exists_is_lost, _error_is_lost, _by_name),
        judge=_judge_mine,
        deadline=12.0,
    ),
)
