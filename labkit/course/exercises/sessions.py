"""Page 02: an ephemeral znode lives as long as its owner's session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import NoNodeError

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, appeared, in_every_order, users
from labkit.course.exercises.values import as_text, same
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_ALL_BUT_ITS_OWN = ["note", "passing", "theirs"]


# --- whose znode ------------------------------------------------------------------------------


def whose(zk: KazooClient, path: str) -> str:
    stat = zk.exists(path)
    if stat is None:
        return "gone"
    if stat.ephemeralOwner == 0:
        return "nobody's"
    return "mine" if stat.ephemeralOwner == zk.client_id[0] else "another's"


def _by_name(zk: KazooClient, path: str) -> str:
    """Believes what is written in it, which anybody can write."""
    try:
        data, stat = zk.get(path)
    except NoNodeError:
        return "gone"
    if stat.ephemeralOwner == 0:
        return "nobody's"
    return "mine" if data == b"node1" else "another's"


def _all_mine(zk: KazooClient, path: str) -> str:
    """Takes every ephemeral znode for its own."""
    stat = zk.exists(path)
    if stat is None:
        return "gone"
    return "mine" if stat.ephemeralOwner else "nobody's"


def _somebodys(zk: KazooClient, path: str) -> str:
    """Forgets that a znode may have no owner: 0 is no session."""
    stat = zk.exists(path)
    if stat is None:
        return "gone"
    return "mine" if stat.ephemeralOwner == zk.client_id[0] else "another's"


def _judge_whose(harness: Harness) -> None:
    you, rival, root = harness.client(), harness.rival, harness.root
    you.create(f"{root}/1", b"node1", ephemeral=True)
    rival.create(f"{root}/2", b"node2", ephemeral=True)
    rival.create(f"{root}/3", b"node1", ephemeral=True)
    you.create(f"{root}/4", b"node1")
    for name, wanted, why in (
        ("1", "mine", ""),
        ("2", "another's", ""),
        ("3", "another's", "Your name is in it, but it belongs to another session."),
        ("4", "nobody's", "It is not ephemeral, so that it belongs to no session."),
        ("5", "gone", "There is no such znode."),
    ):
        harness.equal(harness.call(you, f"{root}/{name}", kind=str), wanted, why)
    harness.expire(you)
    harness.equal(harness.call(you, f"{root}/1", kind=str), "gone", "It went with its session.")


# --- what is left -----------------------------------------------------------------------------


def left_behind(zk: KazooClient, root: str, session: int) -> list[str]:
    left = []
    for name in zk.get_children(root):
        stat = zk.exists(f"{root}/{name}")  # None if it has gone since the listing
        if stat is not None and stat.ephemeralOwner != session:
            left.append(name)
    return sorted(left)


def _the_permanent(zk: KazooClient, root: str, session: int) -> list[str]:
    """Thinks that every ephemeral znode goes, whoever owns it."""
    names = zk.get_children(root)
    stats = {name: zk.exists(f"{root}/{name}") for name in names}
    return sorted(name for name, stat in stats.items() if stat and stat.ephemeralOwner == 0)


def _what_is_there(zk: KazooClient, root: str, session: int) -> list[str]:
    """What is there now is not what will be left."""
    return sorted(zk.get_children(root))


def _the_others(zk: KazooClient, root: str, session: int) -> list[str]:
    """Forgets what belongs to nobody."""
    stats = {name: zk.exists(f"{root}/{name}") for name in zk.get_children(root)}
    owners = {name: stat.ephemeralOwner for name, stat in stats.items() if stat}
    return sorted(name for name, owner in owners.items() if owner not in (0, session))


def _trusting(zk: KazooClient, root: str, session: int) -> list[str]:
    """Expects that what was listed is still there when it looks."""
    names = zk.get_children(root)
    return sorted(n for n in names if zk.exists(f"{root}/{n}").ephemeralOwner != session)


def _leaves(code: Code, root: str) -> Specification:
    def use(me: Me) -> None:
        for path in (f"{root}-of-the-dead", f"{root}/theirs"):
            appeared(me, path)
        number = me.zk.exists(f"{root}/number")
        if number is None:
            return  # its session has ended before it could be asked
        left = code(me, root, number.ephemeralOwner, kind=list)
        me.knows(left=left)

    def dead(me: Me) -> None:
        both = me.zk.transaction()
        both.create(f"{root}-of-the-dead")
        both.create(f"{root}/number", ephemeral=True)
        both.commit()
        me.pause("is dead, and its session lives on")
        me.zk.stop()

    def rival(me: Me) -> None:
        me.zk.create(f"{root}/theirs", ephemeral=True)
        me.zk.delete(f"{root}/passing")

    def never(world: World) -> str | None:
        left, rights = world.actors[0].believes("left"), (["note", "theirs"], _ALL_BUT_ITS_OWN)
        if left is None or any(same(left, right) for right in rights):
            return None
        return f"it returned {as_text(left)}; of what is listed, {rights[0]} are left"

    znodes = [(f"{root}/note", b""), (f"{root}/passing", b"")]
    others = {"a dead server": dead, "a rival": rival}
    return users(code, use, others=others, never=never, znodes=znodes, faults=0)


EXERCISES = (
    Exercise(
        id="whose",
        page="02",
        title="Whose znode is it?",
        question=(
            'Return `"mine"` if the znode at `path` belongs to the session of `zk`, '
            '`"another\'s"` if it belongs to another session, `"nobody\'s"` if it belongs to '
            'none, and `"gone"` if it isn\'t there. The id of the session of `zk` is '
            f"`zk.client_id[0]`. {HOLDS}"
        ),
        hints=(
            "The stat that `zk.exists(path)` returns has a field `ephemeralOwner`.",
            "It is 0 for a znode that is not ephemeral.",
            "Compare it with your own session's id. What is written in a znode proves nothing.",
        ),
        answer=whose,
        wrong=(_by_name, _all_mine, _somebodys),
        judge=_judge_whose,
    ),
    Exercise(
        id="left-behind",
        page="02",
        title="What will be left?",
        question=(
            "A server has been killed; its session, with the id `session`, is still alive for a "
            "while. Which children of `root` will be there when that session has ended? Return "
            "their names as a sorted list. Others come and go meanwhile: a child may be gone when "
            "you look at it. (The lab will then end the session, and compare.) "
            f"{HOLDS}"
        ),
        hints=(
            'Look at every child: `zk.exists(f"{root}/{name}")` has its `ephemeralOwner`, or is '
            "`None` for a child that has gone.",
            "The end of a session takes that session's ephemerals, and nothing else.",
        ),
        answer=left_behind,
        wrong=(_the_permanent, _what_is_there, _the_others, _trusting),
        judge=in_every_order(_leaves),
    ),
)
