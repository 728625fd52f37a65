"""What was asked of nodes: each request, from its beginning to its end."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from labkit.errors import HistoryError
from labkit.story.event import CLAIMS, RequestEvent


@dataclass(eq=False, slots=True)
class Request:
    """One request to a node: asked at `invoke`, over at `done`; `end` is all that is known of it.

    A long run has millions, so what is looked up most often is kept and not worked out.
    """

    node: str
    phase: str
    begin: RequestEvent
    end: RequestEvent  # the beginning again, if the events stop before it was over
    invoke: float
    done: float
    token: int | None
    number: int  # 0, if none was said

    @classmethod
    def of(cls, begin: RequestEvent, end: RequestEvent | None) -> Request:
        """What the events of its beginning and, if there is one, of its end say."""
        if end is None:
            return cls(begin.subject, "unknown", begin, begin, begin.t, math.inf, None, 0)
        number = end.number or 0
        return cls(begin.subject, end.phase, begin, end, begin.t, end.t, end.token, number)

    @property
    def events(self) -> tuple[RequestEvent, ...]:
        return (self.begin,) if self.end is self.begin else (self.begin, self.end)

    @property
    def outcome(self) -> str:
        """ "ok", "fail" or "unknown": for the asker, a connection that was refused is silence."""
        return "unknown" if self.phase == "fail" and self.end.status is None else self.phase

    @property
    def is_whole(self) -> bool:
        """Whether its beginning is known."""
        return self.begin.phase == "invoke"

    @property
    def path(self) -> str:
        return self.begin.path

    @property
    def abandoned(self) -> bool:
        """Whether the client gave it up of its own will: that no answer came proves nothing."""
        return self.end.abandoned

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """The IDs of an answer, as first and last of each row without a gap."""
        return self.end.runs


class Asked:
    """The requests to one node that were made at or before, and still open at, some moment."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = sorted(requests, key=lambda request: request.invoke)
        self._invoked = [request.invoke for request in self._requests]
        ends = (math.inf if r.phase == "unknown" else r.done for r in self._requests)
        self._open = list(accumulate(ends, max))  # until when one of those so far may have acted

    def first(self, open_at: float, by: float) -> Request | None:
        """The first that was made by a moment, and may still have acted at another."""
        index = bisect_left(self._open, open_at)
        found = index < len(self._requests) and self._invoked[index] <= by
        return self._requests[index] if found else None

    def waiting(self, at: float) -> Request | None:
        """The last that was made before a moment and was over only after it."""
        for index in reversed(range(bisect_left(self._invoked, at))):
            if self._open[index] <= at:
                return None
            if self._requests[index].done > at:
                return self._requests[index]
        return None

    @property
    def last(self) -> float:
        """When the last one was made."""
        return self._invoked[-1]


class Requests:
    """All that was asked of nodes, event by event; `over` in the order in which it was over."""

    def __init__(self) -> None:
        self.over: list[Request] = []
        self.headless: RequestEvent | None = None  # the first that ended but never began
        self._begun: dict[tuple[str, int], RequestEvent] = {}
        self._by_number: dict[int, list[Request]] = defaultdict(list)
        self._indexed = 0  # how many of `over`

    def add(self, event: RequestEvent) -> Request | None:
        """The request that is over with this event; None if it begins.

        One of which no beginning is known begins where it ends. Raises `HistoryError` for events
        that contradict each other.
        """
        key = (event.subject, event.id)
        if event.phase == "invoke":
            if self._begun.setdefault(key, event) is not event:
                raise HistoryError(f"Request {key[1]} to {key[0]} was invoked twice: {event}")
            return None
        begin = self._begun.pop(key, event)
        if event.t < begin.t:
            raise HistoryError(f"Request {key[1]} to {key[0]} ended before it began: {event}")
        if begin is event and self.headless is None:
            self.headless = event
        request = Request.of(begin, event)
        self.over.append(request)
        return request

    def require_beginnings(self) -> None:
        """Raise `HistoryError` if a request ended that never began."""
        if (event := self.headless) is not None:
            raise HistoryError(
                f"Request {event.id} to {event.subject} ended but never began: {event}"
            )

    def forget(self, keep: int) -> None:
        """Drop all but the last requests."""
        del self.over[:-keep]
        self._by_number.clear()
        self._indexed = 0

    @property
    def version(self) -> tuple[int, int]:
        """Something else whenever there is something new."""
        return len(self.over), len(self._begun)

    def all(self) -> list[Request]:
        """Those that are over, and those that are not; as far as their beginning is known."""
        over = self.over if self.headless is None else [r for r in self.over if r.is_whole]
        return [*over, *(Request.of(begin, None) for begin in self._begun.values())]

    def answers(self, number: int, since: float, until: float) -> list[Request]:
        """The answers with a number that came between two moments, in their order."""
        for request in self.over[self._indexed :]:
            if request.phase == "ok" and request.is_whole and request.path == CLAIMS:
                came = self._by_number[request.number]
                if came and request.done < came[-1].done:
                    insort(came, request, key=_done)
                else:
                    came.append(request)
        self._indexed = len(self.over)
        came = self._by_number.get(number, [])
        return came[bisect_left(came, since, key=_done) : bisect_right(came, until, key=_done)]


def _done(request: Request) -> float:
    return request.done
