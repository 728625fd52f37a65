"""Page 12: the last arrival releases all."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from labkit.course.exercises.client import Client
from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_SOON = 2.0  # seconds in which an arrival should have had its effect


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


def _judge_barrier(harness: Harness) -> None:
    you, root = harness.client(), f"{harness.root}/in-turn"
    harness.zk.create(root)
    run = harness.run(you, root, 3)
    if not harness.wait(lambda: harness.zk.get_children(root) or run.done, _SOON):
        harness.fail("Nobody has come to the barrier: where is your znode?", "has not come")
    for act, there in ((_come, 2), (_go, 1), (_come, 2)):
        harness.wait(lambda: run.done, 0.2)
        act(harness.rival, root)
        harness.wait(lambda: run.done, 0.2)
        if run.done:
            run.result()
            harness.fail(f"It went on with {there} of 3 there.", f"goes on with {there} of 3")
    _complete(harness.rival, root)
    _passes(harness, run)
    if len(you.calls) > 12:
        harness.fail(
            f"It made {len(you.calls)} calls; 6 are enough, if ZooKeeper tells you.",
            f"{len(you.calls)} calls",
        )
    you, root = harness.client(), f"{harness.root}/at-once"
    harness.zk.create(root)
    _come(harness.rival, root)
    first = threading.Lock()

    def complete(_: str = "") -> None:
        if first.acquire(blocking=False):
            _complete(harness.rival, root)

    you.before("get_children", lambda _: None)
    you.before("get_children", complete)
    run = harness.run(you, root, 3)
    harness.wait(lambda: run.done or len(harness.zk.get_children(root)) >= 3, 0.3)
    complete()  # if it lists only once, that was not between two of its calls
    _passes(harness, run)


def _passes(harness: Harness, run: Any) -> None:
    if not harness.wait(lambda: run.done, _SOON):
        harness.fail(
            "All 3 are there, and it still waits. Did the last one come between two of your calls?",
            "still waits, with 3 of 3 there",
        )
    run.result()


def _come(client: Client, root: str) -> None:
    client.create(f"{root}/rival-", ephemeral=True, sequence=True)


def _complete(client: Client, root: str) -> None:
    """Come as the last one, and open the gate for those who wait at it."""
    _come(client, root)
    client.create(f"{root}/ready")


def _go(client: Client, root: str) -> None:
    here = [name for name in client.get_children(root) if name.startswith("rival-")]
    client.delete(f"{root}/{here[0]}")


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
        judge=_judge_barrier,
        deadline=12.0,
    ),
)
