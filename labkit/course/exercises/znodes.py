"""Page 01: a stale version is refused; a re-created znode is another znode."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss
from kazoo.protocol.states import ZnodeStat

from labkit.course.exercises.exercise import BREAKS, HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness

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


def _judge_take(harness: Harness) -> None:
    you, rival, path = harness.client(), harness.rival, f"{harness.root}/stock"
    rival.create(path, b"10")
    for amount, meanwhile, wanted, left, why in (
        (3, None, True, 7, ""),
        (8, None, False, 7, "There were only 7."),
        (7, None, True, 0, "All of them may be taken."),
        (5, (9, 4), False, 4, "While you reckoned with 9, a rival left 4."),
        (2, (4, 8), True, 6, "The stock had changed, but there was enough: look again, try again."),
    ):
        if meanwhile is not None:
            before, after = (str(number).encode() for number in meanwhile)
            rival.set(path, before)
            you.before("set", partial(rival.set, value=after))
        harness.equal(harness.call(you, path, amount, kind=bool), wanted, why)
        now = int(harness.zk.get(path)[0])
        if now != left:
            harness.fail(
                f"It returned {wanted}, and the stock is {now}, where it should be {left}. {why}",
                f"leaves {now} in stock, not {left}",
            )
    for lost in ("reply", "request"):
        _judge_loss(harness, f"{harness.root}/stock-{lost}", lost)


def _judge_loss(harness: Harness, path: str, lost: str) -> None:
    """A loss may be found out or let through; what is said must be so, and nothing taken twice."""
    you = harness.client()
    harness.rival.create(path, b"10")
    if lost == "reply":
        harness.lose_reply(you, "set", lambda: harness.zk.get(path)[0] != b"10")
    else:
        harness.lose_request(you, "set")
    run = harness.run(you, path, 3)
    run.wait()
    raised = isinstance(run.error, ConnectionLoss)
    answer = None if raised else run.result(bool)
    left = int(harness.zk.get(path)[0])
    said = "let `ConnectionLoss` through" if raised else f"returned {answer}"
    if left not in (10, 7):
        harness.fail(
            f"The write's {lost} was lost, and it {said}. It was to take 3 of 10, and {left} are "
            "left: a write whose reply is lost may have been done.",
            f"leaves {left} in stock",
        )
    if answer is not None and answer is not (left == 7):
        harness.fail(
            f"The write's {lost} was lost, and it {said}, but the stock is {left}. If you cannot "
            "tell, let `ConnectionLoss` through.",
            f"returns {answer}, and {left} are left",
        )
    harness.note(YOU, "raises ConnectionLoss" if raised else f"returns {answer}")


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
        judge=_judge_take,
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
