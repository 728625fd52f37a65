"""Page 14: all settings are changed at once, or none; and a reader sees all of one version."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kazoo.exceptions import BadVersionError, ConnectionLoss

from labkit.course.exercises.exercise import BREAKS, HOLDS, LAGS, Exercise
from labkit.course.exercises.orders import Code, in_every_order, lagging, users
from labkit.course.exercises.values import as_text, same
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

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
            zk.retry(zk.sync, path)  # the server that we talk to now may lag
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


def _without_sync(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Looks for its mark on a server that lags, and takes its own change for a rival's."""
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
                return True
            if stat.version != seen:
                raise


def _presuming(zk: KazooClient, path: str, settings: Mapping[str, bytes], seen: int) -> bool:
    """Takes it that a request without a reply was carried out."""
    try:
        return _in_one(zk, path, settings, seen)
    except ConnectionLoss:
        return True


def _publishes(code: Code, root: str) -> Specification:
    path, wanted = f"{root}/config", {"host": b"db2", "port": b"5433"}

    def use(me: Me) -> None:
        me.says(returns=code(me, path, wanted, 0, kind=bool, may=(ConnectionLoss,)))

    def rival(me: Me) -> None:
        change = me.zk.transaction()
        change.set_data(path, b"")
        change.set_data(f"{path}/port", b"1")
        change.commit()
        me.knows(changed=1)

    def never(world: World) -> str | None:
        host, port, stat = world.data(f"{path}/host"), world.data(f"{path}/port"), world.stat(path)
        done, said = host == b"db2", world.actors[0].says("returns")
        rivals = world.actors[-1].believes("changed") or 0
        if (
            stat is None
            or stat.version != done + rivals
            or (done and not rivals and port == b"old")
        ):
            return "the settings and `path` are not written in one transaction: some are new here"
        if done and rivals and port != b"1":
            return "it wrote over what a rival had changed since version 0"
        if said is not None and said is not done:
            return f"it returned {said}, and the settings are {'changed' if done else 'as before'}"
        return None

    znodes = [(path, b""), *((f"{path}/{name}", b"old") for name in _NAMES)]
    return users(
        code,
        use,
        others={"a rival": rival},
        never=never,
        znodes=znodes,
        raises=("ConnectionLoss",),
    )


def _publishes_lagging(code: Code, root: str) -> Specification:
    wanted = _publishes(code, root)
    return lagging(replace(wanted, bodies={"your code": wanted.bodies["your code"]}))


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


def _reads(code: Code, root: str) -> Specification:
    path = f"{root}/config"

    def use(me: Me) -> None:
        me.says(returns=code(me, path, kind=dict))

    def rival(me: Me) -> None:
        for value in (b"new", b"old", b"new"):
            change = me.zk.transaction()
            change.set_data(path, b"")
            for name in ("host", "port"):
                change.set_data(f"{path}/{name}", value)
            change.commit()

    def never(world: World) -> str | None:
        got = world.actors[0].says("returns")
        versions = [{"host": value, "port": value} for value in (b"old", b"new")]
        if got is None or any(same(sorted(got.items()), sorted(v.items())) for v in versions):
            return None
        return f"it returned {as_text(got)}: no version had all of that"

    znodes = [(path, b""), (f"{path}/host", b"old"), (f"{path}/port", b"old")]
    return users(code, use, others={"a rival": rival}, never=never, znodes=znodes, faults=0)


EXERCISES = (
    Exercise(
        id="publish",
        page="14",
        title="All, or nothing",
        question=(
            "`settings` maps names to new values: `{name: data}`. The znodes `path/name` exist. "
            "Write all of them in one transaction that also writes `path`, so that its version "
            "grows; but only if `path` is still at version `seen`. Return `True` if you have "
            f"changed them, and `False` if nothing was changed. {BREAKS} {LAGS} If you can't find "
            "out, let the caller have the `ConnectionLoss`."
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
        wrong=(_trusting, _one_by_one, _unguarded, _silent, _sent_again, _presuming, _without_sync),
        judge=in_every_order(_publishes, _publishes_lagging),
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
        judge=in_every_order(_reads),
    ),
)
