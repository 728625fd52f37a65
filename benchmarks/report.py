"""What was measured, as a table, as JSON and as a section of docs/measurements.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.computer import Computer
from labkit.see.picture import as_file
from labkit.see.plots import Chart

T = TypeVar("T")

_LIST = re.compile(r"\[[^\[\]{}]*\]")  # of figures only: is written in one line
_BEGIN, _END = "<!-- bench -->", "<!-- /bench -->"


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach."""

    text: str
    met: bool


def at_most(measured: float, limit: float, text: str) -> Bar:
    return Bar(f"≤ {text}", measured <= limit)


def at_least(measured: float, limit: float, text: str) -> Bar:
    return Bar(f"≥ {text}", measured >= limit)


@dataclass(frozen=True)
class Row:
    """One comparison: what is measured, here and elsewhere, in one unit."""

    what: str
    ours: float
    unit: str  # "s", "/s", "IDs/s", "operations", "MB", "cores"
    other: float | None = None
    against: str = ""
    bars: Sequence[Bar] = ()
    paired: float | None = None  # the median of pairs' ratios, where there are pairs

    @property
    def better(self) -> float | None:
        """How many times better ours is; below 1 it is worse."""
        if self.paired is not None:
            return self.paired
        if not self.other or not self.ours:
            return None
        return self.ours / self.other if self.unit.endswith("/s") else self.other / self.ours

    def cells(self) -> list[str]:
        """What, here, elsewhere, how many times better, the bar, whether it is met."""
        other = self.against
        if self.other is not None:
            other = f"{quantity(self.other, self.unit)}, {self.against}"
        better = "" if self.better is None else f"{_short(self.better)} ×"
        marks = [f"{'✓' if bar.met else '✗'} {bar.text}" for bar in self.bars]
        return [self.what, quantity(self.ours, self.unit), other, better, ", ".join(marks)]


_HEAD = ["", "here", "compared with", "better", "bar"]


@dataclass(frozen=True)
class Result:
    """One benchmark's rows, the samples that they were computed from, and how it was done."""

    rows: Sequence[Row]
    data: dict[str, Any]
    method: str = ""
    skipped: str = ""  # why there are no rows


@dataclass
class Report:
    """A whole run."""

    machine: Computer
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        return [row for result in self.results.values() for row in result.rows]

    @property
    def missed(self) -> list[Row]:
        """The rows that miss a bar."""
        return [row for row in self.rows if not all(bar.met for bar in row.bars)]

    def table(self) -> Table:
        """For a terminal."""
        table = Table(*_HEAD, box=SIMPLE_HEAD, caption=str(self.machine), caption_justify="left")
        for result in self.results.values():
            for row in result.rows:
                *cells, bars = row.cells()
                met = all(bar.met for bar in row.bars)
                table.add_row(*cells, bars, style=None if met else "bold red")
            table.add_section()
        return table

    def markdown(self) -> str:
        """For docs/measurements.md: what has a bar, and folded below it the rest."""
        skipped = [f"{name}: {r.skipped}" for name, r in self.results.items() if r.skipped]
        return "\n".join(
            [
                *_markdown(row for row in self.rows if row.bars),
                *("", "<details><summary>What else was measured</summary>", ""),
                *_markdown(row for row in self.rows if not row.bars),
                *("", "</details>", ""),
                f"Measured on {self.machine}.",
                *skipped,
            ]
        )

    def write(self, path: Path) -> None:
        """Write everything as JSON, the samples too."""
        results = {
            name: {
                "method": result.method,
                "skipped": result.skipped or None,
                "rows": [asdict(row) | {"better": row.better} for row in result.rows],
                "data": result.data,
            }
            for name, result in self.results.items()
        }
        document = {"machine": asdict(self.machine), "results": results}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        path.write_text(_LIST.sub(lambda found: " ".join(found[0].split()), text) + "\n")

    def write_page(self, path: Path) -> None:
        """Put the table between the page's markers; raises ValueError if it has none."""
        text = path.read_text()
        before, begin, rest = text.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if not begin or not end:
            raise ValueError(f"{path.name} has no {_BEGIN} … {_END} to put the table between.")
        path.write_text(f"{before}{begin}\n{self.markdown()}\n{end}{after}")


def _markdown(rows: Iterable[Row]) -> list[str]:
    lines = ["| " + " | ".join(_HEAD) + " |", "|---|---:|---|---:|---|"]
    return lines + ["| " + " | ".join(row.cells()) + " |" for row in rows]


def quantity(value: float, unit: str) -> str:
    """A figure with its unit, to three digits."""
    match unit:
        case "s":
            return _duration(value)
        case "/s" | "IDs/s":
            return f"{_short(value)} {unit}".replace(" /s", "/s")
        case "cores":
            return f"{value:.1%} of a core"
        case "operations":
            return f"{value:.1f}"
    return f"{_short(value)} {unit}"


def _duration(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor * 0.9995:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _short(value: float) -> str:
    if value >= 999_500:
        return f"{value / 1e6:.3g} M"
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def save(chart: Chart, path: Path) -> None:
    """Write a picture, the same bytes for the same figures."""
    path.write_text(as_file(chart.svg()))


def rotated(items: Iterable[T], by: int) -> list[T]:
    """The items, beginning with another one every time: nobody is always first."""
    items = list(items)
    by %= len(items) or 1
    return items[by:] + items[:by]
