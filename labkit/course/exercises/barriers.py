"""Page 12: the last arrival releases all; a crash loses or repeats work."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NodeExistsError, NoNodeError

from labkit.course.exercises.client import Client
from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import YOU, Harness
from labkit.course.exercises.values import same

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


# --- take an item -----------------------------------------------------------------------------


def take_item(zk: KazooClient, root: str) -> str | None:
    for name in sorted(zk.get_children(root)):
        try:
            data, _ = zk.get(f"{root}/{name}")
            zk.delete(f"{root}/{name}")
            return data.decode()
        except NoNodeError:
            continue  # somebody else has taken it
    return None


def _anyway(zk: KazooClient, root: str) -> str | None:
    """Takes what somebody else has taken."""
    for name in sorted(zk.get_children(root)):
        try:
            data, _ = zk.get(f"{root}/{name}")
        except NoNodeError:
            continue
        with suppress(NoNodeError):
            zk.delete(f"{root}/{name}")
        return data.decode()
    return None


def _nervous(zk: KazooClient, root: str) -> str | None:
    """Gives up when somebody is faster, with items left."""
    try:
        for name in sorted(zk.get_children(root)):
            data, _ = zk.get(f"{root}/{name}")
            zk.delete(f"{root}/{name}")
            return data.decode()
    except NoNodeError:
        pass
    return None


def _any_of_them(zk: KazooClient, root: str) -> str | None:
    """A listing is in no order."""
    for name in zk.get_children(root):
        try:
            data, _ = zk.get(f"{root}/{name}")
            zk.delete(f"{root}/{name}")
            return data.decode()
        except NoNodeError:
            continue
    return None


def _judge_take(harness: Harness) -> None:
    you, rival, root = harness.client(), harness.rival, harness.root
    words = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "owl", "pig", "rat", "yak"]
    for word in words:
        harness.zk.create(f"{root}/item-", word.encode(), sequence=True)
    harness.note("the queue", ", ".join(words))
    harness.equal(harness.call(you, root, kind=str), "ant", "It came first.")

    def snatch(path: str) -> None:
        rival.delete(path)

    for op, wanted in (("delete", "cat"), ("get", "elk")):
        you.before(op, snatch)
        harness.equal(harness.call(you, root), wanted, "A rival took the one before.")
    clients = [harness.client(f"your code {i}") for i in (1, 2, 3)]
    taken: list[str] = []
    for _ in range(3):
        runs = [harness.run(client, root) for client in clients]
        taken += [item for run in runs if (item := run.result()) is not None]
    harness.equal(sorted(taken), words[5:], "Three took at once, until nothing was left.")
    harness.equal(harness.call(you, root), None, "The queue is empty.")


# --- work that survives a crash ---------------------------------------------------------------


def work_one(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    for name in sorted(zk.get_children(f"{root}/todo")):
        item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
        try:
            zk.create(mark, ephemeral=True)
        except NodeExistsError:
            continue  # somebody is working on it
        if zk.exists(item):
            handle(zk.get(item)[0].decode())
            zk.delete(item)
            zk.delete(mark)
            return True
        zk.delete(mark)  # somebody finished it before we marked it
    return False


def _delete_first(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    """If it dies in the middle, the item is lost."""
    for name in sorted(zk.get_children(f"{root}/todo")):
        item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
        try:
            zk.create(mark, ephemeral=True)
        except NodeExistsError:
            continue
        data, _ = zk.get(item)
        zk.delete(item)
        handle(data.decode())
        zk.delete(mark)
        return True
    return False


def _unmarked(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    """Two work on the same item."""
    for name in sorted(zk.get_children(f"{root}/todo")):
        item = f"{root}/todo/{name}"
        handle(zk.get(item)[0].decode())
        zk.delete(item)
        return True
    return False


def _marked_for_ever(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    """If it dies in the middle, its mark stays, and nobody dares to touch the item."""
    for name in sorted(zk.get_children(f"{root}/todo")):
        item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
        try:
            zk.create(mark)
        except NodeExistsError:
            continue
        if zk.exists(item):
            handle(zk.get(item)[0].decode())
            zk.delete(item)
            zk.delete(mark)
            return True
        zk.delete(mark)
    return False


class _Crash(Exception):
    """The end of a worker."""


def _judge_work(harness: Harness) -> None:
    you, rival, root = harness.client(), harness.rival, harness.root
    for folder in ("todo", "doing"):
        harness.zk.create(f"{root}/{folder}")
    for i, word in enumerate(("ant", "bee", "cat")):
        harness.zk.create(f"{root}/todo/{i}", word.encode())
    rival.create(f"{root}/doing/0", ephemeral=True)
    handled: list[str] = []

    def handle(word: str) -> None:
        harness.note(YOU, f"handle({harness.show(word)})")
        handled.append(word)

    harness.equal(harness.call(you, root, handle, kind=bool), True)
    if not same(handled, ["bee"]):
        harness.fail(
            f"It handled {harness.show(handled)}; a rival was working on 'ant', so 'bee' was next.",
            f"handles {harness.show(handled)}",
        )
    if harness.zk.exists(f"{root}/todo/1") or harness.zk.exists(f"{root}/doing/1"):
        harness.fail("'bee' is done, and its item or its mark is still there.", "leaves something")

    def crash(word: str) -> None:
        harness.note(YOU, f"handle({harness.show(word)}), and dies")
        harness.expire(worker)
        raise _Crash

    worker = harness.client()
    harness.run(worker, root, crash).wait()
    if not harness.zk.exists(f"{root}/todo/2"):
        harness.fail("The worker died while it handled 'cat', and 'cat' is lost.", "loses an item")
    harness.equal(harness.call(you, root, handle, kind=bool), True, "'cat' is still to do.")
    if not same(handled, ["bee", "cat"]):
        harness.fail(f"It handled {harness.show(handled[1:])}; 'cat' was to do.", "handles another")
    harness.equal(harness.call(you, root, handle, kind=bool), False, "A rival works on the rest.")


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
            "don't ask again and again."
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
    Exercise(
        id="take-item",
        page="12",
        title="Take one, and only one",
        question=(
            "The children of `root` are a queue: `item-0000000000` came first, and each holds some "
            "text. Take the first one out and return its text (decoded, a string), or `None` if "
            "the queue is empty. Others take at the same time; no item may be taken twice."
        ),
        hints=(
            "A listing is in no order: sort it.",
            "Only one delete of a znode can succeed; who deletes it has it.",
            "`NoNodeError` (from `kazoo.exceptions`) says that somebody was faster: go on with "
            "the next one.",
        ),
        answer=take_item,
        wrong=(_anyway, _nervous, _any_of_them),
        judge=_judge_take,
    ),
    Exercise(
        id="work-one",
        page="12",
        title="Work that survives you",
        question=(
            "The children of `root/todo` are items. Take the first that nobody is working on: mark "
            "it by an **ephemeral** znode of the same name below `root/doing`, call "
            "`handle(text)`, then delete the item and the mark, and return `True`. Return `False` "
            "if there is nothing to do. If you die in the middle, the item must still be there "
            "for others."
        ),
        hints=(
            "The mark is a claim: only one create of it can succeed.",
            "In which order do you handle and delete, if you may die in between?",
            "If you die, your mark should go. Whose znodes go with a session?",
        ),
        answer=work_one,
        wrong=(_delete_first, _unmarked, _marked_for_ever),
        judge=_judge_work,
    ),
)
