"""A row of controls for one server: what it is, and what can be done to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Protocol

import ipywidgets as widgets

from labkit.lab.crew import Worker
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.see import style
from labkit.see.scene import Group, by_machine
from labkit.servers.base import ServerState
from labkit.story.run import Story
from labkit.story.stretches import silence


class Panel(Protocol):
    """What a row needs of the controls that it belongs to."""

    lab: Lab

    def do(self, what: str, verb: Callable[[], object]) -> None:
        """Run a verb off the caller's thread, with its outcome in the message line."""

    def is_painting(self) -> bool:
        """Whether a widget changes because the lab did, and not because somebody touched it."""


class Row(ABC):
    """One server. `box` is the widget; `follow` sets it to what is true."""

    def __init__(self, panel: Panel, name: str) -> None:
        self.name = name
        self._panel = panel
        self.said = widgets.HTML(layout={"width": "230px"})
        self.buttons: list[Any] = []

    @property
    def box(self) -> widgets.HBox:
        """The row, made when it is first asked for."""
        if not hasattr(self, "_box"):
            self._box = widgets.HBox([self.said, *self.buttons], layout={"align_items": "center"})
        return self._box

    @abstractmethod
    def follow(self, spans: Story) -> None:
        """Show what is true of the server now."""

    def rest(self) -> None:
        """Take all buttons out of use: the server is gone."""
        for button in self.buttons:
            button.disabled = True

    def _button(self, verb: str, tooltip: str, act: Callable[[Any], object]) -> widgets.Button:
        button = widgets.Button(description=verb, tooltip=tooltip, layout={"width": "68px"})
        button.on_click(act)
        self.buttons.append(button)
        return button

    def _act(self, verb: str, act: Callable[[], object]) -> Callable[[object], object]:
        return lambda _: self._panel.do(f"{verb} {self.name}", act)

    def _either(
        self, one: str, act: Callable[[], object], react: Callable[[], object], tooltip: str
    ) -> widgets.Button:
        """A button that says `one` and does it, and when it says something else undoes it."""

        def click(button: Any) -> None:
            verb = button.description
            self._panel.do(f"{verb} {self.name}", act if verb == one else react)

        return self._button(one, tooltip, click)

    def _link(self) -> widgets.ToggleButton:
        cut = widgets.ToggleButton(
            description="cut link",
            tooltip=f"Cut {self.name} off from ZooKeeper",
            layout={"width": "78px"},
        )
        cut.observe(self._on_cut, "value")
        self.buttons.append(cut)
        return cut

    def _on_cut(self, change: dict[str, Any]) -> None:
        if self._panel.is_painting():
            return
        verb = self._panel.lab.partition if change["new"] else self._panel.lab.heal
        what = "cut" if change["new"] else "heal"
        self._panel.do(f"{what} {self.name}'s link", lambda: verb(self.name))

    def _show(self, chips: str, state: str) -> None:
        self.said.value = (
            f'<span style="display:inline-block;width:5.4em"><b>{escape(self.name)}</b></span>'
            f"{chips} <small>{state}</small>"
        )


class NodeRow(Row):
    """A node: its number, and every verb."""

    def __init__(self, panel: Panel, node: Node) -> None:
        super().__init__(panel, node.name)
        self.node = node
        self.power = self._either(
            "stop", node.stop, node.start, f"Stop {node.name}, or start it again"
        )
        self.kill = self._button(
            "kill", f"Kill {node.name} (SIGKILL)", self._act("kill", node.kill)
        )
        self.pause = self._either(
            "pause", node.pause, node.resume, f"Freeze {node.name}, or let it run on"
        )
        self.cut = self._link()
        self.ask = self._button(
            "ask", f"GET /sequence of {node.name}", self._act("ask", self._answer)
        )

    def follow(self, spans: Story) -> None:
        name = self.name
        state, number = spans.state(name), spans.answer(name)
        held = [bar.number for bar, _ in spans.held() if bar.node == name]
        chips = style.chip(number, held=number in held)
        chips += "".join(f" {style.chip(n, held=False)}" for n in held if n != number)
        why = next((q.what for q in reversed(spans.quiet(name)) if q.end >= spans.end), "")
        told = number is None and state == "running" and why
        self._show(chips, state + (f" · {escape(silence(why))}" if told else ""))
        alive = not is_dead(state, self.node)
        self.power.description = "stop" if alive else "start"
        self.pause.description = "resume" if state == "paused" else "pause"
        for button in (self.kill, self.pause, self.ask):
            button.disabled = not alive
        self.cut.value = spans.is_broken(name)
        self.cut.description = "heal link" if self.cut.value else "cut link"

    def _answer(self) -> str:
        answer = self.node.answer()
        token = "" if answer.token is None else f", token {answer.token}"
        lease = "" if answer.lease is None else f", for another {answer.lease:.1f} s"
        return f"{self.name} answers {answer.number}{token}{lease}"


