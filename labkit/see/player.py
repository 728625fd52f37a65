"""A schedule, step by step: who asked ZooKeeper for what, what got lost, what each believes.

One figure of lanes, an arrow a message; beside it the tree as of a step. It needs neither a kernel
nor a network. On paper, or where no script runs, all steps are there, numbered.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from itertools import pairwise
from typing import Any
from uuid import uuid4

from labkit.explore.puzzle import puzzle
from labkit.explore.says import short
from labkit.explore.verb import Explored
from labkit.explore.verb import explore as _explore
from labkit.see.style import ALARM, PALETTE
from labkit.see.walk import in_script, script

_WIDTH, _TOP, _ROW = 720, 46, 48
_ZOOKEEPER = "ZooKeeper"
_MOST = 2000  # states of a puzzle: some 300 kB, packed

Step = Mapping[str, Any]


class Shown(Explored):
    """What a search found, as a notebook shows it: with a player for its schedule."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self.schedule:
            return f"<p><b>{escape(str(self))}</b></p>"
        title = f"{self.name}: {self.violation}, after {len(self.schedule)} steps."
        return player(self.schedule, title, f"{self.seen} {self.seconds:.1f} s.")

    def html(self) -> str:
        """As a notebook shows it."""
        return self._repr_html_()


def explore(code: Any, **scope: Any) -> Shown:
    """Go through every schedule of a reader's code, and show the shortest one that breaks it.

    `explore(MyServer, nodes=2, requests=2, faults=1)`

    Takes what `labkit.explore.explore` takes. The result has `violation` (a sentence, or None),
    `schedule` (a list of steps), `states` and `complete`.
    """
    return shown(_explore(code, **scope))


def shown(found: Explored) -> Shown:
    """What a search found, with a player for a notebook."""
    return Shown(**{field.name: getattr(found, field.name) for field in fields(found)})


def player(schedule: Sequence[Step], title: str, foot: str = "") -> str:
    """A piece of HTML that plays a schedule: forward, back, by keys, by a slider."""
    sentences = "".join(map(_line_of, schedule))
    moments = [
        {"tree": _tree(step), "actors": step["actors"], "sentence": short(step["sentence"])}
        for step in schedule
    ]
    return _page(
        f"player({in_script({'moments': moments})}.moments, host)",
        f"<p><b>{escape(short(title))}</b></p>"
        '<div class="figure" tabindex="0" role="group" aria-label="the steps">'
        f"{drawing(schedule, title)}</div>"
        f'<ol class="said">{sentences}</ol><p class="foot">{escape(foot)}</p>',
    )


def _line_of(step: Step) -> str:
    kind = ' class="fault"' if step["fault"] else ""
    return f'<li value="{step["step"]}"{kind}>{escape(short(step["sentence"]))}</li>'


def be_the_network(code: Any, *, goal: str = "Break it.", **scope: Any) -> Network:
    """A puzzle: the reader decides which message arrives, and which is lost, until it breaks.

    `be_the_network(MyServer, goal="Make it answer a number that it does not hold.")`

    Takes what `explore` takes. The states travel with it: it works without a kernel, too.
    """
    return Network(puzzle(code, most=_MOST, **scope), goal)


class Network:
    """A puzzle that a notebook shows. `par`: the moves that it needs; None if nothing breaks it."""

    def __init__(self, graph: dict[str, Any], goal: str) -> None:
        self.graph = graph
        self.goal = goal
        self.par: int | None = graph["par"]

    def __str__(self) -> str:
        if self.par is None:
            return f"{self.goal} None of {len(self.graph['states'])} states is wrong."
        return f"{self.goal} It takes {self.par} moves."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        states = [
            {
                "tree": _tree(state),
                "actors": state["actors"],
                "wrong": state["wrong"] and short(state["wrong"]),
                "far": far,
                "choices": [
                    {"sentence": short(c["sentence"]), "fault": c["fault"], "to": c["to"]}
                    for c in state["choices"]
                ],
            }
            for state, far in zip(self.graph["states"], _distances(self.graph), strict=True)
        ]
        packed = b64encode(gzip.compress(json.dumps(states).encode(), mtime=0)).decode()
        data = {"par": self.par, "packed": packed, "whole": self.graph["complete"]}
        return _page(f"network({in_script(data)}, host)", f"<p><b>{escape(str(self))}</b></p>")


def _distances(graph: Mapping[str, Any]) -> list[int | None]:
    """For each state, how many moves it is from the nearest wrong one."""
    states = graph["states"]
    into: dict[int, list[int]] = {}
    for at, state in enumerate(states):
        for choice in state["choices"]:
            if choice["to"] is not None:
                into.setdefault(choice["to"], []).append(at)
    far: list[int | None] = [0 if state["wrong"] else None for state in states]
    ring = [at for at, state in enumerate(states) if state["wrong"]]
    steps = 0
    while ring:
        steps += 1
        ring = [b for at in ring for b in into.get(at, ()) if far[b] is None]
        ring = list(dict.fromkeys(ring))
        for at in ring:
            far[at] = steps
    return far


