"""What a class has solved: each learner's notebooks, judged by this installation's own judges.

Every notebook runs in a process of its own, which may be ended at any moment, in a directory with a
copy of the learner's files; that is its home, too. An output that was typed in does not count, and
neither does a judge that a cell has exchanged; see `labkit.course.handed_in`.

That is no prison: cells and functions run with the rights of the person who grades. What is named
by its full path, what a network reaches, and what a judged function changes in labkit while it runs
are not protected. Grade only what you would run, or in a container.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from labkit.course import handed_in
from labkit.course.page import Page
from labkit.course.record import VARIABLE, Outcome
from labkit.course.workers import Children, side_by_side
from labkit.errors import ConfigError
from labkit.files import Unreadable
from labkit.judge.rungs import RUNGS

_START = 60.0  # seconds in which a notebook's lab has to be ready
_RUNG = 60.0  # seconds for one rung of the ladder
_RIGHT, _WRONG = "✓ ", "✗ "  # how a page marks what came of a prediction
_LARGE = 10_000_000  # bytes; a file beside a notebook that is larger is not copied


@dataclass(frozen=True)
class Grade:
    """One learner's result. `outcomes` has an entry for each exercise of the pages handed in."""

    learner: str
    outcomes: dict[str, str]  # "passed", "failed" or "not attempted"
    messages: dict[str, str]  # why it failed
    right: int  # predictions
    predicted: int
    reached: int | None = None  # the rung that the learner's server stands on, if one was asked for
    unread: dict[str, str] = field(default_factory=dict)  # file → why it could not be judged

    def count(self, outcome: Outcome) -> int:
        """How many exercises ended so."""
        return list(self.outcomes.values()).count(outcome)

    def row(self) -> dict[str, Any]:
        """What a table shows of it."""
        counts = {outcome.value: self.count(outcome) for outcome in Outcome}
        predictions = {"predictions right": self.right, "predicted": self.predicted}
        ladder = {} if self.reached is None else {"rung": self.reached}
        unread = {"not read": len(self.unread)} if self.unread else {}
        return {"learner": self.learner, **counts, **predictions, **ladder, **unread}


class Interrupted(KeyboardInterrupt):
    """The grading was interrupted; `grades` are those of learners who were through by then."""

    def __init__(self, grades: list[Grade], missing: int) -> None:
        super().__init__()
        self.grades = grades
        self.missing = missing  # learners that were not


#: Called when a notebook has been graded: (notebook, notebooks done, notebooks in all).
Progress = Callable[[Path, int, int], None]


def grade(
    paths: Iterable[Path],
    *,
    rung: int | None = None,
    jobs: int = 2,
    progress: Progress = lambda *_: None,
) -> list[Grade]:
    """Grade notebooks, or all below directories; one grade a learner, by name.

    A learner is the directory that a notebook stands in, or, where several learners' notebooks
    stand in one directory that was named, the notebook's own name. With a `rung`, the servers that
    learners have written climb the ladder up to it, and the best of each one's servers counts. What
    can't be read is named in its learner's grade. Raises `ConfigError` when there is nothing to
    grade, or no such rung, and `Interrupted` when it is.
    """
    if rung is not None and not 1 <= rung <= len(RUNGS):
        raise ConfigError(f"There are rungs 1 to {len(RUNGS)}, and not {rung}.")
    found = list(_learners(paths))
    if not found:
        raise ConfigError("There is no notebook to grade: name notebooks, or their directory.")
    reports = {one: {"error": one.problem} for one in found if one.problem}
    todo = [one for one in found if not one.problem]
    children = Children()
    try:
        for one, report in side_by_side(
            todo, lambda one: _in_a_process(one, rung, children), jobs, children
        ):
            reports[one] = report
            progress(one.path, len(reports), len(found))
    except KeyboardInterrupt:
        open_ = {one.learner for one in found if one not in reports}
        done = {one: report for one, report in reports.items() if one.learner not in open_}
        raise Interrupted(_by_learner(done, rung), len(open_)) from None
    return _by_learner(reports, rung)


@dataclass(frozen=True)
class _HandedIn:
    """A notebook, and whose it is; or, with a `problem`, something that is none."""

    path: Path
    learner: str
    alone: bool  # whether the files beside it are this learner's
    problem: str = ""


def _by_learner(reports: dict[_HandedIn, dict[str, Any]], rung: int | None) -> list[Grade]:
    return [
        _together(learner, {o: r for o, r in reports.items() if o.learner == learner}, rung)
        for learner in sorted({one.learner for one in reports})
    ]


def as_table(grades: Sequence[Grade]) -> Table:
    """The table as a terminal shows it."""
    names = _columns(grades)
    table = Table(*names)
    for grade in grades:
        row = grade.row()
        table.add_row(*(str(row.get(name, "")) for name in names))
    return table


def as_csv(grades: Sequence[Grade]) -> str:
    """The table, and a column for each exercise, for a spreadsheet."""
    names = list(dict.fromkeys(name for grade in grades for name in grade.outcomes))
    rows = [{**grade.row(), **grade.outcomes} for grade in grades]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_columns(grades), *names], restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _columns(grades: Sequence[Grade]) -> list[str]:
    return list(dict.fromkeys(name for grade in grades for name in grade.row()))


