"""Runs made by hand, of which it is known what a reader has to see."""

from __future__ import annotations

import itertools
import json
from typing import Any

from labkit.lab.event import Event


class Script:
    """Writes the events of a run down, at the times that a test wants."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ids = itertools.count(1)
        self._zxid = 100
        self._held: dict[str, dict[str, Any]] = {}

    def add(self, t: float, kind: str, subject: str, **data: Any) -> None:
        self.events.append(Event(t, kind, subject, data))

    def verb(self, t: float, verb: str, subject: str, took: float = 0.01, **detail: Any) -> None:
        number = next(self._ids)
        self.add(t, "verb", subject, verb=verb, phase="begin", id=number, **detail)
        self.add(t + took, "verb", subject, verb=verb, phase="end", id=number, **detail)

    def says(
        self, t: float, node: str, number: int | None, reason: str | None = None, seen: float = 0.2,
        token: int | None = None, asked: float | None = None,
    ) -> None:  # fmt: skip
        self.add(
            t, "status", node, name=node, number=number, reason=reason, reachable=True,
            session=f"0x{node}", previous_until=t - seen, token=token,
            asked=t if asked is None else asked,
        )  # fmt: skip

    def unreachable(self, t: float, node: str, seen: float = 0.2) -> None:
        self.add(t, "status", node, reachable=False, error="", previous_until=t - seen)

    def claims(self, t: float, number: int, node: str, exact: bool = True) -> int:
        self._zxid += 1
        if exact:
            self.add(
                t, "transaction", "zookeeper", zxid=self._zxid, session=f"0x{node}", op="create",
                path=f"/sequence/{number}", value=json.dumps({"owner": node}), ephemeral=True,
            )  # fmt: skip
        self._held[str(number)] = {"owner": node, "session": f"0x{node}", "token": self._zxid}
        if not exact:
            self.lists(t)
        return self._zxid

    def frees(self, t: float, *nodes: str, exact: bool = True) -> None:
        for node in nodes:
            self._zxid += 1
            session = f"0x{node}"
            if exact:
                self.add(
                    t, "transaction", "zookeeper", zxid=self._zxid, session=session,
                    op="closeSession", path=None, value=None, ephemeral=False,
                )  # fmt: skip
            self._held = {n: c for n, c in self._held.items() if c["session"] != session}
        if not exact:
            self.lists(t)

    def lists(self, t: float) -> None:
        self.add(t, "holders", "zookeeper", numbers=dict(self._held), tickets=[], zxid=self._zxid)

    def asks(
        self, t: float, node: str, number: int | None, took: float = 0.01, token: int | None = None,
        reason: str = "no-connection",
    ) -> None:  # fmt: skip
        request = next(self._ids)
        self.add(t, "request", node, phase="invoke", id=request, path="/sequence")
        if number is None:
            self.add(t + took, "request", node, phase="fail", id=request, status=503, reason=reason)
        else:
            self.add(t + took, "request", node, phase="ok", id=request, number=number, token=token)

    def in_order(self) -> list[Event]:
        return sorted(self.events, key=lambda event: event.t)


def passing_on() -> list[Event]:
    """Four nodes claim; 1 and 2 are killed; two new ones take the numbers when they are free."""
    run = Script()
    for i in range(1, 5):
        run.says(0.5, f"node{i}", None, "not-asked", seen=0)
        run.claims(1.0 + i / 10, i, f"node{i}")
        run.asks(0.95 + i / 10, f"node{i}", i, took=0.06)
        run.says(1.15 + i / 10, f"node{i}", i)
    for i in (1, 2):
        run.verb(3.0 + i / 20, "kill", f"node{i}")
        run.unreachable(3.2, f"node{i}")
    run.frees(8.1, "node1", "node2")
    for i in (5, 6):
        run.verb(9.0, "start", f"node{i}", took=0.5)
        run.says(9.5, f"node{i}", None, "not-asked")
        run.claims(9.5 + i / 100, i - 4, f"node{i}")
        run.asks(9.5, f"node{i}", i - 4, took=0.09)
        run.says(9.7, f"node{i}", i - 4)
    run.lists(12.0)
    return run.in_order()


def zombie() -> list[Event]:
    """node2 is frozen, loses number 2 to node3, wakes and answers 2 for a second."""
    run = Script()
    for i in (1, 2):
        run.says(0.5, f"node{i}", None, "", seen=0)
        run.claims(1.0, i, f"node{i}")
        run.says(1.1, f"node{i}", i)
    run.says(1.1, "node3", None, "", seen=0)
    run.verb(2.0, "pause", "node2")
    run.unreachable(3.1, "node2", seen=1.2)
    run.frees(7.0, "node2")
    run.claims(7.5, 2, "node3")
    run.asks(7.4, "node3", 2, took=0.11)
    run.says(7.6, "node3", 2)
    run.verb(8.0, "resume", "node2")
    run.says(8.1, "node2", 2, seen=0)
    run.asks(8.5, "node2", 2)
    run.says(9.0, "node2", None, "session-lost")
    run.verb(9.4, "partition", "node1", cut="drop")
    run.says(9.8, "node1", None, "lease-lapsed")
    run.asks(10.2, "node1", None)
    run.verb(11.0, "heal", "node1")
    run.says(11.6, "node1", 1)
    run.lists(12.5)
    return run.in_order()


def outage() -> list[Event]:
    """ZooKeeper stops for three seconds; node1 restarts meanwhile and stands beside its ghost."""
    run = Script()
    for i in (1, 2, 3, 4):
        run.says(0.2, f"node{i}", None, "", seen=0)
        run.claims(0.5, i, f"node{i}")
        run.says(0.6, f"node{i}", i)
    run.verb(2.0, "stop", "zookeeper", took=0.2)
    for i in (1, 2, 3, 4):
        run.says(2.2, f"node{i}", None, "no-connection")
        run.asks(3.0, f"node{i}", None)
    run.verb(3.5, "kill", "node1")
    run.verb(4.0, "start", "node1", took=0.4)
    run.says(4.4, "node1", None, "no-connection")
    run.verb(5.0, "start", "zookeeper", took=0.5)
    for i in (2, 3, 4):
        run.says(5.8, f"node{i}", i)
    token = run.claims(6.0, 5, "node1")
    run.events[-1] = Event(
        6.0, "transaction", "zookeeper", {**run.events[-1].data, "session": "0xnew"}
    )
    run.says(6.1, "node1", 5, token=token)
    run.frees(10.5, "node1")
    run.add(12.0, "session", "lab", state="CONNECTED")
    return run.in_order()


def ensemble() -> list[Event]:
    """Three servers, the leader is killed, then another: no quorum until one comes back."""
    run = Script()
    for i, mode in enumerate(("follower", "leader", "follower"), 1):
        run.add(0.1, "quorum", f"zookeeper{i}", mode=mode)
    run.says(0.2, "node1", None, "", seen=0)
    for t in range(1, 23):
        lost = 11 <= t < 16
        run.asks(t / 2, "node1", None if lost else 1)
    run.verb(2.0, "kill", "zookeeper2")
    run.add(2.1, "quorum", "zookeeper2", mode=None)
    run.add(2.1, "quorum", "zookeeper1", mode=None)
    run.add(2.1, "quorum", "zookeeper3", mode=None)
    run.add(2.6, "quorum", "zookeeper1", mode="follower")
    run.add(2.6, "quorum", "zookeeper3", mode="leader")
    run.verb(5.2, "kill", "zookeeper3")
    run.add(5.3, "quorum", "zookeeper3", mode=None)
    run.add(5.4, "quorum", "zookeeper1", mode=None)
    run.verb(7.5, "start", "zookeeper2", took=0.4)
    run.add(8.0, "quorum", "zookeeper1", mode="follower")
    run.add(8.0, "quorum", "zookeeper2", mode="leader")
    return run.in_order()
