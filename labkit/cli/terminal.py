"""What a terminal is shown, and a file or another program that reads instead of a person.

Whatever draws is loaded when something is drawn: most commands print a few lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from labkit.errors import ConfigError, LabError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    #: Called as work goes on: (what is being done, the fraction that is done).
    Report = Callable[[str, float | None], None]

_WIDTH = 100  # columns of a table where there is no terminal to ask
_SELDOM = 5.0  # seconds between two lines of progress where there is none


def prepare() -> None:
    """Print somehow on an output that is closed, or that lacks some letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 — open as long as we run
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def marks() -> tuple[str, str]:
    """How *yes* and *no* look in a table."""
    encoding = (sys.stdout.encoding or "").lower()
    return ("✓", "✗") if encoding.startswith("utf") else ("yes", "NO")


def say(text: object, *, error: bool = False) -> None:
    """Print words: broken between words on a terminal, and not at all for another program."""
    stream = sys.stderr if error else sys.stdout
    if stream.isatty():
        _console(stream).print(str(text), markup=False, highlight=False, emoji=False)
    else:
        print(text, file=stream, flush=True)


def aside(text: str) -> None:
    """Pass on what a reader's code prints; the output proper has to stay as it is."""
    print(text, end="", file=sys.stderr, flush=True)


def show(table: RenderableType) -> None:
    """Print a table, as wide as the terminal, or as fits a page."""
    _console(sys.stdout).print(table)


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print short words and figures in columns, without loading what draws tables."""
    lines = [head, *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def explain(error: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    bug = not isinstance(error, LabError | OSError)
    if isinstance(error, BrokenPipeError):  # who read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if bug:
        say(f"labkit: this is a bug: {type(error).__name__}: {error}", error=True)
        say("Run again with LABKIT_DEBUG=1 for the traceback, and please report it.", error=True)
    else:
        say(f"labkit: {error}", error=True)
    if os.environ.get("LABKIT_DEBUG") and not isinstance(error, LabError):
        raise error
    return 2 if bug or isinstance(error, ConfigError) else 1


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """A line of progress on the error output, as long as something is being done.

    Where that is no terminal, a plain line every few seconds.
    """
    if not sys.stderr.isatty():
        yield _nowhere if quiet else _plain_lines()
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
    )
    with Progress(*columns, console=_console(sys.stderr), transient=True, disable=quiet) as shown:
        task = shown.add_task("", total=None)

        def report(what: str, fraction: float | None) -> None:
            shown.update(task, description=what, total=1.0, completed=fraction or 0.0)

        yield report


def _nowhere(what: str, fraction: float | None) -> None:
    pass


def _plain_lines() -> Report:
    told = time.monotonic()

    def report(what: str, fraction: float | None) -> None:
        nonlocal told
        if time.monotonic() - told >= _SELDOM:
            told = time.monotonic()
            done = "" if fraction is None else f"{fraction:4.0%}  "
            print(f"{done}{what}", file=sys.stderr, flush=True)

    return report


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    known = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(file=stream, width=None if known else _WIDTH)
