"""Specifications that are there already: a lock, numbers of a reader's own server."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kazoo.exceptions import (
    ConnectionLoss,
    KazooException,
    NoNodeError,
    SessionExpiredError,
)

from labkit.explore.actor import Me
from labkit.explore.specification import Specification, like
from labkit.explore.world import View, World
from labkit.node.custom import Unavailable


def lock(acquire: Callable[..., Any], users: int = 2, faults: int = 1) -> Specification:
    """`acquire(zk, "/lock")` returns the path of one's znode once one holds the lock."""

    def body(me: Me) -> None:
        try:
            path = acquire(me.zk, "/lock")
        except Exception as error:
            if not me.expired and not isinstance(error, ConnectionLoss):
                raise
            me.knows(gave_up=type(error).__name__)
            return
        me.knows(holds=path)
        me.pause("holds the lock")
        me.knows(holds=None)
        with suppress(SessionExpiredError):
            _delete(me, path)

    body.__module__ = getattr(acquire, "__module__", __name__)
    return Specification(
        name=getattr(acquire, "__name__", "acquire"),
        bodies=like(body, users, "user"),
        invariant=one_holder,
        znodes=[("/lock", b"")],
        faults=faults,
        alike=True,
        truth=holds_its_znode,
        what="user",
    )


def _delete(me: Me, path: str) -> None:
    while True:
        with suppress(ConnectionLoss):
            with suppress(NoNodeError):
                me.zk.delete(path)
            return


def one_holder(world: World) -> str | None:
    """Never do two hold the lock whose sessions live."""
    held = [actor.name for actor in world.actors if actor.alive and actor.believes("holds")]
    return f"{' and '.join(held)} hold the lock at once" if len(held) > 1 else None


def holds_its_znode(world: World, actor: View) -> Mapping[str, Any]:
    """An actor that believes to hold something does, if the znode is its session's."""
    path = actor.believes("holds")
    mine = path is not None and world.owner(path) == actor.session and actor.alive
    return {"holds": path if mine else None} if path is not None else {}


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
            me.pause("is about to be asked for its number")
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
        alike=True,
        truth=answers_its_number,
        what="node",
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
    """Whoever has just answered a number holds it."""
    for actor in world.actors:
        number = actor.says("answers")
        if number is None:
            continue
        owner = world.owner(f"/sequence/{number}")
        if owner is None or (owner and owner != actor.session) or not actor.alive:
            who = "nobody" if owner is None else "another"
            return f"{actor.name} answers {number}, which {who} holds"
    return None


def answers_its_number(world: World, actor: View) -> Mapping[str, Any]:
    """The number that a node answers is its own, if the znode is."""
    number = actor.believes("answered")
    mine = number is not None and world.owner(f"/sequence/{number}") == actor.session
    return {"answered": number if mine and actor.alive else None} if number is not None else {}
