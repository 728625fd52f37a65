"""Draws the course's diagrams and the logo: `make img`, or `python img/draw.py 04 logo`.

One visual language: a coloured chip is a number (its colour is the same on every page), a box is a
server, a bar is a stretch of time in which a number is held. A solid bar is held and answered, a
dashed one held without an answer, a hatched one answered without being held.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import click
import grimp
import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from labkit.see import style
from labkit.see.picture import as_file, as_png, themed

HERE = Path(__file__).parent
WIDTH = 7.2  # inches: about 700 px, a notebook's column

#: What each diagram shows, in words.
ALT = {
    "00-start-here": (
        "A lab: one ZooKeeper, a few servers that talk to it, and you, who can ask every server "
        "for its number over HTTP, and kill it."
    ),
    "01-znodes-and-versions": (
        "Six transactions in a row. The first creates a znode, whose version is then 0; two writes "
        "make it 1 and 2; the fourth deletes it. The fifth creates it anew: version 0 again, but "
        "another czxid."
    ),
    "02-a-session": (
        "A client and ZooKeeper share a session, with an id and a timeout; heartbeats go from the "
        "client to ZooKeeper. An ephemeral znode names the session as its owner; another znode has "
        "no owner."
    ),
    "02-sessions-and-ephemerals": (
        "A client's session lives as long as its heartbeats reach ZooKeeper. Closed in order, it "
        "ends at once, and its ephemeral znode with it; killed, only after a session timeout of "
        "silence."
    ),
    "03-watches": (
        "A watch is set by a read, is told once that something changed, and is gone; what happens "
        "before the next read is not told."
    ),
    "03b-did-it-happen": (
        "Two requests between a client and ZooKeeper. One is lost on the way there and never "
        "carried out; the other is carried out and its answer is lost on the way back. To the "
        "client both look the same."
    ),
    "04-the-sequence-node": (
        "Each server holds its number as an ephemeral znode below /sequence; a request asks the "
        "server, and the server has asked ZooKeeper. Nobody has asked node 4, so 4 is free."
    ),
    "05-races-and-herds": (
        "Twenty claimants see number 1 free; one creates it, nineteen are refused and look again, "
        "and so on, until all have one. With tickets, each aims at a number of its own: 20 creates."
    ),
    "06-when-zookeeper-stops": (
        "Numbers 1 to 4 are held when ZooKeeper stops. When it is back, the four nodes make new "
        "sessions and get 5 to 8. The old sessions go on holding 1 to 4, past a session timeout, "
        "because their clients live on."
    ),
    "07-zombies-leases-and-fencing": (
        "Node 1 is paused for longer than its session; node 2 gets its number, with a newer token. "
        "Node 1 wakes up and writes with its old token, and the resource refuses it."
    ),
    "08-snowflake-ids": (
        "A Snowflake ID: 41 bits of milliseconds, 10 of worker, 12 of sequence. Below: a worker "
        "number passes to another server, whose clock is behind; it waits until the clock passes "
        "what its predecessor had reserved."
    ),
    "09-who-decides": (
        "A client's write in four steps. The leader proposes it to all servers, each writes it to "
        "its disk and acknowledges; with a majority of acknowledgements the leader commits it, and "
        "the client is told."
    ),
    "09b-what-do-i-read": (
        "A writer is connected to the leader, which sends a commit to both followers; to one of "
        "them it is still on its way. A reader is connected to each follower, and asks at this "
        "moment."
    ),
    "10-one-name-many-nodes": (
        "Three servers register in ZooKeeper, each with its number and its address. A client "
        "watches the list of them, and sends each request to one server on it."
    ),
    "10b-when-a-machine-dies": (
        "Three machines, a, b and c, on one network. Each has one of ZooKeeper's three servers and "
        "two nodes, which hold the numbers 1 to 6. The power of one may fail, and the cable of "
        "another may be pulled."
    ),
    "11-lock-and-election": (
        "Three workers, each with a place in a queue: bars over time. A pale bar with a dashed "
        "edge is a place that waits, a solid one the same place with the lock, which passes from "
        "worker to worker."
    ),
    "12-barrier-and-queue": (
        "A barrier for three: two wait at it, a third is on its way. A queue's item, and two "
        "orders: delete it and then work, or work and then delete it; between the two steps a "
        "crash may strike."
    ),
    "12b-recipes-under-fire": (
        "Five workers, each with a link of its own to ZooKeeper, use one recipe and write to a "
        "resource. Faults hit workers and links. What the workers did and ZooKeeper's log go to "
        "the judge."
    ),
    "13-chaos": (
        "Clients ask while faults are injected. What they were answered and ZooKeeper's own log of "
        "what was true go to the checker, which compares them rule by rule."
    ),
    "14-configuration-all-or-nothing": (
        "A reader gets three settings, one after the other. Between the first and the second, one "
        "transaction changes all three and their parent: the reader has the first one old and two "
        "new. Its two looks at the parent, before and after, differ."
    ),
    "15-who-may-do-what": (
        "A tree: the root, open to all, with a box below it that is Ann's, and a letter in the box "
        "that is open to all. Bob can't read or write the box; whether he can delete it is decided "
        "at the root, and what he may do with the letter at the letter."
    ),
    "16-zookeeper-in-production": (
        "Servers 1, 2 and 3 serve; 4 and 5 join and there are five; 1 and 4 leave and there are "
        "three again. Clients ask all the time."
    ),
    "17-in-real-systems": (
        "Znodes of HBase, Solr, ClickHouse and Kafka up to 3.9, in three columns: who is alive, "
        "who leads, what was decided. Znodes of the first two columns are ephemeral, the rest "
        "persist; ClickHouse has none for a leader."
    ),
    "architecture": (
        "A matrix of labkit's rooms, from course at the top down to node, with a dot where one "
        "imports from another. All dots are right of the diagonal: a room uses only those "
        "below it."
    ),
    "logo": "Four servers with the numbers 1 to 4; number 2 passes from the second to the fourth.",
}


class Sheet:
    """A card to draw on, in inches from its upper left corner."""

    def __init__(self, height: float, width: float = WIDTH, border: bool = True) -> None:
        self._figure = Figure(figsize=(width, height))
        self._rules: list[tuple[float, float, float, str]] = []  # lines of time, from and to
        self._bars: list[tuple[float, float, float, float]] = []  # from and to, top and bottom
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        if border:
            self.box(0.04, 0.04, width - 0.08, height - 0.08, edge=style.LINE, radius=0.12, z=0)

    @property
    def figure(self) -> Figure:
        """What was drawn. A line of time is not seen through bars: they have words in them."""
        for y, start, end, shade in self._rules:
            at = start
            over = [(b, e) for b, e, top, bottom in self._bars if top < y < bottom and e > start]
            for begin, until in [*sorted(over), (end, end)]:
                if begin > at:
                    self.line((at, y), (min(begin, end), y), shade)
                at = max(at, until)
        self._rules.clear()
        return self._figure

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        face: str = style.PAPER,
        edge: str = style.INK,
        radius: float = 0.08,
        dashed: bool = False,
        z: float = 2,
        line: float = 1.2,
        hatch: str = "",
    ) -> None:
        """A box with round corners."""
        if z >= 2:
            self._bars.append((x, x + width, y, y + height))
        patch = FancyBboxPatch(
            (x + radius, y + radius),
            width - 2 * radius,
            height - 2 * radius,
            boxstyle=f"round,pad={radius},rounding_size={radius}",
            facecolor=face,
            edgecolor=edge,
            linewidth=line,
            zorder=z,
            linestyle=(0, (3, 2)) if dashed else "-",
            hatch=hatch,
        )
        self.axes.add_patch(patch)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 10,
        bold: bool = False,
        shade: str = style.INK,
        at: str = "center",
        z: float = 6,
        plate: bool = False,
        mono: bool = False,
    ) -> None:
        """Words; `plate` puts white behind them."""
        box = {"boxstyle": "square,pad=0.15", "fc": style.PAPER, "ec": "none"} if plate else None
        self.axes.text(
            x,
            y,
            text,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color=shade,
            ha=at,
            va="center",
            zorder=z,
            linespacing=1.35,
            bbox=box,
            family="DejaVu Sans Mono" if mono else "DejaVu Sans",
        )

    def chip(self, x: float, y: float, number: int, size: float = 0.34, pale: bool = False) -> None:
        """A number, in its colour; `pale` if it is held without an answer."""
        shade = style.colour(number)
        face = style.pale(shade) if pale else shade
        self.box(
            x - size / 2, y - size / 2, size, size, face, style.INK, 0.06, dashed=pale, z=4, line=1
        )
        ink = style.INK if pale else style.ink(shade)
        self.text(x, y + 0.005, str(number), size * 32, bold=True, shade=ink)

    def free(self, x: float, y: float, number: int, size: float = 0.34) -> None:
        """A number that nobody has."""
        self.box(x - size / 2, y - size / 2, size, size, style.PAPER, style.QUIET, 0.06, True, 4, 1)
        self.text(x, y + 0.005, str(number), size * 32, shade=style.QUIET)

    def server(
        self,
        x: float,
        y: float,
        name: str,
        number: int | None = None,
        width: float = 1.3,
        dead: bool = False,
        pale: bool = False,
    ) -> None:
        """A server with its name and number, (x, y) in its middle left."""
        face = style.BAND if dead else style.PAPER
        self.box(x, y - 0.26, width, 0.52, face, style.QUIET if dead else style.INK)
        self.text(x + 0.14, y, name, bold=not dead, at="left", shade=style.INK)
        if number is not None:
            self.chip(x + width - 0.28, y, number, pale=pale)
        if dead:
            self.cross(x + width - 0.02, y - 0.24)

    def cross(self, x: float, y: float, size: float = 0.09) -> None:
        """What is dead or refused."""
        for sign in (1, -1):
            self.axes.plot(
                [x - size, x + size],
                [y - sign * size, y + sign * size],
                color=style.ALARM,
                linewidth=2.6,
                solid_capstyle="round",
                zorder=7,
            )

    def tick(self, x: float, y: float, size: float = 0.1) -> None:
        """What is right."""
        self.axes.plot(
            [x - size, x - size / 4, x + size],
            [y, y + size * 0.75, y - size * 0.8],
            color=style.PALETTE[2],
            linewidth=2.6,
            solid_capstyle="round",
            zorder=7,
            solid_joinstyle="round",
        )

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        text: str = "",
        shade: str = style.INK,
        dashed: bool = False,
        bend: float = 0.0,
        lift: float = -0.13,
        size: float = 9,
        both: bool = False,
    ) -> None:
        """An arrow, with words at its middle."""
        patch = FancyArrowPatch(
            start,
            end,
            arrowstyle="<|-|>" if both else "-|>",
            mutation_scale=11,
            color=shade,
            linewidth=1.4,
            linestyle=(0, (3, 2)) if dashed else "-",
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
            zorder=5,
        )
        self.axes.add_patch(patch)
        if text:
            x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + lift
            self.text(x, y, text, size, shade=shade, plate=True, z=5.5)

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        shade: str = style.LINE,
        width: float = 1.2,
        dashed: bool = False,
        z: float = 1,
    ) -> None:
        """A plain line."""
        self.axes.plot(
            [start[0], end[0]],
            [start[1], end[1]],
            color=shade,
            linewidth=width,
            zorder=z,
            linestyle=(0, (3, 2)) if dashed else "-",
            solid_capstyle="butt",
        )

    def dot(self, x: float, y: float, shade: str = style.INK, size: float = 0.06) -> None:
        """A moment."""
        self.axes.add_patch(Circle((x, y), size, facecolor=shade, edgecolor="none", zorder=5))

    def lane(self, y: float, name: str, start: float = 1.35, end: float = WIDTH - 0.25) -> None:
        """A line of time with its name before it."""
        self.text(0.22, y, name, bold=True, at="left")
        self._rules.append((y, start, end, style.LINE))

    def bar(
        self,
        start: float,
        end: float,
        y: float,
        number: int,
        text: str = "",
        kind: str = "both",
        height: float = 0.34,
    ) -> None:
        """A number over time: held and answered ("both"), only "held", or only "answered"."""
        shade = style.colour(number)
        self._bars.append((start, end, y - height / 2, y + height / 2))
        face = {"both": shade, "held": style.pale(shade), "answered": style.pale(shade, 0.45)}[kind]
        patch = Rectangle(
            (start, y - height / 2),
            end - start,
            height,
            facecolor=face,
            zorder=3,
            linewidth=1,
            edgecolor=style.ALARM if kind == "answered" else style.INK,
            linestyle=(0, (2.5, 1.5)) if kind == "held" else "-",
            hatch="xxx" if kind == "answered" else "",
        )
        self.axes.add_patch(patch)
        if text:
            ink = style.ink(face) if kind == "both" else style.INK
            self.text(
                start + 0.1, y + 0.005, text, 9.5, True, ink, "left", plate=kind == "answered"
            )

    def band(self, start: float, end: float, top: float, bottom: float, text: str = "") -> None:
        """A stretch of time in which something was broken."""
        self.axes.add_patch(
            Rectangle((start, top), end - start, bottom - top, facecolor=style.BAND, zorder=0.8)
        )
        if text:
            self.text((start + end) / 2, top + 0.14, text, 9)

    def brace(self, start: float, end: float, y: float, text: str, below: bool = True) -> None:
        """How long something takes."""
        self.arrow((start, y), (end, y), both=True, shade=style.INK)
        self.text((start + end) / 2, y + (0.16 if below else -0.16), text, 9, plate=True)

    def time(self, y: float, start: float = 1.35, end: float = WIDTH - 0.25) -> None:
        """Which way time runs."""
        self.arrow((start, y), (end, y), shade=style.QUIET)
        self.text(end - 0.05, y + 0.15, "time", 9, shade=style.QUIET, at="right")


# --- the pages --------------------------------------------------------------------------------


def start_here() -> Sheet:
    s = Sheet(2.75)
    s.axes.add_patch(
        Circle((0.75, 1.18), 0.2, facecolor=style.PAPER, edgecolor=style.INK, lw=1.4, zorder=3)
    )
    s.box(0.42, 1.44, 0.66, 0.42, style.PAPER, radius=0.18)
    s.text(0.75, 2.08, "you, in this\nnotebook", 9.5)
    for i, y in enumerate((0.62, 1.4, 2.18), start=1):
        dead = i == 3
        s.server(2.55, y, f"node{i}", None if dead else i, dead=dead)
        s.arrow(
            (1.22, 1.4),
            (2.5, y),
            "GET /sequence" if i == 1 else "kill" if dead else "",
            shade=style.ALARM if dead else style.INK,
            lift=-0.06,
        )
        if not dead:
            s.arrow((3.9, y), (5.0, y), both=True)
    s.text(4.45, 0.42, "session", 9, plate=True)
    s.box(5.05, 0.3, 1.85, 2.15, style.PAPER, line=1.6)
    s.text(5.97, 0.52, "ZooKeeper", 11, bold=True)
    _tree(s, 5.3, 0.95, [(1, "of node1"), (2, "of node2")])
    return s


def _tree(s: Sheet, x: float, y: float, held: Sequence[tuple[int, str]]) -> None:
    s.text(x, y, "/sequence", 10, at="left", mono=True)
    for i, (number, whose) in enumerate(held, start=1):
        below = y + 0.43 * i
        s.line((x + 0.14, y + 0.12), (x + 0.14, below), style.QUIET, z=3)
        s.line((x + 0.14, below), (x + 0.34, below), style.QUIET, z=3)
        s.chip(x + 0.5, below, number, 0.3)
        s.text(x + 0.74, below, whose, 9, at="left")


def znodes() -> Sheet:
    s = Sheet(2.6)
    names = ["create", "set", "set", "delete", "create", "set"]
    xs = [1.55 + 0.95 * i for i in range(6)]
    s.text(0.22, 0.45, "transaction", bold=True, at="left")
    s.line((1.2, 0.45), (6.95, 0.45))
    for i, (x, name) in enumerate(zip(xs, names, strict=True)):
        s.box(x - 0.2, 0.29, 0.4, 0.32, style.PAPER, line=1)
        s.text(x, 0.455, str(41 + i), 10, bold=True)
        s.text(x, 0.8, name, 9.5)
        s.line((x, 0.95), (x, 1.14), style.QUIET)
    s.text(0.22, 1.38, "/score", bold=True, at="left", mono=True)
    s.text(0.22, 1.85, "version", at="left")
    s.text(0.22, 2.2, "czxid", at="left")
    for first, last, number, token in ((0, 3, 1, 41), (4, 6, 2, 45)):
        start, end = xs[first], xs[last] if last < 6 else 6.95
        s.bar(start, end, 1.38, number, "one znode" if first == 0 else "another znode")
        for version, x in enumerate(xs[first:last] if last < 6 else xs[4:]):
            s.text(x + 0.45 if x + 0.45 < 6.9 else x + 0.3, 1.85, str(version), 11, bold=True)
        s.text((start + end) / 2, 2.2, str(token), 11, bold=True)
        s.line((start, 1.6), (start, 2.35), style.LINE, dashed=True)
        s.line((end, 1.6), (end, 2.35), style.LINE, dashed=True)
    return s


def a_session() -> Sheet:
    s = Sheet(2.3)
    s.box(0.35, 0.75, 1.35, 0.8, style.PAPER, radius=0.18)
    s.text(1.02, 1.15, "a client", 10.5, bold=True)
    s.box(3.75, 0.25, 3.15, 1.8, style.PAPER, line=1.6)
    s.text(5.32, 0.47, "ZooKeeper", 11, bold=True)
    s.box(2.1, 0.78, 2.95, 0.42, style.pale(style.PALETTE[5], 0.35), radius=0.1, z=3)
    s.text(3.57, 0.99, "a session: id and timeout", 9.5, bold=True)
    for i in range(3):
        s.arrow((2.15 + 0.55 * i, 1.42), (2.55 + 0.55 * i, 1.42), shade=style.QUIET)
    s.text(2.9, 1.65, "heartbeats", 9, shade=style.QUIET)
    s.line((1.7, 0.99), (2.1, 0.99), style.INK)
    s.line((4.3, 1.2), (4.3, 1.46), style.INK, z=4)
    s.text(3.95, 1.58, "/here", 10, at="left", mono=True)
    s.text(4.65, 1.58, "ephemeral, of this session", 9, at="left")
    s.text(3.95, 1.86, "/stays", 10, at="left", mono=True)
    s.text(4.65, 1.86, "of nobody", 9, at="left", shade=style.QUIET)
    return s


def sessions() -> Sheet:
    s = Sheet(3.15)
    for y, name, end in ((0.75, "closed", 3.6), (1.9, "killed", 3.6)):
        s.lane(y, name)
        s.bar(1.5, end, y, 1 if y < 1 else 2, "session and znode")
        for i in range(7):
            x = 1.65 + 0.31 * i
            s.arrow((x, y + 0.46), (x, y + 0.2), shade=style.QUIET)
    s.text(4.35, 0.48, "close: gone at once", 9.5, at="center")
    s.line((3.6, 0.4), (3.6, 0.98), style.INK, 1.6, z=4)
    s.cross(3.6, 1.55)
    s.text(3.75, 1.55, "kill", 9.5, at="left")
    s.bar(3.6, 5.9, 1.9, 2, "still there, for nobody", "held")
    s.line((5.9, 1.62), (5.9, 2.18), style.INK, 1.6, z=4)
    s.text(5.98, 1.68, "gone", 9.5, at="left")
    s.brace(3.52, 5.9, 2.36, "session timeout, from the last heartbeat")
    s.text(0.22, 2.36, "↑ heartbeats", 9, at="left", shade=style.QUIET)
    s.time(2.82)
    return s


def watches() -> Sheet:
    s = Sheet(2.9)
    s.lane(0.8, "the znode")
    s.lane(2.05, "you")
    for start, end, text, shade in (
        (1.5, 2.75, "off", style.BAND),
        (2.75, 3.7, "on", style.PALETTE[5]),
        (3.7, 4.45, "off", style.BAND),
        (4.45, 6.9, "on", style.PALETTE[5]),
    ):
        s.axes.add_patch(
            Rectangle(
                (start, 0.63), end - start, 0.34, facecolor=shade, edgecolor=style.INK, zorder=3
            )
        )
        s.text((start + end) / 2, 0.805, text, 10, bold=True)
    s.arrow((1.95, 2.0), (1.95, 1.02))
    s.text(1.95, 2.32, "read, and\nleave a watch", 9)
    s.arrow((2.75, 1.0), (3.15, 1.98), shade=style.PALETTE[0])
    s.text(3.17, 2.32, "told: it\nchanged", 9, shade=style.PALETTE[0])
    s.text(4.08, 1.36, "told of by nobody", 9, shade=style.ALARM, plate=True)
    for x in (3.7, 4.45):
        s.line((x, 0.98), (x, 1.24), style.ALARM, 1.4, dashed=True, z=4)
    s.arrow((5.1, 2.0), (5.1, 1.02))
    s.text(5.05, 2.32, "read again, and\nleave a new watch", 9)
    s.text(6.38, 2.32, "what you know\nis true", 9)
    for start, end in ((1.95, 3.15), (5.1, 6.9)):
        s.line((start, 2.05), (end, 2.05), style.PALETTE[0], 4, z=3)
    s.text(2.52, 1.86, "watching", 8.5, shade=style.PALETTE[0], plate=True)
    s.text(5.95, 1.86, "watching", 8.5, shade=style.PALETTE[0])
    return s


def did_it_happen() -> Sheet:
    s = Sheet(2.55)
    s.lane(0.6, "you")
    s.lane(1.75, "ZooKeeper")
    s.arrow((1.9, 0.6), (2.35, 1.15))
    s.cross(2.42, 1.24, 0.11)
    s.text(3.25, 0.36, "ConnectionLoss", 9.5, bold=True, shade=style.ALARM)
    s.text(2.3, 2.1, "nothing happened", 9.5)
    s.arrow((4.5, 0.6), (4.95, 1.75))
    s.dot(4.95, 1.75, size=0.08)
    s.arrow((5.0, 1.7), (5.3, 1.15))
    s.cross(5.37, 1.05, 0.11)
    s.text(6.15, 0.36, "ConnectionLoss", 9.5, bold=True, shade=style.ALARM)
    s.text(5.0, 2.1, "done", 9.5, bold=True)
    return s


def the_sequence_node() -> Sheet:
    s = Sheet(3.35)
    s.text(0.62, 0.42, "a client", 10)
    for i, y in enumerate((0.55, 1.3, 2.05, 2.8), start=1):
        asked = i < 4
        s.server(2.1, y, f"node{i}", i if asked else None)
        if asked:
            s.arrow((3.45, y), (5.15, 0.98 + 0.43 * i), "its session" if i == 1 else "", lift=-0.2)
    s.arrow((1.0, 0.55), (2.05, 0.55))
    s.text(0.22, 0.78, "GET /sequence", 9, at="left", mono=True)
    s.arrow((2.05, 1.3), (1.0, 1.3))
    s.text(0.55, 1.3, "2", 12, bold=True)
    s.text(1.05, 2.8, "nobody has\nasked node4", 9.5, shade=style.QUIET)
    s.box(4.85, 0.35, 2.1, 2.65, style.PAPER, line=1.6)
    s.text(5.9, 0.6, "ZooKeeper", 11, bold=True)
    _tree(s, 5.05, 0.98, [(1, "ephemeral"), (2, "ephemeral"), (3, "ephemeral")])
    s.free(5.55, 2.7, 4, 0.3)
    s.text(5.79, 2.7, "free", 9, at="left", shade=style.QUIET)
    return s


def races() -> Sheet:
    s = Sheet(3.15)
    s.line((3.9, 0.3), (3.9, 2.9), style.LINE)
    s.text(2.05, 0.4, "list, create, try again", 10.5, bold=True)
    s.text(5.5, 0.4, "draw a ticket first", 10.5, bold=True)
    left, top, step = 1.1, 0.78, 0.095
    for row in range(20):
        s.dot(left + step * row, top + step * row, style.colour(row + 1), 0.04)
    lost = [(column, row) for row in range(20) for column in range(row + 1, 20)]
    s.axes.plot(
        [left + step * column for column, _ in lost],
        [top + step * row for _, row in lost],
        "o",
        color=style.pale(style.ALARM, 0.45),
        markersize=5.8,
        markeredgewidth=0,
    )
    s.text(0.98, top, "20 try for 1", 9, at="right")
    s.text(0.98, top + step * 2, "19 for 2", 9, at="right")
    s.text(0.98, top + step * 4, "18 for 3", 9, at="right")
    s.text(0.98, top + step * 19, "1 for 20", 9, at="right")
    s.text(2.05, 2.85, "how many creates?", 10)
    for column in range(20):
        x = 4.6 + step * column
        s.line((x, 1.12), (x, 1.62), style.QUIET, 0.8)
        s.dot(x, 1.12, style.INK, 0.03)
        s.dot(x, 1.62, style.colour(column + 1), 0.04)
    s.text(5.5, 0.95, "20 tickets", 9.5)
    s.text(5.5, 1.82, "20 numbers", 9.5)
    s.text(5.5, 2.3, "with r tickets ahead:\nthe (r + 1)-th free number", 9.5, shade=style.QUIET)
    s.text(5.5, 2.85, "20 creates", 10)
    return s


def outage() -> Sheet:
    s = Sheet(3.95)
    s.band(2.5, 3.3, 0.55, 3.45)
    s.text(2.9, 0.38, "ZooKeeper is down", 9.5)
    for i in range(1, 9):
        y, node = 0.4 + 0.36 * i, f"node{(i - 1) % 4 + 1}"
        s.lane(y, f"number {i}")
        if i > 4:
            s.bar(3.65, 6.9, y, i, f"{node}, new session")
            continue
        s.bar(1.45, 2.5, y, i, node)
        s.bar(2.5, 6.9, y, i, "", "held")
        s.text(3.42, y, "the old session, its client still alive", 9, at="left")
    s.line((3.3, 0.55), (3.3, 3.45), style.INK, 1.2, dashed=True, z=4)
    s.brace(3.3, 5.3, 3.5, "session timeout")
    return s


def zombies() -> Sheet:
    s = Sheet(3.6)
    s.lane(0.7, "node1")
    s.lane(1.55, "node2")
    s.lane(2.65, "resource")
    s.bar(1.5, 2.6, 0.7, 1, "1, token 41")
    s.band(2.6, 4.9, 0.42, 0.98)
    s.text(3.75, 0.7, "paused", 10, plate=False)
    s.bar(4.9, 5.75, 0.7, 1, "", "answered")
    s.text(5.32, 0.36, "wakes up: “I am 1”", 9)
    s.line((3.5, 0.98), (3.5, 1.3), style.INK, 1.2, dashed=True, z=4)
    s.text(3.42, 1.18, "its session ends", 9, at="right")
    s.bar(3.6, 6.9, 1.55, 1, "1, token 57")
    s.arrow((2.0, 0.9), (2.0, 2.4), "write, 41", lift=-0.05)
    s.arrow((4.2, 1.75), (4.2, 2.4), "write, 57", lift=0.0)
    s.arrow((5.4, 0.9), (5.4, 2.4), "write, 41", shade=style.ALARM, lift=0.4)
    for start, end, text in ((2.0, 4.2, "highest token: 41"), (4.2, 6.9, "highest token: 57")):
        s.box(start, 2.46, end - start, 0.38, style.PAPER, radius=0.04, z=3)
        s.text(start + 0.1, 2.655, text, 9.5, at="left", bold=True)
    for x, good in ((2.0, True), (4.2, True), (5.4, False)):
        s.dot(x, 2.44, style.ALARM if not good else style.INK, 0.05)
        s.text(
            x,
            3.08,
            "accepted" if good else "refused:\n41 is older than 57",
            9,
            shade=style.INK if good else style.ALARM,
        )
    return s


def snowflake() -> Sheet:
    s = Sheet(3.7)
    widths = (
        (0.2, "", style.BAND, ""),
        (3.55, "milliseconds since the epoch", style.PAPER, "41 bits"),
        (1.3, "worker", style.pale(style.colour(1), 0.45), "10 bits"),
        (1.55, "sequence", style.PAPER, "12 bits"),
    )
    x = 0.3
    for width, name, face, bits in widths:
        s.axes.add_patch(
            Rectangle((x, 0.35), width, 0.42, facecolor=face, edgecolor=style.INK, lw=1.2, zorder=3)
        )
        s.text(x + width / 2, 0.56, name, 10, bold=True)
        s.text(x + width / 2, 0.95, bits, 9.5)
        x += width
    s.text(0.22, 1.42, "worker 1 passes on to a server whose clock is behind:", 10, at="left")
    s.lane(1.85, "node1", 1.35, 6.95)
    s.lane(2.55, "node2", 1.35, 6.95)
    s.bar(1.5, 3.4, 1.85, 1, "makes IDs up to here")
    s.bar(3.4, 4.4, 1.85, 1, "reserved", "held")
    s.line((4.4, 1.6), (4.4, 2.85), style.ALARM, 1.6, dashed=True, z=4)
    s.text(4.48, 2.12, "/snowflake/1: reserved up to here", 9, at="left", shade=style.ALARM)
    s.bar(2.7, 4.4, 2.55, 1, "waits", "held")
    s.bar(4.4, 6.9, 2.55, 1, "makes IDs")
    s.arrow((1.35, 3.08), (6.95, 3.08), shade=style.QUIET)
    s.text(6.9, 3.27, "the time in the IDs, not the time of day", 9, shade=style.QUIET, at="right")
    return s


def deciding() -> Sheet:
    s = Sheet(3.3)
    ys = {"client": 0.6, "leader": 1.3, "follower": 2.0, "follower ": 2.55}
    for name, y in ys.items():
        s.lane(y, name, start=1.2)
    top, lead, one, two = ys.values()
    s.arrow((1.5, top), (1.9, lead), shade=style.INK)
    s.text(1.42, 0.95, "a write", 9, at="right")
    for y in (one, two):
        s.arrow((2.3, lead), (2.85, y))
    s.text(2.2, 1.72, "1. propose", 9, at="right", plate=True)
    for y, x in ((lead, 2.75), (one, 3.35), (two, 3.35)):
        s.box(x - 0.16, y - 0.13, 0.36, 0.26, style.BAND, radius=0.04, z=4, line=1)
        s.text(x + 0.02, y, "disk", 8.5)
    s.arrow((3.65, one), (4.15, lead))
    s.arrow((3.65, two), (4.55, lead))
    s.text(4.42, 1.75, "2. acknowledge", 9, at="left", plate=True)
    s.line((4.2, lead - 0.34), (4.2, lead + 0.16), style.INK, 1.6, z=4)
    s.text(4.2, 0.82, "a majority", 9, plate=True)
    for y in (one, two):
        s.arrow((5.35, lead), (5.85, y))
    s.arrow((5.35, lead), (5.85, top))
    s.text(5.28, 1.12, "3. commit", 9, at="right", plate=True)
    s.text(5.95, 0.42, "done", 9.5, bold=True)
    s.text(
        0.22,
        3.0,
        "zxid = epoch of the leader, and the number of its proposal",
        9,
        at="left",
        shade=style.QUIET,
    )
    s.arrow((5.2, 3.0), (WIDTH - 0.25, 3.0), shade=style.QUIET)
    s.text(6.2, 2.86, "time", 9, shade=style.QUIET)
    return s


def reading() -> Sheet:
    s = Sheet(2.75)
    s.server(2.95, 0.6, "leader", width=1.3)
    s.server(1.2, 1.55, "follower", width=1.3)
    s.server(4.7, 1.55, "follower", width=1.3)
    s.arrow((1.45, 0.6), (2.9, 0.6), "write “new”", lift=-0.15)
    s.text(0.75, 0.6, "a writer", 10, bold=True)
    s.arrow((3.3, 0.9), (2.2, 1.25))
    s.text(2.45, 1.02, "commit", 9, at="right")
    s.arrow((3.9, 0.9), (5.0, 1.25), dashed=True, shade=style.QUIET)
    s.text(4.75, 1.02, "commit, on its way", 9, at="left", shade=style.QUIET)
    for x, name in ((1.85, "a reader"), (5.35, "another reader")):
        s.arrow((x, 2.2), (x, 1.85), both=True)
        s.text(x, 2.36, name, 10, bold=True)
    return s


def balancing() -> Sheet:
    s = Sheet(2.9)
    s.box(2.35, 0.28, 2.5, 1.12, style.PAPER, line=1.6)
    s.text(3.6, 0.5, "ZooKeeper", 11, bold=True)
    s.text(2.55, 0.92, "/sequence", 10, at="left", mono=True)
    for i in (1, 2, 3):
        s.chip(3.18 + 0.44 * i, 0.92, i, 0.3)
    s.text(3.6, 1.24, "each with a URL", 8.5, shade=style.QUIET)
    s.box(0.35, 1.65, 1.1, 0.7, style.PAPER, radius=0.18)
    s.text(0.9, 2.0, "a client", 10, bold=True)
    s.arrow((2.3, 0.85), (0.9, 1.6), "watches the list", bend=0.15, lift=-0.1)
    for i, y in ((1, 0.62), (2, 1.5), (3, 2.38)):
        s.server(5.5, y, f"node{i}", i, width=1.4)
    s.arrow((5.45, 0.62), (4.9, 0.72))
    s.text(5.18, 0.47, "claims", 8.5, plate=True)
    s.arrow((1.5, 1.9), (5.45, 1.52))
    s.arrow((1.5, 2.1), (5.45, 2.38))
    s.text(3.6, 1.98, "each request to one of them", 9, plate=True)
    return s


def whole_machines() -> Sheet:
    s = Sheet(3.0)
    s.line((0.6, 2.68), (6.6, 2.68), style.INK, 2)
    s.text(0.6, 2.83, "network", 9, at="left", shade=style.QUIET)
    for column, name in enumerate("abc"):
        x = 0.4 + 2.2 * column
        s.box(x, 0.28, 1.95, 2.06, style.BAND, style.QUIET, 0.1, z=1)
        s.text(x + 0.2, 0.5, name, 11, bold=True)
        s.server(x + 0.2, 0.86, f"zookeeper{column + 1}", width=1.55)
        for row in (0, 1):
            number = column + 1 + 3 * row
            s.server(x + 0.2, 1.46 + 0.57 * row, f"node{number}", number, width=1.55)
        s.line((x + 0.97, 2.34), (x + 0.97, 2.68), style.INK, 2)
    s.text(3.0, 0.5, "power?", 9.5, at="left", shade=style.ALARM)
    s.text(5.88, 2.51, "cable?", 9.5, at="left", shade=style.ALARM)
    return s


def locks() -> Sheet:
    s = Sheet(2.75)
    s.text(0.22, 0.34, "the children of /lock", 9.5, at="left", shade=style.QUIET)
    turns = (("ann", 7, 1.4, 1.4, 3.2), ("bob", 8, 1.7, 3.2, 5.0), ("cleo", 9, 2.0, 5.0, 6.8))
    for row, (name, place, came, got, left) in enumerate(turns):
        y = 0.75 + 0.52 * row
        s.lane(y, name, start=1.2)
        if got > came:
            s.bar(came, got, y, place, f"place-{place}, waits", "held")
        s.bar(got, left, y, place, f"place-{place}, has the lock")
    s.time(2.33, start=1.2)
    return s


def barriers() -> Sheet:
    s = Sheet(2.75)
    s.line((3.25, 0.3), (3.25, 2.5), style.LINE)
    s.text(1.65, 0.42, "a barrier for 3", 10.5, bold=True)
    for i, y in ((1, 0.95), (2, 1.5), (3, 2.05)):
        arrived = i < 3
        s.chip(1.35 if arrived else 0.55, y, i, 0.32)
        s.line((1.6 if arrived else 0.8, y), (2.05, y), style.LINE, dashed=not arrived)
        if not arrived:
            s.arrow((0.8, y), (1.75, y))
    s.box(2.0, 0.72, 0.14, 1.58, style.INK, style.INK, 0.03)
    s.text(5.2, 0.42, "an item of a queue", 10.5, bold=True)
    for y, first, last in ((0.95, "delete", "work"), (1.8, "work", "delete")):
        s.box(3.5, y - 0.19, 0.72, 0.38, style.PALETTE[1], radius=0.05, line=1.1)
        s.text(3.86, y, "item", 9.5, bold=True, shade=style.ink(style.PALETTE[1]))
        s.arrow((4.25, y), (4.55, y))
        s.box(4.58, y - 0.19, 0.8, 0.38, radius=0.12)
        s.text(4.98, y, first, 9.5, bold=True)
        s.arrow((5.42, y), (6.02, y))
        s.cross(5.7, y, 0.08)
        s.box(6.06, y - 0.19, 0.8, 0.38, radius=0.12)
        s.text(6.46, y, last, 9.5, bold=True)
    s.text(5.2, 2.3, "and a crash between the two steps?", 9.5, shade=style.ALARM)
    return s


def recipes() -> Sheet:
    s = Sheet(2.75)
    for place, y in enumerate((0.5, 0.9, 1.3, 1.7, 2.1)):
        s.box(0.35, y - 0.16, 1.1, 0.32)
        s.text(0.9, y, f"worker {place + 1}", 9.5)
        s.line((1.45, y), (2.75, 0.5 + 0.14 * place), style.QUIET, z=3)
    s.text(2.1, 0.28, "links", 9.5, bold=True)
    s.cross(1.9, 0.78)
    s.cross(0.35, 1.56)
    s.box(2.75, 0.4, 1.3, 0.8, style.PAPER, line=1.6)
    s.text(3.4, 0.8, "ZooKeeper", 10, bold=True)
    s.box(2.75, 1.75, 1.3, 0.7, style.PAPER, line=1.6)
    s.text(3.4, 2.1, "the resource", 10, bold=True)
    s.arrow((1.5, 2.1), (2.7, 2.1), "writes", lift=0.22)
    s.box(5.6, 0.9, 1.3, 0.9, style.PAPER, line=1.6)
    s.text(6.25, 1.35, "the judge", 10, bold=True)
    s.arrow((4.1, 0.8), (5.55, 1.2), "its log", lift=-0.2)
    s.arrow((4.1, 2.1), (5.55, 1.5), "who wrote, and when", lift=0.52)
    return s


def chaos() -> Sheet:
    s = Sheet(2.75)
    for start, end in ((2.15, 3.0), (3.75, 4.5)):
        s.band(start, end, 0.55, 2.3)
        s.text((start + end) / 2, 0.4, "fault", 9.5, bold=True)
    s.lane(0.85, "requests", end=5.1)
    s.lane(1.95, "ZooKeeper", end=5.1)
    for x in (1.45, 1.85, 2.35, 2.85, 3.25, 3.6, 4.05, 4.6):
        s.box(x, 0.73, 0.25, 0.24, style.PALETTE[0], radius=0.02, z=4, line=1)
    for x in (1.5, 1.95, 2.5, 3.1, 3.2, 3.7, 4.2, 4.65, 4.9):
        s.line((x, 1.83), (x, 2.07), style.INK, 2, z=4)
    s.text(3.2, 1.3, "what was answered", 9, plate=True)
    s.text(3.2, 2.45, "what was true: the transaction log", 9, plate=True)
    s.box(5.6, 0.85, 1.35, 1.1, style.PAPER, line=1.6)
    s.text(6.27, 1.2, "the checker", 10, bold=True)
    s.text(6.27, 1.56, "rule by rule", 9.5)
    s.arrow((5.15, 0.9), (5.55, 1.15))
    s.arrow((5.15, 1.9), (5.55, 1.65))
    return s


# --- the house --------------------------------------------------------------------------------


def configuration() -> Sheet:
    s = Sheet(2.75)
    turn = 3.2
    for y, name in ((0.55, "/config"), (1.0, "host"), (1.45, "password"), (1.9, "port")):
        s.text(0.22, y, name, bold=True, at="left")
        s.bar(1.35, turn, y, 1, height=0.26)
        s.bar(turn, WIDTH - 0.25, y, 2, height=0.26)
    s.text(turn, 0.24, "one transaction", 9.5, bold=True)
    s.line((turn, 0.36), (turn, 2.1), style.INK, 2, z=4)
    for x, y in ((1.75, 0.55), (2.5, 1.0), (4.0, 1.45), (4.75, 1.9), (5.5, 0.55)):
        looks = y == 0.55
        s.text(x, y, "1" if x < turn else "2", 10, True, plate=True, z=6)
        s.line((x, y + 0.15), (x, 2.28), style.QUIET, dashed=True, z=3.5)
        s.text(x, 2.42, "look" if looks else "get", 9.5, bold=looks)
    s.text(0.22, 2.42, "a reader", bold=True, at="left")
    s.text(6.3, 2.42, "1 ≠ 2: again", 9.5, bold=True, shade=style.ALARM)
    return s


def access() -> Sheet:
    s = Sheet(2.6)
    s.text(0.85, 0.3, "znode", 9.5, shade=style.QUIET)
    s.text(3.0, 0.3, "its ACL", 9.5, shade=style.QUIET)
    s.text(5.3, 0.3, "what it decides for Bob", 9.5, shade=style.QUIET)
    for y, x, path, whose, decides in (
        (0.75, 0.35, "/", "anyone: all", "delete the box? yes"),
        (1.4, 0.65, "/box", "Ann: all", "read, write the box? no"),
        (2.05, 0.95, "/box/letter", "anyone: all", "read, write the letter? yes"),
    ):
        if y > 0.75:
            s.line((x - 0.15, y - 0.5), (x - 0.15, y), style.QUIET)
            s.line((x - 0.15, y), (x, y), style.QUIET)
        s.text(x + 0.05, y, path, 10.5, bold=True, at="left", mono=True)
        s.box(2.45, y - 0.2, 1.2, 0.4, style.BAND if whose.startswith("Ann") else style.PAPER)
        s.text(3.05, y, whose, 9.5)
        s.arrow((3.7, y), (4.1, y))
        s.text(4.2, y, decides, 9.5, at="left")
    return s


def replacing() -> Sheet:
    s = Sheet(2.5)
    for left, title, members in (
        (0.35, "three", (1, 2, 3)),
        (2.3, "4 and 5 join", (1, 2, 3, 4, 5)),
        (5.05, "1 and 4 leave", (2, 3, 5)),
    ):
        for place, number in enumerate(members):
            s.chip(left + 0.22 + 0.46 * place, 0.95, number)
        width = 0.46 * len(members)
        s.text(left + width / 2, 0.45, title, 10, bold=True)
    s.arrow((1.85, 0.95), (2.2, 0.95))
    s.arrow((4.65, 0.95), (5.0, 0.95))
    s.text(0.35, 1.6, "clients ask all the time", 9.5, at="left")
    s.arrow((2.3, 1.6), (WIDTH - 0.25, 1.6), shade=style.INK)
    s.text(6.2, 1.42, "time", 9, shade=style.QUIET)
    s.text(
        0.35,
        2.1,
        "each change: a majority of the old members, and of the new",
        9,
        at="left",
        shade=style.QUIET,
    )
    return s


def real_systems() -> Sheet:
    s = Sheet(3.3)
    columns = (
        (1.35, 1.6, "who is alive"),
        (3.1, 1.8, "who leads"),
        (5.05, 1.9, "what was decided"),
    )
    for x, width, title in columns:
        s.text(x + width / 2, 0.3, title, 10, bold=True)
    for y, system, *paths in (
        (0.75, "HBase", "/hbase/rs/host,…", "/hbase/master", "/hbase/meta-region-…"),
        (1.33, "Solr", "/live_nodes/host", "/overseer_elect/leader", "…/films/state.json"),
        (1.91, "ClickHouse", "…/r1/is_active", "", "…/log, …/blocks"),
        (2.49, "Kafka to 3.9", "/brokers/ids/1", "/controller", "/brokers/topics/…"),
        (2.93, "", "", "/controller_epoch", ""),
    ):
        s.text(0.2, y, system, 9.5, bold=True, at="left")
        for (x, width, title), path in zip(columns, paths, strict=True):
            ephemeral = title != "what was decided" and path != "/controller_epoch"
            if path:
                s.box(x, y - 0.17, width, 0.34, dashed=ephemeral)
                s.text(x + width / 2, y, path, 8.5, mono=True)
            elif system:
                s.text(x + width / 2, y, "nobody", 9, shade=style.QUIET)
    s.text(0.2, 2.95, "dashed: ephemeral; solid: persists", 9, at="left", shade=style.QUIET)
    return s


def rooms() -> dict[str, str]:
    """The rooms of labkit from the highest to the lowest, each with the question it answers."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    layers = " : ".join(project["tool"]["importlinter"]["contracts"][0]["layers"])
    found = {}
    for layer in layers.replace("labkit.", "").split(" : "):
        place = HERE.parent / "labkit" / layer / "__init__.py"
        text = place.read_text().lstrip('"') if place.exists() else ""
        if question := re.match(r"[^.:?]+\?", text):
            found[layer] = question[0]
    return found


