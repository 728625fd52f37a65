"""Draws the course's diagrams and the logo, all in one visual language: `make img`.

Servers are round boxes, znodes are square ones in the colour of their number, a dashed outline is
what is left of something dead, and red is what must not be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch

from labkit import style

HERE = Path(__file__).parent

#: What each diagram shows, for those who can't see it.
ALT: dict[str, str] = {}
_DRAWINGS: dict[str, tuple[float, Callable[[Axes], None]]] = {}


def diagram(
    name: str, alt: str, height: float = 2.6
) -> Callable[[Callable[[Axes], None]], Callable[[Axes], None]]:
    """Register a drawing of 7 inches (100 units) by `height` inches."""

    def register(draw: Callable[[Axes], None]) -> Callable[[Axes], None]:
        ALT[name] = alt
        _DRAWINGS[name] = (height, draw)
        return draw

    return register


# --- the vocabulary ---------------------------------------------------------------------------


def box(
    ax: Axes, x: float, y: float, text: str, *, number: int | None = None, width: float = 13,
    height: float = 6, round: bool = True, dead: bool = False, alarm: bool = False,
) -> None:  # fmt: skip
    """A server (round) or a znode (square), centred at x, y; a number gives it its colour."""
    face = style.colour(number) if number and not dead else style.PAPER
    edge = style.ALARM if alarm else style.QUIET if dead else style.INK
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height,
            boxstyle=f"round,pad=0,rounding_size={2.2 if round else 0.3}",
            facecolor=face, edgecolor=edge, linewidth=2 if alarm else 1.2,
            linestyle=(0, (3, 2)) if dead else "-", zorder=2,
        )
    )  # fmt: skip
    colour = style.ink(face) if number and not dead else style.INK
    ax.text(x, y, text, ha="center", va="center", color=colour, zorder=3, linespacing=1.3)


def zookeeper(ax: Axes, x: float, y: float, text: str = "ZooKeeper", width: float = 20) -> None:
    """The database, as a disk."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 4), width, 8, boxstyle="round,pad=0,rounding_size=1",
            facecolor="#EEF3F7", edgecolor=style.INK, linewidth=1.2, zorder=2,
        )
    )  # fmt: skip
    ax.add_patch(
        Ellipse((x, y + 4), width, 2.6, facecolor="#DCE6EE", edgecolor=style.INK, zorder=3)
    )
    ax.text(x, y - 0.6, text, ha="center", va="center", zorder=4)


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", *,
    above: float = 1.6, dashed: bool = False, alarm: bool = False, bend: float = 0.0,
) -> None:  # fmt: skip
    """From start to end, with a word beside its middle."""
    colour = style.ALARM if alarm else style.QUIET
    ax.annotate(
        "", end, start, zorder=1,
        arrowprops={
            "arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0,
            "linestyle": (0, (3, 2)) if dashed else "-", "connectionstyle": f"arc3,rad={bend}",
        },
    )  # fmt: skip
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        say(ax, x, y + above, text, colour=style.ALARM if alarm else style.INK)


def say(
    ax: Axes, x: float, y: float, text: str, *, colour: str = style.INK, size: float = 9,
    ha: str = "center", bold: bool = False,
) -> None:  # fmt: skip
    """Words."""
    ax.text(
        x, y, text, ha=ha, va="center", color=colour, fontsize=size, linespacing=1.35,
        weight="bold" if bold else "normal", zorder=5,
    )  # fmt: skip


def bar(
    ax: Axes, start: float, end: float, y: float, text: str = "", *, number: int | None = None,
    dead: bool = False, alarm: bool = False,
) -> None:  # fmt: skip
    """A stretch of time in a lane, like the bars of the course's plots."""
    box(
        ax, (start + end) / 2, y, text, number=number, width=end - start, height=4.4, round=False,
        dead=dead, alarm=alarm,
    )  # fmt: skip


def lane(ax: Axes, y: float, name: str) -> None:
    """A named line for bars."""
    say(ax, 12, y, name, ha="right", size=8.5)
    ax.plot([13, 98], [y, y], color=style.LINE, zorder=0)


# --- the diagrams -----------------------------------------------------------------------------


