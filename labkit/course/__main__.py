"""The course's command line for its authors.

python -m labkit.course run 04     execute, and save with the outputs
python -m labkit.course write      write the generated cells again
python -m labkit.course check      hold the pages to the rules of thumb
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

from labkit.course.cells import course_of, write
from labkit.course.page import Page, choose
from labkit.course.run import ANSI, PageFailed, run
from labkit.errors import LabError


def main(arguments: Sequence[str] | None = None) -> Literal[0, 1]:
    parser = argparse.ArgumentParser(prog="python -m labkit.course")
    parser.add_argument("verb", choices=["run", "write", "check"])
    parser.add_argument("pages", nargs="*", help="paths or numbers; all of the course")
    parser.add_argument("--backend", choices=["docker", "process"])
    parser.add_argument("--jobs", type=int, default=1, help="pages that run at the same time")
    options = parser.parse_args(arguments)
    try:
        chosen = choose(options.pages)
        if options.verb == "run":
            return _run(chosen, options.backend, options.jobs)
        if options.verb == "write":
            for path in write(chosen):
                print(path)
            return 0
        return _check(chosen)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


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
    sys.exit(main())
