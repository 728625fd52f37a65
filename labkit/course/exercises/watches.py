"""Page 03: you learn that it changed, not every change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import ConnectionLoss

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import YOU, Harness
from labkit.course.exercises.values import message_of, same

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_SOON = 2.0  # seconds in which a notice should have had its effect


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


def _judge_follow(harness: Harness) -> None:
    you, rival, path = harness.client(), harness.rival, f"{harness.root}/light"
    told: list[str] = []

    def tell(value: str) -> None:
        harness.note(YOU, f"tell({harness.show(value)})")
        told.append(value)

    def expect(value: str, why: str) -> None:
        harness.wait(lambda: (told and same(told[-1], value)) or you.broken, _SOON)
        if you.broken is not None:
            name, said = type(you.broken).__name__, message_of(you.broken)
            lost = isinstance(you.broken, ConnectionLoss)
            said = "its read's reply was lost, and no watch is left" if lost else said
            harness.fail(f"Your watch function raised `{name}`: {said}.", f"raises {name}")
        if not told or not same(told[-1], value):
            last = harness.show(told[-1]) if told else "nothing"
            harness.fail(
                f"The light is {value!r}, and {_SOON:g} s later the last that was told is {last}. "
                + why,
                f"has told {last}, and the light is {value!r}",
            )

    rival.create(path, b"off")
    you.before("exists", lambda _: rival.set(path, b"flicker"))
    harness.call(you, path, tell)
    now = harness.zk.get(path)[0].decode()
    expect(now, "It changed between your read and your watch." if now == "flicker" else "")
    for state in ("on", "red", "green"):
        rival.set(path, state.encode())
        expect(state, "A watch fires once.")
    for number in range(40):
        harness.zk.set_async(path, str(number).encode())
    harness.note("a rival", "40 changes at once, the last one: 39")
    expect("39", "You may miss steps, never the outcome.")
    harness.lose_reply(you, "get", you.is_waiting)
    rival.set(path, b"amber")
    expect("amber", "The reply to your read was lost, and your session lives on: read again.")
    rival.set(path, b"white")
    expect("white", "After the lost reply no watch was left.")


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


def _judge_gone(harness: Harness) -> None:
    you, rival, path = harness.client(), harness.rival, f"{harness.root}/lock"
    harness.call(you, path)
    rival.create(path, b"1")
    run = harness.run(you, path)
    harness.wait(lambda: run.done, 0.3)
    rival.set(path, b"2")
    harness.wait(lambda: run.done, 0.3)
    if run.done:
        run.result()
        harness.fail(
            "It returned, and the znode is still there.", "returns, and the znode is there"
        )
    rival.delete(path)
    _returns(harness, run)
    calls = len(you.calls) - 1
    if calls > 5:
        harness.fail(
            f"It made {calls} calls, where 3 are enough: let ZooKeeper tell you, by a watch.",
            f"{calls} calls",
        )
    path = f"{harness.root}/next-lock"
    rival.create(path)
    you.before("exists", lambda _: None)
    you.before("exists", lambda _: harness.zk.exists(path) and rival.delete(path))
    run = harness.run(you, path)
    if not harness.wait(lambda: run.done or not harness.zk.exists(path), 0.3):
        rival.delete(path)
    _returns(harness, run)


def _returns(harness: Harness, run: Any) -> None:
    harness.wait(lambda: run.done, _SOON)
    if not run.done:
        harness.fail(
            f"The znode was deleted, and {_SOON:g} s later your function still waits. Could it "
            "have gone between two of your calls?",
            "still waits for what has happened",
        )
    run.result()


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
        judge=_judge_follow,
        deadline=12.0,
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
        judge=_judge_gone,
        deadline=10.0,
    ),
)
