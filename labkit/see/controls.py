"""A lab under one's hands: sliders, buttons, and the live picture of what they do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from html import escape
from itertools import count
from typing import Any

import ipywidgets as widgets

from labkit.errors import LabError, NoAnswer, NodeUnreachable
from labkit.lab.clients import Clients
from labkit.lab.lab import Lab
from labkit.see import style
from labkit.see.drawing import MANY, Look, draw
from labkit.see.rows import ManyNodes, NodeRow, Row, WorkerRow, ZooKeeperRow, dispose, is_dead
from labkit.see.scene import Scene
from labkit.story.run import Story

_REFRESH = 0.12  # seconds between two pictures
_WINDOW = 60.0  # seconds that the picture shows
_FORGOTTEN = 4  # dead nodes that keep a row, to be started again
_MAX_NODES = 16

_uids = count(1)


def controls(lab: Lab) -> Controls:
    """Sliders and buttons for a lab, with the live assignment of numbers: `controls(lab)`."""
    return Controls(lab)


class _Phase(Enum):
    """What becomes of a verb."""

    LIVE = auto()  # it is done
    RESTING = auto()  # the lab is closed: it is started again, and then it is done
    WAKING = auto()  # it is done once the lab runs
    CLOSED = auto()  # it is refused


class Controls(widgets.VBox):
    """One widget over a running lab. Close it with `close()`.

    Verbs run in threads of their own, so that cells can be run meanwhile; what they say, and every
    error, appears in the message line (and in `messages`). Driven without a browser it does the
    same: `panel.slider.value = 2`.

    Closing the lab ends the updates, and what was seen last stays. A reader who has run a page to
    its end may come back: the slider, or a button that appears then, starts the lab again.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._uid = f"live-{next(_uids)}-{id(self)}"
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._wanted: int | None = None
        self._scaling = False
        self._slid_at = 0.0
        self._painting: int | None = None  # the thread that sets controls to what is true
        self._phase = _Phase.RESTING
        self._wishes: list[tuple[Any, ...]] = []  # what to do once the lab runs again
        self._ended = threading.Event()
        self._seen = threading.Event()
        self._seen.set()
        self.messages: deque[str] = deque(maxlen=100)
        self.pictures = 0  # drawn so far

        self._asking: Clients | None = None
        self._crew_again = lab.workers[0].crew.again if lab.workers else None
        self._make_widgets(lab)
        # A lab without nodes, such as one for a crew, has nothing for these to act on.
        of_nodes = [self.slider, self.session_timeout, self.clients] if lab.nodes else []
        super().__init__(
            [
                widgets.HBox([*of_nodes, *([self.zookeeper] if lab.zookeeper.is_own else [])]),
                self.rows,
                self.message,
                self.again,
                self.picture,
                self.tree,
            ],
            layout={"width": "100%"},
        )
        self.slider.observe(self._on_slide, "value")
        self.zookeeper.observe(self._on_zookeeper, "value")
        self.session_timeout.observe(self._on_timeout, "value")
        self.clients.observe(self._on_clients, "value")
        self._view_count = 0  # asks the front end to count
        self.observe(self._on_views, "_view_count")
        self._say(
            "Drag the slider: left kills the longest-lived nodes, right starts new ones."
            if lab.nodes
            else "Kill or pause somebody, and watch the picture."
        )
        self._pool = self._new_pool()
        self._painter: threading.Thread
        self._begin()

    def _make_widgets(self, lab: Lab) -> None:
        self.slider = widgets.IntSlider(
            value=len(lab.alive),
            min=0,
            max=max(_MAX_NODES, 2 * len(lab.alive)),
            description="nodes alive",
            style={"description_width": "initial"},
            layout={"width": "360px"},
        )
        self.zookeeper = widgets.ToggleButton(
            value=True,
            description="ZooKeeper: on",
            tooltip="Stop or start ZooKeeper",
            layout={"width": "130px"},
        )
        self.session_timeout = widgets.BoundedFloatText(
            value=lab.session_timeout,
            min=0.4,
            max=600,
            step=0.5,
            description="session timeout of new nodes, s",
            style={"description_width": "initial"},
            layout={"width": "290px"},
        )
        self.clients = widgets.ToggleButton(
            value=False,
            description="clients: off",
            layout={"width": "110px"},
            tooltip="Let clients ask every node all the time",
        )
        self.rows = widgets.VBox()
        self.many = ManyNodes(self)
        self.picture = widgets.HTML()
        self.tree = widgets.HTML()
        self.message = widgets.HTML()
        self.again = widgets.Button(
            description="start the lab again",
            icon="play",
            button_style="primary",
            layout={"width": "200px", "display": "none"},
        )
        self.again.on_click(lambda _: self._submit(lambda: None))

    def close(self) -> None:
        """Stop the updates, wait for verbs under way, and take the widget away. Idempotent."""
        with self._lock:
            self._phase = _Phase.CLOSED
        self._ended.set()
        self._seen.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if threading.current_thread() is not self._painter:
            self._painter.join()
        self._ask_no_more()
        for child in (*self.children, self.many.box):
            dispose(child)
        self.layout.close()
        super().close()

    @staticmethod
    def _new_pool() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=8, thread_name_prefix="labkit-verb")

    def _begin(self) -> None:
        """Show the lab, which runs, from now on."""
        self._timeline = self.lab.timeline
        self._tail = self._timeline.tail()
        self._spans = Story(forgets=True)
        self.rows.children = ()
        self._forget_rows(self._rows)
        self.again.layout.display = "none"
        self.zookeeper.disabled = False
        self._paint()
        with self._lock:
            if self._phase is _Phase.CLOSED:
                return
            self._phase = _Phase.LIVE
            self._painter = threading.Thread(target=self._live, name="labkit-controls", daemon=True)
            self._painter.start()

    def _rest(self) -> None:
        """Leave only what starts a closed lab again in use."""
        for row in self._rows.values():
            row.rest()
        self.many.rest()
        self.zookeeper.disabled = True
        self._ask_no_more()
        self.clients.value = False
        self.again.layout.display = ""

    def _wake(self) -> None:
        """Start the closed lab again, and then do what was wanted."""
        self._painter.join()
        self._do("start the lab again", self._start_lab)
        with self._lock:
            wishes, self._wishes = self._wishes, []
            if self._phase is _Phase.WAKING:  # it could not be started, and the message says why
                self._phase = _Phase.RESTING
                self._wanted, self._scaling = None, False
                self._pool.shutdown(wait=False)
                return
        for wish in wishes:
            self._submit(*wish)

    def _start_lab(self) -> None:
        for node in self.lab.start().nodes:
            with suppress(NoAnswer, NodeUnreachable):
                node.sequence()
        if self._crew_again is not None:
            self._crew_again()
        self._begin()

    # --- verbs ------------------------------------------------------------------------------

    def do(self, what: str, verb: Callable[[], object]) -> None:
        """Run a verb off the caller's thread, with its outcome in the message line."""
        self._submit(self._do, what, verb)

    def _submit(self, *call: Any) -> None:
        with self._lock:
            match self._phase:
                case _Phase.LIVE:
                    self._pool.submit(*call)
                case _Phase.WAKING:
                    self._wishes.append(call)
                case _Phase.RESTING:
                    self._wishes.append(call)
                    self._phase = _Phase.WAKING
                    self._pool = self._new_pool()
                    self._pool.submit(self._wake)
                case _Phase.CLOSED:
                    self._say("These controls are closed; make new ones: controls(lab)", error=True)

    def _do(self, what: str, verb: Callable[[], object]) -> None:
        began = time.monotonic()
        self._say(f"{what} …")
        try:
            said = verb()
        except Exception as error:  # whatever it was, the reader is told
            name = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
            self._say(f"{what}: {name}{error}", error=True)
        else:
            self._say(said if isinstance(said, str) else f"{what}: done", began)

    def _say(self, text: str, began: float | None = None, *, error: bool = False) -> None:
        if began is not None:
            text += f" ({time.monotonic() - began:.2f} s)"
        self.messages.append(text)
        mark = "<b>⚠ </b>" if error else ""
        role = "alert" if error else "status"
        self.message.value = (
            f'<div role="{role}" style="white-space:pre-wrap;line-height:1.35;min-height:1.4em;'
            f'max-height:9em;overflow:auto">{mark}{escape(text)}</div>'
        )

    def _on_slide(self, change: dict[str, Any]) -> None:
        if self.is_painting():
            return
        with self._lock:
            self._wanted = change["new"]
            self._slid_at = time.monotonic()
            if self._scaling:
                return  # whoever is at it will see what is wanted now
            self._scaling = True
        self._submit(self._scale)

    def _scale(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                self._slid_at = time.monotonic()
                if wanted is None:
                    self._scaling = False
                    return
            what = "1 node alive" if wanted == 1 else f"{wanted} nodes alive"
            self._do(what, partial(self.lab.scale, wanted))

    def _on_zookeeper(self, change: dict[str, Any]) -> None:
        if self.is_painting():
            return
        if change["new"]:
            self.do("start ZooKeeper", self.lab.zookeeper.start)
        else:
            self.do("stop ZooKeeper", self.lab.zookeeper.stop)

    def _on_timeout(self, change: dict[str, Any]) -> None:
        self.lab.session_timeout = change["new"]
        self._say(f"Nodes made from now on ask for a session timeout of {change['new']:g} s.")

    def _on_clients(self, change: dict[str, Any]) -> None:
        self.clients.description = "clients: on" if change["new"] else "clients: off"
        if change["new"]:
            self.do("let clients ask", self._ask)
        elif self._phase is _Phase.LIVE:
            self.do("let clients ask no more", self._ask_no_more)

    def _ask(self) -> None:
        self._asking = self.lab.clients().start()

    def _ask_no_more(self) -> None:
        if self._asking is not None:
            self._asking.stop()
            self._asking = None

    def is_painting(self) -> bool:
        """Whether a widget changes because the lab did, and not because somebody touched it."""
        return threading.get_ident() == self._painting

    # --- the live picture -------------------------------------------------------------------

    def _on_views(self, change: dict[str, Any]) -> None:
        if change["new"] == 0:  # there was a view, and its output has been closed
            self._seen.clear()
        else:
            self._seen.set()

    def _live(self) -> None:
        last = "The lab is closed. Drag the slider, and it starts again."
        try:
            while not self._ended.wait(_REFRESH):
                visible = self._seen.wait(timeout=1.0)
                if not self._is_running():
                    self._say(last)
                    break
                if visible:
                    self._try_to_paint()
        except Exception as error:  # a live picture that dies silently would lie
            self._say(f"The live picture has stopped: {error!r}", error=True)
            raise
        finally:
            with self._lock:  # so that nothing is handed to a pool that takes no more
                if self._phase is _Phase.LIVE:
                    self._phase = _Phase.RESTING
                self._pool.shutdown(wait=False)
            if self._phase is not _Phase.CLOSED:
                self._rest()

    def _try_to_paint(self) -> None:
        try:
            self._paint()
        except LabError as error:  # it is being closed, or its engine does not answer for once
            if self._is_running() and str(error) not in self.messages:
                self._say(str(error), error=True)

    def _is_running(self) -> bool:
        try:
            return bool(self.lab.backend) and self.lab.timeline is self._timeline
        except LabError:
            return False

    def _paint(self) -> None:
        self._painting = threading.get_ident()
        try:
            self._draw()
        finally:
            self._painting = None

    def _draw(self) -> None:
        events, anew = self._tail.read()
        if anew:
            self._spans = Story(forgets=True)
        spans = self._spans
        for event in events:
            spans.add(event)
        now = self._timeline.now()
        spans.end = max(spans.end, now)
        since = max(min(spans.start, now), now - _WINDOW)
        shown = [node for node in spans.nodes if self._shows(node, since)]
        scene = Scene.of(spans, since, now, shown)
        self.picture.value = draw(scene, Look(self._uid, whole_key=True))
        self.tree.value = _tree(spans) if spans.nodes else ""
        self._follow(spans)
        self.pictures += 1

    def _shows(self, node: str, since: float) -> bool:
        spans = self._spans
        if spans.state(node) != "stopped":
            return True
        return bool(spans.bars(node, None, since)) or any(m.t > since for m in spans.marks(node))

    def _follow(self, spans: Story) -> None:
        """Set every control to what is true, unless it is being used."""
        nodes = {node.name: node for node in self.lab.nodes}
        if not self._is_running():
            return  # a closed lab has no nodes; those that it had stay in sight
        dead = [name for name, node in nodes.items() if is_dead(spans.state(name), node)]
        servers = self.lab.zookeeper.servers
        is_ensemble = len(servers) > 1 and self.lab.zookeeper.is_own
        shown = {name: node for name, node in nodes.items() if name not in dead[:-_FORGOTTEN]}
        fold = len(shown) > MANY
        rows: dict[str, Callable[[], Row]] = {
            **{s.name: partial(ZooKeeperRow, self, s) for s in servers if is_ensemble},
            **{worker.name: partial(WorkerRow, self, worker) for worker in self.lab.workers},
            **{name: partial(NodeRow, self, shown[name]) for name in shown if not fold},
        }
        for name, make in rows.items():
            if name not in self._rows:
                self._rows[name] = make()
            self._rows[name].follow(spans)
        boxes = tuple(self._rows[name].box for name in rows)
        if fold:
            self.many.follow(spans, shown)
            boxes += (self.many.box,)
        if boxes != self.rows.children:
            self.rows.children = boxes
            self._forget_rows(self._rows.keys() - rows.keys())
        self.zookeeper.value = not spans.zookeeper.is_down
        self.zookeeper.description = (
            "ZooKeeper: off" if spans.zookeeper.is_down else "ZooKeeper: on"
        )
        with self._lock:
            resting = not self._scaling and time.monotonic() - self._slid_at > 0.5
            if resting:
                self.slider.value = len(nodes) - len(dead)

    def _forget_rows(self, names: Iterable[str]) -> None:
        for name in list(names):
            dispose(self._rows.pop(name).box)

    def __repr__(self) -> str:
        return f"Controls of {len(self.lab.nodes)} nodes; they need a running notebook."


def _tree(spans: Story) -> str:
    """What is held, as the watch last saw it."""
    lines = []
    for claim, session in spans.held():
        who = escape(claim.node)
        lines.append(
            f"<div>    {style.chip(claim.number)} {who}, ephemeral of session {session}, "
            f"token {claim.token}</div>"
        )
    lines += [f"<div>    {escape(ticket)}</div>" for ticket in spans.queue]
    stale = spans.zookeeper.is_down or spans.session not in ("CONNECTED", "")
    when = " <i>as last seen; ZooKeeper does not answer</i>" if stale else ""
    return (
        '<div style="white-space:pre;font-family:monospace;line-height:1.5;max-height:27em;'
        'overflow:auto" role="list" '
        f'aria-label="znodes">{escape(spans.root)}{when}{"".join(lines)}</div>'
    )
