"""Made-up runs of any length: what honest nodes, ZooKeeper and those who break them write down.

Every node is asked fifteen times a second, and every few seconds some nodes are frozen, cut off or
killed, for less or for more than their session timeout. Sessions that end free their numbers, and
who comes back claims the lowest free one, so numbers change hands all the time.
"""

from __future__ import annotations

import json
import random
from itertools import count

from labkit.story.event import (
    Event,
    FaultEvent,
    Holder,
    HoldersEvent,
    RequestEvent,
    StatusEvent,
    TransactionEvent,
    VerbEvent,
)

SESSION_TIMEOUT = 2.0  # seconds
_ASKED = 15  # times a second, every node
_DEADLINE = 1.0  # seconds after which a client gives up
_KINDS = ("pause", "partition", "kill")


class _Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.session = ""
        self.number: int | None = None
        self.token: int | None = None
        self.lease = 0.0  # until when it answers, while it is cut off
        self.broken = ""  # the kind of fault that holds it
        self.back = 0.0  # when that is over

    @property
    def session_ends(self) -> float:
        return self.lease + SESSION_TIMEOUT / 2


class _Run:
    """Goes through the seconds of a run, and writes its events down."""

    def __init__(self, nodes: int, seed: int, *, tickets: bool) -> None:
        self.events: list[Event] = []
        self._rng = random.Random(seed)
        self._nodes = [_Node(f"node{i}") for i in range(1, nodes + 1)]
        self._tickets = tickets
        self._ids, self._zxids, self._sessions = count(1), count(1), count(0x1000)
        self._held: dict[int, Holder] = {}
        self._faults: dict[int, FaultEvent] = {}
        self._ends: dict[int, float] = {}

    def until(self, seconds: float) -> list[Event]:
        for node in self._nodes:
            self._claim(node, 0.1)
        next_fault = 3.0
        for step in range(_ASKED, int(seconds * _ASKED)):
            t = step / _ASKED
            self._heal(t)
            if t >= next_fault:
                self._break(t)
                next_fault = t + self._rng.uniform(2, 4)
            for node in self._nodes:
                self._expire(node, t)
                self._ask(node, t + self._rng.uniform(0, 0.8) / _ASKED)
        return sorted(self.events, key=lambda event: event.t)

    # --- faults ---

    def _break(self, t: float) -> None:
        whole = [node for node in self._nodes if not node.broken]
        kind = self._rng.choice(_KINDS)
        count = self._rng.randint(1, max(len(self._nodes) // 6, 1))
        end = t + SESSION_TIMEOUT * self._rng.uniform(0.3, 3.5)
        some = self._rng.sample(whole, min(count, len(whole)))
        if not some:
            return
        number = next(self._ids)
        fault = FaultEvent(
            ",".join(node.name for node in some), t=t, fault=kind, phase="begin", id=number
        )
        self._faults[number], self._ends[number] = fault, end
        self.events.append(fault)
        for node in some:
            node.broken, node.back, node.lease = kind, end, t + SESSION_TIMEOUT / 2
            self._verb(t, node, kind)

    def _heal(self, t: float) -> None:
        for number in [n for n, end in self._ends.items() if end <= t]:
            fault = self._faults.pop(number)
            del self._ends[number]
            names = fault.targets
            some = [node for node in self._nodes if node.name in names]
            for node in self._rng.sample(some, len(some)):
                self._expire(node, t)
                verb = {"pause": "resume", "partition": "heal", "kill": "start"}[node.broken]
                self._verb(t, node, verb)
                node.broken = ""
                if node.number is None:
                    self._claim(node, t + 0.01)
            self.events.append(
                FaultEvent(fault.subject, t=t + 0.1, fault=fault.fault, phase="end", id=number)
            )

    def _verb(self, t: float, node: _Node, verb: str) -> None:
        number = next(self._ids)
        self.events += [
            VerbEvent(node.name, t=t, verb=verb, phase="begin", id=number),
            VerbEvent(node.name, t=t + 0.005, verb=verb, phase="end", id=number),
        ]

    # --- claims ---

    def _expire(self, node: _Node, t: float) -> None:
        """End a session whose time is over; ZooKeeper frees the number."""
        if not node.broken or node.number is None or t < node.session_ends:
            return
        at = node.session_ends
        self._change(at, node.session, ("closeSession", None, None))
        del self._held[node.number]
        node.number = None
        self._watched(at)

    def _claim(self, node: _Node, t: float) -> None:
        node.session = f"0x{next(self._sessions):x}"
        self._change(t, node.session, ("createSession", None, None))
        ticket = f"/sequence/ticket-{node.name}-{next(self._ids):010}"
        if self._tickets:
            self._change(t + 0.002, node.session, ("create", ticket, None))
        node.number = next(n for n in count(1) if n not in self._held)
        done = [("delete", ticket, None)] if self._tickets else []
        value = json.dumps({"owner": node.name, "url": f"http://{node.name}"})
        create = ("create", f"/sequence/{node.number}", value)
        node.token = self._change(t + 0.004, node.session, create, *done)
        self._held[node.number] = Holder(node.name, node.session, node.token)
        self._watched(t + 0.006)
        self.events.append(
            StatusEvent(
                node.name,
                t=t + 0.02,
                number=node.number,
                claimed=node.number,
                token=node.token,
                session=node.session,
                connection="CONNECTED",
                session_timeout_ms=int(SESSION_TIMEOUT * 1000),
                asked=t + 0.018,
                previous_until=t - 0.1,
            )
        )

    def _change(self, t: float, session: str, *parts: tuple[str, str | None, str | None]) -> int:
        zxid = next(self._zxids)
        self.events += [
            TransactionEvent(
                "zookeeper",
                t=t,
                zxid=zxid,
                session=session,
                op=op,
                path=path,
                value=value,
                ephemeral=op == "create",
            )
            for op, path, value in parts
        ]
        return zxid

    def _watched(self, t: float) -> None:
        zxid = max((holder.token for holder in self._held.values()), default=0)
        self.events.append(HoldersEvent("zookeeper", t=t, numbers=dict(self._held), zxid=zxid))

    # --- requests ---

    def _ask(self, node: _Node, t: float) -> None:
        number = next(self._ids)
        self.events.append(RequestEvent(node.name, t=t, phase="invoke", id=number))
        self.events.append(self._reply(node, t, number))

    def _reply(self, node: _Node, t: float, number: int) -> RequestEvent:
        if node.broken == "kill":
            return RequestEvent(node.name, t=t + 0.001, phase="fail", id=number, error="refused")
        if node.broken == "pause":
            if node.back - t > _DEADLINE:
                given_up = t + _DEADLINE
                return RequestEvent(
                    node.name, t=given_up, phase="unknown", id=number, error="timeout"
                )
            return self._refusal(node, max(t, node.back) + 0.005, number, "lease-lapsed")
        if node.broken == "partition" and t > node.lease - 0.05:
            return self._refusal(node, t + 0.002, number, "lease-lapsed")
        if node.number is None or (held := self._held[node.number]).token != node.token:
            return self._refusal(node, t + 0.002, number, "session-lost")
        return RequestEvent(
            node.name, t=t + 0.003, phase="ok", id=number, number=node.number, token=held.token
        )

    @staticmethod
    def _refusal(node: _Node, t: float, number: int, reason: str) -> RequestEvent:
        return RequestEvent(node.name, t=t, phase="fail", id=number, status=503, reason=reason)


def run(nodes: int, seconds: float, *, seed: int = 1, tickets: bool = True) -> list[Event]:
    """The events of a run of so many seconds; `tickets` are left out by the sample's algorithm."""
    return _Run(nodes, seed, tickets=tickets).until(seconds)


def long_run(nodes: int, events: int, *, seed: int = 1, tickets: bool = True) -> list[Event]:
    """The first so many events of a run that goes on."""
    made = run(nodes, events / (2 * _ASKED * nodes) + 2, seed=seed, tickets=tickets)
    return made[:events]