@diagram(
    "00-start-here",
    "A lab: servers that talk to one ZooKeeper, and you, who ask them over HTTP and kill them.",
)
def _start(ax: Axes) -> None:
    zookeeper(ax, 84, 18)
    for i, y in ((1, 29), (2, 18), (3, 7)):
        box(ax, 48, y, f"node{i}", number=i)
        arrow(ax, (55, y), (74, 18 + (y - 18) * 0.25))
    say(ax, 68, 29, "which number\nis mine?", ha="left")
    box(ax, 9, 18, "you", width=11)
    arrow(ax, (15, 19.5), (41, 29), "GET /sequence", above=2.6)
    arrow(ax, (15, 18), (41, 18), "stop · pause")
    arrow(ax, (15, 16.5), (41, 7), "kill", alarm=True, above=-2.6)


@diagram(
    "01-znodes-and-versions",
    "A znode's data and stat: each write raises its version, and its czxid stays; deleted and "
    "created again, the version is 0 and the czxid is another.",
)
def _znodes(ax: Axes) -> None:
    steps = (
        (14, "/score = 10", "version 0\nczxid 2", "create"),
        (39, "/score = 12", "version 2\nczxid 2", "set, set"),
        (64, "", "", "delete"),
        (88, "/score = 0", "version 0\nczxid 11", "create"),
    )
    for x, data, stat, verb in steps:
        say(ax, x, 31, verb, bold=True)
        box(
            ax, x, 22, data or "–", number=2 if data else None, width=17, round=False, dead=not data
        )
        say(ax, x, 11, stat)
        if x > 14:
            arrow(ax, (x - 16, 22), (x - 9, 22))
    say(ax, 51, 2.5, "The same name and the same version can be another znode; the czxid tells.")


@diagram(
    "02-sessions-and-ephemerals",
    "Heartbeats keep a session alive; after a kill they stop, and one session timeout later the "
    "session ends and its ephemeral znode goes.",
)
def _sessions(ax: Axes) -> None:
    lane(ax, 27, "client")
    lane(ax, 12, "znode")
    bar(ax, 14, 48, 27, "alive: heartbeats", number=1)
    for x in range(17, 48, 6):
        arrow(ax, (x, 24.6), (x, 14.6))
    bar(ax, 14, 48, 12, "/sequence/1", number=1)
    bar(ax, 48, 80, 12, "still there: nobody knows", dead=True)
    arrow(ax, (48, 34), (48, 29.5), alarm=True)
    say(ax, 50, 33, "kill", colour=style.ALARM, ha="left")
    ax.annotate("", (80, 5.5), (47, 5.5), arrowprops={"arrowstyle": "<|-|>", "color": style.QUIET})
    say(ax, 64, 2.6, "session timeout")
    say(ax, 82, 12, "gone", ha="left")


@diagram(
    "03-watches",
    "A read sets a watch; a change fires it once; changes before the next read are not told.",
)
def _watches(ax: Axes) -> None:
    lane(ax, 28, "follower")
    lane(ax, 10, "/light")
    for x, state in ((20, "off"), (40, "on"), (54, "off"), (66, "on"), (84, "off")):
        box(ax, x, 10, state, width=9, round=False, number=6 if state == "on" else 8)
    for x, word in ((24, "read + watch"), (74, "read + watch")):
        arrow(ax, (x, 26), (x, 13.5), word, above=9.6)
    arrow(ax, (40, 13.5), (46, 26), "changed!", above=9.5)
    arrow(ax, (84, 13.5), (90, 26), "changed!", above=9.5)
    say(ax, 60, 2.6, "not told", colour=style.ALARM)


@diagram(
    "04-the-sequence-node",
    "Each server holds its number as an ephemeral znode below /sequence, owned by its session.",
    3.0,
)
def _sequence(ax: Axes) -> None:
    box(ax, 50, 37, "/sequence", width=17, round=False)
    for i, x in ((1, 22), (2, 50), (3, 78)):
        arrow(ax, (50, 34), (x, 27.2))
        box(ax, x, 24, str(i), number=i, width=9, round=False)
        box(ax, x, 7, f"node{i}", number=i)
        arrow(ax, (x, 10.2), (x, 20.8), dashed=True)
        say(ax, x + 1.5, 15.5, "its session", ha="left", colour=style.QUIET)


