"""Page 12: the last arrival releases all."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.orders import Code, in_every_order, polls, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- barrier ----------------------------------------------------------------------------------


def enter(zk: KazooClient, root: str, size: int) -> None:
    zk.create(f"{root}/{uuid.uuid4().hex}", ephemeral=True)
    told = threading.Event()
    while len(zk.get_children(root, watch=lambda event: told.set())) < size:
        told.wait()
        told.clear()


def _first_notice(zk: KazooClient, root: str, size: int) -> None:
    """Takes the first arrival for the last."""
    zk.create(f"{root}/{uuid.uuid4().hex}", ephemeral=True)
    told = threading.Event()
    if len(zk.get_children(root, watch=lambda event: told.set())) < size:
        told.wait()


def _count_then_watch(zk: KazooClient, root: str, size: int) -> None:
    """Counts, then watches: who comes in between is not told and not counted."""
    zk.create(f"{root}/{uuid.uuid4().hex}", ephemeral=True)
    told = threading.Event()
    while len(zk.get_children(root)) < size:
        zk.get_children(root, watch=lambda event: told.set())
        told.wait()
        told.clear()


def _polling(zk: KazooClient, root: str, size: int) -> None:
    """Asks again and again."""
    zk.create(f"{root}/{uuid.uuid4().hex}", ephemeral=True)
    while len(zk.get_children(root)) < size:
        time.sleep(0.05)


def _counting_up(zk: KazooClient, root: str, size: int) -> None:
    """Counts notices; one who leaves is a notice, too."""
    zk.create(f"{root}/{uuid.uuid4().hex}", ephemeral=True)
    seen = len(zk.get_children(root))
    told = threading.Event()
    while seen < size:
        zk.get_children(root, watch=lambda event: told.set())
        told.wait()
        told.clear()
        seen += 1


def _meets(code: Code, root: str) -> Specification:
    def use(me: Me) -> None:
        code(me, root, 3)
        me.says(returns="at last")

    def rivals(me: Me) -> None:
        """One comes, goes, and comes again; then another one comes, and opens the gate."""
        path = me.zk.create(f"{root}/rival-", ephemeral=True, sequence=True)
        me.zk.delete(path)
        me.zk.create(f"{root}/rival-", ephemeral=True, sequence=True)
        both = me.zk.transaction()
        both.create(f"{root}/another", ephemeral=True)
        both.create(f"{root}/ready")
        both.commit()

    def never(world: World) -> str | None:
        here = [name for name in world.children(root) if name != "ready"]
        if world.actors[0].says("returns") and len(here) < 3:
            return f"it went on with {len(here)} of 3 there"
        return polls(world, 9)

    others = {"rivals": rivals}
    return users(code, use, others=others, never=never, znodes=[(root, b"")], faults=0)


EXERCISES = (
    Exercise(
        id="barrier",
        page="12",
        title="The last one opens the door",
        question=(
            "Come to the barrier: create an ephemeral znode of your own below `root`. Return as "
            "soon as `size` are there. Some may leave before that, and here nobody leaves after: a "
            "simpler barrier than the page's, and counting will do. (For those who like the gate "
            "better: whoever comes last creates `ready` below `root`.) Let ZooKeeper tell you; "
            f"don't ask again and again. {HOLDS}"
        ),
        hints=(
            "`zk.get_children(root, watch=...)` lists and watches in one step.",
            "A notice says that somebody came or went: count again, with a new watch.",
            "As for one znode: `told = threading.Event()`, set in the watch, waited for in the "
            "loop, cleared after it.",
        ),
        answer=enter,
        wrong=(_first_notice, _count_then_watch, _polling, _counting_up),
        judge=in_every_order(_meets),
    ),
)