# --- the figure -------------------------------------------------------------------------------


def drawing(schedule: Sequence[Step], title: str) -> str:
    """The lanes as SVG, which follows the page's colours."""
    names = [actor["name"] for actor in schedule[0]["actors"]]
    lanes = dict(zip(_order(names), _places(len(names) + 1), strict=True))
    height = _TOP + _ROW * len(schedule) + 8
    heads = "".join(
        f'<text x="{x}" y="18" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
        f'<path d="M{x} 26V{height - 4}" stroke="currentColor" opacity=".35"/>'
        for name, x in lanes.items()
    )
    beliefs = "".join(part for name in names for part in _beliefs(schedule, name, lanes[name]))
    steps = "".join(
        f'<g class="step" data-step="{at}">{"".join(_row(step, lanes, _TOP + _ROW * at))}</g>'
        for at, step in enumerate(schedule)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'font-size="12" fill="currentColor">{heads}{beliefs}{steps}</svg>'
    )


def _order(names: Sequence[str]) -> list[str]:
    """ZooKeeper stands between the first actor and the others."""
    return [names[0], _ZOOKEEPER, *names[1:]]


def _places(lanes: int) -> Iterator[float]:
    for at in range(lanes):
        yield round(100 + at * (_WIDTH - 200) / max(lanes - 1, 1), 1)


def _beliefs(schedule: Sequence[Step], name: str, x: float) -> Iterator[str]:
    """What an actor believes, as a bar at its lane; red where it is not true."""
    seen = [next((a for a in step["actors"] if a["name"] == name), None) for step in schedule]
    said = [(_belief(actor), bool(actor and actor["differs"])) for actor in seen]
    edges = [0, *(at for at, (a, b) in enumerate(pairwise(said), 1) if a != b), len(said)]
    for start, end in pairwise(edges):
        words, wrong = said[start]
        if not words:
            continue
        y, shade = _TOP + _ROW * start + 6, ALARM if wrong else PALETTE[2]
        mark = "believes" if wrong else ""
        yield (
            f'<g class="step" data-step="{start}"><rect x="{x - 5}" y="{y}" width="10" '
            f'height="{_ROW * (end - start) - 4}" rx="3" fill="{shade}"/>'
            f'<text x="{x}" y="{y + _ROW * (end - start) - 10}" text-anchor="middle" '
            f'class="halo" font-size="11">{escape(_clip(f"{mark} {words}".strip(), 26))}'
            f"{', not so' if wrong else ''}</text></g>"
        )


def _belief(actor: Mapping[str, Any] | None) -> str:
    believes = actor["believes"] if actor else {}
    return ", ".join(
        f"{name.replace('_', ' ')} {_name(value)}"
        for name, value in believes.items()
        if value not in (None, False)
    )


def _row(step: Step, lanes: Mapping[str, float], y: float) -> Iterator[str]:
    """One step: its number, and an arrow there and back, or what happened to an actor."""
    x, zookeeper = lanes.get(step["actor"], lanes[_ZOOKEEPER]), lanes[_ZOOKEEPER]
    yield f'<text x="8" y="{y + 12}" opacity=".7">{step["step"]}</text>'
    middle, kind = (x + zookeeper) / 2, step["kind"]
    if step["call"] is not None and kind != "hears":
        yield _text(middle, y + 4, _clip(_asked(step["call"]), 36))
        if kind == "request lost":
            yield _line(x, middle, y + 10, cross=True)
            return
        yield _line(x, zookeeper, y + 10)
        if kind == "reply lost":
            yield _line(zookeeper, middle, y + 20, cross=True)
        else:
            yield _line(zookeeper, x, y + 20, quiet=True)
            yield _text(middle, y + 33, _clip(_heard(step["told"]), 38), quiet=True)
    elif kind == "notice":
        yield _text(middle, y + 4, _clip(_tail(step), 38))
        yield _line(zookeeper, x, y + 10, dashed=True)
    else:
        shade = ALARM if step["fault"] else "currentColor"
        yield f'<circle cx="{x}" cy="{y + 10}" r="5" fill="{shade}"/>'
        words = kind if step["fault"] else _tail(step)
        side = 1 if x < zookeeper or x == zookeeper else -1
        anchor = "start" if side > 0 else "end"
        yield (
            f'<text x="{x + 12 * side}" y="{y + 14}" text-anchor="{anchor}" class="halo" '
            f"{_RED if step['fault'] else ''}>{escape(_clip(words, 44))}</text>"
        )


