"""An actor of a world as an invariant sees it: what it believes, and what is true of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labkit.explore.actor import Moment
from labkit.explore.seat import Seats


class View:
    """One actor as an invariant sees it."""

    __slots__ = ("_at", "_seat", "_world")

    def __init__(self, world: Seats, at: int) -> None:
        self._world = world
        self._at = at
        self._seat = world.seats[at]

    @property
    def name(self) -> str:
        name: str = self._world.rules.programs[self._at].name
        return name

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it believes: all that its code has told by `me.knows`."""
        return self._seat.moment.facts

    def believes(self, fact: str) -> Any:
        """One thing that it believes, or None."""
        return None if self._seat.gone else self._seat.moment.facts.get(fact)

    @property
    def session(self) -> int:
        """Its session's id, as far as it knows."""
        return self._seat.session

    @property
    def alive(self) -> bool:
        """Whether the session still lives in which it has last said what it believes."""
        seat = self._seat
        same = seat.moment.sworn in (0, seat.session)
        return same and not seat.ended and not seat.gone

    def says(self, what: str) -> Any:
        """What it has said by `me.says` in this very step, so that nothing has come between."""
        return self._seat.moment.news.get(what) if self._world.last == self._at else None

    @property
    def past(self) -> Sequence[Mapping[str, Any]]:
        """What it believed whenever it crashed."""
        return self._seat.past

    @property
    def gone(self) -> bool:
        """Whether it has crashed."""
        return self._seat.gone

    @property
    def heard(self) -> Iterator[Any]:
        """What ZooKeeper has replied to it in this life, the newest reply first."""
        moment: Moment | None = self._seat.moment
        while moment is not None:
            if moment.told[:1] == ("reply",):
                yield moment.told[2]
            moment = moment.before

    @property
    def watches(self) -> list[tuple[str, str]]:
        """What ZooKeeper would tell it of: ("data" or "child", path)."""
        seat = self._seat
        return [] if seat.ended or seat.gone else [(kind, path) for kind, path, _ in seat.watching]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What went wrong in its threads and watch functions in this very step."""
        return self._seat.moment.remarks if self._world.last == self._at else ()

    @property
    def asked(self) -> int:
        """How many requests its code has sent in this life."""
        return self._seat.moment.asked

    @property
    def done(self) -> bool:
        """Whether its code has come to its end."""
        return self._seat.moment.done

    @property
    def rests(self) -> bool:
        """Whether its code has come to its end, and none of its threads can go on by itself."""
        seat, moment = self._seat, self._seat.moment
        goes_on = moment.calls or moment.pauses or moment.timers or seat.notices
        return moment.done and seat.connected and not goes_on

    @property
    def error(self) -> str:
        """How its code has ended, if by an exception."""
        return self._seat.moment.error

    @property
    def waits(self) -> str:
        """What its code waits for: "" if it has ended."""
        moment = self._seat.moment
        return "" if moment.done else "waits for ZooKeeper" if moment.calls else moment.waits
