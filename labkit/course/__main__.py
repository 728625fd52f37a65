"""The course's command line for its authors.

python -m labkit.course run 04     execute, and save with the outputs
python -m labkit.course write      write the generated cells again
python -m labkit.course check      hold the pages to the rules of thumb
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Literal

import click

from labkit.course import staged
from labkit.course.cells import course_of, write
from labkit.course.page import Page, choose
from labkit.course.runner import ANSI, PageFailed, run
from labkit.errors import LabError

_pages = click.argument("pages", nargs=-1, metavar="[PAGE]…")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """The course's command line for its authors.

    A PAGE is a path or a number; by default all of the course is meant.
    """


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    try:
        app()
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.command("run")
@_pages
@click.option("--backend", metavar="NAME", help="docker or process.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Pages that run at the same time.")
@click.option(
    "--keep", is_flag=True, help="Keep what runs on three machines, for where there are none."
)
def run_pages(pages: tuple[str, ...], backend: str | None, jobs: int, keep: bool) -> None:
    """Execute pages, and save them with their outputs."""
    if keep:
        os.environ[staged.VARIABLE] = str(staged.HOME)
    sys.exit(_run(choose(pages), backend, jobs))


@app.command("write")
@_pages
def write_cells(pages: tuple[str, ...]) -> None:
    """Write the generated cells again."""
    for path in write(choose(pages)):
        print(path)


@app.command("check")
@_pages
def check_rules(pages: tuple[str, ...]) -> None:
    """Hold pages to the rules of thumb."""
    sys.exit(_check(choose(pages)))


def _run(chosen: Sequence[Page], backend: str | None, jobs: int) -> Literal[0, 1]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    failures = []
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=sum(len(page.code) for page in chosen))

        def progress(page: Page, done: int, total: int) -> None:
            bar.update(task, advance=1, description=f"{page.number}: {done}/{total}")

        for page, result in run(chosen, backend, jobs=jobs, progress=progress):
            if isinstance(result, PageFailed):
                failures.append(result)
                print(f"✗ {result}\n{ANSI.sub('', result.traceback)}", file=sys.stderr)
            else:
                page.save(result)
                print(f"✓ {page.path.name}")
    write(chosen)
    return 1 if failures else 0


def _check(chosen: Sequence[Page]) -> Literal[0, 1]:
    from labkit.course import lint

    found = [problem for page in chosen for problem in lint.check(page, course_of(page))]
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    main()
