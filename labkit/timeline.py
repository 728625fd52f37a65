"""Events, as they happen: the append-only record of everything a lab does and sees, on one clock."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `t` is in seconds since the timeline began; `kind` says what `data` holds; `subject` is a
    server's name ("node1", "zookeeper1"), "zookeeper" for the service as a whole, or "lab".
    """

    t: float
    kind: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"t": self.t, "kind": self.kind, "subject": self.subject, **self.data})


class Timeline:
    """An append-only, thread-safe list of events on one monotonic clock.

    The last `limit` events are kept, so that a lab left running does not grow without bound.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._origin = time.monotonic()
        self.epoch = time.time()  # wall-clock time at t = 0, to place ZooKeeper's own timestamps
        self._limit = limit
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the timeline began."""
        return time.monotonic() - self._origin

    def record(self, kind: str, subject: str, **data: Any) -> Event:
        """Append an event that happens now."""
        with self._lock:
            event = Event(self.now(), kind, subject, data)
            self._events.append(event)
            if len(self._events) > self._limit:
                del self._events[: self._limit // 10]
        return event

    def __iter__(self) -> Iterator[Event]:
        with self._lock:
            return iter(list(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def write(self, path: Path) -> None:
        """Write JSON lines, the first of which holds the epoch."""
        lines = [json.dumps({"epoch": self.epoch}), *(event.to_json() for event in self)]
        path.write_text("\n".join(lines) + "\n")

    @staticmethod
    def read(path: Path) -> list[Event]:
        """The events that `write` wrote."""
        return list(_parse(path.read_text().splitlines()))


def _parse(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        data = json.loads(line)
        if "kind" in data:
            yield Event(data.pop("t"), data.pop("kind"), data.pop("subject"), data)
