"""Page 07: a lease narrows the gap; only a fencing token closes it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import BadVersionError

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- what is left of a lease ------------------------------------------------------------------


def lease_left(sent: float, answered: float, timeout: float, now: float) -> float:
    return max(0.0, sent + timeout / 2 - now)


def _from_the_answer(sent: float, answered: float, timeout: float, now: float) -> float:
    """The session may have ended that much earlier than the answer came."""
    return max(0.0, answered + timeout / 2 - now)


def _all_of_it(sent: float, answered: float, timeout: float, now: float) -> float:
    """Leaves nothing for a report that is late or a clock that drifts."""
    return max(0.0, sent + timeout - now)


def _less_than_nothing(sent: float, answered: float, timeout: float, now: float) -> float:
    """Goes on counting below 0."""
    return sent + timeout / 2 - now


def _judge_lease(harness: Harness) -> None:
    you, path = harness.client("a server"), f"{harness.root}/1"
    you.create(path, ephemeral=True)
    you.before("set", lambda _: time.sleep(0.15))  # a slow way to ZooKeeper
    began = time.monotonic()
    you.set(path, b"")
    answered = time.monotonic() - began
    for sent, later, timeout, why in (
        (0.0, answered, 2.0, "The answer has just come."),
        (0.0, answered + 0.25, 2.0, ""),
        (0.0, 1.0, 2.0, "Half the timeout is over."),
        (0.0, 1.5, 2.0, "It has lapsed: nothing is left, and less than nothing there is not."),
        (5.0, 5.25, 10.0, ""),
        (5.0, 5.0 + answered, answered, "The answer took more than half the timeout."),
    ):
        wanted = max(0.0, sent + timeout / 2 - later)
        args = tuple(round(x, 3) for x in (sent, sent + answered, timeout, later))
        got = harness.call(*args)
        if type(got) not in (int, float):
            shown = harness.show(got)
            harness.fail(f"It returned {shown}, where a number is asked for.", f"returns {shown}")
        if abs(got - wanted) > 0.002:
            harness.fail(
                f"It returned {got:.3g}; {wanted:.3g} is right. {why}",
                f"returns {got:.3g}, not {wanted:.3g}",
            )
        harness.note(YOU, f"returns {got:.3g}")


# --- a resource that knows tokens -------------------------------------------------------------


def accept(state: dict[str, int], token: int) -> bool:
    if token < state["highest"]:
        return False
    state["highest"] = token
    return True


def _only_new(state: dict[str, int], token: int) -> bool:
    """Refuses a holder's second request."""
    if token <= state["highest"]:
        return False
    state["highest"] = token
    return True


def _known(state: dict[Any, int], token: int) -> bool:
    """Lets in every token that it has ever seen."""
    if token in state or token > state["highest"]:
        state["highest"] = max(token, state["highest"])
        state[token] = 1
        return True
    return False


def _forgetful(state: dict[str, int], token: int) -> bool:
    """Compares, and does not remember."""
    return token >= state["highest"]


def _latest(state: dict[str, int], token: int) -> bool:
    """Remembers the last token that came, not the highest."""
    right = token >= state["highest"]
    state["highest"] = token
    return right


def _judge_accept(harness: Harness) -> None:
    first, path = harness.client("a server"), f"{harness.root}/1"
    first.create(path, ephemeral=True)
    old = harness.zk.exists(path).czxid
    state = {"highest": 0}
    harness.equal(harness.call(state, old, kind=bool), True, "The first holder's first request.")
    harness.equal(harness.call(state, old, kind=bool), True, "The same holder may come again.")
    harness.expire(first)
    second = harness.client("its successor")
    second.create(path, ephemeral=True)
    new = harness.zk.exists(path).czxid
    harness.equal(harness.call(state, new, kind=bool), True, "A newer claim has a larger token.")
    for _ in range(2):
        harness.equal(
            harness.call(state, old, kind=bool), False, "The old holder woke up; its claim is over."
        )
    harness.equal(harness.call(state, new, kind=bool), True, "The present holder goes on.")


# --- the same, in ZooKeeper -------------------------------------------------------------------


def fenced_write(zk: KazooClient, path: str, token: int, value: str) -> bool:
    while True:
        data, stat = zk.get(path)
        if token < json.loads(data)["token"]:
            return False
        new = json.dumps({"token": token, "value": value})
        try:
            zk.set(path, new.encode(), version=stat.version)
            return True
        except BadVersionError:
            continue  # somebody was faster, maybe with a newer token: look again


