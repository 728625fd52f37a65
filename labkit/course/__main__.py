"""The course's command line for its authors.

python -m labkit.course run 04     execute, and save with the outputs
python -m labkit.course write      write the generated cells again
python -m labkit.course check      hold the pages to the rules of thumb
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from labkit.course import staged
from labkit.course.cells import course_of, write
from labkit.course.page import Page, choose
from labkit.course.run import ANSI, PageFailed, run
from labkit.errors import LabError

app = typer.Typer(
    help="The course's command line for its authors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Pages = Annotated[
    list[str] | None, typer.Argument(help="Paths or numbers; by default all of the course.")
]


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    try:
        app()
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.command("run")
def run_pages(
    pages: Pages = None,
    backend: Annotated[str | None, typer.Option(help="docker or process.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Pages that run at the same time.")] = 1,
    keep: Annotated[
        bool, typer.Option(help="Keep what runs on three machines, for where there are none.")
    ] = False,
) -> None:
    """Execute pages, and save them with their outputs."""
    if keep:
        os.environ[staged.VARIABLE] = str(staged.HOME)
    raise typer.Exit(_run(choose(pages or []), backend, jobs))


@app.command("write")
def write_cells(pages: Pages = None) -> None:
    """Write the generated cells again."""
    for path in write(choose(pages or [])):
        print(path)


@app.command("check")
def check_rules(pages: Pages = None) -> None:
    """Hold pages to the rules of thumb."""
    raise typer.Exit(_check(choose(pages or [])))


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
    from labkit.course import rules

    found = [problem for page in chosen for problem in rules.check(page, course_of(page))]
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    main()
