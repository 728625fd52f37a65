"""Hand-made histories: what honest nodes and a real ZooKeeper would have written down."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from labkit.story.event import Event, FaultEvent, RequestEvent, TransactionEvent, VerbEvent

SESSION_TIMEOUT = 1.0
BOUND = SESSION_TIMEOUT + 1.0


@dataclass
class NodeState:
    """One node of a run: where its claim is, and what it believes."""

    name: str
    session: str | None = None
    ticket: str | None = None
    target: int | None = None
    number: int | None = None
    token: int | None = None


@dataclass
class HistoryBuilder:
    """Makes a run step by step. Every step takes `tick` s; ids, zxids and sessions count up."""

    tick: float = 0.01
    t: float = 0.0
    zxid: int = 0
    events: list[Event] = field(default_factory=list)
    numbers: dict[int, str] = field(default_factory=dict)
    tickets: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, NodeState] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def node(self, name: str) -> NodeState:
        return self.nodes.setdefault(name, NodeState(name))

    def record(self, event: Event) -> None:
        self.t = round(self.t + self.tick, 6)
        self.events.append(replace(event, t=self.t))

    def change(self, session: str, *parts: tuple[str, str | None, str | None]) -> int:
        """One transaction of (op, path, owner) parts; its zxid."""
        self.zxid += 1
        for op, path, owner in parts:
            value = json.dumps({"owner": owner, "url": f"http://{owner}"}) if owner else None
            self.record(
                TransactionEvent(
                    "zookeeper",
                    zxid=self.zxid,
                    session=session,
                    op=op,
                    path=path,
                    value=value,
                    ephemeral=op == "create",
                )
            )
        return self.zxid

    def fault(self, kind: str, target: str) -> int:
        number = next(self.ids)
        self.record(FaultEvent(target, fault=kind, phase="begin", id=number))
        return number

    def heal(self, number: int, kind: str, target: str) -> None:
        self.record(FaultEvent(target, fault=kind, phase="end", id=number))

    def verb(self, verb: str, subject: str, error: str | None = None) -> None:
        number = next(self.ids)
        self.record(VerbEvent(subject, verb=verb, phase="begin", id=number))
        self.record(VerbEvent(subject, verb=verb, phase="end", id=number, error=error))

    # --- what a node does ---

    def connect(self, name: str) -> None:
        node = self.node(name)
        node.session = f"0x{next(self.ids):x}"
        self.change(node.session, ("createSession", None, None))

    def queue(self, name: str) -> None:
        node = self.node(name)
        assert node.session is not None
        node.ticket = f"ticket-{node.name}-{next(self.ids):010}"
        self.change(node.session, ("create", f"/sequence/{node.ticket}", None))
        self.tickets[node.ticket] = node.session

    def look(self, name: str) -> None:
        node = self.node(name)
        assert node.ticket is not None
        rank = sum(ticket[-10:] < node.ticket[-10:] for ticket in self.tickets)
        free = (number for number in itertools.count(1) if number not in self.numbers)
        node.target = next(itertools.islice(free, rank, None))

    def claim(self, name: str) -> None:
        """Create the target if it is still free; otherwise look again."""
        node = self.node(name)
        assert node.session is not None
        assert node.ticket is not None
        assert node.target is not None
        if node.target in self.numbers:
            return self.look(name)
        node.token = self.change(
            node.session,
            ("create", f"/sequence/{node.target}", name),
            ("delete", f"/sequence/{node.ticket}", None),
        )
        self.numbers[node.target] = node.session
        del self.tickets[node.ticket]
        node.number, node.ticket, node.target = node.target, None, None
        return None

    def progress(self, name: str) -> None:
        """The next step of a claim; none is left once there is a number."""
        node = self.node(name)
        if node.session is None:
            self.connect(name)
        elif node.number is None and node.ticket is None:
            self.queue(name)
        elif node.number is None and node.target is None:
            self.look(name)
        elif node.number is None:
            self.claim(name)

    def settle(self, name: str) -> int:
        """Claim to the end; the number."""
        while self.node(name).number is None:
            self.progress(name)
        number = self.node(name).number
        assert number is not None
        return number

    def ask(self, name: str) -> None:
        node = self.node(name)
        number = next(self.ids)
        self.invoke(name, number)
        if node.number is None:
            self.refuse(name, number, "no-connection")
        else:
            self.answer(name, number, node.number, node.token)

    def invoke(self, name: str, request: int) -> None:
        self.record(RequestEvent(name, phase="invoke", id=request))

    def answer(self, name: str, request: int, number: int, token: int | None) -> None:
        self.record(RequestEvent(name, phase="ok", id=request, number=number, token=token))

    def refuse(self, name: str, request: int, reason: str) -> None:
        self.record(RequestEvent(name, phase="fail", id=request, status=503, reason=reason))

    def claims(self, name: str, number: int, token: int | None) -> None:
        """A request that is answered with whatever is said here."""
        request = next(self.ids)
        self.invoke(name, request)
        self.answer(name, request, number, token)

    def leave(self, name: str) -> None:
        """End the session; its ephemerals go with it."""
        node = self.node(name)
        if node.session is not None:
            self.change(node.session, ("closeSession", None, None))
            self.numbers = {n: s for n, s in self.numbers.items() if s != node.session}
            self.tickets = {t: s for t, s in self.tickets.items() if s != node.session}
        self.nodes[name] = NodeState(name)

    def end(self, *names: str) -> list[Event]:
        """Everybody claims and answers; then nothing happens for as long as the rules look."""
        for name in names:
            self.settle(name)
            self.ask(name)
        self.t += BOUND + 1
        for name in names:
            self.ask(name)
        return self.events
