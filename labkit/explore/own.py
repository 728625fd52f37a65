"""The lab's own node in every schedule: its claim, its lease and its IDs, as they are.

The classes of `labkit.node` run unchanged. Their session is the actor's client, their clocks are
the world's. A node that has had its last answer stands still: what it would still do by itself
changes nothing that it says.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from labkit.explore.actor import Me
from labkit.explore.line import Clocked
from labkit.explore.seat import ALL_FAULTS
from labkit.explore.specification import Specification, ends, like
from labkit.explore.world import World
from labkit.node import reservation
from labkit.node.claim import ROOT, numbers, tickets
from labkit.node.claimant import Claimant, Held, Refusal
from labkit.node.holder import Holder
from labkit.node.session import Session
from labkit.node.snowflake import EPOCH_MS, Ids

T = 10.0  # seconds of a session
_PATIENCE = 2.0  # seconds that a request waits
_MOST_ASKED = 6  # times, each T/4 later, until a node that refuses counts as one that never answers


class _Session:
    """A client of a world as a `labkit.node.session.Session`."""

    server: str | None = None

    def __init__(self, me: Me) -> None:
        self._me = me

    def __getattr__(self, name: str) -> Any:
        return getattr(self._me.zk, name)

    @property
    def session_id(self) -> int:
        return self._me.session

    def connect(self) -> None:
        """Tell the listeners what they have missed: a client is connected when its code begins."""
        for listener in list(self._me.zk.state_listeners):
            listener("CONNECTED")


class _Given:
    """A claimant that believes to hold a number, whoever else does."""

    def __init__(self, me: Me, number: int) -> None:
        self.client = me.zk
        self._held = Held(number, number, T)

    def peek(self) -> Held:
        return self._held

    def number(self, timeout: float) -> Held:
        return self._held


def _holder(me: Me) -> Holder:
    holder = Holder(cast(Session, _Session(me)), b"", 1023, lambda: time.monotonic())
    holder.start()
    return holder


def _answer(me: Me, held: Held) -> None:
    me.knows(answered=(held.number, held.token))
    me.says(answers=(held.number, held.token))


def node(nodes: int = 2, requests: int = 2, faults: int = 1) -> Specification:
    """Nodes that are asked for their numbers; each comes to an answer in the end."""

    def body(me: Me) -> None:
        holder = _holder(me)
        for left in range(requests, 0, -1):
            me.pause("is about to be asked for its number")
            for _ in range(1 if left > 1 else _MOST_ASKED):
                with suppress(Refusal):
                    _answer(me, holder.number(_PATIENCE))
                    break
                if left == 1:
                    time.sleep(T / 4)
            else:
                me.knows(refuses=left == 1 or None)

    return _nodes("the lab's own node", body, nodes, faults, answers_hold, _all_is_well)


def ids(
    nodes: int = 2, requests: int = 2, faults: int = 1, all_hold: int | None = None
) -> Specification:
    """Nodes that are asked for IDs, of which there is none twice.

    `all_hold`: a number that all of them believe to hold, as a zombie and its successor do.
    """

    def body(me: Me) -> None:
        source = Ids(
            _holder(me) if all_hold is None else cast(Claimant, _Given(me, all_hold)),
            me.name,
            EPOCH_MS,
            _PATIENCE,
            clock=lambda: time.time_ns(),
            sleep=lambda seconds: time.sleep(seconds),
        )
        made: tuple[int, ...] = ()
        for _ in range(requests):
            me.pause("is about to be asked for an ID")
            with suppress(Refusal):
                made = (*made, source.next_id())
                me.knows(made=made)
                me.says(makes=made[-1])

    return _nodes("the lab's own IDs", body, nodes, faults, no_id_twice, ends)


def _nodes(
    name: str,
    body: Callable[[Me], None],
    nodes: int,
    faults: int,
    invariant: Callable[[World], str | None],
    final: Callable[[World], str | None],
) -> Specification:
    """So many nodes alike, and all kinds of faults."""
    return Specification(
        name,
        like(body, nodes, "node"),
        invariant,
        final=final,
        znodes=[(ROOT, b""), (reservation.ROOT, b"")],
        faults=faults,
        kinds=ALL_FAULTS,
        alike=True,
        timeout=T,
        hurries=0,
        rests=True,
        what="node",
    )


def lease(
    report: float, kinds: tuple[str, ...], faults: int, rate: float = 1.0, later: bool = True
) -> Specification:
    """One node whose session ends by time, asked once at any moment after its claim.

    `report`: from one report of its server to the next, as a part of the session timeout; 0 if it
    is the leader's client. `later`: no fault before the claim is done.
    """

    def body(me: Me) -> None:
        holder = _holder(me)
        with suppress(Refusal):
            me.knows(claimed=holder.number(_PATIENCE).number)
            me.pause("is about to be asked for its number")
            _answer(me, holder.number(0))

    return Specification(
        "the lease",
        {"node": body},
        answers_hold,
        final=lambda world: None,
        znodes=[(ROOT, b"")],
        faults=faults,
        kinds=kinds,
        timeout=T,
        clocked=Clocked(report * T, 1.6 * T, rate, later),
        rests=True,
        what="node",
    )


def answers_hold(world: World) -> str | None:
    """Whoever answers a number holds it, and nobody has answered it by as new a token before."""
    for actor in world.actors:
        said = actor.says("answers")
        if said is None:
            continue
        number, token = said
        if world.owner(f"{ROOT}/{number}") != actor.session or not actor.alive:
            return f"{actor.name} answers {number}, which it does not hold"
        for other in world.actors:
            before = other.believes("answered")
            if other is not actor and before and before[0] == number and before[1] >= token:
                return f"{actor.name} answers {number} by token {token}, {before[1]} was before"
    held = Counter(world.owner(f"{ROOT}/{n}") for n in numbers(world.children(ROOT)))
    twice = [actor.name for actor in world.actors if held[actor.session] > 1]
    return f"{twice[0]} holds two numbers" if twice else None


def no_id_twice(world: World) -> str | None:
    """No two IDs are the same, of whichever node, or of one before it crashed."""
    if not any(actor.says("makes") for actor in world.actors):
        return None
    sets = [facts.get("made", ()) for a in world.actors for facts in (a.facts, *a.past)]
    twice = [id for id, times in Counter(id for made in sets for id in made).items() if times > 1]
    return f"the ID {twice[0]} is there twice" if twice else None


def _all_is_well(world: World) -> str | None:
    """All nodes have answered, no ticket is left, and without a fault there are no gaps."""
    refuses = [actor.name for actor in world.actors if actor.believes("refuses")]
    if refuses:
        return f"{refuses[0]} refuses for ever"
    names = world.children(ROOT)
    live = {actor.session for actor in world.actors if actor.alive and not actor.waits}
    if any(world.owner(f"{ROOT}/{ticket}") in live for ticket in tickets(names)):
        return "a ticket is left, and nobody is claiming"
    held = sorted(numbers(names))
    if world.faults == world.rules.most and held != list(range(1, len(held) + 1)):
        return f"the numbers {held} are held, and smaller ones are free"
    return ends(world)
