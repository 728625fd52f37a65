"""Page 03b: the error is silent about the one thing that you want to know."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss, NodeExistsError, NoNodeError

from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


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


def _counts(code: Code, root: str) -> Specification:
    path = f"{root}/counter"

    def use(me: Me) -> None:
        code(me, path)
        me.knows(added=1)

    def never(world: World, more: bool = False) -> str | None:
        added = sum(actor.believes("added") or 0 for actor in world.actors)
        number = int(world.data(path) or 0)
        if number < added or (more and number > added):
            times = "once" if added == 1 else "twice"
            return f"one was added {times}, so the counter should be {added}, and it is {number}"
        return None

    def at_the_end(world: World) -> str | None:
        return never(world, more=True)

    return users(code, use, 2, never=never, at_the_end=at_the_end, znodes=[(path, b"0")])


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


def _whose(code: Code, root: str) -> Specification:
    path = f"{root}/seat"

    def use(me: Me) -> None:
        me.says(returns=code(me, path, "ann", kind=bool))

    def rival(me: Me) -> None:  # another session, of the same name
        me.zk.create(path, b"ann", ephemeral=True)
        me.pause("has it")
        me.zk.delete(path)

    def never(world: World) -> str | None:
        said, owner = world.actors[0].says("returns"), world.owner(path)
        whose = {None: "not there", 0: "not ephemeral", world.actors[0].session: "your session's"}
        if said is None or said is (owner == world.actors[0].session):
            return None
        what = whose.get(owner, "another session's, whatever its data say")
        return f"it returned {said}, and the znode is {what}"

    return users(code, use, others={"a rival": rival}, never=never, znodes=[(root, b"")])


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
        judge=in_every_order(_counts),
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
        judge=in_every_order(_whose),
    ),
)
