"""Page 12: a crash loses work or repeats it, and so does a lost reply."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kazoo.exceptions import ConnectionLoss, NodeExistsError, NoNodeError

from labkit.course.exercises.exercise import BREAKS, HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness
from labkit.course.exercises.values import same

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- take an item -----------------------------------------------------------------------------


def take_item(zk: KazooClient, root: str) -> str | None:
    for name in sorted(zk.retry(zk.get_children, root)):
        if not name.startswith("item-"):
            continue
        try:
            data, _ = zk.retry(zk.get, f"{root}/{name}")
        except NoNodeError:
            continue  # somebody else has taken it
        if takes(zk, root, name):
            return data.decode()
    return None


def takes(zk: KazooClient, root: str, name: str) -> bool:
    receipt = f"{root}/taken-{uuid.uuid4().hex}"
    while True:
        both = zk.transaction()
        both.delete(f"{root}/{name}")
        both.create(receipt, ephemeral=True)
        try:
            mine = not any(isinstance(result, Exception) for result in both.commit())
        except ConnectionLoss:
            if zk.retry(zk.exists, receipt) is None:
                continue  # it was not done
            mine = True
        if mine:
            with suppress(NoNodeError):  # deleted already, and the reply lost
                zk.retry(zk.delete, receipt)
        return mine


def _simply(zk: KazooClient, root: str) -> str | None:
    """When the reply to its delete is lost, the item is lost, too."""
    for name in _items(zk, root):
        try:
            data, _ = zk.get(f"{root}/{name}")
            zk.delete(f"{root}/{name}")
            return data.decode()
        except NoNodeError:
            continue
    return None


def _retrying(zk: KazooClient, root: str) -> str | None:
    """Tries the delete again, and believes that somebody else has deleted what it has itself."""
    for name in _items(zk, root):
        try:
            data, _ = zk.get(f"{root}/{name}")
            zk.retry(zk.delete, f"{root}/{name}")
            return data.decode()
        except NoNodeError:
            continue
    return None


def _presuming(zk: KazooClient, root: str) -> str | None:
    """Takes it that a lost delete was done; the request may never have arrived."""
    for name in _items(zk, root):
        try:
            data, _ = zk.get(f"{root}/{name}")
            with suppress(ConnectionLoss):
                zk.delete(f"{root}/{name}")
            return data.decode()
        except NoNodeError:
            continue
    return None


def _unchecked(zk: KazooClient, root: str) -> str | None:
    """A refused transaction raises nothing: somebody else has the item."""
    for name in _items(zk, root):
        try:
            data, _ = zk.retry(zk.get, f"{root}/{name}")
        except NoNodeError:
            continue
        receipt = f"{root}/taken-{uuid.uuid4().hex}"
        both = zk.transaction()
        both.delete(f"{root}/{name}")
        both.create(receipt, ephemeral=True)
        both.commit()
        with suppress(NoNodeError):
            zk.delete(receipt)
        return data.decode()
    return None


def _littering(zk: KazooClient, root: str) -> str | None:
    """Leaves its receipts in the queue."""
    for name in _items(zk, root):
        both = zk.transaction()
        both.delete(f"{root}/{name}")
        both.create(f"{root}/taken-{uuid.uuid4().hex}")
        try:
            data, _ = zk.get(f"{root}/{name}")
            if not any(isinstance(result, Exception) for result in both.commit()):
                return data.decode()
        except NoNodeError:
            continue
    return None


def _items(zk: KazooClient, root: str) -> list[str]:
    names = zk.retry(zk.get_children, root)
    return sorted(name for name in names if name.startswith("item-"))


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

    for op, wanted in (("delete or transaction", "cat"), ("get", "elk")):
        you.before(op, snatch if op == "get" else lambda _: snatch(f"{root}/item-0000000001"))
        harness.equal(harness.call(you, root), wanted, "A rival took the one before.")
    clients = [harness.client(f"your code {i}") for i in (1, 2, 3)]
    taken: list[str] = []
    for _ in range(3):
        runs = [harness.run(client, root) for client in clients]
        taken += [item for run in runs if (item := run.result()) is not None]
    harness.equal(sorted(taken), words[5:], "Three took at once, until nothing was left.")
    harness.equal(harness.call(you, root), None, "The queue is empty.")
    _is_tidy(harness)
    for word, lost in (("toad", "reply"), ("vole", "request")):
        _judge_loss(harness, word, lost)


def _judge_loss(harness: Harness, word: str, lost: str) -> None:
    you, root, op = harness.client(), harness.root, "delete or transaction"
    item = str(harness.zk.create(f"{root}/item-", word.encode(), sequence=True))
    harness.zk.create(f"{root}/item-", b"wolf", sequence=True)
    if lost == "reply":
        harness.lose_reply(you, op, lambda: harness.zk.exists(item) is None)
    else:
        harness.lose_request(you, op)
    run = harness.run(you, root)
    run.wait()
    if isinstance(run.error, ConnectionLoss):
        what = "Nobody has the item now" if lost == "reply" else "The item is still there"
        harness.fail(
            f"Your delete's {lost} was lost, and it let `ConnectionLoss` through. {what}: "
            "find out whether it was done.",
            "raises ConnectionLoss",
        )
    why = f"Your delete's {lost} was lost, so look whether it was done, and by whom."
    harness.equal(run.result(), word, why)
    harness.equal(harness.call(you, root), "wolf", "It came next.")
    _is_tidy(harness)


def _is_tidy(harness: Harness) -> None:
    left = harness.zk.get_children(harness.root)
    if left:
        harness.fail(f"In the queue is left: {harness.show(sorted(left))}.", "leaves something")


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
            return finish(zk, item, mark)
        zk.delete(mark)  # somebody finished it before we marked it
    return False


def finish(zk: KazooClient, item: str, mark: str) -> bool:
    stat = zk.exists(mark)
    if stat is None or stat.ephemeralOwner != zk.client_id[0]:
        return False  # our session has ended, and the item may be another's by now
    both = zk.transaction()
    both.delete(item)
    both.delete(mark)
    return not any(isinstance(result, Exception) for result in both.commit())


def _unowned(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    """Deletes a mark without a look whose it is; after a session has ended, it is another's."""
    for name in sorted(zk.get_children(f"{root}/todo")):
        item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
        try:
            zk.create(mark, ephemeral=True)
        except NodeExistsError:
            continue
        if zk.exists(item):
            handle(zk.get(item)[0].decode())
            with suppress(NoNodeError):
                zk.delete(item)
                zk.delete(mark)
            return True
        zk.delete(mark)
    return False


