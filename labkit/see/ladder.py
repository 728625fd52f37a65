"""A climb as a notebook shows it: a table of the rungs, and the moment in which it fell."""

from __future__ import annotations

from dataclasses import fields
from html import escape

from rich.markup import escape as plain
from rich.table import Table

from labkit.judge.ladder import Climb, Step, climb, told
from labkit.judge.rungs.trial import Claim
from labkit.see.verdict import moment


def ladder(
    claim: Claim,
    *,
    rung: int | None = None,
    every: bool = False,
    seed: int = 1,
    backend: str | None = None,
) -> Climb:
    """Put a server on the ladder: `ladder(MyServer)`.

    `claim` is a class, a file (`"my_server.py"`, `"my_server.py:MyServer"`) or the name of an
    algorithm. It climbs from rung 1 to `rung` (the top, if None) until the first one that is not
    green; with `every`, it tries all of them. The same `seed` does the same to the servers.
    Interrupt ends it, and leaves nothing running.
    """
    done = climb(claim, rung=rung, every=every, seed=seed, backend=backend)
    return _Shown(**{field.name: getattr(done, field.name) for field in fields(done)})


def as_table(climb: Climb, yes: str, no: str) -> Table:
    """A climb as a terminal shows it; `yes` and `no` mark a rung that is green, or red."""
    title = f"{climb.where}, seed {climb.seed}"
    table = Table("rung", "what was done", "", "verdict", "measured", "s", "page", title=title)
    for step in climb.steps:
        table.add_row(
            f"{step.rung.number} {step.rung.name}",
            step.rung.done,
            yes if step.ok else no if step.finding is not None else "-",
            plain(step.verdict),
            told(step.figures),
            f"{step.seconds:.1f}",
            step.rung.page,
        )
    return table


class _Shown(Climb):
    """A climb that a notebook shows with a picture."""

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.steps))
        head = "".join(
            f"<th style='text-align:left'>{word}</th>"
            for word in ("green", "rung", "what was done", "verdict", "measured", "page")
        )
        return (
            f"<p><b>{escape(self.summary)}</b></p><table><tr>{head}</tr>{rows}</table>{self._picture()}"
            f"<p>{escape(self.where)}. To repeat it: "
            f"<code>seed={self.seed}</code>.</p>"
        )

    def _picture(self) -> str:
        red = self.first_red
        if red is None or red.finding is None or not red.events:
            return ""
        return moment(red.events, red.finding).html()


def _row(step: Step) -> str:
    cells = (
        "✓" if step.ok else "✗" if step.finding is not None else "–",
        f"{step.rung.number} {step.rung.name}",
        step.rung.done,
        step.verdict,
        told({"took_s": round(step.seconds, 1), **step.figures}),
        step.rung.page,
    )
    return f"<tr>{''.join(_cell(cell) for cell in cells)}</tr>"


def _cell(text: str) -> str:
    return f"<td style='text-align:left'>{escape(text)}</td>"
