"""Links that can be cut or slowed, and seeded schedules of faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LinkFault:
    """What is wrong with a link between a client and a ZooKeeper server.

    `drop` swallows bytes and keeps connections open (a black hole: nobody is told); `refuse`
    closes connections and refuses new ones (both ends are told); `slow` delays every chunk by
    `delay` seconds; `flaky` drops the connection, on average, once in `every` chunks.
    `direction` is seen from the source: "to" the target, "from" it, or "both".
    """

    kind: Literal["drop", "refuse", "slow", "flaky"] = "drop"
    direction: Literal["both", "to", "from"] = "both"
    delay: float = 0.2
    every: int = 20