def uses() -> set[tuple[str, str]]:
    """Which room imports from which, as the code does it."""
    graph = grimp.build_graph("labkit", cache_dir=None)
    arrows = (
        (name.split(".")[1], used.split(".")[1])
        for name in graph.modules - {"labkit"}
        for used in graph.find_modules_directly_imported_by(name) - {"labkit"}
    )
    return {(room, used) for room, used in arrows if room != used}


def architecture() -> Sheet:
    """A matrix: all dots on one side of its diagonal, so no room uses one above it."""
    questions, arrows = rooms(), uses()
    names = list(questions)
    row, top, left = 0.42, 0.62, 3.85
    column = (WIDTH - left - 0.2) / len(names)
    s = Sheet(top + row * len(names) + 0.5)
    for at, (room, question) in enumerate(questions.items()):
        y, x = top + row * (at + 0.5), left + column * (at + 0.5)
        s.text(0.2, y, room, bold=True, at="left")
        s.text(0.95, y, question, 9, at="left")
        s.line((0.2, y + row / 2), (WIDTH - 0.2, y + row / 2), style.LINE, 0.6)
        s.text(x, 0.46 - 0.2 * (at % 2), room, 8.5, shade=style.QUIET)
        s.box(x - 0.15, y - 0.15, 0.3, 0.3, style.LINE, style.LINE, 0.05)
        for over, used in enumerate(names):
            if (room, used) in arrows:
                shade = style.PALETTE[0] if over > at else style.ALARM
                s.dot(left + column * (over + 0.5), y, shade, 0.08)
    y, text = top + row * len(names) + 0.22, "A room uses those below it, and never one above."
    s.text(0.2, y, text, 9, at="left", shade=style.QUIET)
    return s


