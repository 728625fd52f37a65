"""The sample's ten known bugs, each alone in a server that is sound up to rung 8 of the ladder.

They are numbered as in `labkit/node/original.py`.
"""

from __future__ import annotations

import json
from itertools import count, pairwise
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from labkit.course.climbs.reads_prove_nothing import ReadsProveNothing
from labkit.course.climbs.suspended_means_stop import SuspendedMeansStop


class Sound(ReadsProveNothing):  # type: ignore[misc]  # as readers write it: without types
    """Without a bug of the ten."""

    def free(self, names: list[str]) -> int:
        return next(n for n in count(1) if str(n) not in names)

    def claim(self) -> int:
        while True:
            number = self.free(self.zk.get_children("/sequence"))
            try:
                self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
            except NodeExistsError:
                continue
            return number


class Bug1OneIsNeverFree(Sound):
    """Looks for a gap after the first number, never before it."""

    def free(self, names: list[str]) -> int:
        taken = sorted(int(name) for name in names if name.isdigit())
        gaps = (a + 1 for a, b in pairwise(taken) if b - a > 1)
        return next(gaps, taken[-1] + 1 if taken else 1)


class Bug2Unsorted(Sound):
    """Takes the listing for sorted."""

    def free(self, names: list[str]) -> int:
        taken = [int(name) for name in names if name.isdigit()]
        return next((a + 1 for a, b in pairwise(taken) if b - a > 1), len(taken) + 1)


class Bug3KeepsWhatWasRefused(Sound):
    """Tries five times, and answers the last number all the same."""

    def claim(self) -> int:
        number = 0
        for _ in range(5):
            number = self.free(self.zk.get_children("/sequence"))
            try:
                self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
                break
            except NodeExistsError:
                continue
        return number

    def is_mine(self, number: Any) -> bool:
        return bool(number)


class Bug4RemembersBeforeItClaims(Sound):
    """Has the number before ZooKeeper has said yes."""

    def sequence(self) -> Any:
        if self.number is None:
            self.number = self.free(self.zk.get_children("/sequence"))
            self.zk.create(f"/sequence/{self.number}", self.name.encode(), ephemeral=True)
        return self.number


class Bug5AnswersFromMemory(Sound):
    """Never asks again, once it has a number."""

    def sequence(self) -> Any:
        if self.number is None:
            self.number = self.claim()
        return self.number


class Bug6LeavesSessionsOpen(Sound):
    """Makes a new client when the connection is gone, and leaves the old one as it is."""

    def start(self, zk: Any, name: str) -> None:
        super().start(zk, json.dumps({"owner": name}))

    def state(self, state: str) -> None:
        if state == "SUSPENDED":
            self.zk, self.number = _client(self.zk), None
        self.connected = state == "CONNECTED"


class Bug7DisconnectedIsExpired(Sound):
    """Claims anew after each loss of the connection."""

    def state(self, state: str) -> None:
        self.connected = state == "CONNECTED"
        if state != "CONNECTED":
            self.number = None


class Bug8LosesReplies(SuspendedMeansStop):  # type: ignore[misc]
    """Takes a create whose reply was lost for one that was not done."""


class Bug9NeverCloses(Sound):
    """Leaves its session to time out when it stops."""

    def start(self, zk: Any, name: str) -> None:
        super().start(_client(zk), name)


class Bug10OnlyNumbers(Sound):
    """Takes each child for a number."""

    def free(self, names: list[str]) -> int:
        taken = {int(name) for name in names}
        return next(n for n in count(1) if n not in taken)


def _client(zk: Any) -> KazooClient:
    """A client like the one that a server is given, in a session that nobody will close."""
    mine = KazooClient(
        ",".join(f"{host}:{port}" for host, port in zk.hosts),
        timeout=1.0,
        auth_data=zk.auth_data,
        default_acl=zk.default_acl,
    )
    mine.start_async()
    return mine


#: Each bug with the rung that catches it.
BUGS: tuple[tuple[type, int], ...] = (
    (Bug1OneIsNeverFree, 3),
    (Bug2Unsorted, 2),
    (Bug3KeepsWhatWasRefused, 2),
    (Bug4RemembersBeforeItClaims, 2),
    (Bug5AnswersFromMemory, 6),
    (Bug6LeavesSessionsOpen, 5),
    (Bug7DisconnectedIsExpired, 5),
    (Bug8LosesReplies, 8),
    (Bug9NeverCloses, 3),
    (Bug10OnlyNumbers, 3),
)
