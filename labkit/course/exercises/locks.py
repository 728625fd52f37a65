"""Page 11: watch only your predecessor; one release, one wake-up."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kazoo.exceptions import ConnectionLoss, NoNodeError

from labkit.course.exercises.exercise import BREAKS, LAGS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, in_every_order, lagging, polls, removed, users
from labkit.explore.actor import Body, Me
from labkit.explore.ready import holds_its_znode
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- whom to watch ----------------------------------------------------------------------------


def predecessor(children: list[str], mine: str) -> str | None:
    queue = sorted(children, key=lambda name: name[-10:])
    place = queue.index(mine)
    return queue[place - 1] if place > 0 else None


def _the_holder(children: list[str], mine: str) -> str | None:
    """Everybody watches the holder: a release wakes all of them."""
    queue = sorted(children, key=lambda name: name[-10:])
    return queue[0] if queue[0] != mine else None


def _by_name(children: list[str], mine: str) -> str | None:
    """Sorts whole names; what comes first in them is random."""
    queue = sorted(children)
    place = queue.index(mine)
    return queue[place - 1] if place > 0 else None


def _round(children: list[str], mine: str) -> str | None:
    """Place 0 - 1 is the last one: the first would wait for the last."""
    queue = sorted(children, key=lambda name: name[-10:])
    return queue[queue.index(mine) - 1]


def _judge_predecessor(harness: Harness) -> None:
    names = [_enter(harness.rival, harness.root, letter) for letter in "dbeac"]
    for mine in range(5):
        children = harness.zk.get_children(harness.root)
        wanted = names[mine - 1] if mine else None
        why = f"By their last ten digits, {mine} came before it."
        harness.equal(harness.call(children, names[mine]), wanted, why)
    harness.rival.delete(f"{harness.root}/{names[1]}")
    children = harness.zk.get_children(harness.root)
    harness.equal(harness.call(children, names[2]), names[0], "The one between has left.")


def _enter(client: KazooClient, root: str, letter: str) -> str:
    path: str = client.create(f"{root}/{letter * 8}-lock-", ephemeral=True, sequence=True)
    return path.rsplit("/", 1)[1]


# --- acquire ----------------------------------------------------------------------------------


def queue_up(zk: KazooClient, root: str) -> str:
    mine = f"{uuid.uuid4().hex}-lock-"
    while True:
        try:
            path = zk.create(f"{root}/{mine}", ephemeral=True, sequence=True)
            return path.rsplit("/", 1)[1]
        except ConnectionLoss:  # in the queue or not? its name tells, when this server knows
            zk.retry(zk.sync, root)
            for name in zk.retry(zk.get_children, root):
                if name.startswith(mine):
                    return name


def acquire(zk: KazooClient, root: str) -> str:
    mine = queue_up(zk, root)
    told = threading.Event()
    while ahead := predecessor(zk.retry(zk.get_children, root), mine):
        try:
            zk.get(f"{root}/{ahead}", watch=lambda event: told.set())
        except (NoNodeError, ConnectionLoss):
            continue  # it has gone, or there is no watch: look again
        told.wait()
        told.clear()
    return f"{root}/{mine}"


def _losing(zk: KazooClient, root: str) -> str:
    """Its name is its own, but nobody looks for it when a reply is lost."""
    path: str = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, sequence=True)
    return _wait_for(zk, root, path)


def _queueing_twice(zk: KazooClient, root: str) -> str:
    """After a lost reply it queues up again, behind itself, and waits for ever."""
    while True:
        try:
            path = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, sequence=True)
            return _wait_for(zk, root, path)
        except ConnectionLoss:
            continue


def _watching_nothing(zk: KazooClient, root: str) -> str:
    """The reply to its read is lost, and with it the watch; yet it waits for a notice."""
    mine = queue_up(zk, root)
    told = threading.Event()
    while ahead := predecessor(zk.retry(zk.get_children, root), mine):
        with suppress(NoNodeError, ConnectionLoss):
            zk.get(f"{root}/{ahead}", watch=lambda event: told.set())
        told.wait()
        told.clear()
    return f"{root}/{mine}"


def _wait_for(zk: KazooClient, root: str, path: str) -> str:
    told = threading.Event()
    while ahead := predecessor(zk.get_children(root), path.rsplit("/", 1)[1]):
        if zk.exists(f"{root}/{ahead}", watch=lambda event: told.set()):
            told.wait()
            told.clear()
    return path


def _presuming(zk: KazooClient, root: str) -> str:
    """Takes it that who was ahead had the lock; it may have been waiting, and have died."""
    path: str = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, sequence=True)
    told = threading.Event()
    ahead = predecessor(zk.get_children(root), path.rsplit("/", 1)[1])
    if ahead and zk.exists(f"{root}/{ahead}", watch=lambda event: told.set()):
        told.wait()
    return path


def _herding(zk: KazooClient, root: str) -> str:
    """Watches the whole list, and is woken by everybody who comes or goes."""
    path: str = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, sequence=True)
    told = threading.Event()
    while predecessor(
        zk.get_children(root, watch=lambda event: told.set()), path.rsplit("/", 1)[1]
    ):
        told.wait()
        told.clear()
    return path


def _polling(zk: KazooClient, root: str) -> str:
    """Asks again and again."""
    path: str = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, sequence=True)
    while predecessor(zk.get_children(root), path.rsplit("/", 1)[1]):
        time.sleep(0.05)
    return path


def _permanent(zk: KazooClient, root: str) -> str:
    """If it dies, nobody ever gets the lock again."""
    path: str = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", sequence=True)
    told = threading.Event()
    while ahead := predecessor(zk.get_children(root), path.rsplit("/", 1)[1]):
        if zk.exists(f"{root}/{ahead}", watch=lambda event: told.set()):
            told.wait()
            told.clear()
    return path


def _in_line(code: Code, root: str, many: int = 2, **others: Body) -> Specification:
    """Users, and a lost request or reply."""

    def use(me: Me) -> None:
        path = code(me, root, kind=str)
        me.knows(holds=path)
        me.pause("holds the lock")
        me.knows(holds=None)
        removed(me, path)

    def never(world: World) -> str | None:
        queue = sorted(world.children(root), key=lambda name: name[-10:])
        for actor in world.actors:
            path = actor.believes("holds")
            places = [n for n in queue if world.owner(f"{root}/{n}") == actor.session]
            if path is not None and world.owner(path) == 0:
                return f"{actor.name}'s znode is not ephemeral: if it dies, the lock stays locked"
            if path is not None and [path] != [f"{root}/{name}" for name in places]:
                return f"{actor.name} returned {path!r}, and has {len(places)} places in the queue"
            if path is not None and places[0] != queue[0]:
                return f"{actor.name} takes the lock, and {queue[0]} is ahead of it: look again"
        return _woken(world, root)

    return users(
        code,
        use,
        many,
        others=others,
        never=never,
        znodes=[(root, b"")],
        truth=holds_its_znode,
    )


def _woken(world: World, root: str) -> str | None:
    """Whether more are woken than the next one."""
    seen: dict[str, str] = {}
    for actor in world.actors:
        for kind, path in actor.watches:
            if kind == "child" and path == root:
                return (
                    f"{actor.name} watches the whole queue, and is woken by somebody behind it, "
                    "which is none of its business: watch your predecessor only"
                )
            if seen.setdefault(path, actor.name) != actor.name:
                return f"{seen[path]} and {actor.name} both watch {path}: one release wakes both"
    return None


def _behind_others(code: Code, root: str) -> Specification:
    """Nothing is lost, but somebody leaves the queue without having had the lock."""

    def queues(word: str) -> Body:
        def body(me: Me) -> None:
            path = me.zk.create(f"{root}/{word:>08}-lock-", ephemeral=True, sequence=True)
            me.pause("has the lock" if word == "f" else "waits, and gives up")
            me.zk.delete(path)

        return body

    wanted = _in_line(code, root, 1, holder=queues("f"), leaver=queues("e"))

    def patient(world: World) -> str | None:
        return wanted.invariant(world) or polls(world, 12)

    return replace(wanted, invariant=patient, faults=0)


def _on_an_ensemble(code: Code, root: str) -> Specification:
    return lagging(_in_line(code, root, 1))


# --- release ----------------------------------------------------------------------------------


def release(zk: KazooClient, path: str) -> None:
    while True:
        try:
            zk.delete(path)
            return
        except NoNodeError:
            return  # the delete was done, its reply was lost
        except ConnectionLoss:
            continue  # done or not? try again


def _hopeful(zk: KazooClient, path: str) -> None:
    """A connection can break at any moment."""
    zk.delete(path)


def _satisfied(zk: KazooClient, path: str) -> None:
    """Takes it that the delete was done; the request may never have arrived."""
    with suppress(ConnectionLoss):
        zk.delete(path)


def _once_more(zk: KazooClient, path: str) -> None:
    """Tries again, and is surprised that it has been done."""
    while True:
        try:
            zk.delete(path)
            return
        except ConnectionLoss:
            continue


def _released(code: Code, root: str) -> Specification:
    path = f"{root}/lock-0000000000"

    def use(me: Me) -> None:
        code(me, path)
        me.knows(released=path)

    def never(world: World) -> str | None:
        if world.actors[0].believes("released") and world.owner(path) is not None:
            return "it returned, and the lock is still locked: the delete was never done"
        return None

    return users(code, use, never=never, znodes=[(path, b"")])


EXERCISES = (
    Exercise(
        id="predecessor",
        page="11",
        title="Whom to watch",
        question=(
            "`children` are all who queue for a lock, `mine` is one of them. Names end in ten "
            "digits that ZooKeeper gave them as they came; what stands before is random. Return "
            "the name right before `mine` in the queue, or `None` if `mine` is the first."
        ),
        hints=(
            "Sort by the last ten digits: `key=lambda name: name[-10:]`.",
            "In Python, `queue[-1]` is the last one. Mind the first place.",
        ),
        answer=predecessor,
        wrong=(_the_holder, _by_name, _round),
        judge=_judge_predecessor,
    ),
    Exercise(
        id="acquire",
        page="11",
        title="Acquire the lock",
        question=(
            "Join the queue below `root` with an ephemeral, sequential znode (its name ending in "
            "`-lock-` and the digits), wait until you are the first, and return your znode's path. "
            "Watch your predecessor only. It may leave without ever having had the lock. "
            f"`predecessor` from the exercise before helps. {BREAKS} {LAGS} Don't queue up twice."
        ),
        hints=(
            '`path = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, '
            'sequence=True)`; your name is `path.rsplit("/", 1)[1]`.',
            "`zk.get(..., watch=lambda event: told.set())` on your predecessor, then "
            "`told.wait()`. If `get` raises `NoNodeError` (from `kazoo.exceptions`), it has gone "
            "already: don't wait, look again.",
            "After each wake-up look again who is ahead of you; the loop ends when nobody is. If "
            "the create raises `ConnectionLoss`, `zk.sync(root)` and list: a name with your random "
            "part is your place. "
            "If the read raises it, there is no watch: look again.",
        ),
        answer=acquire,
        wrong=(
            _presuming,
            _herding,
            _polling,
            _permanent,
            _losing,
            _queueing_twice,
            _watching_nothing,
        ),
        judge=in_every_order(_behind_others, _in_line, _on_an_ensemble),
    ),
    Exercise(
        id="release",
        page="11",
        title="Release it, whatever happens",
        question=(
            "Delete the znode at `path`, so that it is gone for certain when you return. The "
            "connection may break at any moment: then `zk.delete` raises `ConnectionLoss` (from "
            "`kazoo.exceptions`), and nobody knows whether the delete was done. `path` is a "
            "sequential name, which is never given again."
        ),
        hints=(
            "After a `ConnectionLoss`, the only way to know is to ask again: try it again.",
            "If it had been done, the second try raises `NoNodeError`. Is that bad news?",
        ),
        answer=release,
        wrong=(_hopeful, _satisfied, _once_more),
        judge=in_every_order(_released),
    ),
)
