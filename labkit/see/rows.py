"""A row of the panel for one server: what it is, and what can be done to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from labkit.lab.crew import Worker
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.see import style
from labkit.see.live import Button
from labkit.see.scene import by_machine
from labkit.servers.base import ServerState
from labkit.story.run import Story
from labkit.story.stretches import silence


class Panel(Protocol):
    """What a row needs of the controls that it belongs to."""

    lab: Lab

    def do(self, what: str, verb: Callable[[], object]) -> None:
        """Run a verb off the caller's thread, with its outcome in the message line."""


class Row(ABC):
    """One server. `follow` sets the row to what is true; a button's verb says what it will do."""

    def __init__(self, panel: Panel, name: str) -> None:
        self.name = name
        self._panel = panel
        self.chips = ""  # its numbers, in HTML
        self.state = ""
        self.buttons: list[Button] = []

    @abstractmethod
    def follow(self, spans: Story) -> None:
        """Show what is true of the server now."""

    def rest(self) -> None:
        """Take all buttons out of use: the server is gone."""
        for button in self.buttons:
            button.disabled = True

    def face(self) -> dict[str, Any]:
        """What the browser shows of it."""
        return {
            "name": self.name,
            "chips": self.chips,
            "state": self.state,
            "buttons": [button.face() for button in self.buttons],
        }

    def _button(self, title: str, **verbs: Callable[[], object]) -> Button:
        """A button that does what its verb says: one of `verbs`, the first of them to begin with.

        Of a button that freezes or cuts, the second verb undoes what the first has done.
        """
        button = Button(next(iter(verbs)), title, lambda: self._do(button.verb, verbs))
        self.buttons.append(button)
        return button

    def _do(self, verb: str, verbs: dict[str, Callable[[], object]]) -> None:
        self._panel.do(f"{verb} {self.name}", verbs[verb])

    def _numbers(self, spans: Story) -> int | None:
        """Show what it answers, and what ZooKeeper holds for it. Returns the answer."""
        number = spans.answer(self.name)
        held = [bar.number for bar, _ in spans.held() if bar.node == self.name]
        chips = [style.chip(number, held=number in held)]
        chips += [style.chip(n, held=False) for n in held if n != number]
        self.chips = " ".join(chips)
        return number


class ServerRow(Row):
    """A server that is stopped, killed, frozen and cut off: one of ZooKeeper's, or a node."""

    def __init__(self, panel: Panel, server: Node | ZooKeeperServer, rest: str) -> None:
        name = server.name
        super().__init__(panel, name)
        self.power = self._button(
            f"Stop {name}, or start it again", stop=server.stop, start=server.start
        )
        self.kill = self._button(f"Kill {name} (SIGKILL)", kill=server.kill)
        self.pause = self._button(
            f"Freeze {name}, or let it run on", pause=server.pause, resume=server.resume
        )
        self.cut = self._button(
            f"Cut {name} off from {rest}, or heal its link",
            partition=lambda: panel.lab.partition(name),
            heal=lambda: panel.lab.heal(name),
        )

    def _follow(self, spans: Story, *, alive: bool) -> None:
        paused, cut = spans.state(self.name) == "paused", spans.is_broken(self.name)
        self.power.verb = "stop" if alive else "start"
        self.pause.verb, self.pause.pressed = "resume" if paused else "pause", paused
        self.cut.verb, self.cut.pressed = "heal" if cut else "partition", cut
        for button in self.buttons:
            button.disabled = not alive and button not in (self.power, self.cut)


class NodeRow(ServerRow):
    """A node: its number, and every verb."""

    def __init__(self, panel: Panel, node: Node) -> None:
        super().__init__(panel, node, "ZooKeeper")
        self.node = node
        self.ask = self._button(f"GET /sequence of {node.name}", ask=self._answer)

    def follow(self, spans: Story) -> None:
        state, number = spans.state(self.name), self._numbers(spans)
        why = next((q.what for q in reversed(spans.quiet(self.name)) if q.end >= spans.end), "")
        told = number is None and state == "running" and why
        self.state = silence(why) if told else state
        self._follow(spans, alive=not is_dead(state, self.node))

    def _answer(self) -> str:
        answer = self.node.answer()
        token = "" if answer.token is None else f", token {answer.token}"
        lease = "" if answer.lease is None else f", for another {answer.lease:.1f} s"
        return f"{self.name} answers {answer.number}{token}{lease}"


class ZooKeeperRow(ServerRow):
    """One of ZooKeeper's servers: whether it leads, and every verb."""

    def __init__(self, panel: Panel, server: ZooKeeperServer) -> None:
        super().__init__(panel, server, "the other servers")

    def follow(self, spans: Story) -> None:
        state = spans.state(self.name)
        modes = spans.zookeeper.modes.get(self.name)
        mode = modes[-1].what if modes else ""
        self.state = state if state in ("stopped", "paused") else mode or "serves nobody"
        self._follow(spans, alive=state != "stopped")


class WorkerRow(Row):
    """A worker of a crew: what it works on, and what can be done to it."""

    def __init__(self, panel: Panel, worker: Worker) -> None:
        name = worker.name
        super().__init__(panel, name)
        self._worker = worker
        self.power = self._button(
            f"Kill {name}, or start it again", kill=worker.kill, start=worker.start
        )
        self.pause = self._button(
            f"Freeze {name}, or let it run on", pause=worker.pause, resume=worker.resume
        )

    def follow(self, spans: Story) -> None:
        self._numbers(spans)
        state = self._worker.state
        paused, stopped = state is ServerState.PAUSED, state is ServerState.STOPPED
        self.state = state.value
        self.power.verb, self.power.disabled = "start" if stopped else "kill", False
        self.pause.verb, self.pause.pressed = "resume" if paused else "pause", paused
        self.pause.disabled = stopped


def cells(spans: Story, names: list[str]) -> list[list[str]]:
    """Many servers in a few words each, by machine: name, number in HTML, what is not as usual."""
    held = {bar.number for bar, _ in spans.held()}
    groups = by_machine(names, spans.machines)
    return [[name, *_cell(spans, name, held)] for group in groups for name in group.names]


def _cell(spans: Story, name: str, held: set[int]) -> tuple[str, str]:
    number, state = spans.answer(name), spans.state(name)
    where = f"on {spans.machines[name]}" if len(set(spans.machines.values())) > 1 else ""
    said = state if state != "running" else "link cut" if spans.is_broken(name) else where
    return style.chip(number, held=number in held), said


def is_dead(state: str, node: Node) -> bool:
    """Whether a node has ended, by its state on the timeline, or by itself."""
    return state == "stopped" or (
        state == "unreachable" and node.state in (ServerState.STOPPED, ServerState.GONE)
    )
