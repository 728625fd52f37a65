"""The commands of the course: its pages, a reader's progress, a class, the tutorial."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labkit.cli import options, terminal
from labkit.errors import ConfigError, LabError

if TYPE_CHECKING:
    from labkit.course.export import Format


@click.command()
@click.argument("page", default="00", metavar="[PAGE]")
@options.directory("--copy", "The directory of your copy of the pages; by default my-course.")
@click.option("--browser/--no-browser", default=True, help="Open a browser window, or don't.")
def lab(page: str, copy: Path | None, browser: bool) -> None:
    """Open the course in JupyterLab.

    It shows a copy of the pages that is yours, kept fresh but for what you change. PAGE is
    the page to open first, such as 04.
    """
    from labkit.course import working_copy

    mine = working_copy.WorkingCopy((copy or working_copy.DEFAULT).absolute())
    first = mine.find(page)
    mine = working_copy.refresh(mine.home)
    terminal.say(mine.news(first))
    os.execv(sys.executable, [sys.executable, *mine.jupyterlab(first, browser)])


@click.command()
@click.option("--reset", is_flag=True, help="Forget all of it.")
@options.as_json
def progress(reset: bool, as_json: bool) -> None:
    """What you have predicted and solved, page by page."""
    from labkit.course import record, standing

    if reset:
        terminal.say(record.forget())
    elif as_json:
        terminal.say(json.dumps(standing.facts(), ensure_ascii=False))
    else:
        rows = [
            (
                f["page"],
                f"{f['passed']} of {f['exercises']}",
                f"{f['predicted']} of {f['questions']}",
                f["right"],
            )
            for f in standing.facts()
        ]
        terminal.columns(("page", "exercises passed", "predictions made", "right"), rows)
        terminal.say(standing.where())


@click.command()
@click.argument(
    "notebooks",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="NOTEBOOK|DIRECTORY…",
)
@options.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@click.option(
    "--ladder",
    "rung",
    type=options.number(1),
    help="Also put learners' servers on the ladder, up to rung N.",
)
@click.option(
    "--jobs", type=options.number(1, 16), default=2, help="Notebooks at the same time, 1 to 16."
)
def grade(
    notebooks: tuple[Path, ...], as_json: bool, as_csv: bool, rung: int | None, jobs: int
) -> int:
    """Judge a class: one row a learner.

    Takes notebooks, or a directory with one for each learner, and this installation's own judges.
    Ends with 1 if a notebook can't be read.
    """
    from labkit.course import grade as grading

    if as_json and as_csv:
        raise ConfigError("Say --json or --csv, and not both.")
    with terminal.progress(as_json or as_csv) as report:

        def progress(path: Path, done: int, total: int) -> None:
            report(f"graded {path.stem}, {done} of {total}", done / total)

        interrupt = None
        try:
            grades = grading.grade(notebooks, rung=rung, jobs=jobs, progress=progress)
        except grading.Interrupted as error:
            grades, interrupt = error.grades, error
    if as_json or as_csv:
        terminal.say((grading.as_json if as_json else grading.as_csv)(grades).rstrip())
    elif grades:
        terminal.show(grading.as_table(grades))
    unread = [(g.learner, name, why) for g in grades for name, why in g.unread.items()]
    for learner, name, why in unread:
        terminal.say(f"labkit: {learner}: {name} was not graded. {why}.", error=True)
    if interrupt is not None:
        terminal.say(f"labkit: {interrupt.missing} more were not graded.", error=True)
        raise interrupt
    return 1 if unread else 0


@click.command()
@click.argument("pages", nargs=-1, metavar="[PAGE]…")
@options.directory("--out", "The directory to write; by default site, or markdown.")
@click.option(
    "--to",
    type=click.Choice(["html", "markdown"]),
    default="html",
    help="html: a site; or markdown: a file a page.",
)
@click.option(
    "--run/--no-run", default=True, help="Run the pages first, or take their saved outputs."
)
@options.backend
@click.option("--jobs", type=options.number(1), default=1, help="Pages that run at the same time.")
@click.option("--force", is_flag=True, help="Write into a directory that was not made by this.")
@click.option(
    "--address",
    default="",
    metavar="URL",
    help="The URL where a site will stand, for previews of links to it.",
)
def export(
    pages: tuple[str, ...],
    out: Path | None,
    to: Format,
    run: bool,
    backend: str | None,
    jobs: int,
    force: bool,
    address: str,
) -> int:
    """Write the course as a site, or as Markdown.

    Who reads it needs neither Jupyter nor a network. A PAGE is a notebook, or its number; all of
    them, if none is named.
    """
    from labkit.course import page
    from labkit.course.export import DEFAULT_OUT
    from labkit.course.export import export as write

    try:
        paths = [page.find(name) for name in pages] or page.files()
    except LabError as error:
        raise ConfigError(str(error)) from error
    chosen, broken = page.readable(paths)
    for why in broken:
        terminal.say(f"labkit: {why}", error=True)
    if broken and not chosen:
        return 1
    with terminal.progress() as report:
        done = write(
            chosen,
            out or Path(DEFAULT_OUT[to]),
            to=to,
            execute=run,
            backend=backend,
            jobs=jobs,
            force=force,
            address=address,
            progress=report,
        )
    for failure in done.failures:
        terminal.say(f"{terminal.marks()[1]} {failure}\n{failure.traceback.rstrip()}\n", error=True)
    if not done.files:
        terminal.say(f"Nothing was written: {done.out} stays as it was.", error=True)
        return 1
    size = sum(done.files.values())
    written = f"{len(done.files)} files" if len(done.files) != 1 else "1 file"
    terminal.say(f"Wrote {written}, {size / 1e6:.1f} MB: {done.first}")
    return 1 if done.failures or broken else 0
