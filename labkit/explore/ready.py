"""Specifications that are there already: a lock, a queue, a counter, an election, a server."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kazoo.exceptions import (
    ConnectionLoss,
    KazooException,
    NoNodeError,
    SessionExpiredError,
)

from labkit.explore.actor import Body, Me
from labkit.explore.seat import FAULTS, LAGS
from labkit.explore.specification import Specification, ends, like
from labkit.explore.view import View
from labkit.explore.world import World
from labkit.node.custom import Unavailable

Code = Callable[..., Any]
_ITEMS = {f"/queue/item-{i:010d}": text for i, text in enumerate((b"first", b"second"))}


def lock(acquire: Code, users: int = 2, faults: int = 1) -> Specification:
    """`acquire(zk, "/lock")` returns the path of one's znode once one holds the lock."""

    def use(me: Me, path: Any) -> None:
        me.knows(holds=path)
        me.pause("holds the lock", then="is done with the lock")
        me.knows(holds=None)
        with suppress(SessionExpiredError):
            _delete(me, path)

    return _alike(acquire, use, "/lock", users, faults, one_holder, truth=holds_its_znode)


def election(lead: Code, users: int = 2, faults: int = 1) -> Specification:
    """`lead(zk, "/election")` returns when one leads, which is over when one's session ends."""

    def use(me: Me, value: Any) -> None:
        if value is not None:
            me.knows(leads=value)
            me.pause("leads", then="stops leading")
            me.knows(leads=None)
        with suppress(KazooException):
            me.zk.stop()

    return _alike(lead, use, "/election", users, faults, one_leader)


def counter(add: Code, users: int = 2, faults: int = 1) -> Specification:
    """`add(zk, "/counter")` adds one to the number there, exactly once."""

    def use(me: Me, value: Any) -> None:
        me.knows(added=1)

    def final(world: World) -> str | None:
        return ends(world) or _counted(world, at_most=_gave_up(world))

    wanted = _alike(add, use, "/counter", users, faults, _counted, data=b"0")
    return replace(wanted, final=final)


def take(take_one: Code, users: int = 2, faults: int = 1) -> Specification:
    """`take_one(zk, "/queue")` takes the first of two items out of it, and returns its text."""

    def use(me: Me, value: Any) -> None:
        me.knows(took=value)

    def final(world: World) -> str | None:
        took = [actor.believes("took") for actor in world.actors]
        there = {world.data(f"/queue/{name}") for name in world.children("/queue")}
        lost = [d.decode() for d in _ITEMS.values() if d not in there and d.decode() not in took]
        if len(lost) > _gave_up(world):
            return f"{' and '.join(lost)} is lost: nobody has it, and it is not in the queue"
        return ends(world)

    wanted = _alike(take_one, use, "/queue", users, faults, _taken_once)
    return replace(wanted, final=final, znodes=[("/queue", b""), *_ITEMS.items()])


def own(
    functions: Mapping[str, Code],
    invariant: Callable[[World], str | None],
    tree: Mapping[str, bytes],
    faults: int,
) -> Specification:
    """A reader's own: each function is called with its `zk`; `returned` is what it returns."""

    def body(function: Code) -> Body:
        def run(me: Me) -> None:
            done, value = _tried(me, lambda: function(me.zk))
            if done:
                me.knows(returned=value)

        run.__module__ = function.__module__
        return run

    bodies = {name: body(function) for name, function in functions.items()}
    return Specification("yours", bodies, invariant, znodes=list(tree.items()), faults=faults)


def _alike(
    code: Code,
    use: Callable[[Me, Any], None],
    root: str,
    users: int,
    faults: int,
    invariant: Callable[[World], str | None],
    data: bytes = b"",
    truth: Callable[[World, View], Mapping[str, Any]] | None = None,
) -> Specification:
    """Some users that all run `code(zk, root)`, and use what it returns."""

    def body(me: Me) -> None:
        done, value = _tried(me, lambda: code(me.zk, root))
        if done:
            use(me, value)

    body.__module__ = getattr(code, "__module__", __name__)
    wanted = Specification(
        name=getattr(code, "__name__", "code"),
        bodies=like(body, users, "user"),
        invariant=invariant,
        znodes=[(root, data)],
        faults=faults,
        alike=True,
        what="user",
    )
    return wanted if truth is None else replace(wanted, truth=truth)


def _tried(me: Me, code: Callable[[], Any]) -> tuple[bool, Any]:
    """What code returns; it may give up when a connection breaks, or its session has ended."""
    try:
        return True, code()
    except Exception as error:
        if not me.expired and not isinstance(error, ConnectionLoss):
            raise
        me.knows(gave_up=type(error).__name__)
        return False, None


