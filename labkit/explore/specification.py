"""What is explored, and what must never be: actors, a tree, an invariant, an end, a scope.

def body(me):                          # one actor: `me.zk`, `me.name`, `me.pause`, `me.knows`
    path = acquire(me.zk, "/lock")
    me.knows(holds=path)
    me.pause("holds the lock")

def one_holder(world):                 # after every step
    held = [a.name for a in world.actors if a.alive and a.believes("holds")]
    return f"{' and '.join(held)} hold the lock" if len(held) > 1 else None

lock = Specification("lock", like(body, 2, "user"), one_holder, znodes=[("/lock", b"")])
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.explore.actor import Body
from labkit.explore.client import TIMEOUT
from labkit.explore.line import FREEZES, GOES_DARK, Clocked
from labkit.explore.seat import CRASHES, FAULTS, LAGS, MOVES, REPLY_LOST, REQUEST_LOST, SESSION_ENDS
from labkit.explore.view import View
from labkit.explore.world import World

_KINDS = {
    REQUEST_LOST: "a lost request",
    REPLY_LOST: "a lost reply",
    SESSION_ENDS: "a session that ends",
    CRASHES: "a crash",
    LAGS: "a follower that lags",
    MOVES: "a broken connection",
    FREEZES: "a process that stands still",
    GOES_DARK: "a server that is cut off",
}


def ends(world: World) -> str | None:
    """The end that is asked for unless a specification says otherwise: nobody waits for ever."""
    left = [actor for actor in world.actors if not actor.done and not actor.gone]
    if not left:
        return None
    names = " and ".join(actor.name for actor in left)
    verb = "waits" if len(left) == 1 else "wait"
    return f"{names} {verb} for ever: nothing can happen any more"


def nothing_more(world: World, actor: View) -> Mapping[str, Any]:
    """A truth for specifications whose actors' beliefs are not compared with anything."""
    return {}


@dataclass(frozen=True)
class Specification:
    """Who does what, and what must never be true of it.

    `invariant` looks at each world, `final` at those in which nothing can happen by itself: what is
    wrong, in one sentence, or None. `truth` says what is true of an actor, under the same names as
    its `me.knows`. `faults`: how many there may be, `kinds`: which. `alike`: all actors do the
    same. `spared`: whom no fault hits. `raises`: which exceptions may end an actor. `hurries`:
    how often time may pass although somebody could do something.
    """

    name: str
    bodies: Mapping[str, Body]
    invariant: Callable[[World], str | None]
    final: Callable[[World], str | None] = ends
    znodes: Sequence[tuple[str, bytes]] = ()
    faults: int = 1
    kinds: tuple[str, ...] = FAULTS
    alike: bool = False
    spared: frozenset[str] = frozenset()
    truth: Callable[[World, View], Mapping[str, Any]] = nothing_more
    raises: tuple[str, ...] = ()
    timeout: float = TIMEOUT
    hurries: int = 4
    clocked: Clocked | None = None  # sessions end by time, and not by a fault
    rests: bool = False  # an actor whose code has ended stands still
    #: What one actor is called, and of what there may be so many, in the sentence about the scope.
    what: str = field(default="actor")
    each: str = ""  # what each of them does, in the same sentence

    @property
    def scope(self) -> str:
        """What was explored, in one sentence."""
        number = len(self.bodies)
        who = f"{number} {self.what}{'s' if number > 1 else ''}"
        who += f", {self.each}" if self.each else ""
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in self.kinds)
        many = "one fault" if self.faults == 1 else f"up to {self.faults} faults"
        faults = f"{many} ({kinds})" if self.faults else "no fault"
        often = "once" if self.hurries == 1 else f"{self.hurries} times"
        hurry = f"at most {often}" if self.hurries else "never"
        return f"{who}, {faults}; time passes {hurry} while anybody could still do something"


def names(body: Body) -> Iterator[dict[str, Any]]:
    """The names that a body may use: of its module, and of the function that it wraps."""
    for function in (sys.modules.get(body.__module__), inspect.unwrap(body)):
        found = getattr(function, "__globals__", None) or getattr(function, "__dict__", None)
        if found is not None:
            yield found


def like(body: Body, many: int, name: str) -> dict[str, Body]:
    """So many actors that all do the same: user1, user2 …"""
    return {f"{name}{number}": body for number in range(1, many + 1)}