def as_json(grades: Sequence[Grade]) -> str:
    """The table with every outcome, and why an exercise failed or a file was not judged."""
    rows = [{**g.row(), "exercises": g.outcomes, "why": {**g.messages, **g.unread}} for g in grades]
    return json.dumps(rows, ensure_ascii=False)


def _learners(paths: Iterable[Path]) -> Iterator[_HandedIn]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield _HandedIn(path.resolve(), path.stem, alone=False)
        else:
            raise ConfigError(f"There is no {path} to grade.")


def _below(top: Path) -> Iterator[_HandedIn]:
    """The notebooks below a directory; and the learners' directories that have none."""
    closed: list[OSError] = []
    notebooks = []
    for folder, inside, names in os.walk(top, onerror=closed.append):
        inside[:] = sorted(name for name in inside if not name.startswith((".", "__MACOSX")))
        # What begins so is beside a notebook on a Mac, and is none.
        ours = (name for name in names if not name.startswith("._"))
        notebooks += [Path(folder, n) for n in ours if n.lower().endswith(".ipynb")]
    for path in sorted(notebooks):
        parts = path.parent.relative_to(top).parts
        yield _HandedIn(path.resolve(), parts[0] if parts else path.stem, alone=bool(parts))
    for error in closed:
        path = Path(error.filename)
        parts = path.relative_to(top).parts
        name = parts[0] if parts else top.name
        yield _HandedIn(path, name, alone=False, problem=f"{error.strerror}")
    seen = [*notebooks, *(Path(error.filename) for error in closed)]
    have = {path.relative_to(top).parts[:1] for path in seen}
    for one in sorted(top.iterdir()):
        if one.is_dir() and not one.name.startswith((".", "__")) and (one.name,) not in have:
            yield _HandedIn(one, one.name, alone=True, problem="There is no notebook in it")


def _together(learner: str, reports: dict[_HandedIn, dict[str, Any]], rung: int | None) -> Grade:
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    unread = {one.path.name: r["error"] for one, r in reports.items() if "error" in r}
    judged = [report for report in reports.values() if "error" not in report]
    for report in judged:
        for name, outcome in report["outcomes"].items():
            if outcomes.get(name) != Outcome.PASSED:  # handed in twice: the better one counts
                outcomes[name] = outcome
        messages |= report["messages"]
    messages = {k: why for k, why in messages.items() if outcomes.get(k) != Outcome.PASSED}
    right, predicted = (sum(report[what] for report in judged) for what in ("right", "predicted"))
    reached = None if rung is None else max((r.get("reached", 0) for r in judged), default=0)
    return Grade(learner, outcomes, messages, right, predicted, reached, unread)


def _in_a_process(one: _HandedIn, rung: int | None, children: Children) -> dict[str, Any]:
    try:
        page = Page.read(one.path)
    except Unreadable as error:
        return {"error": f"It can't be read: {error.why}"}
    wanted = handed_in.wanted(page)
    if not (wanted or rung):
        return {"error": "It is no page of the course, and shows none of its exercises"}
    right, wrong = (_count_marks(page, mark) for mark in (_RIGHT, _WRONG))
    report = {"right": right, "predicted": right + wrong}
    timeout = _START + handed_in.CELLS + sum(exercise.deadline + 2 for exercise in wanted)
    with tempfile.TemporaryDirectory(prefix="labkit-grade-", ignore_cleanup_errors=True) as scratch:
        copy = _copied(one, Path(scratch))
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit.course.handed_in", copy.name, str(rung or 0)],
            cwd=copy.parent,
            env=os.environ | {VARIABLE: ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        children.add(process.pid)
        try:
            said, _ = process.communicate(timeout=timeout + _RUNG * (rung or 0))
            return {**report, **json.loads(said.splitlines()[-1])}
        except (subprocess.TimeoutExpired, ValueError, IndexError):
            why = "The notebook's functions could not be judged: they ended or blocked the judge."
            failed = {exercise.id: Outcome.FAILED.value for exercise in wanted}
            return {"outcomes": failed, "messages": dict.fromkeys(failed, why), **report}
        finally:
            children.remove(process.pid)
            _end(process)


def _copied(one: _HandedIn, scratch: Path) -> Path:
    """A copy of the notebook, and of the learner's files beside it."""

    def too_much(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        return [
            p.name
            for p in paths
            if p.is_symlink()
            or p.name.startswith(".")
            or not (p.is_dir() or p.is_file())
            or (p.is_file() and (p.stat().st_size > _LARGE or not os.access(p, os.R_OK)))
        ]

    home = scratch / "home"
    if one.alone:
        shutil.copytree(one.path.parent, home, ignore=too_much)
    home.mkdir(exist_ok=True)
    if not (home / one.path.name).exists():
        shutil.copyfile(one.path, home / one.path.name)
    return home / one.path.name


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started; its lab is removed by the reaper."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _count_marks(page: Page, mark: str) -> int:
    texts = (
        "".join(output.get("data", {}).get("text/plain", ""))
        for cell in page.code
        if ".reveal(" in cell.source
        for output in cell.get("outputs", [])
    )
    return sum(text.startswith(mark) for text in texts)
