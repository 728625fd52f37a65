"""Measures everything, prints the table, and writes it down.

python -m benchmarks [--quick] [--only NAME] [--docs]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmarks.computer import Computer
from benchmarks.report import Report
from labkit.errors import LabError

ROOT = Path(__file__).parent.parent

#: Each is a module with `run(quick)`; some can `draw(data, directory)`.
NAMES = (
    "sequence",
    "ids",
    "start",
    "memory",
    "recorder",
    "freed",
    "storm",
    "checker",
    "explore",
    "redraw",
    "containers",
    "engines",
)


@click.command()
@click.option("--quick", is_flag=True, help="Few and short: to see that all of it works.")
@click.option(
    "--only", multiple=True, type=click.Choice(NAMES), metavar="NAME", help=f"{', '.join(NAMES)}."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="For results.json and pictures; by default the project's own places.",
)
@click.option("--docs", is_flag=True, help="Put the table into docs/measurements.md.")
def main(quick: bool, only: tuple[str, ...], output: Path | None, docs: bool) -> None:
    """Measure how fast the lab is, against what people would otherwise use.

    A full run writes benchmarks/results.json and img/bench-*.svg, and ends with 1 if a bar is
    missed. A quick one and a part are only printed, unless --output says where to write them.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 170  # a file or a log does not wrap
    if docs and (quick or only):
        raise click.UsageError("--docs wants all of it: leave out --quick and --only.")
    try:
        _measure(console, quick, only or NAMES, output, docs)
    except LabError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; nothing is left running.")
        sys.exit(130)


def _measure(
    console: Console, quick: bool, names: Sequence[str], output: Path | None, docs: bool
) -> None:
    report = Report(Computer.here())
    if report.machine.is_busy:
        console.print(
            f"[yellow]This machine is busy (load {report.machine.load} on {report.machine.cores} "
            "cores): absolute figures will be worse than it can do.[/]"
        )
    modules = {name: import_module(f"benchmarks.{name}") for name in names}
    for name, module in modules.items():
        began = time.monotonic()
        with console.status((module.__doc__ or "").splitlines()[0]):
            result = report.results[name] = module.run(quick)
        took = f"{time.monotonic() - began:.0f} s"
        console.print(
            f"{name}: {took}" + (f", skipped: {result.skipped}" if result.skipped else "")
        )
    console.print(report.table())
    complete = not quick and set(names) == set(NAMES)
    if complete or output:
        results, pictures = (output, output) if output else (ROOT / "benchmarks", ROOT / "img")
        pictures.mkdir(parents=True, exist_ok=True)
        report.write(results / "results.json")
        for name, module in modules.items():
            if hasattr(module, "draw"):
                module.draw(report.results[name].data, pictures)
    if docs:
        report.write_page(ROOT / "docs" / "measurements.md")
    if report.missed and not quick:
        console.print("[red]Missed: " + "; ".join(row.what for row in report.missed) + "[/]")
        sys.exit(1)


if __name__ == "__main__":
    main()
