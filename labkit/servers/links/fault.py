"""What is wrong with a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["drop", "refuse", "slow", "flaky"]
Direction: TypeAlias = Literal["both", "to", "from"]


@dataclass(frozen=True)
class LinkFault:
    """What is wrong with a link between a client and a ZooKeeper server.

    `drop` lets nothing through and keeps connections open (a black hole: nobody is told);
    `refuse` resets connections and refuses new ones (both ends are told); `slow` delays every
    chunk by `delay` seconds; `flaky` resets the connection, on average, once in `every` chunks.
    `direction` is seen from the source: "to" the target, "from" it, or "both"; a refusal is
    always both.
    """

    kind: Kind = "drop"
    direction: Direction = "both"
    delay: float = 0.2
    every: int = 20

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay is in seconds and not negative, but it is {self.delay}")
        if self.every < 1:
            raise ValueError(f"every is a number of chunks, at least 1, but it is {self.every}")
