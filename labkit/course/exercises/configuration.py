"""Page 14: all settings are changed at once, or none; and a reader sees all of one version."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss

from labkit.course.exercises.client import Client
from labkit.course.exercises.exercise import BREAKS, HOLDS, Exercise
from labkit.course.exercises.harness import RIVAL, YOU, Harness
from labkit.course.exercises.values import same

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_NAMES = ("host", "password", "port")


# --- change all of them, if nobody else has ---------------------------------------------------


def publish(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    mark = uuid.uuid4().hex.encode()
    while True:
        change = zk.transaction()
        change.set_data(path, mark, version=seen)
        for name, value in settings.items():
            change.set_data(f"{path}/{name}", value)
        try:
            return not any(isinstance(result, Exception) for result in change.commit())
        except ConnectionLoss:
            data, stat = zk.retry(zk.get, path)
            if data == mark:
                return True  # it was done, and the reply was lost
            if stat.version != seen:
                raise  # somebody has written since, perhaps over ours: nobody can tell


def _trusting(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Takes a commit that returns for one that was carried out; a refusal is only listed."""
    change = zk.transaction()
    change.set_data(path, b"", version=seen)
    for name, value in settings.items():
        change.set_data(f"{path}/{name}", value)
    change.commit()
    return True


def _one_by_one(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Guards only the first of several writes; readers see what is between them."""
    try:
        zk.set(path, b"", version=seen)
    except BadVersionError:
        return False
    for name, value in settings.items():
        zk.set(f"{path}/{name}", value)
    return True


def _unguarded(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Looks at the version first, and writes without it: a rival may come between."""
    if zk.exists(path).version != seen:
        return False
    change = zk.transaction()
    change.set_data(path, b"")
    for name, value in settings.items():
        change.set_data(f"{path}/{name}", value)
    return not any(isinstance(result, Exception) for result in change.commit())


def _silent(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Checks the version and leaves it as it is: no reader can tell that anything has changed."""
    change = zk.transaction()
    change.check(path, seen)
    for name, value in settings.items():
        change.set_data(f"{path}/{name}", value)
    return not any(isinstance(result, Exception) for result in change.commit())


def _in_one(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    change = zk.transaction()
    change.set_data(path, b"", version=seen)
    for name, value in settings.items():
        change.set_data(f"{path}/{name}", value)
    return not any(isinstance(result, Exception) for result in change.commit())


def _sent_again(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Sends it again after a lost reply, and takes the refusal for a rival's change."""
    while True:
        with suppress(ConnectionLoss):
            return _in_one(zk, path, settings, seen)


def _presuming(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Takes it that a request without a reply was carried out."""
    try:
        return _in_one(zk, path, settings, seen)
    except ConnectionLoss:
        return True


def _make(harness: Harness, name: str) -> str:
    path = f"{harness.root}/{name}"
    harness.zk.create(path)
    for setting in _NAMES:
        harness.zk.create(f"{path}/{setting}", b"old")
    return path


def _change(zk: KazooClient, path: str, settings: Mapping[str, bytes]) -> None:
    change = zk.transaction()
    change.set_data(path, b"")
    for name, value in settings.items():
        change.set_data(f"{path}/{name}", value)
    change.commit()


def _judge_publish(harness: Harness) -> None:
    rival = harness.rival
    wanted = {"host": b"db2", "port": b"5433"}

    def values(path: str) -> dict[str, bytes]:
        return {name: harness.zk.get(f"{path}/{name}")[0] for name in _NAMES}

    def done(path: str) -> bool:
        return wanted.items() <= values(path).items()

    you, path = harness.client(), _make(harness, "free")
    harness.equal(harness.call(you, path, wanted, 0, kind=bool), True, "Nobody had changed it.")
    stats = [harness.zk.exists(f"{path}/{name}").mzxid for name in wanted]
    if not done(path) or {*stats, harness.zk.exists(path).mzxid} != {stats[0]}:
        harness.fail(
            "The settings and the version of `path` were not written in one transaction: "
            "readers see what is between.",
            "writes in several transactions",
        )
    harness.equal(
        harness.call(you, path, {"host": b"db9"}, 0, kind=bool), False, "Version 0 is stale."
    )
    path = _make(harness, "between")
    for op in ("set", "transaction"):
        you.before(op, lambda _: _change(rival, path, {"port": b"1"}))
    harness.equal(
        harness.call(you, path, wanted, 0, kind=bool), False, "A rival changed it meanwhile."
    )
    if done(path):
        harness.fail(
            "It returned False, and the settings are changed.", "changes them nevertheless"
        )
    for lost in ("reply", "request"):
        path, you = _make(harness, f"lost-{lost}"), harness.client()
        if lost == "reply":
            harness.lose_reply(you, "transaction", partial(done, path))
        else:
            harness.lose_request(you, "transaction")
        run = harness.run(you, path, wanted, 0)
        run.wait()
        raised = isinstance(run.error, ConnectionLoss)
        if not raised and (answer := run.result(bool)) is not done(path):
            harness.fail(
                f"The {lost} was lost. It returned {answer}, and the settings are "
                f"{'changed' if done(path) else 'as they were'}.",
                f"returns {answer} after a lost {lost}",
            )
        harness.note(YOU, "raises ConnectionLoss" if raised else "is right about it")


# --- read all of one version ------------------------------------------------------------------


def read(zk: KazooClient, path: str) -> dict[str, bytes]:
    while True:
        before = zk.exists(path)
        settings = {name: zk.get(f"{path}/{name}")[0] for name in zk.get_children(path)}
        if zk.exists(path).mzxid == before.mzxid:
            return settings


def _simply(zk: KazooClient, path: str) -> dict[str, bytes]:
    """Reads one after the other: a transaction may come between two of them."""
    return {name: zk.get(f"{path}/{name}")[0] for name in zk.get_children(path)}


def _twice(zk: KazooClient, path: str) -> dict[str, bytes]:
    """Reads twice and compares the data: what changes there and back is mixed twice alike."""
    first = _simply(zk, path)
    while (second := _simply(zk, path)) != first:
        first = second
    return first


def _once_again(zk: KazooClient, path: str) -> dict[str, bytes]:
    """Begins again once only: the second time, too, somebody may come between."""
    before = zk.exists(path)
    settings = _simply(zk, path)
    return settings if zk.exists(path).mzxid == before.mzxid else _simply(zk, path)


def _afterwards(zk: KazooClient, path: str) -> dict[str, bytes]:
    """Looks at the parent twice, after the settings: what came before goes unseen."""
    while True:
        settings = _simply(zk, path)
        if zk.exists(path).mzxid == zk.exists(path).mzxid:
            return settings


def _meanwhile(harness: Harness, you: Client, path: str, turns: list[dict[str, bytes]]) -> None:
    """Have a rival change everything between two of your reads, once for each of the turns."""
    reads = itertools.count()

    def between(_: str) -> None:
        if next(reads) % 3:  # not before the first setting of three
            harness.note(RIVAL, "changes all settings")
            _change(harness.rival, path, turns.pop(0))
        if turns:
            you.before("get", between)

    you.before("get", between)


def _judge_read(harness: Harness) -> None:
    rival, path = harness.rival, _make(harness, "config")
    old, new = dict.fromkeys(_NAMES, b"old"), dict.fromkeys(_NAMES, b"new")

    def judge(versions: list[dict[str, bytes]], why: str) -> None:
        got = harness.call(you, path, kind=dict)
        if not any(same(sorted(got.items()), sorted(version.items())) for version in versions):
            harness.fail(
                f"It returned {harness.show(got)}: no version had all of that. {why}",
                "returns a mixture",
            )
        harness.note(YOU, f"returns {harness.show(got)}")

    you = harness.client()
    judge([old], "Nobody had changed anything.")
    for changes in (1, 2, 4):
        _change(rival, path, old)
        you = harness.client()
        _meanwhile(harness, you, path, [new, old, new, old][:changes])
        judge([old, new], f"A rival changed them {changes} times meanwhile.")
    _change(rival, path, {"port": b"5433"})
    judge([{**old, "port": b"5433"}], "The last change was of one setting.")


EXERCISES = (
    Exercise(
        id="publish",
        page="14",
        title="All, or nothing",
        question=(
            "`settings` maps names to new values: `{name: data}`. The znodes `path/name` exist. "
            "Write all of them in one transaction that also writes `path`, so that its version "
            "grows; but only if `path` is still at version `seen`. Return `True` if you have "
            f"changed them, and `False` if nothing was changed. {BREAKS} If you can't find out, "
            "let the caller have the `ConnectionLoss`."
        ),
        hints=(
            "`change = zk.transaction()`, then `change.set_data(path, ..., version=seen)`, one "
            "`set_data` for each setting, and `change.commit()`.",
            "`commit()` doesn't raise when it is refused: it returns a list, in which each "
            "operation has a result or an exception.",
            "After `ConnectionLoss`: if the data of `path` were a mark of yours alone, it could "
            "tell you whether it was done.",
        ),
        answer=publish,
        wrong=(_trusting, _one_by_one, _unguarded, _silent, _sent_again, _presuming),
        judge=_judge_publish,
        deadline=12.0,
    ),
    Exercise(
        id="read-settings",
        page="14",
        title="All of one version",
        question=(
            "The children of `path` are settings. Whoever changes some of them writes `path` in "
            "the same transaction. Return all of them, `{name: data}`, as they were at one moment: "
            f"never some of one version and some of another. {HOLDS}"
        ),
        hints=(
            "`zk.exists(path)` returns the stat of `path`. Which field changes whenever it is "
            "written, even if it is deleted and created anew?",
            "Look at `path` before the first setting and after the last one.",
            "If it has changed, begin again; and again, until it has not.",
        ),
        answer=read,
        wrong=(_simply, _twice, _once_again, _afterwards),
        judge=_judge_read,
        deadline=12.0,
    ),
)
