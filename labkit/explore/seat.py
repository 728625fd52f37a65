"""An actor's place in a world, and what may happen to it next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from labkit.explore.actor import Moment
from labkit.explore.line import FREEZES, GOES_DARK, Line
from labkit.explore.tree import Tree, Trigger

REQUEST_LOST, REPLY_LOST, SESSION_ENDS = "request lost", "reply lost", "session ends"
CRASHES, LAGS, MOVES = "crashes", "lags", "moves"
FAULTS = (REQUEST_LOST, REPLY_LOST, SESSION_ENDS)
ALL_FAULTS = (*FAULTS, CRASHES, LAGS, MOVES)
_FAULTS = {*ALL_FAULTS, FREEZES, GOES_DARK}


class Choice(NamedTuple):
    """What may happen next: to which actor, and what. `detail`: the strand or the timer."""

    actor: int
    kind: str
    detail: int = 0

    @property
    def fault(self) -> bool:
        """Whether it is one of the faults of which there are only so many."""
        return self.kind in _FAULTS


class _Seat(NamedTuple):
    moment: Moment
    session: int
    life: int = 0
    begun: bool = False  # it has been told something since it began
    ended: bool = False  # ZooKeeper has ended the session; the actor has not heard of it
    connected: bool = True
    gone: bool = False  # it has crashed
    timers: tuple[tuple[int, float], ...] = ()  # timer, when it is over
    watching: tuple[tuple[str, str, int], ...] = ()  # data or child, path, the request's number
    notices: tuple[tuple[str, str | None, tuple[int, ...]], ...] = ()
    view: Tree | None = None  # what its follower shows, if that lags
    behind: tuple[tuple[Tree, tuple[Trigger, ...]], ...] = ()
    line: Line | None = None  # to the leader, where sessions end by time
    past: tuple[Mapping[str, Any], ...] = ()  # what it believed when it crashed


class Seat(_Seat):
    """An actor's place in the world."""

    place = -1  # the short key, once it is known and does not depend on the time
    options: tuple[list[Choice], list[Choice]] | None = None  # what may happen to it

    def key(self, now: float, seen: tuple[str, ...]) -> Any:
        """Equal for seats of one actor that go on alike."""
        timers = tuple((t, round(end - now, 6)) for t, end in self.timers) if self.timers else ()
        late = self.view and (self.view.key(seen), tuple(t.key(seen) for t, _ in self.behind))
        past = tuple(tuple(facts.items()) for facts in self.past)
        state = self.ended, self.connected, self.gone, self.line, past
        return self.moment.number, self.session, state, self.watching, self.notices, timers, late


class Seats(Protocol):
    """A world, for what looks only at its seats."""

    rules: Any
    seats: tuple[Seat, ...]
    now: float
    faults: int
    last: int
