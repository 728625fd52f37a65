"""What is between an actor and the leader, where sessions end by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FREEZES, GOES_DARK = "freezes", "goes dark"

#: What happens only where there is a clock, in words.
SENTENCES = {
    FREEZES: "{0}'s process stands still",
    "wakes": "{0}'s process goes on",
    GOES_DARK: "{0}'s server is cut off, and nobody is told",
    "reports": "{0}'s server reports to the leader",
    "time goes by": "time goes by",
    "begins to end": "the leader has not heard of {0} for the session timeout",
    "expires": "the leader ends {0}'s session",
}


class Clocked(NamedTuple):
    """That sessions end by time. All in seconds."""

    report: float  # from one report of a follower to the next; 0 for clients of the leader itself
    until: float  # no time passes after that
    rate: float = 1.0  # of the actors' clocks, by ZooKeeper's
    later: bool = False  # no fault hits an actor before it has said what it knows


@dataclass(frozen=True)
class Reply:
    """A reply that waits for a process that stands still."""

    key: Any  # what of it the code can see
    told: tuple[Any, ...] = field(compare=False)
    changes: Mapping[str, Any] = field(compare=False)


class Line(NamedTuple):
    """What is between an actor and the leader. Times are in seconds of the world."""

    heard: float = 0.0  # when the leader last heard of the session
    due: float = 0.0  # when the actor's server reports next
    unreported: bool = False  # the server has heard of the session since its last report
    dark: bool = False  # the server is cut off
    ending: int = 0  # 1: the leader has begun to end the session; 2: and has let one request in
    frozen: bool = False  # the actor's process stands still
    kept: Reply | None = None  # the reply that waits for it meanwhile

    def touched(self, now: float, report: float) -> Line:
        """After a request was carried out."""
        ending = 2 if self.ending else 0
        return (
            self._replace(unreported=True, ending=ending)
            if report
            else self._replace(heard=now, ending=ending)
        )