def _check_then_write(zk: KazooClient, path: str, token: int, value: str) -> bool:
    """Checks and writes in two steps: a newer holder can come between them."""
    if token < json.loads(zk.get(path)[0])["token"]:
        return False
    zk.set(path, json.dumps({"token": token, "value": value}).encode())
    return True


def _unchecked(zk: KazooClient, path: str, token: int, value: str) -> bool:
    """A version refuses who has not looked, not who has lost the number."""
    while True:
        _, stat = zk.get(path)
        try:
            new = json.dumps({"token": token, "value": value})
            zk.set(path, new.encode(), version=stat.version)
            return True
        except BadVersionError:
            continue


def _timid(zk: KazooClient, path: str, token: int, value: str) -> bool:
    """Takes a refused version for a newer token."""
    data, stat = zk.get(path)
    if token < json.loads(data)["token"]:
        return False
    try:
        zk.set(path, json.dumps({"token": token, "value": value}).encode(), version=stat.version)
        return True
    except BadVersionError:
        return False


def _writes(code: Code, root: str) -> Specification:
    path, tokens = f"{root}/resource", {"user1": 17, "user2": 18}

    def use(me: Me) -> None:
        token = tokens[me.name]
        done = code(me, path, token, f"by {token}", kind=bool)
        me.says(returns=done)
        me.knows(wrote=done)

    def never(world: World) -> str | None:
        now = json.loads(world.data(path) or b"{}")
        for actor in world.actors:
            said, token = actor.says("returns"), tokens[actor.name]
            if said and now != {"token": token, "value": f"by {token}"}:
                return (
                    f"{actor.name} returned True with token {token}, and the resource holds {now}"
                )
            if said is False and now["token"] <= token:
                return f"{actor.name} returned False with token {token}: none newer is there"
            if actor.believes("wrote") and now["token"] < token:
                return f"token {now['token']} wrote over the newer token {token}"
        return None

    znodes = [(path, b'{"token": 17, "value": ""}')]
    return users(code, use, 2, never=never, znodes=znodes, faults=0, alike=False)


EXERCISES = (
    Exercise(
        id="lease-left",
        page="07",
        title="What is left of the lease?",
        question=(
            "A server's last heartbeat was sent at `sent` and answered at `answered`; its session "
            "timeout is `timeout`, and now it is `now` (all in seconds, by its own clock). Its "
            "lease lasts half the timeout. From which of the two moments does it have to count? "
            "Return how many seconds are left, and 0 when it has lapsed."
        ),
        hints=(
            "ZooKeeper got the heartbeat at some moment between `sent` and `answered`, and nobody "
            "knows when.",
            "The session's timeout began at that moment. Be on the safe side: count from the "
            "earlier one.",
            "`max(0.0, ...)` never goes below 0.",
        ),
        answer=lease_left,
        wrong=(_from_the_answer, _all_of_it, _less_than_nothing),
        judge=_judge_lease,
    ),
    Exercise(
        id="accept-token",
        page="07",
        title="Refuse the zombie",
        question=(
            "You are the resource. Every request brings its holder's fencing token. Return `True` "
            "if you accept the request and `False` if you refuse it, because a newer holder has "
            "been here. `state` is a dict that you may keep things in; it begins as "
            "`{'highest': 0}`. A holder may come more than once."
        ),
        hints=(
            "A later claim has a larger token, always.",
            "Remember the largest token that you have seen; refuse what is smaller.",
            "Is a token that is equal to the largest too old?",
        ),
        answer=accept,
        wrong=(_only_new, _known, _forgetful, _latest),
        judge=_judge_accept,
    ),
    Exercise(
        id="fenced-write",
        page="07",
        title="A resource inside ZooKeeper",
        question=(
            'The znode at `path` holds JSON: `{"token": 17, "value": "a"}`. Write your '
            "`token` and `value` into it and return `True`; but if it has a newer token than "
            "yours, leave it and return `False`. Between your check and your write, others may "
            f"write. {HOLDS}"
        ),
        hints=(
            "`json.loads(data)` reads it, `json.dumps({...}).encode()` writes it.",
            "Make the check and the write one step: write with the version that you have read.",
            "`BadVersionError` says that somebody wrote, not that their token was newer: look "
            "again.",
        ),
        answer=fenced_write,
        wrong=(_check_then_write, _unchecked, _timid),
        judge=in_every_order(_writes),
    ),
)