def _unchecked_commit(zk: KazooClient, root: str, handle: Callable[[str], None]) -> bool:
    """Does not look at what commit returned: it may have been refused."""
    for name in sorted(zk.get_children(f"{root}/todo")):
        item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
        try:
            zk.create(mark, ephemeral=True)
        except NodeExistsError:
            continue
        handle(zk.get(item)[0].decode())
        stat = zk.exists(mark)
        if stat is None or stat.ephemeralOwner == zk.client_id[0]:
            both = zk.transaction()
            both.delete(item)
            both.delete(mark)
            both.commit()
            return True
        return False
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
    for finished in (False, True):
        _judge_late(harness, finished)


def _judge_late(harness: Harness, finished: bool) -> None:
    """A worker's session ends while it works; another one takes the item up, or finishes it."""
    worker, rival, root = harness.client(), harness.rival, harness.root
    name = "4" if finished else "3"
    item, mark = f"{root}/todo/{name}", f"{root}/doing/{name}"
    harness.zk.create(item, b"dog")

    def handle(word: str) -> None:
        harness.note(YOU, f"handle({harness.show(word)}), for longer than its session lives")
        harness.expire(worker)
        rival.create(mark, ephemeral=True)
        if finished:
            rival.delete(item)
            rival.delete(mark)

    answer = harness.call(worker, root, handle, kind=bool)
    if not finished and not (harness.zk.exists(mark) and harness.zk.exists(item)):
        harness.fail(
            "Its session ended while it worked, and a rival took the item up; then it deleted the "
            "rival's mark or item. Look whose mark it is.",
            "deletes what is a rival's",
        )
    what = "finished" if finished else "took up"
    why = f"Its session ended while it worked, and a rival {what} the item."
    harness.equal(answer, False, why)


EXERCISES = (
    Exercise(
        id="take-item",
        page="12",
        title="Take one, and only one",
        question=(
            "The children of `root` named `item-…` are a queue: `item-0000000000` came first, and "
            "each holds some text. Take the first one out and return its text (decoded, a "
            "string), or `None` if the queue is empty. Others take at the same time; no item may "
            f"be taken twice, and none may be lost. {BREAKS} A child with another name is no item: "
            "you may leave a note there, and take it away again."
        ),
        hints=(
            "A listing is in no order: sort it. Only one delete of a znode can succeed: who "
            "deletes it has it.",
            "`NoNodeError` (from `kazoo.exceptions`) says that somebody was faster: go on with "
            "the next one. But after a lost reply, it may have been yourself.",
            "Delete the item and create a receipt, an ephemeral znode with a random name "
            "(`uuid.uuid4().hex`), in one transaction. After a `ConnectionLoss`, the receipt tells "
            "whether it was done.",
        ),
        answer=take_item,
        wrong=(
            _anyway,
            _nervous,
            _any_of_them,
            _simply,
            _retrying,
            _presuming,
            _unchecked,
            _littering,
        ),
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
            "for others. And if your session ends while you work, item and mark may be another's "
            "by then: leave them, and return `False`. (The id of the session of `zk` is "
            f"`zk.client_id[0]`.) {HOLDS}"
        ),
        hints=(
            "The mark is a claim: only one create of it can succeed.",
            "In which order do you handle and delete, if you may die in between?",
            "If you die, your mark should go: whose znodes go with a session? Before you delete "
            "it, look at its `ephemeralOwner`; delete both in one transaction, and look at what "
            "`commit` returns.",
        ),
        answer=work_one,
        wrong=(_delete_first, _unmarked, _marked_for_ever, _unowned, _unchecked_commit),
        judge=_judge_work,
    ),
)
