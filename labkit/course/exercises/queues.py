"""Page 12: a crash loses work or repeats it, and so does a lost reply."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kazoo.exceptions import (
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)

from labkit.course.exercises.exercise import BREAKS, HOLDS, LAGS, Exercise
from labkit.course.exercises.orders import Code, in_every_order, lagging, users
from labkit.explore.actor import Me
from labkit.explore.seat import SESSION_ENDS
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_EXPIRED = ("SessionExpiredError", "ConnectionLoss")


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
            zk.retry(zk.sync, root)  # the server that we talk to now may lag
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


def _without_sync(zk: KazooClient, root: str) -> str | None:
    """Asks a server that lags whether its receipt is there: not yet."""
    for name in _items(zk, root):
        try:
            data, _ = zk.retry(zk.get, f"{root}/{name}")
        except NoNodeError:
            continue
        receipt = f"{root}/taken-{uuid.uuid4().hex}"
        done = False
        while not done:
            both = zk.transaction()
            both.delete(f"{root}/{name}")
            both.create(receipt, ephemeral=True)
            try:
                if any(isinstance(result, Exception) for result in both.commit()):
                    break
                done = True
            except ConnectionLoss:
                done = zk.retry(zk.exists, receipt) is not None
        if done:
            with suppress(NoNodeError):
                zk.retry(zk.delete, receipt)
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


def _takes(code: Code, root: str, many: int = 2) -> Specification:
    items = {"item-0000000007": "ant", "item-0000000008": "bee"}  # listed the other way round

    def use(me: Me) -> None:
        item = code(me, root, kind=str, none=True)
        me.says(returns=repr(item))
        me.knows(took=item)

    def never(world: World) -> str | None:
        took = [actor.believes("took") for actor in world.actors]
        left = [items[n] for n in sorted(items) if world.data(f"{root}/{n}") is not None]
        if took[0] is not None and took[0] == took[-1] and len(took) > 1:
            return f"both have taken {took[0]!r}"
        for actor in world.actors:
            said = actor.says("returns")
            if said is not None and left and (said == "None" or said >= repr(left[0])):
                return f"{actor.name} returned {said}, and {left[0]!r} is in the queue"
        return None

    def at_the_end(world: World) -> str | None:
        took = [actor.believes("took") for actor in world.actors]
        there = world.children(root)
        for name, text in items.items():
            if name not in there and text not in took:
                return f"{text!r} is lost: nobody has it, and it is not in the queue"
        left = [name for name in there if name not in items]
        return f"in the queue is left: {left[0]}" if left else None

    znodes = [(root, b""), *((f"{root}/{n}", text.encode()) for n, text in items.items())]
    return users(code, use, many, never=never, at_the_end=at_the_end, znodes=znodes)


def _takes_lagging(code: Code, root: str) -> Specification:
    return lagging(_takes(code, root, 1))


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


def _works(code: Code, root: str) -> Specification:
    words = {f"{root}/todo/0": "ant", f"{root}/todo/1": "bee"}

    def use(me: Me) -> None:
        def handle(word: str) -> None:
            me.knows(works=word, session=me.zk.client_id[0])
            me.pause(f"works on {word!r}")
            me.knows(works=None, did=word)

        done = code(me, root, handle, kind=bool, may=(SessionExpiredError,))
        me.says(returns=done)

    def never(world: World) -> str | None:
        for item, word in words.items():
            mark, there = item.replace("todo", "doing"), world.data(item) is not None
            if world.owner(mark) == 0:
                return f"the mark of {word!r} is not ephemeral: if its worker dies, it stays"
            if not there and all(actor.believes("did") != word for actor in world.actors):
                return f"{word!r} is to do no more, and nobody has done it: die, and it is lost"
            for actor in world.actors:
                works = actor.believes("works") == word and actor.alive
                if works and world.owner(mark) != actor.session:
                    return f"{actor.name} works on {word!r}, and has no mark: look whose mark it is"
        for actor in world.actors:
            done, did = actor.says("returns"), actor.believes("did")
            late = did is not None and actor.believes("session") != actor.session
            if done is not None and not late and done is not (did is not None):
                return f"{actor.name} returned {done}, and has done {did or 'nothing'}"
            if done and late:
                return f"{actor.name}'s session ended while it worked on {did!r}; it returned True"
        return None

    folders = [(f"{root}/todo", b""), (f"{root}/doing", b"")]
    znodes = [*folders, *((item, word.encode()) for item, word in words.items())]
    return users(code, use, 2, never=never, znodes=znodes, kinds=(SESSION_ENDS,), raises=_EXPIRED)


EXERCISES = (
    Exercise(
        id="take-item",
        page="12",
        title="Take one, and only one",
        question=(
            "The children of `root` named `item-…` are a queue: `item-0000000000` came first, and "
            "each holds some text. Take the first one out and return its text (decoded, a "
            "string), or `None` if the queue is empty. Others take at the same time; no item may "
            f"be taken twice, and none may be lost. {BREAKS} {LAGS} A child with another name is "
            "no item: you may leave a note there, and take it away again."
        ),
        hints=(
            "A listing is in no order: sort it. Only one delete of a znode can succeed: who "
            "deletes it has it.",
            "`NoNodeError` (from `kazoo.exceptions`) says that somebody was faster: go on with "
            "the next one. But after a lost reply, it may have been yourself.",
            "Delete the item and create a receipt, an ephemeral znode with a random name "
            "(`uuid.uuid4().hex`), in one transaction. After a `ConnectionLoss` and a `zk.sync`, "
            "the receipt tells whether it was done.",
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
            _without_sync,
            _littering,
        ),
        judge=in_every_order(_takes, _takes_lagging),
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
        judge=in_every_order(_works),
    ),
)
