"""What goes on in a run at this moment, in a line."""

from __future__ import annotations

from collections import deque

from labkit.story.event import FaultEvent, RequestEvent
from labkit.story.timeline import Timeline


class Pulse:
    """What goes on in a run, from its timeline: which faults there are, and how many answers."""

    def __init__(self, timeline: Timeline) -> None:
        self._tail = timeline.tail()
        self._faults: dict[int, str] = {}
        self._answers: deque[float] = deque()
        self._read()

    def line(self, now: float) -> str:
        """Such as "pause node2; 143 answers a second"."""
        self._read()
        while self._answers and self._answers[0] < now - 1.0:
            self._answers.popleft()
        faults = "; ".join(self._faults.values()) or "no fault"
        many = len(self._answers)
        return f"{faults}; {many} answer{'s' * (many != 1)} a second"

    def _read(self) -> None:
        events, anew = self._tail.read()
        if anew:
            self._faults.clear()
            self._answers.clear()
        for event in events:
            if isinstance(event, RequestEvent) and event.phase == "ok":
                self._answers.append(event.t)
            elif isinstance(event, FaultEvent) and event.phase == "begin":
                self._faults[event.id] = f"{event.fault} {event.subject.replace(',', ', ')}"
            elif isinstance(event, FaultEvent):
                self._faults.pop(event.id, None)