def _delete(me: Me, path: str) -> None:
    while True:
        with suppress(ConnectionLoss):
            with suppress(NoNodeError):
                me.zk.delete(path)
            return


def _gave_up(world: World) -> int:
    return sum(actor.believes("gave_up") is not None for actor in world.actors)


def one_holder(world: World) -> str | None:
    """Never do two hold the lock whose sessions live."""
    held = [actor.name for actor in world.actors if actor.alive and actor.believes("holds")]
    return f"{' and '.join(held)} hold the lock at once" if len(held) > 1 else None


def one_leader(world: World) -> str | None:
    """Never do two lead whose sessions live."""
    led = [a.name for a in world.actors if a.alive and a.believes("leads") is not None]
    return f"{' and '.join(led)} lead at once" if len(led) > 1 else None


def holds_its_znode(world: World, actor: View) -> Mapping[str, Any]:
    """An actor that believes to hold something does, if the znode is its session's."""
    path = actor.believes("holds")
    mine = path is not None and world.owner(path) == actor.session and actor.alive
    return {"holds": path if mine else None} if path is not None else {}


def _counted(world: World, at_most: int | None = None) -> str | None:
    """All that were added are there; with `at_most`, that many more at most."""
    added = sum(actor.believes("added") or 0 for actor in world.actors)
    said = (world.data("/counter") or b"").decode(errors="replace")
    number = int(said) if said.isdecimal() else None
    if number is None or number < added:
        return f"{added} have added one, and the number is {said!r}"
    if at_most is not None and number > added + at_most:
        return f"only {added} have added one, and the number is {number}"
    return None


def _taken_once(world: World) -> str | None:
    took: dict[str, str] = {}
    for actor in world.actors:
        item = actor.believes("took")
        if item is not None and item in took:
            return f"{took[item]} and {actor.name} have both taken {item}"
        took[item] = actor.name
    return None


def numbers(server: type[Any], nodes: int = 2, requests: int = 2, faults: int = 1) -> Specification:
    """Each node's `sequence` answers a number that the node holds then, and no other holds."""

    def body(me: Me) -> None:
        made = server()
        while True:
            try:
                made.start(me.zk, me.name)
                break
            except (KazooException, Unavailable):
                time.sleep(1)  # as a node does
        if hasattr(server, "state"):
            _tell_states(me, made)
        for _ in range(requests):
            me.pause("waits for a request", then="is asked for its number")
            try:
                number = made.sequence()
            except (KazooException, Unavailable):
                continue
            me.knows(answered=number)
            me.says(answers=number)

    body.__module__ = server.__module__
    return Specification(
        name=server.__name__,
        bodies=like(body, nodes, "node"),
        invariant=answers_are_held,
        znodes=[("/sequence", b"")],
        faults=faults,
        kinds=(*FAULTS, LAGS) if faults > 1 else FAULTS,  # alone, a follower that lags is no harm
        alike=True,
        hurries=1,  # threads that keep a lease alive let time pass without end
        truth=answers_its_number,
        what="node",
        each="one request each" if requests == 1 else f"{requests} requests each",
    )


def _tell_states(me: Me, server: Any) -> None:
    """Tell a server what happens to its connection, in a thread that nothing else uses."""
    states: queue.SimpleQueue[str] = queue.SimpleQueue()

    def live() -> None:
        while True:
            server.state(states.get())

    me.zk.add_listener(states.put)
    threading.Thread(target=live, daemon=True).start()


def answers_are_held(world: World) -> str | None:
    """Whoever has just answered a number holds it, and in the end no other."""
    for actor in world.actors:
        number = actor.says("answers")
        if number is None:
            continue
        owner = world.owner(f"/sequence/{number}")
        if owner is None or (owner and owner != actor.session) or not actor.alive:
            who = "nobody" if owner is None else "another"
            return f"{actor.name} answers {number}, which {who} holds"
    return _no_number_is_lost(world)


def _no_number_is_lost(world: World) -> str | None:
    """Nobody that has come to its end holds a number beside the one that it has answered last."""
    for actor in world.actors:
        number = actor.believes("answered")
        if number is None or not actor.alive or not actor.rests:
            continue
        for name in world.children("/sequence"):
            mine = world.owner(f"/sequence/{name}") == actor.session
            if mine and name.isdecimal() and int(name) != number:
                return f"{actor.name} answers {number}, and holds {name} too, which nobody is given"
    return None


def answers_its_number(world: World, actor: View) -> Mapping[str, Any]:
    """The number that a node answers is its own, if the znode is."""
    number = actor.believes("answered")
    mine = number is not None and world.owner(f"/sequence/{number}") == actor.session
    return {"answered": number if mine and actor.alive else None} if number is not None else {}
