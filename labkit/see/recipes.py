"""A recipe under fire as a notebook shows it: the verdict, and the moment in which it failed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from itertools import zip_longest

import matplotlib as mpl

from labkit.judge.recipes.team import Fact
from labkit.judge.recipes.trial import FAULTS, Judgement, judge
from labkit.see import style
from labkit.see.chart import WIDTH, Chart


def under_fire(
    kind: str,
    target: str,
    *,
    seed: int = 1,
    seconds: float = 20.0,
    faults: Sequence[str] = FAULTS,
    backend: str | None = None,
) -> Judgement:
    """Break workers while they use a recipe: `under_fire("lock", "kazoo.recipe.lock:Lock")`.

    `kind` is lock, election, queue or counter; `target` is `MODULE:CLASS` or `FILE.py:CLASS`, with
    the verbs of kazoo's recipe. For `seconds`, one of `faults` strikes after the other: pause,
    kill, partition, lost-reply, restart-zookeeper. The same `seed` draws the same. Raises
    `ConfigError` for a kind, a class or a fault that there is not.
    """
    done = judge(kind, target, seed=seed, seconds=seconds, faults=faults, backend=backend)
    return _Shown(**{field.name: getattr(done, field.name) for field in fields(done)})


class _Shown(Judgement):
    """A judgement that a notebook shows with a picture."""

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{escape(line)}</p>" for line in str(self).splitlines())
        if all(violation.rule != "exclusion" for violation in self.violations):
            return text
        return text + moment(self).html()


def moment(judgement: Judgement, *, before: float = 2.5, after: float = 1.0) -> Chart:
    """Whose turn it was when a write came too late, and so many seconds before and after.

    A bar is a worker's turn, a line in it a write, a grey band a fault. Raises `StopIteration` if
    no write came too late.
    """
    late = next(v for v in judgement.violations if v.rule == "exclusion")
    since, until = late.at - before, late.at + after
    workers = sorted({f.worker for f in judgement.facts}, key=lambda name: (len(name), name))
    turns = {worker: _turns(judgement, worker, since, until) for worker in workers}
    shown = [worker for worker in workers if turns[worker]]
    began = judgement.began
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(WIDTH, 1.2 + 0.36 * len(shown)), layout="constrained")
        axes = chart.add_subplot()
        axes.set(xlim=(since - began, until - began), ylim=(len(shown) - 0.4, -0.6))
        axes.set_xlabel("seconds since the run began")
        axes.set_yticks(range(len(shown)), shown)
        axes.set_title(textwrap.fill(late.message, 95))
        for row, worker in enumerate(shown):
            for fault in judgement.faults:
                if fault.worker in (worker, ""):
                    span = (fault.begin - began, fault.end - fault.begin)
                    axes.broken_barh([span], (row - 0.45, 0.9), color=style.BAND, zorder=0.5)
            bars = [(begin - began, end - begin) for begin, end in turns[worker]]
            axes.broken_barh(bars, (row - 0.28, 0.56), color=style.PALETTE[3], zorder=2)
            writes = [f.at - began for f in _said(judgement, worker) if f.what == "write"]
            axes.vlines(writes, row - 0.28, row + 0.28, color=style.INK, linewidth=1.2, zorder=3)
        at = late.at - began
        axes.plot([at], [shown.index(late.worker)], "X", color=style.ALARM, markersize=9, zorder=4)
        axes.axvline(at, color=style.ALARM, linestyle="--", linewidth=1, zorder=0.6)
    told = "; ".join(
        f"{worker} {', '.join(f'{b - began:.1f} to {e - began:.1f} s' for b, e in turns[worker])}"
        for worker in shown
    )
    chart.alt = f"{late.message} Turns: {told}. The late write was at {at:.1f} s."
    return chart


def _said(judgement: Judgement, worker: str) -> list[Fact]:
    return [fact for fact in judgement.facts if fact.worker == worker]


def _turns(
    judgement: Judgement, worker: str, since: float, until: float
) -> list[tuple[float, float]]:
    """When a worker's turns began and ended; the end of one is what it says next, but writes."""
    said = [fact for fact in _said(judgement, worker) if fact.what != "write"]
    pairs = zip_longest(said, said[1:])
    turns = [(one.at, after.at if after else until) for one, after in pairs if one.what == "in"]
    return [(max(b, since), min(e, until)) for b, e in turns if e >= since and b <= until]