# --- the logo ---------------------------------------------------------------------------------


def logo() -> Sheet:
    s = Sheet(1.85, 5.0, border=False)
    s.box(0.0, 0.0, 5.0, 1.85, style.PAPER, style.PAPER, 0.2, z=0)
    for i in range(4):
        x = 0.75 + 1.17 * i
        gone = i == 1
        s.box(
            x - 0.46,
            0.62,
            0.92,
            1.08,
            style.BAND if gone else style.INK,
            style.QUIET if gone else style.INK,
            0.12,
            dashed=gone,
            line=2,
        )
        for j in range(2):
            y = 1.44 + 0.12 * j
            s.line((x - 0.26, y), (x + 0.1, y), style.QUIET if gone else style.PAPER, 2, z=3)
            s.dot(x + 0.25, y, style.QUIET if gone else style.PALETTE[2], 0.04)
    for number, x in ((1, 0.75), (3, 3.09), (2, 4.26)):
        s.chip(x, 1.02, number, 0.56)
    s.free(1.92, 1.02, 2, 0.56)
    s.arrow((1.92, 0.55), (4.26, 0.55), bend=-0.2, shade=style.PALETTE[4])
    return s


DRAWINGS: dict[str, Callable[[], Sheet]] = {
    "00-start-here": start_here,
    "01-znodes-and-versions": znodes,
    "02-a-session": a_session,
    "02-sessions-and-ephemerals": sessions,
    "03-watches": watches,
    "03b-did-it-happen": did_it_happen,
    "04-the-sequence-node": the_sequence_node,
    "05-races-and-herds": races,
    "06-when-zookeeper-stops": outage,
    "07-zombies-leases-and-fencing": zombies,
    "08-snowflake-ids": snowflake,
    "09-who-decides": deciding,
    "09b-what-do-i-read": reading,
    "10-one-name-many-nodes": balancing,
    "10b-when-a-machine-dies": whole_machines,
    "11-lock-and-election": locks,
    "12-barrier-and-queue": barriers,
    "12b-recipes-under-fire": recipes,
    "13-chaos": chaos,
    "14-configuration-all-or-nothing": configuration,
    "15-who-may-do-what": access,
    "16-zookeeper-in-production": replacing,
    "17-in-real-systems": real_systems,
    "architecture": architecture,
    "logo": logo,
}

# The same drawing is the same file, byte for byte, wherever and whenever it is drawn.
_SETTINGS = {
    **style.SETTINGS,
    "hatch.linewidth": 0.8,
}


def draw(name: str, folder: Path = HERE) -> list[Path]:
    """Draw one; returns the files that were written."""
    with mpl.rc_context(_SETTINGS):
        figure, drawn = DRAWINGS[name]().figure, StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        svg = themed(drawn.getvalue(), f"diagram-{name}", ALT[name])
        paths = [folder / f"{name}.svg"]
        paths[0].write_text(as_file(svg))
        if name == "logo":
            paths.append(folder / f"{name}.png")
            paths[1].write_bytes(as_png(svg, zoom=2.8))
    return paths


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
def main(names: tuple[str, ...]) -> None:
    """Draw the course's diagrams again.

    A NAME is the beginning of one, such as 04; by default all are drawn.
    """
    for name in DRAWINGS:
        if not names or any(name.startswith(wanted) for wanted in names):
            for path in draw(name):
                print(path.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
