"""The events of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        event = {"t": self.t, "kind": self.kind, "subject": self.subject, "data": dict(self.data)}
        return json.dumps(event)


CLAIMS = "/sequence"


def owner(value: str | None) -> str | None:
    """The node that a claim's data names, or None if it names none."""
    try:
        data = json.loads(value or "")
        return str(data["owner"])
    except (ValueError, KeyError, TypeError):
        return None


_ENDING = re.compile(r"(?:.*\D)?(\d+)")


def held_number(name: str) -> int | None:
    """The number that a znode's name ends in: 7 for "7" and for "item-0000000007"."""
    found = _ENDING.fullmatch(name)
    return int(found[1]) if found else None
