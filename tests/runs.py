"""Runs made by hand, of which it is known what a reader has to see."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

from labkit.story.event import (
    Event,
    Holder,
    HoldersEvent,
    PlacedEvent,
    QuorumEvent,
    RequestEvent,
    SessionEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
)


class Script:
    """Writes the events of a run down, at the times that a test wants."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ids = itertools.count(1)
        self._zxid = 100
        self._held: dict[int, Holder] = {}

    def add(self, t: float, event: Event) -> None:
        self.events.append(replace(event, t=t))

    def verb(
        self, t: float, verb: str, subject: str, took: float = 0.01, error: str | None = None
    ) -> None:
        number = next(self._ids)
        self.add(t, VerbEvent(subject, verb=verb, phase="begin", id=number))
        self.add(t + took, VerbEvent(subject, verb=verb, phase="end", id=number, error=error))

    def says(
        self,
        t: float,
        node: str,
        number: int | None,
        reason: str | None = None,
        seen: float = 0.2,
        token: int | None = None,
        asked: float | None = None,
    ) -> None:
        status = StatusEvent(
            node,
            number=number,
            reason=reason,
            token=token,
            session=f"0x{node}",
            asked=t if asked is None else asked,
            previous_until=t - seen,
        )
        self.add(t, status)

    def unreachable(self, t: float, node: str, seen: float = 0.2) -> None:
        self.add(t, StatusEvent(node, reachable=False, error="", previous_until=t - seen))

    def mode(self, t: float, server: str, mode: str | None) -> None:
        self.add(t, QuorumEvent(server, mode=mode))

    def ends(self, t: float) -> None:
        """Something that concerns no node happens, so that the run lasts until then."""
        self.add(t, SessionEvent("lab", state="CONNECTED"))

    def claims(
        self, t: float, number: int, node: str, exact: bool = True, session: str = ""
    ) -> int:
        self._zxid += 1
        session = session or f"0x{node}"
        if exact:
            path, value = f"/sequence/{number}", json.dumps({"owner": node})
            self.change(t, session, "create", path=path, value=value, ephemeral=True)
        self._held[number] = Holder(node, session, self._zxid)
        if not exact:
            self.lists(t)
        return self._zxid

    def frees(self, t: float, *nodes: str, exact: bool = True) -> None:
        for node in nodes:
            self._zxid += 1
            session = f"0x{node}"
            if exact:
                self.change(t, session, "closeSession")
            self._held = {n: c for n, c in self._held.items() if c.session != session}
        if not exact:
            self.lists(t)

    def change(
        self,
        t: float,
        session: str,
        op: str,
        path: str | None = None,
        value: str | None = None,
        ephemeral: bool = False,
    ) -> None:
        change = TransactionEvent(
            "zookeeper",
            zxid=self._zxid,
            session=session,
            op=op,
            path=path,
            value=value,
            ephemeral=ephemeral,
        )
        self.add(t, change)

    def lists(self, t: float) -> None:
        self.add(t, HoldersEvent("zookeeper", numbers=dict(self._held), zxid=self._zxid))

    def asks(
        self,
        t: float,
        node: str,
        number: int | None,
        took: float = 0.01,
        token: int | None = None,
        reason: str = "no-connection",
    ) -> None:
        request = next(self._ids)
        end = RequestEvent(node, phase="ok", id=request, number=number, token=token)
        if number is None:
            end = RequestEvent(node, phase="fail", id=request, status=503, reason=reason)
        self.add(t, RequestEvent(node, phase="invoke", id=request))
        self.add(t + took, end)

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
    run.verb(9.4, "partition", "node1")
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
    token = run.claims(6.0, 5, "node1", session="0xnew")
    run.says(6.1, "node1", 5, token=token)
    run.frees(10.5, "node1")
    run.ends(12.0)
    return run.in_order()


def ensemble() -> list[Event]:
    """Three servers, the leader is killed, then another: no quorum until one comes back."""
    run = Script()
    for i, mode in enumerate(("follower", "leader", "follower"), 1):
        run.mode(0.1, f"zookeeper{i}", mode)
    run.says(0.2, "node1", None, "", seen=0)
    for t in range(1, 23):
        lost = 11 <= t < 16
        run.asks(t / 2, "node1", None if lost else 1)
    run.verb(2.0, "kill", "zookeeper2")
    run.mode(2.1, "zookeeper2", None)
    run.mode(2.1, "zookeeper1", None)
    run.mode(2.1, "zookeeper3", None)
    run.mode(2.6, "zookeeper1", "follower")
    run.mode(2.6, "zookeeper3", "leader")
    run.verb(5.2, "kill", "zookeeper3")
    run.mode(5.3, "zookeeper3", None)
    run.mode(5.4, "zookeeper1", None)
    run.verb(7.5, "start", "zookeeper2", took=0.4)
    run.mode(8.0, "zookeeper1", "follower")
    run.mode(8.0, "zookeeper2", "leader")
    return run.in_order()


def machines(*names: str) -> list[Event]:
    """Six nodes and an ensemble on three machines: the last one loses power, the first its cable.

    Without names the history does not say where anything stands.
    """
    run = Script()
    for i in range(3):
        run.mode(0.1, f"zookeeper{i + 1}", "leader" if i == 2 else "follower")
    for i in range(6):
        run.says(0.3, f"node{i + 1}", None, "not-asked", seen=0)
        run.claims(0.5 + i / 10, i + 1, f"node{i + 1}")
        run.says(0.6 + i / 10, f"node{i + 1}", i + 1)
    for server in ("zookeeper3", "node3", "node6"):
        run.verb(3.0, "kill", server)
    run.mode(3.1, "zookeeper1", None)
    run.mode(3.1, "zookeeper2", None)
    run.mode(3.6, "zookeeper1", "follower")
    run.mode(3.6, "zookeeper2", "leader")
    run.frees(5.2, "node3", "node6")
    for server in ("zookeeper1", "node1", "node4"):
        run.verb(8.0, "partition", server)
    for i in (1, 4):
        run.says(9.0, f"node{i}", None, "lease-lapsed")
    for t in range(1, 12):
        for i in range(1, 7):
            lost = (i in (3, 6) and t >= 3) or (i in (1, 4) and t >= 9)
            run.asks(t + i / 50, f"node{i}", None if lost else i)
    run.ends(12.0)
    for i, machine in enumerate(names):
        for server in (f"zookeeper{i + 1}", f"node{i + 1}", f"node{i + 4}"):
            run.add(0.0, PlacedEvent(server, machine=machine))
    return run.in_order()
