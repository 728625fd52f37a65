"""Page 06: a restart expires nobody, and a new session competes with its own ghost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, appeared, in_every_order, users
from labkit.course.exercises.values import as_text, same
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- ghosts -----------------------------------------------------------------------------------


def ghosts(zk: KazooClient, root: str, current: set[int]) -> list[int]:
    found = []
    for name in zk.get_children(root):
        stat = zk.exists(f"{root}/{name}")  # None if it has gone since the listing
        if stat is not None and stat.ephemeralOwner not in current:
            found.append(int(name))
    return sorted(found)


def _of_a_name(zk: KazooClient, root: str, current: set[int]) -> list[int]:
    """Looks for names that are there twice; a ghost may well be alone."""
    seen, found = set(), []
    for name in sorted(zk.get_children(root), key=int, reverse=True):
        owner = zk.get(f"{root}/{name}")[0]
        if owner in seen:
            found.append(int(name))
        seen.add(owner)
    return sorted(found)


def _not_mine(zk: KazooClient, root: str, current: set[int]) -> list[int]:
    """Takes everybody else for a ghost."""
    stats = {name: zk.exists(f"{root}/{name}") for name in zk.get_children(root)}
    mine = zk.client_id[0]
    return sorted(int(name) for name, stat in stats.items() if stat and stat.ephemeralOwner != mine)


def _unowned(zk: KazooClient, root: str, current: set[int]) -> list[int]:
    """Looks for znodes without an owner; a ghost has one, that nobody is."""
    stats = {name: zk.exists(f"{root}/{name}") for name in zk.get_children(root)}
    return sorted(int(name) for name, stat in stats.items() if stat and stat.ephemeralOwner == 0)


def _trusting(zk: KazooClient, root: str, current: set[int]) -> list[int]:
    """Expects that what was listed is still there when it looks; a ghost may go at any moment."""
    names = zk.get_children(root)
    return sorted(int(n) for n in names if zk.exists(f"{root}/{n}").ephemeralOwner not in current)


def _haunted(code: Code, root: str) -> Specification:
    def use(me: Me) -> None:
        for path in (f"{root}-of-the-dead", f"{root}/2"):
            appeared(me, path)
        current = {me.zk.client_id[0], me.zk.exists(f"{root}/2").ephemeralOwner}
        me.says(returns=code(me, root, current, kind=list))

    def server(me: Me) -> None:
        me.zk.create(f"{root}/2", b"node2", ephemeral=True)

    def ghost(me: Me) -> None:
        both = me.zk.transaction()
        both.create(f"{root}-of-the-dead")
        for number in (9, 10):
            both.create(f"{root}/{number}", b"node1", ephemeral=True)
        both.commit()
        me.pause("is dead, and its session lives on")
        me.zk.stop()

    def never(world: World) -> str | None:
        said = world.actors[0].says("returns")
        there = [number for number in (9, 10) if world.owner(f"{root}/{number}") is not None]
        rights = ([9, 10],) if there else ([9, 10], [9], [10], [])  # as they went meanwhile
        if said is None or any(same(said, right) for right in rights):
            return None
        return f"it returned {as_text(said)}; sessions that no running server uses hold {there}"

    others = {"a server": server, "a dead server": ghost}
    return users(code, use, others=others, never=never, znodes=[(root, b"")], faults=0)


# --- may I keep it? ---------------------------------------------------------------------------


def may_keep(zk: KazooClient, path: str, session: int) -> bool:
    stat = zk.exists(path)
    still_me = zk.client_id[0] == session
    return still_me and stat is not None and stat.ephemeralOwner == session


def _connected(zk: KazooClient, path: str, session: int) -> bool:
    """A connection says nothing about the session that claimed."""
    return bool(zk.connected)


def _there(zk: KazooClient, path: str, session: int) -> bool:
    """It is there, but whose is it?"""
    return zk.exists(path) is not None


def _owned(zk: KazooClient, path: str, session: int) -> bool:
    """It belongs to the old session; but that is not ours any more, and will end."""
    stat = zk.exists(path)
    return stat is not None and stat.ephemeralOwner == session


def _careful(zk: KazooClient, path: str, session: int) -> bool:
    """Gives its number up whenever the connection has been lost."""
    return False


def _judge_keep(harness: Harness) -> None:
    root, first = harness.root, harness.client()
    session = first.client_id[0]
    path = f"{root}/1"
    first.create(path, b"node1", ephemeral=True)
    harness.reset(first)
    harness.equal(
        harness.call(first, path, session, kind=bool), True, "A new connection, the same session."
    )
    second = harness.client()
    harness.equal(
        harness.call(second, path, session, kind=bool),
        False,
        "This client has a new session. The old one's znode is a ghost, and will go.",
    )
    harness.expire(first)
    harness.equal(
        harness.call(first, path, session, kind=bool), False, "The session ended, the znode went."
    )
    harness.rival.create(path, b"node1", ephemeral=True)
    harness.equal(harness.call(first, path, session, kind=bool), False, "It is a rival's now.")


EXERCISES = (
    Exercise(
        id="ghosts",
        page="06",
        title="Ghosts",
        question=(
            "The children of `root` are numbers, each held by a session. `current` is a set with "
            "the ids of the sessions that the running servers use now. Return the numbers that any "
            "other session holds, as a sorted list of ints. A ghost may go while you look. "
            f"{HOLDS}"
        ),
        hints=(
            '`zk.exists(f"{root}/{name}")` tells the `ephemeralOwner`: the id of the holder\'s '
            "session. It is `None` when the znode has gone.",
            "A server that has come back with a new session has the same name as its own ghost: "
            "names don't tell them apart.",
            "Sort the ints, not their names.",
        ),
        answer=ghosts,
        wrong=(_of_a_name, _not_mine, _unowned, _trusting),
        judge=in_every_order(_haunted),
    ),
    Exercise(
        id="may-keep",
        page="06",
        title="Still mine?",
        question=(
            "You claimed the znode at `path` with the session `session` (an id). Then the "
            "connection was lost, and now `zk` is connected again. Return `True` if, as far as "
            "ZooKeeper can tell now, the number is still yours, and `False` if you have to claim "
            f"a new one. The id of the session of `zk` is `zk.client_id[0]`. {HOLDS}"
        ),
        hints=(
            "Is the session that the client has now the one that claimed?",
            "The same session, and the znode is there and belongs to it: then nothing was lost.",
            "If the znode belongs to your old session and you have a new one, it is your ghost's.",
        ),
        answer=may_keep,
        wrong=(_connected, _there, _owned, _careful),
        judge=_judge_keep,
    ),
)