class ManyNodes:
    """The nodes, where a row each would be too many: a table, and the row of the one chosen."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._row: NodeRow | None = None
        self.table = widgets.HTML(layout={"width": "100%"})
        self.choice = widgets.Dropdown(description="act on", layout={"width": "190px"})
        self.choice.observe(self._on_choice, "value")
        self._nodes: dict[str, Node] = {}
        self._slot = widgets.HBox()
        self.box = widgets.VBox([self.table, widgets.HBox([self.choice, self._slot])])

    @property
    def row(self) -> NodeRow | None:
        """The buttons of the node that is chosen."""
        return self._row

    def follow(self, spans: Story, nodes: Mapping[str, Node]) -> None:
        """Show what is true of all of them now."""
        self._nodes = dict(nodes)
        if self.choice.options != tuple(nodes):
            chosen = self.choice.value
            self.choice.options = tuple(nodes)  # chooses the first
            if chosen in nodes:
                self.choice.value = chosen
        self.choice.disabled = False
        if self._row is None or self._row.node is not nodes.get(self._row.name):
            self._choose(self.choice.value)  # another life of the lab has other nodes
        if self._row is not None:
            self._row.follow(spans)
        held = {bar.number for bar, _ in spans.held()}
        groups = by_machine(list(nodes), spans.machines)
        self.table.value = "".join(_cells(spans, group, held) for group in groups)

    def rest(self) -> None:
        """Take all buttons out of use: the nodes are gone."""
        self.choice.disabled = True
        if self._row is not None:
            self._row.rest()

    def _on_choice(self, change: dict[str, Any]) -> None:
        self._choose(change["new"])

    def _choose(self, name: str | None) -> None:
        before, self._row = self._row, None
        if name in self._nodes:
            self._row = NodeRow(self._panel, self._nodes[name])
        self._slot.children = (self._row.box,) if self._row is not None else ()
        if before is not None:
            dispose(before.box)


def _cells(spans: Story, group: Group, held: set[int]) -> str:
    where = f" on machine {escape(group.machine)}" if group.machine else ""
    name = f'<small style="opacity:.75">{where.removeprefix(" on ")}</small>' if where else ""
    cells = (_cell(spans, name, held) for name in group.names)
    return (
        f'{name}<div role="list" aria-label="nodes{where}" '
        'style="display:grid;gap:1px 10px;line-height:1.5;'
        f'grid-template-columns:repeat(auto-fill,minmax(150px,1fr))">{"".join(cells)}</div>'
    )


def _cell(spans: Story, name: str, held: set[int]) -> str:
    number, state = spans.answer(name), spans.state(name)
    chip = style.chip(number, held=number in held)
    said = [state] if state != "running" else ["link cut"] if spans.is_broken(name) else []
    return (
        '<div role="listitem"><span style="display:inline-block;min-width:2.8em">'
        f"{chip}</span>{escape(name)} <small>{escape(''.join(said))}</small></div>"
    )


class ZooKeeperRow(Row):
    """One of ZooKeeper's servers: whether it leads, and every verb."""

    def __init__(self, panel: Panel, server: ZooKeeperServer) -> None:
        super().__init__(panel, server.name)
        self.power = self._either(
            "stop", server.stop, server.start, f"Stop {server.name}, or start it again"
        )
        self.kill = self._button(
            "kill", f"Kill {server.name} (SIGKILL)", self._act("kill", server.kill)
        )
        self.pause = self._either(
            "pause", server.pause, server.resume, f"Freeze {server.name}, or let it run on"
        )
        self.cut = self._link()
        self.cut.tooltip = f"Cut {server.name} off from the other servers"

    def follow(self, spans: Story) -> None:
        state = spans.state(self.name)
        modes = spans.zookeeper.modes.get(self.name)
        mode = modes[-1].what if modes else ""
        alive = state != "stopped"
        self._show("", state if state in ("stopped", "paused") else mode or "serves nobody")
        self.power.description = "stop" if alive else "start"
        self.pause.description = "resume" if state == "paused" else "pause"
        self.kill.disabled = self.pause.disabled = not alive
        self.cut.value = spans.is_broken(self.name)
        self.cut.description = "heal link" if self.cut.value else "cut link"


class WorkerRow(Row):
    """A worker of a crew: what it works on, and what can be done to it."""

    def __init__(self, panel: Panel, worker: Worker) -> None:
        super().__init__(panel, worker.name)
        self._worker = worker
        self.power = self._either(
            "kill", worker.kill, worker.start, f"Kill {worker.name}, or start it again"
        )
        self.pause = self._either(
            "pause", worker.pause, worker.resume, f"Freeze {worker.name}, or let it run on"
        )

    def follow(self, spans: Story) -> None:
        state, number = self._worker.state, spans.answer(self.name)
        held = [bar.number for bar, _ in spans.held() if bar.node == self.name]
        chips = style.chip(number, held=number in held)
        chips += "".join(f" {style.chip(n, held=False)}" for n in held if n != number)
        self._show(chips, state.value)
        self.power.description = "start" if state is ServerState.STOPPED else "kill"
        self.pause.description = "resume" if state is ServerState.PAUSED else "pause"
        self.pause.disabled = state is ServerState.STOPPED


def is_dead(state: str, node: Node) -> bool:
    """Whether a node has ended, by its state on the timeline, or by itself."""
    return state == "stopped" or (
        state == "unreachable" and node.state in (ServerState.STOPPED, ServerState.GONE)
    )


def dispose(widget: Any) -> None:
    """Take a widget, and all that it consists of, out of the kernel and the browser."""
    for child in getattr(widget, "children", ()):
        dispose(child)
    for part in (widget, widget.layout, getattr(widget, "style", None)):
        if part is not None:
            part.close()
