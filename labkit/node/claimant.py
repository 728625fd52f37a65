"""Where a node's number comes from: one protocol, three tenants.

`Holder` is the lab's own algorithm (lowest-free), `Original` the C# sample's, and `Custom` runs a
reader's class. The HTTP face, the IDs and the end of a node know only what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from kazoo.client import KazooClient


@dataclass(frozen=True)
class Held:
    """A number that may be answered now."""

    number: int
    token: int | None
    lease: float | None  # seconds left; None where no lease is kept


class Refusal(Exception):
    """There is no safe answer now. `reason` is for programs, the message for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Claimant(Protocol):
    """Where a node's number comes from. All of it may be called from any thread."""

    def start(self) -> None:
        """Connect in the background."""

    def wait_connected(self, timeout: float) -> bool:
        """Wait for the first connection, at most `timeout` seconds; whether there is one."""

    def close(self) -> None:
        """The node ends."""

    @property
    def client(self) -> KazooClient | None:
        """The connected client, for what else the node keeps in ZooKeeper."""

    def peek(self) -> Held | Refusal:
        """What may be answered right now, without claiming and without waiting."""

    def number(self, timeout: float) -> Held:
        """The number, claimed if need be within `timeout` seconds; raises `Refusal`."""

    def status(self) -> dict[str, Any]:
        """What is known, without claiming and without waiting."""


def no_connection() -> Refusal:
    return Refusal("no-connection", "This node has no connection to ZooKeeper; it keeps trying.")


def session_lost() -> Refusal:
    return Refusal(
        "session-lost",
        "ZooKeeper has ended this node's session, and the number with it; the node will claim "
        "one anew.",
    )


def lease_lapsed() -> Refusal:
    return Refusal(
        "lease-lapsed",
        "This node holds a number, but has not heard from ZooKeeper for so long that somebody "
        "else may hold it too.",
    )


def still_claiming() -> Refusal:
    return Refusal("still-claiming", "This node's claim is under way; ask again in a moment.")


def no_free_number(limit: int) -> Refusal:
    return Refusal("no-free-number", f"Every number from 1 to {limit} is held by somebody.")
