"""Page 11: watch only your predecessor; one release, one wake-up."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import ConnectionLoss, NoNodeError

from labkit.course.exercises.exercise import BREAKS, Exercise
from labkit.course.exercises.harness import RIVAL, Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_SOON = 2.0  # seconds in which a release should have had its effect


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
        except ConnectionLoss:  # in the queue or not? its name tells
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


def _judge_acquire(harness: Harness) -> None:
    _judge_queue(harness)
    for lost in ("create", "get or exists"):
        _judge_loss(harness, lost)


def _judge_loss(harness: Harness, lost: str) -> None:
    """A reply is lost: to the create, or to the read that leaves the watch."""
    you, holder = harness.client(), harness.client("the holder")
    root = f"{harness.root}/lost-{lost[:3]}"
    harness.zk.create(root)
    first = _enter(holder, root, "f")
    done = (lambda: harness.owned(you, root)) if lost == "create" else you.is_waiting
    harness.lose_reply(you, lost, done)
    run = harness.run(you, root)
    harness.wait(lambda: run.done or (you.losses and you.connected), _SOON)
    _quiet(harness, you, run)
    holder.delete(f"{root}/{first}")
    if not harness.wait(lambda: run.done, _SOON):
        count = len(harness.owned(you, root))
        why = "A read whose reply is lost has left no watch."
        if count > 1:
            why = f"Your session has {count} places in the queue."
        harness.fail(
            f"A reply was lost, then the lock was released, and you still wait. {why}",
            "still waits",
        )
    path = run.result(str)
    places = [f"{root}/{name}" for name in harness.owned(you, root)]
    if places != [path]:
        harness.fail(
            f"A reply was lost. It returned {harness.show(path)}, and your session has "
            f"{len(places)} places in the queue.",
            f"has {len(places)} places",
        )


def _judge_queue(harness: Harness) -> None:
    you, root = harness.client(), f"{harness.root}/queue"
    harness.zk.create(root)
    holder, waiting = harness.client("the holder"), harness.client(RIVAL)
    first = _enter(holder, root, "f")
    second = _enter(waiting, root, "e")
    run = harness.run(you, root)
    if not harness.wait(lambda: len(harness.zk.get_children(root)) == 3 or run.done, _SOON):
        harness.fail("There is no znode of yours in the queue.", "has not joined the queue")
    settled = _quiet(harness, you, run)
    third = _enter(waiting, root, "d")
    waiting.delete(f"{root}/{third}")
    if _quiet(harness, you, run) > settled:
        harness.fail(
            "It was woken by somebody behind it, which is none of its business: watch your "
            "predecessor only.",
            "is woken for nothing",
        )
    waiting.delete(f"{root}/{second}")
    _quiet(harness, you, run)
    if run.done:
        run.result()
        harness.fail(
            "The one ahead of you gave up waiting, and you took the lock, which the holder still "
            "has. Look again who is ahead.",
            "takes a lock that is held",
        )
    holder.delete(f"{root}/{first}")
    if not harness.wait(lambda: run.done, _SOON):
        harness.fail("The lock was released, and you still wait.", "still waits")
    path = run.result(str)
    stat = harness.zk.exists(path) if path.startswith(root) else None
    if stat is None:
        harness.fail(f"It returned {path!r}, which is no znode below `root`.", f"returns {path!r}")
    if stat.ephemeralOwner != you.client_id[0]:
        harness.fail("Your znode is not ephemeral: if you die, the lock stays locked.", "permanent")
    if len(you.calls) > 9:
        harness.fail(f"It made {len(you.calls)} calls; 6 are enough.", f"{len(you.calls)} calls")


def _quiet(harness: Harness, client: Any, run: Any) -> int:
    """Wait a while in which nothing should happen; how many calls there have been."""
    harness.wait(lambda: run.done, 0.35)
    return len(client.calls)


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


def _judge_release(harness: Harness) -> None:
    you = harness.client()

    def locked() -> str:
        path: str = you.create(f"{harness.root}/lock-", ephemeral=True, sequence=True)
        return path

    def released(path: str, why: str = "") -> None:
        if harness.zk.exists(path) is not None:
            harness.fail(f"It returned, and the lock is still locked. {why}", "leaves it locked")

    first = locked()
    harness.call(you, first)
    released(first)
    second = locked()
    harness.lose_reply(you, "delete", lambda: harness.zk.exists(second) is None)
    harness.call(you, second)
    released(second)
    harness.wait(lambda: you.connected)
    third = locked()
    harness.lose_request(you, "delete")
    harness.call(you, third)
    released(third, "The connection broke before your request had arrived.")


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
            f"`predecessor` from the exercise before helps. {BREAKS} Don't queue up twice."
        ),
        hints=(
            '`path = zk.create(f"{root}/{uuid.uuid4().hex}-lock-", ephemeral=True, '
            'sequence=True)`; your name is `path.rsplit("/", 1)[1]`.',
            "`zk.get(..., watch=lambda event: told.set())` on your predecessor, then "
            "`told.wait()`. If `get` raises `NoNodeError` (from `kazoo.exceptions`), it has gone "
            "already: don't wait, look again.",
            "After each wake-up look again who is ahead of you; the loop ends when nobody is. If "
            "the create raises `ConnectionLoss`, list: a name with your random part is your place. "
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
        judge=_judge_acquire,
        deadline=12.0,
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
        judge=_judge_release,
        deadline=10.0,
    ),
)
