"""Page 03: you learn that it changed, not every change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import ConnectionLoss

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.orders import Code, in_every_order, polls, users
from labkit.course.exercises.values import as_text, same
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- follow -----------------------------------------------------------------------------------


def follow(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    one_at_a_time = threading.Lock()  # so that what was read last is told last

    def look(event: Any = None) -> None:
        with one_at_a_time:
            while True:
                try:
                    data, _ = zk.get(path, watch=look)
                    break
                except ConnectionLoss:
                    continue  # no reply, so no watch either: ask again
            tell(data.decode())

    look()


def _without_a_watch(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    """A lost reply raises in its watch function; after that no watch is left."""

    def look(event: Any = None) -> None:
        data, _ = zk.get(path, watch=look)
        tell(data.decode())

    look()


def _untold(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    """Goes on after a lost reply, but without a watch and without the value."""

    def look(event: Any = None) -> None:
        with suppress(ConnectionLoss):
            data, _ = zk.get(path, watch=look)
            tell(data.decode())

    look()


def _once(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    """Reads again when it is told, but leaves no new watch."""

    def look(event: Any) -> None:
        tell(zk.get(path)[0].decode())

    tell(zk.get(path, watch=look)[0].decode())


def _in_two_steps(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    """Reads first and watches then: what changes in between, nobody tells."""

    def look(event: Any = None) -> None:
        tell(zk.get(path)[0].decode())
        zk.exists(path, watch=look)

    look()


def _unread(zk: KazooClient, path: str, tell: Callable[[str], None]) -> None:
    """Tells on every notice what it has read long ago."""
    data, _ = zk.get(path)

    def look(event: Any = None) -> None:
        tell(data.decode())
        zk.exists(path, watch=look)

    look()


def _follows(code: Code, root: str) -> Specification:
    path = f"{root}/light"

    def use(me: Me) -> None:
        def tell(value: str) -> None:
            me.knows(told=value if type(value) is str else as_text(value))

        code(me, path, tell)

    def rival(me: Me) -> None:
        for state in (b"red", b"green"):
            me.zk.set(path, state)

    def at_the_end(world: World) -> str | None:
        told, now = world.actors[0].believes("told"), (world.data(path) or b"").decode()
        if same(told, now):
            return None
        last = "nothing" if told is None else as_text(told)
        return f"the light is {now!r}, and the last that was told is {last}: no watch is left"

    others = {"a rival": rival}
    return users(code, use, others=others, at_the_end=at_the_end, znodes=[(path, b"off")])


# --- wait until it is gone --------------------------------------------------------------------


def wait_gone(zk: KazooClient, path: str) -> None:
    told = threading.Event()
    while zk.exists(path, watch=lambda event: told.set()):
        told.wait()
        told.clear()


def _polling(zk: KazooClient, path: str) -> None:
    """Asks again and again: right, but ZooKeeper has to answer each time."""
    while zk.exists(path):
        time.sleep(0.05)


def _any_notice(zk: KazooClient, path: str) -> None:
    """Takes any notice for the one it waits for."""
    told = threading.Event()
    if zk.exists(path, watch=lambda event: told.set()):
        told.wait()


def _look_then_watch(zk: KazooClient, path: str) -> None:
    """Looks, then watches, and does not look at what the second call says."""
    told = threading.Event()

    def gone(event: Any) -> None:
        if event.type == "DELETED":
            told.set()
        else:
            zk.exists(path, watch=gone)

    if zk.exists(path):
        zk.exists(path, watch=gone)
        told.wait()


def _waits(code: Code, root: str) -> Specification:
    path = f"{root}/lock"

    def use(me: Me) -> None:
        code(me, path)
        me.says(returns="at last")

    def rival(me: Me) -> None:
        me.zk.set(path, b"2")
        me.zk.delete(path)

    def never(world: World) -> str | None:
        if world.actors[0].says("returns") and world.owner(path) is not None:
            return "it returned, and the znode is still there"
        return polls(world, 4)

    others = {"a rival": rival}
    return users(code, use, others=others, never=never, znodes=[(path, b"1")], faults=0)


EXERCISES = (
    Exercise(
        id="follow",
        page="03",
        title="Never miss the outcome",
        question=(
            "Call `tell(value)` with what the znode at `path` holds (decoded, a string): now, "
            "and again whenever it has changed. Return; the watches go on by themselves. "
            "You may skip values when changes come fast, but what was told last must be what is "
            "true, as long as your session lives: also when the reply to a read is lost. Then "
            "`zk.get` raises `ConnectionLoss` (from `kazoo.exceptions`), in your watch function "
            "too, and it has left no watch."
        ),
        hints=(
            "`zk.get(path, watch=look)` calls `look(event)` once, when the znode changes.",
            "One function can do both: read, leaving itself as the watch, and tell.",
            "Reading and watching have to be one call. And a read that raises `ConnectionLoss` has "
            "to be tried again: in a loop, or by `zk.retry(zk.get, path, watch=look)`.",
        ),
        answer=follow,
        wrong=(_once, _in_two_steps, _unread, _without_a_watch, _untold),
        judge=in_every_order(_follows),
    ),
    Exercise(
        id="wait-gone",
        page="03",
        title="Wait until it is gone",
        question=(
            "Return when there is no znode at `path` (at once, if there is none). Don't ask again "
            "and again: let ZooKeeper tell you. (To wait in a function: `told = "
            "threading.Event()`, `told.set()` in the watch, `told.wait()`.) "
            f"{HOLDS}"
        ),
        hints=(
            "`zk.exists(path, watch=...)` looks and leaves the watch in one step.",
            "Not every notice means that it is gone: a write is told, too.",
            "So after each notice look again, with a new watch; the loop ends when `exists` says "
            "`None`.",
        ),
        answer=wait_gone,
        wrong=(_polling, _any_notice, _look_then_watch),
        judge=in_every_order(_waits),
    ),
)
