"""Page 01: a stale version is refused; a re-created znode is another znode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss
from kazoo.protocol.states import ZnodeStat

from labkit.course.exercises.exercise import BREAKS, HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- a stock that is never oversold -----------------------------------------------------------


def take(zk: KazooClient, path: str, amount: int) -> bool:
    while True:
        data, stat = zk.get(path)
        left = int(data) - amount
        if left < 0:
            return False
        try:
            zk.set(path, str(left).encode(), version=stat.version)
            return True
        except BadVersionError:
            continue  # somebody was faster: look again


# What raises ConnectionLoss goes through: whether it was taken, nobody knows, and to take again
# could take twice.


def _again(zk: KazooClient, path: str, amount: int) -> bool:
    """Takes twice when the reply to the first write is lost."""
    while True:
        try:
            return take(zk, path, amount)
        except ConnectionLoss:
            continue


def _presuming(zk: KazooClient, path: str, amount: int) -> bool:
    """Takes it that a lost write was done; it may never have arrived."""
    try:
        return take(zk, path, amount)
    except ConnectionLoss:
        return True


def _blind(zk: KazooClient, path: str, amount: int) -> bool:
    """Writes without a version, over whatever a rival has written meanwhile."""
    left = int(zk.get(path)[0]) - amount
    if left < 0:
        return False
    zk.set(path, str(left).encode())
    return True


def _obstinate(zk: KazooClient, path: str, amount: int) -> bool:
    """Asks for the new version, but writes what it worked out from the old data."""
    data, stat = zk.get(path)
    left = int(data) - amount
    if left < 0:
        return False
    while True:
        try:
            zk.set(path, str(left).encode(), version=stat.version)
            return True
        except BadVersionError:
            stat = zk.exists(path)


def _discouraged(zk: KazooClient, path: str, amount: int) -> bool:
    """Takes a refused write for an empty stock."""
    data, stat = zk.get(path)
    left = int(data) - amount
    if left < 0:
        return False
    try:
        zk.set(path, str(left).encode(), version=stat.version)
        return True
    except BadVersionError:
        return False


def _sells(code: Code, root: str, stock: int) -> Specification:
    path = f"{root}/stock"

    def use(me: Me) -> None:
        sold = code(me, path, 3, kind=bool, may=(ConnectionLoss,))
        me.says(returns=sold)
        me.knows(sold=sold)

    def never(world: World) -> str | None:
        left = int(world.data(path) or 0)
        sold = sum(actor.believes("sold") or 0 for actor in world.actors)
        wants = [a for a in world.actors if a.believes("sold") is None]
        if stock - left not in range(3 * sold, 3 * (sold + len(wants)) + 1, 3) or left < 0:
            times = ("never", "once", "twice")[sold]
            return f"3 of {stock} were {times} sold, and {left} are left"
        for actor in world.actors:
            if actor.says("returns") is False and left >= 3:
                return f"{actor.name} returned False, and {left} are in stock: enough for it"
        return None

    znodes = [(path, str(stock).encode())]
    return users(code, use, 2, never=never, znodes=znodes, raises=("ConnectionLoss",))


def _enough(code: Code, root: str) -> Specification:
    return _sells(code, root, 7)


def _too_little(code: Code, root: str) -> Specification:
    return _sells(code, root, 5)


# --- the same znode ---------------------------------------------------------------------------


def is_same(zk: KazooClient, path: str, before: ZnodeStat) -> bool:
    now = zk.exists(path)
    return now is not None and now.czxid == before.czxid


def _same_version(zk: KazooClient, path: str, before: ZnodeStat) -> bool:
    """Versions begin again at 0 with every znode, and grow with every write."""
    now = zk.exists(path)
    return now is not None and now.version == before.version


def _not_younger(zk: KazooClient, path: str, before: ZnodeStat) -> bool:
    """A new znode that has been written often enough looks like an old one."""
    now = zk.exists(path)
    return now is not None and now.version >= before.version


def _unwritten(zk: KazooClient, path: str, before: ZnodeStat) -> bool:
    """mzxid is the transaction of the last write, not of the creation."""
    now = zk.exists(path)
    return now is not None and now.mzxid == before.mzxid


def _judge_same(harness: Harness) -> None:
    you, rival, path = harness.client(), harness.rival, f"{harness.root}/score"
    rival.create(path, b"0")
    before = harness.zk.exists(path)
    harness.note(YOU, f"remembers {harness.show(before)}")
    harness.equal(harness.call(you, path, before, kind=bool), True, "Nothing has happened to it.")
    rival.set(path, b"1")
    harness.equal(
        harness.call(you, path, before, kind=bool),
        True,
        "It has been written; it is the same znode.",
    )
    rival.delete(path)
    harness.equal(harness.call(you, path, before, kind=bool), False, "It is gone.")
    rival.create(path, b"0")
    harness.equal(
        harness.call(you, path, before, kind=bool), False, "It was made anew, at version 0."
    )
    rival.set(path, b"1")
    harness.equal(
        harness.call(you, path, before, kind=bool),
        False,
        "The new znode has been written, as well.",
    )


EXERCISES = (
    Exercise(
        id="take-stock",
        page="01",
        title="Never oversell",
        question=(
            "The znode `path` holds a stock: a whole number, as text. Take `amount` out of it if "
            "there is enough, and return `True`; otherwise leave it and return `False`. Others "
            "take and add at the same time, and what they do must not be lost. "
            f"{BREAKS} Don't take twice, then: if you cannot find out, let it through."
        ),
        hints=(
            "`data, stat = zk.get(path)`, and then `zk.set(path, ..., version=stat.version)`.",
            "A stale version raises `BadVersionError` (from `kazoo.exceptions`). Then what you "
            "know of the stock is stale, too.",
            "Read again and decide again: what was enough may be too little now, and vice versa. "
            "`ConnectionLoss` is another matter: leave it to the caller.",
        ),
        answer=take,
        wrong=(_blind, _obstinate, _discouraged, _again, _presuming),
        judge=in_every_order(_enough, _too_little),
    ),
    Exercise(
        id="same-znode",
        page="01",
        title="The same znode?",
        question=(
            "`before` is the stat of the znode at `path`, as it was some time ago. Return `True` "
            "if the znode at `path` is still that one, even if it has been written since, and "
            f"`False` if it is gone, or if another one is in its place. {HOLDS}"
        ),
        hints=(
            "`zk.exists(path)` returns the stat of what is there now, or `None`.",
            "Which field of the stat is given once, at the creation, and never again?",
        ),
        answer=is_same,
        wrong=(_same_version, _not_younger, _unwritten),
        judge=_judge_same,
    ),
)