def _line(
    start: float,
    end: float,
    y: float,
    *,
    quiet: bool = False,
    dashed: bool = False,
    cross: bool = False,
) -> str:
    way = 1 if end > start else -1
    style = ' opacity=".55"' if quiet else ""
    style += ' stroke-dasharray="4 3"' if dashed else ""
    if cross:
        head = f"M{end - 5} {y - 5}l10 10m0 -10l-10 10"
        tip = f'<path d="{head}" stroke="{ALARM}" stroke-width="2.5" fill="none"/>'
    else:
        tip = f'<path d="M{end} {y}l{-9 * way} -4v8z"{style}/>'
    return f'<path d="M{start} {y}H{end}" stroke="currentColor"{style}/>{tip}'


def _text(x: float, y: float, words: str, *, quiet: bool = False) -> str:
    opacity = ' opacity=".75"' if quiet else ""
    return (
        f'<text x="{x}" y="{y}" text-anchor="middle" class="halo"{opacity}>{escape(words)}</text>'
    )


def _asked(call: Mapping[str, Any]) -> str:
    if call["verb"] == "transaction":
        return "transaction: " + ", ".join(_asked(part) for part in call["args"]["operations"])
    words = [call["verb"], _name(call["path"] or "")]
    words += [word for word in ("ephemeral", "sequence", "watch") if call["args"].get(word)]
    if "version" in call["args"]:
        words.append(f"version {call['args']['version']}")
    return " ".join(word for word in words if word)


def _heard(told: Any) -> str:
    if told is None:
        return "none"
    if isinstance(told, list) and len(told) == 2 and isinstance(told[1], Mapping):
        return repr(told[0])
    if isinstance(told, Mapping):
        return f"version {told['version']}" if "version" in told else str(told)
    if isinstance(told, list):
        return ", ".join(sorted(map(_name, told))) or "nobody"
    return "done" if told is True else _name(told)


def _tail(step: Step) -> str:
    """A sentence without its subject."""
    words = short(step["sentence"])
    return words.removeprefix(f"{step['actor']} ").removeprefix("is told: ")


def _tree(state: Step) -> list[dict[str, Any]]:
    return [{**znode, "path": short(znode["path"])} for znode in state["tree"]]


def _name(path: Any) -> str:
    """A path's last part, short."""
    return short(str(path)).rsplit("/", 1)[-1] or "/"


def _clip(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


# --- the page ---------------------------------------------------------------------------------

_RED = f'style="fill:{ALARM}"'


def _page(call: str, static: str) -> str:
    uid = f"player-{uuid4().hex[:8]}"
    call = f'(host.append(element("style", {{}}, {json.dumps(_CSS)})), {call})'
    return (
        f'<div class="labkit-player" data-walk="{uid}" data-lm-suppress-shortcuts="true">'
        f"{static}</div>\n{script(uid, 'player', call)}"
    )


_CSS = """
.labkit-player { color: inherit; line-height: 1.4; max-width: 960px; }
.labkit-player .figure { overflow-x: auto; }
.labkit-player svg { min-width: 560px; width: 100%; max-width: 760px; font-family: inherit; }
.labkit-player .halo { paint-order: stroke; stroke: var(--jp-layout-color0, var(--paper, Canvas));
  stroke-width: 4px; }
.labkit-player .later { opacity: .12; }
.labkit-player .said li { padding: .1em .3em; border-radius: 3px; }
.labkit-player .said li.now { outline: 2px solid currentColor; }
.labkit-player .fault { font-weight: bold; }
.labkit-player .bar { display: flex; flex-wrap: wrap; gap: .4em; align-items: center;
  margin: .5em 0; }
.labkit-player .bar input { flex: 1; min-width: 120px; }
.labkit-player button:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.labkit-player .moves { display: flex; flex-direction: column; align-items: flex-start; gap: .3em; }
.labkit-player .moves button { text-align: left; }
.labkit-player .sides { display: flex; flex-wrap: wrap; gap: 1em 2.5em; align-items: flex-start; }
.labkit-player table { border-collapse: collapse; margin: .3em 0; font-size: inherit; }
.labkit-player td, .labkit-player th { text-align: left; padding: .15em .7em .15em 0; }
.labkit-player .wrong { color: #C4123A; font-weight: bold; }
@media (prefers-color-scheme: dark) { .labkit-player .wrong { color: #FF7A8F; } }
[data-jp-theme-light="false"] .labkit-player .wrong { color: #FF7A8F; }
[data-jp-theme-light="true"] .labkit-player .wrong { color: #C4123A; }
@media print { .labkit-player .bar, .labkit-player .sides { display: none; }
  .labkit-player .later { opacity: 1; } }
"""
