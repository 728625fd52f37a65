"""A lab under one's hands: a slider, buttons, and the live picture of what they do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from html import escape
from typing import Any

from labkit.errors import LabError, NoAnswer, NodeUnreachable
from labkit.lab.clients import Clients
from labkit.lab.lab import Lab
from labkit.see import style
from labkit.see.drawing import MANY, RIGHT, WIDTH, Frame, Look, draw
from labkit.see.live import Button, Control, Piece, before_next_cell
from labkit.see.picture import Picture
from labkit.see.rows import NodeRow, Row, WorkerRow, ZooKeeperRow, cells, is_dead
from labkit.see.scene import Scene
from labkit.story.event import is_verb
from labkit.story.run import Story

_REFRESH = 0.12  # seconds between two pictures of a lab in which nothing is done
_QUICK = 0.03  # seconds after which a verb is seen
_WINDOWS = (10, 30, 60, 120)  # seconds that the picture shows: the reader chooses
_SAVED = 60.0  # seconds that the saved picture shows
_AFTER = 3.0  # seconds after the reader's last touch that a saved picture shows too
_FORGOTTEN = 4  # dead nodes that keep a row, to be started again
_MAX_NODES = 16
_ROOM = (80.0, 820.0)  # units of the browser that time may take


def controls(lab: Lab) -> Controls:
    """Sliders and buttons for a lab, with the live assignment of numbers: `controls(lab)`."""
    return Controls(lab)


class _Phase(Enum):
    """What becomes of a verb."""

    LIVE = auto()  # it is done
    RESTING = auto()  # the lab is closed: it is started again, and then it is done
    WAKING = auto()  # it is done once the lab runs
    CLOSED = auto()  # it is refused


class Slider(Control):
    """A whole number from `min` to `max`."""

    def __init__(self, value: int, most: int, act: Callable[[int], object]) -> None:
        super().__init__(value, act)
        self.min, self.max = 0, most


class Controls(Piece):
    """One panel over a running lab. Close it with `close()`.

    Verbs run in threads of their own, so that cells can be run meanwhile; what they say, and every
    error, appears in the message line (and in `messages`). Driven without a browser it does the
    same: `panel.slider.value = 2`.

    Closing the lab ends the updates, and what was seen last stays. A reader who has run a page to
    its end may come back: the slider, or a button that appears then, starts the lab again.

    The page is saved with the picture as it was when the next cell began, or shortly after the
    reader's hand was on the panel for the last time: what later cells did answers no question here.
    """

    kind = "panel"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._rows: dict[str, Row] = {}
        self._slots: dict[str, int] = {}  # a row stays where it is while others come and go
        self._lock = threading.Lock()
        self._reading = threading.RLock()  # of the spans
        self._wanted: int | None = None
        self._scaling = False
        self._slid_at = 0.0
        self._touched: float | None = None  # when a reader's hand was here last
        self._saved_until: float | None = None
        self._phase = _Phase.RESTING
        self._wishes: list[tuple[Any, ...]] = []  # what to do once the lab runs again
        self._ended = threading.Event()
        self._seen = threading.Event()
        self._seen.set()
        self.messages: deque[str] = deque(maxlen=100)
        self._alarmed = False
        self.pictures = 0  # drawn so far
        self._drawing: dict[str, Any] = {}
        self._asking: Clients | None = None
        self._crew_again = lab.workers[0].crew.again if lab.workers else None
        self._room = _ROOM[1]
        alive = len(lab.alive)
        # A lab without nodes, such as one for a crew, has nothing for some controls to act on.
        self._has_nodes, self._is_own = bool(lab.nodes), lab.zookeeper.is_own
        servers = len(lab.zookeeper.servers) if self._is_own else 0
        others = len(lab.workers) + (servers if servers > 1 else 0)
        self._reserved = others + (min(max(alive + _FORGOTTEN, 6), 12) if lab.nodes else 0)
        self.slider = Slider(alive, max(_MAX_NODES, 2 * alive), self._on_slide)
        self.zookeeper = Control(True, self._on_zookeeper)
        self.session_timeout = Control(lab.session_timeout, self._on_timeout)
        self.clients = Control(False, self._on_clients)
        self.window = Control(_WINDOWS[1], lambda _: None)
        self.choice = Control(None, self._choose)  # of more nodes than have rows
        self.chosen: Row | None = None
        self.again = Button("start the lab again", "", lambda: self._submit(lambda: None))
        self.again.disabled = True
        super().__init__()
        self._say(
            "Drag the slider: left kills the longest-lived nodes, right starts new ones."
            if lab.nodes
            else "Kill or pause somebody, and watch the picture."
        )
        self._pool = self._new_pool()
        self._painter: threading.Thread
        self._begin()
        self._no_more_cells = before_next_cell(self._next_cell)

    def close(self) -> None:
        """Stop the updates, wait for verbs under way, and leave the saved picture. Idempotent."""
        with self._lock:
            self._phase = _Phase.CLOSED
        self._ended.set()
        self._seen.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if threading.current_thread() is not self._painter:
            self._painter.join()
        self._ask_no_more()
        self._no_more_cells()
        self.remove()

    @staticmethod
    def _new_pool() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=8, thread_name_prefix="labkit-verb")

    def _begin(self) -> None:
        """Show the lab, which runs, from now on."""
        with self._reading:
            self._makers: dict[str, Callable[[], Row]] = {}
            self._timeline = self.lab.timeline
            self._tail = self._timeline.tail()
            self._spans = Story(forgets=True)
            self._rows.clear()
            self.chosen = None
        self.again.disabled = True
        self.zookeeper.disabled = False
        self._read()
        self._paint()
        with self._lock:
            if self._phase is _Phase.CLOSED:
                return
            self._phase = _Phase.LIVE
            self._painter = threading.Thread(target=self._live, name="labkit-controls", daemon=True)
            self._painter.start()

    def _rest(self) -> None:
        """Leave only what starts a closed lab again in use."""
        for row in [*self._rows.values(), *filter(None, [self.chosen])]:
            row.rest()
        self.zookeeper.disabled = True
        self._ask_no_more()
        self.clients.show(False)
        self.again.disabled = False
        self.tell()

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
        self._alarmed = error
        self.tell()

    def _on_slide(self, wanted: int) -> None:
        with self._lock:
            self._wanted = wanted
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

    def _on_zookeeper(self, on: bool) -> None:
        if on:
            self.do("start ZooKeeper", self.lab.zookeeper.start)
        else:
            self.do("stop ZooKeeper", self.lab.zookeeper.stop)

    def _on_timeout(self, seconds: float) -> None:
        seconds = min(max(seconds, 0.4), 600.0)
        self.session_timeout.show(seconds)
        self.lab.session_timeout = seconds
        self._say(f"Nodes made from now on ask for a session timeout of {seconds:g} s.")

    def _on_clients(self, on: bool) -> None:
        if on:
            self.do("let clients ask", self._ask)
        elif self._phase is _Phase.LIVE:
            self.do("let clients ask no more", self._ask_no_more)

    def _ask(self) -> None:
        self._asking = self.lab.clients().start()

    def _ask_no_more(self) -> None:
        if self._asking is not None:
            self._asking.stop()
            self._asking = None

    def hear(self, do: str, value: Any) -> None:
        """What a reader does in the browser: sets a control, presses a button, looks, leaves."""
        settings = {
            "slider": self.slider,
            "zookeeper": self.zookeeper,
            "timeout": self.session_timeout,
            "clients": self.clients,
            "window": self.window,
            "choice": self.choice,
        }
        if do == "views":
            (self._seen.set if value else self._seen.clear)()
            return
        if do == "room":
            self._room = min(max(float(value), _ROOM[0]), _ROOM[1])
            return
        if do == "left":
            if self._touched is not None:
                self._save_until(min(self._touched + _AFTER, self._timeline.now()))
            return
        self._touched = self._timeline.now()
        if do in settings:
            settings[do].value = value
        elif do == "again":
            self.again.click()
        elif do == "press":
            name, at = value
            row = self._rows.get(name) or self.chosen
            if row is not None and row.name == name:
                row.buttons[at].click()

    # --- the picture that is saved ----------------------------------------------------------

    def _next_cell(self) -> None:
        """A cell is about to run, and it may do to the lab what it likes."""
        if self._saved_until is None:
            self._save_until(self._timeline.now())
        elif self._touched is not None:
            self._save_until(min(self._touched + _AFTER, self._timeline.now()))
            self._touched = None

    def _save_until(self, t: float) -> None:
        self._saved_until = t
        self.keep()

    def saved(self) -> str:
        """The picture as it is to be seen without a kernel."""
        with self._reading:
            spans, until = self._spans, self._saved_until
            until = self._timeline.now() if until is None else until
            since = max(min(spans.start, until), until - _SAVED)
            there = [
                node
                for node in spans.nodes
                if spans.marks(node, until) or any(up.start < until for up in spans.up(node, until))
            ]
            scene = Scene.of(spans, since, until, there)
            drawn = Picture(scene, Look(f"{self.uid}-saved", scene.says(), whole_key=True))
        return (
            f"{drawn.html()}<p><small>A panel over running servers, as it was left. "
            "Run the page to take over.</small></p>"
        )

    # --- the live picture -------------------------------------------------------------------

    def _live(self) -> None:
        last = "The lab is closed. Drag the slider, and it starts again."
        drawn = 0.0
        try:
            while not self._ended.wait(_QUICK):
                visible = self._seen.wait(timeout=1.0)
                if not self._is_running():
                    self._say(last)
                    break
                news = self._read()
                if visible and (news or time.monotonic() - drawn >= _REFRESH):
                    drawn = time.monotonic()
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

    def _read(self) -> bool:
        """Follow the timeline; whether something was done to a server."""
        with self._reading:
            events, anew = self._tail.read()
            if anew:
                self._spans = Story(forgets=True)
            for event in events:
                self._spans.add(event)
            self._spans.end = max(self._spans.end, self._timeline.now())
        return any(map(is_verb, events))

    def _paint(self) -> None:
        with self._reading:
            self._follow(self._spans)
            self._draw(self._spans)
        self.pictures += 1
        self.tell()

    def _draw(self, spans: Story) -> None:
        """Draw as many seconds as have room, at the reader's scale."""
        names = [name for name in self._slots if name in spans.nodes]
        scale, until = self._room / self.window.value, spans.end
        look = Look(self.uid, whole_key=True)
        left = Frame(Scene.of(spans, until - 1, until, names), look).left
        since = until - (WIDTH - RIGHT - left) / scale
        scene = Scene.of(spans, since, until, names)
        frame = Frame(scene, look)
        self._drawing = {
            "svg": draw(scene, look),
            "lanes": {lane.name: frame.y(at) for at, lane in enumerate(scene.lanes)},
            "lane": frame.lane,
            "time": [since, until, left, scale],
            "down": scene.absence,
            "tree": _tree(spans) if spans.nodes else "",
            "cells": cells(spans, list(self._slots)) if self.chosen is not None else [],
        }

    @property
    def picture(self) -> str:
        """The live picture as it was drawn last."""
        return str(self._drawing.get("svg", ""))

    @property
    def tree(self) -> str:
        """What is held, as it was seen last."""
        return str(self._drawing.get("tree", ""))

    def _follow(self, spans: Story) -> None:
        """Set every control to what is true, unless it is being used."""
        if not self._is_running():
            return  # a closed lab has no nodes; those that it had stay in sight
        nodes = {node.name: node for node in self.lab.nodes}
        dead = [name for name, node in nodes.items() if is_dead(spans.state(name), node)]
        alive = len(nodes) - len(dead)
        kept = max(_FORGOTTEN, min(self._reserved, MANY) - alive)
        servers = self.lab.zookeeper.servers
        is_ensemble = len(servers) > 1 and self.lab.zookeeper.is_own
        makers: dict[str, Callable[[], Row]] = {
            **{s.name: partial(ZooKeeperRow, self, s) for s in servers if is_ensemble},
            **{worker.name: partial(WorkerRow, self, worker) for worker in self.lab.workers},
            **{n: partial(NodeRow, self, nodes[n]) for n in nodes if n not in dead[:-kept]},
        }
        self._place(list(makers))
        self._makers = makers
        if len(makers) > MANY:
            self._rows.clear()
            if self.choice.value not in makers:
                self.choice.show(next(iter(makers)))
                self.chosen = None
            if self.chosen is None:
                self._choose(self.choice.value)
        else:
            self.chosen = None
            self._rows = {
                name: self._rows[name] if name in self._rows else make()
                for name, make in makers.items()
            }
        for row in [*self._rows.values(), *filter(None, [self.chosen])]:
            row.follow(spans)
        self.zookeeper.show(not spans.zookeeper.is_down)
        with self._lock:
            if not self._scaling and time.monotonic() - self._slid_at > 0.5:
                self.slider.show(alive)

    def _place(self, names: list[str]) -> None:
        """Give each row a place that it keeps; a new one takes the first that is free."""
        for gone in self._slots.keys() - set(names):
            del self._slots[gone]
        for name in names:
            if name not in self._slots:
                taken = set(self._slots.values())
                self._slots[name] = next(i for i in range(len(names)) if i not in taken)

    def _choose(self, name: str) -> None:
        self.chosen = self._makers[name]() if name in self._makers else None

    def face(self) -> dict[str, Any]:
        """What the browser shows of it."""
        rows = {self._slots[name]: row.face() for name, row in self._rows.items()}
        return self._drawing | {
            "rows": [rows.get(slot) for slot in range(max([*rows, -1]) + 1)],
            "reserved": self._reserved,
            "many": [self.chosen.name, self.chosen.face()] if self.chosen else None,
            "slider": [self.slider.value, self.slider.max] if self._has_nodes else None,
            "zookeeper": [self.zookeeper.value, self.zookeeper.disabled] if self._is_own else None,
            "timeout": self.session_timeout.value if self._has_nodes else None,
            "clients": self.clients.value if self._has_nodes else None,
            "window": [self.window.value, *_WINDOWS],
            "again": not self.again.disabled,
            "message": [self.messages[-1], self._alarmed],
        }

    def __repr__(self) -> str:
        return f"Controls of {self.slider.value} nodes; they need a running notebook."


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