@diagram(
    "05-races-and-herds",
    "Left: all see number 1 free, one create wins, the others are refused. Right: with tickets "
    "each aims at a number of its own.",
    3.0,
)
def _races(ax: Axes) -> None:
    say(ax, 24, 40, "look, create, try again", bold=True)
    say(ax, 76, 40, "take a ticket", bold=True)
    for i, x in enumerate((8, 24, 40)):
        box(ax, x, 9, f"node{i + 1}")
        arrow(ax, (x, 12.5), (24 + (x - 24) * 0.25, 27.5), alarm=i > 0)
    box(ax, 24, 31, "1", number=1, width=9, round=False)
    say(ax, 44, 21, "refused", colour=style.ALARM)
    for i, x in enumerate((60, 76, 92), start=1):
        box(ax, x, 9, f"node{i}")
        say(ax, x - 1.5, 20, f"ticket {i}", ha="right", colour=style.QUIET, size=8.5)
        arrow(ax, (x, 12.5), (x, 27.5))
        box(ax, x, 31, str(i), number=i, width=9, round=False)
    ax.plot([50, 50], [3, 38], color=style.LINE)


@diagram(
    "06-when-zookeeper-stops",
    "While ZooKeeper is away sessions don't time out; afterwards each has a full timeout to come "
    "back.",
)
def _stops(ax: Axes) -> None:
    lane(ax, 27, "ZooKeeper")
    lane(ax, 12, "session")
    bar(ax, 13, 35, 27, "up", number=4)
    bar(ax, 35, 65, 27, "away: nobody counts", dead=True)
    bar(ax, 65, 97, 27, "up", number=4)
    bar(ax, 13, 35, 12, "number 1", number=1)
    bar(ax, 35, 65, 12, "on disk: still number 1", dead=True)
    bar(ax, 65, 97, 12, "number 1", number=1)
    ax.annotate("", (90, 5.5), (64, 5.5), arrowprops={"arrowstyle": "<|-|>", "color": style.QUIET})
    say(ax, 77, 2.6, "a full timeout to come back")


@diagram(
    "07-zombies-leases-and-fencing",
    "A holder is paused past its session's end; another takes the number; the first wakes up and "
    "writes with an old token, which the resource refuses.",
    3.0,
)
def _zombies(ax: Axes) -> None:
    lane(ax, 36, "node1")
    lane(ax, 23, "node2")
    lane(ax, 8, "resource")
    bar(ax, 13, 32, 36, "1, token 5", number=1)
    bar(ax, 32, 70, 36, "paused", dead=True)
    bar(ax, 70, 92, 36, "believes in 1", alarm=True)
    bar(ax, 56, 97, 23, "1, token 9", number=1)
    arrow(ax, (62, 20.6), (62, 10.4))
    say(ax, 61, 15, "token 9", ha="right")
    arrow(ax, (84, 33.6), (84, 10.4), alarm=True)
    say(ax, 86, 13.5, "token 5:\nrefused", ha="left", colour=style.ALARM)
    say(ax, 44, 29.3, "its session ends", colour=style.QUIET)


@diagram(
    "08-snowflake-ids",
    "64 bits: one unused, 41 of time in milliseconds, 10 of worker, 12 of count. The znode "
    "/snowflake/1 says up to when timestamps are reserved.",
)
def _snowflake(ax: Axes) -> None:
    for start, end, text, number in (
        (6, 58, "41 bits: milliseconds", 1),
        (58, 78, "10 bits: worker", 2),
        (78, 98, "12 bits: count", 3),
    ):
        bar(ax, start, end, 29, text, number=number)
    bar(ax, 2, 6, 29, "0")
    lane(ax, 12, "time")
    bar(ax, 13, 48, 12, "used", number=1)
    bar(ax, 48, 70, 12, "reserved", dead=True)
    arrow(ax, (70, 20), (70, 14.6), "/snowflake/1", above=5)
    arrow(ax, (71, 12), (96, 12), "a successor begins here", above=-4)


@diagram(
    "09-ensembles",
    "A leader orders writes and sends them to its followers; two of three are a majority. A read "
    "is answered by the server that one is connected to.",
    3.0,
)
def _ensembles(ax: Axes) -> None:
    zookeeper(ax, 50, 31, "leader", 16)
    zookeeper(ax, 24, 13, "follower", 16)
    zookeeper(ax, 76, 13, "follower", 16)
    arrow(ax, (42, 29), (30, 19), "write", above=3.2)
    arrow(ax, (58, 29), (70, 19), "later", above=3.2, dashed=True)
    box(ax, 8, 31, "client", width=11)
    arrow(ax, (14, 31), (42, 31), "write")
    box(ax, 94, 31, "client", width=10)
    arrow(ax, (93, 27.6), (84, 17), alarm=True)
    say(ax, 87, 21, "read:\nthe past?", ha="right", colour=style.ALARM)
    say(ax, 37, 4, "a majority has it: done")


@diagram(
    "10-one-name-many-nodes",
    "Servers register in ZooKeeper; a client watches the list and sends each request to one of "
    "them; one on the list is dead.",
    3.0,
)
def _names(ax: Axes) -> None:
    zookeeper(ax, 50, 35, "/sequence: 1, 2, 3", 28)
    box(ax, 9, 20, "client", width=12)
    arrow(ax, (38, 34), (12, 24), "watch", above=2.4)
    for i, y in ((1, 17), (2, 10), (3, 3.5)):
        box(ax, 82, y, f"node{i}", number=i, dead=i == 2, height=5)
        arrow(ax, (15.5, 19), (75, y), alarm=i == 2)
    arrow(ax, (82, 20), (64, 32))
    say(ax, 76, 28, "ephemeral znode\nwith an address", ha="left")


@diagram(
    "11-lock-and-election",
    "A queue of sequential znodes: the first holds the lock, each of the others watches the one "
    "before it.",
)
def _lock(ax: Axes) -> None:
    for i, x in enumerate((14, 38, 62, 86), start=1):
        box(ax, x, 20, f"place {i}", number=i, width=15, round=False)
        if i > 1:
            arrow(ax, (x - 7.7, 20), (x - 16, 20), "watches" if i == 2 else "", above=2.2)
    say(ax, 14, 11, "holds the lock", bold=True)
    say(ax, 62, 11, "waits for the one before it, and for nobody else")
    arrow(ax, (14, 31), (14, 23.6), "release", above=5)


@diagram(
    "12-barrier-and-queue",
    "A queue's item is deleted before the work, and a crash loses it; or after the work, and a "
    "crash repeats it.",
)
def _queue(ax: Axes) -> None:
    for y, words, verdict, number in (
        (26, ("delete", "work"), "a crash in between: lost", 2),
        (10, ("work", "delete"), "a crash in between: done again", 3),
    ):
        box(ax, 12, y, "item", number=number, width=12, round=False)
        for x, word in zip((34, 62), words, strict=True):
            box(ax, x, y, word, width=14)
        arrow(ax, (18.5, y), (26.5, y))
        arrow(ax, (41.5, y), (54.5, y), "crash", alarm=True)
        say(ax, 72, y, verdict, ha="left")


@diagram(
    "13-chaos",
    "Clients ask while faults are injected; the answers and ZooKeeper's own log go to the checker.",
    3.0,
)
def _chaos(ax: Axes) -> None:
    box(ax, 12, 31, "clients", width=15)
    box(ax, 12, 10, "faults", width=15, alarm=True)
    box(ax, 46, 31, "nodes", number=1, width=15)
    zookeeper(ax, 46, 9, width=18)
    box(ax, 86, 20, "checker:\nfive rules", width=18, height=11)
    arrow(ax, (20, 31), (38, 31), "ask, ask, ask")
    arrow(ax, (20, 12), (38, 28), alarm=True)
    arrow(ax, (20, 9), (36.5, 9), "kill, pause, cut", alarm=True)
    arrow(ax, (54, 31), (76.5, 23), "answers", above=2.6)
    arrow(ax, (55.5, 9), (76.5, 17), "the exact log", above=-3.2)


@diagram(
    "logo",
    "Four servers, each with a number of its own; number 2 passes from a dead one to a living one.",
    1.8,
)
def _logo(ax: Axes) -> None:
    for x, number in ((12, 1), (37, 2), (62, 3), (87, 4)):
        dead = number == 2
        box(ax, x, 7, "" if not dead else "×", width=17, height=10, dead=dead)
        if not dead:
            shown = 2 if number == 4 else number
            box(ax, x, 7, str(shown), number=shown, width=8, height=6, round=False)
    arrow(ax, (37, 13), (87, 13), bend=-0.32)
    say(ax, 62, 23.2, "ZooKeeper Sequence Lab", size=15, bold=True)


def draw() -> None:
    """Write every diagram as SVG, and the logo as PNG too. The same input, the same bytes."""
    mpl.rcParams.update({**style.SETTINGS, "svg.hashsalt": "labkit", "svg.fonttype": "path"})
    for name, (height, drawing) in _DRAWINGS.items():
        figure = Figure(figsize=(7, height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, height * 100 / 7)
        axes.set_axis_off()
        drawing(axes)
        figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
        if name == "logo":
            figure.savefig(HERE / "logo.png", dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    draw()
