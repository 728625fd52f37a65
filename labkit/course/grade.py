"""What a class has solved: each learner's notebooks, judged by this installation's own judges.

Of a notebook only what an answer consists of is taken: its functions and classes, its imports, and
names that stand for plain values. Nothing else of it runs, so a judge that a learner has exchanged
does not count, and neither does an output that was typed in. Every notebook is graded in a process
of its own, which works in an empty directory and may be ended at any moment.

A learner's function does run, with the rights of the person who grades. Grade only what you would
run, or in a container.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import linecache
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from labkit.course import exercises
from labkit.course.attempt import judge
from labkit.course.exercises.exercise import Exercise
from labkit.course.page import Page
from labkit.course.record import VARIABLE, Outcome
from labkit.errors import ConfigError, LabError
from labkit.judge.ladder import climb
from labkit.judge.rungs import RUNGS
from labkit.lab.lab import Lab

_START = 60.0  # seconds in which a notebook's lab has to be ready
_RUNG = 60.0  # seconds for one rung of the ladder
_KEPT = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
_RIGHT, _WRONG = "✓ ", "✗ "  # how a page marks what came of a prediction


@dataclass(frozen=True)
class Grade:
    """One learner's result. `outcomes` has an entry for each exercise of the pages handed in."""

    learner: str
    outcomes: dict[str, str]  # "passed", "failed" or "not attempted"
    messages: dict[str, str]  # why it failed
    right: int  # predictions
    predicted: int
    reached: int | None = None  # the rung that the learner's server stands on, if one was asked for

    def count(self, outcome: Outcome) -> int:
        """How many exercises ended so."""
        return list(self.outcomes.values()).count(outcome)

    def row(self) -> dict[str, Any]:
        """What a table shows of it."""
        counts = {outcome.value: self.count(outcome) for outcome in Outcome}
        predictions = {"predictions right": self.right, "predicted": self.predicted}
        ladder = {} if self.reached is None else {"rung": self.reached}
        return {"learner": self.learner, **counts, **predictions, **ladder}


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
    learners have written climb the ladder up to it, and the best of each one's servers counts.
    Raises `ConfigError` when there is nothing to grade, or no such rung.
    """
    if rung is not None and not 1 <= rung <= len(RUNGS):
        raise ConfigError(f"There are rungs 1 to {len(RUNGS)}, and not {rung}.")
    of = dict(_learners(paths))
    if not of:
        raise ConfigError("There is no notebook to grade: name notebooks, or their directory.")
    reports: dict[Path, dict[str, Any]] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        pending = {path: pool.submit(_in_a_process, path, rung) for path in of}
        for done, (path, report) in enumerate(pending.items(), start=1):
            reports[path] = report.result()
            progress(path, done, len(of))
    return [
        _together(learner, [reports[path] for path in of if of[path] == learner], rung)
        for learner in sorted(set(of.values()))
    ]


def as_table(grades: Sequence[Grade]) -> Table:
    """The table as a terminal shows it."""
    table = Table(*grades[0].row())
    for grade in grades:
        table.add_row(*map(str, grade.row().values()))
    return table


def as_csv(grades: Sequence[Grade]) -> str:
    """The table, and a column for each exercise, for a spreadsheet."""
    names = list(dict.fromkeys(name for grade in grades for name in grade.outcomes))
    rows = [{**grade.row(), **grade.outcomes} for grade in grades]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*(grades[0].row() if grades else ()), *names], restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(grades: Sequence[Grade]) -> str:
    """The table with every outcome, and why an exercise failed."""
    rows = [{**g.row(), "exercises": g.outcomes, "why": g.messages} for g in grades]
    return json.dumps(rows, ensure_ascii=False)


def _learners(paths: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    for path in paths:
        if path.is_dir():
            for found in sorted(path.rglob("*.ipynb")):
                if ".ipynb_checkpoints" not in found.parts:
                    inside = found.parent.relative_to(path).parts
                    yield found.resolve(), inside[0] if inside else found.stem
        elif path.is_file():
            yield path.resolve(), path.stem
        else:
            raise ConfigError(f"There is no {path} to grade.")


def _together(learner: str, reports: Sequence[dict[str, Any]], rung: int | None) -> Grade:
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    right = predicted = 0
    reached = None if rung is None else max(report.get("reached", 0) for report in reports)
    for report in reports:
        outcomes |= report["outcomes"]
        messages |= report["messages"]
        right += report["right"]
        predicted += report["predicted"]
    return Grade(learner, outcomes, messages, right, predicted, reached)


def _in_a_process(path: Path, rung: int | None) -> dict[str, Any]:
    page = _page(path)
    wanted = [exercise for exercise in exercises.ALL if page and exercise.page == page.number]
    if page is None or not (wanted or rung):
        return {"outcomes": {}, "messages": {}, "right": 0, "predicted": 0}
    right, wrong = (_count_marks(page, mark) for mark in (_RIGHT, _WRONG))
    report = {"right": right, "predicted": right + wrong}
    timeout = _START + sum(exercise.deadline + 2 for exercise in wanted) + _RUNG * (rung or 0)
    with tempfile.TemporaryDirectory(prefix="labkit-grade-") as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit.course.grade", str(path), str(rung or 0)],
            cwd=scratch,
            env=os.environ | {VARIABLE: ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=timeout)
            return {**json.loads(said.splitlines()[-1]), **report}
        except (subprocess.TimeoutExpired, ValueError, IndexError):
            why = "The notebook's functions could not be judged: they ended or blocked the judge."
            failed = {exercise.id: Outcome.FAILED.value for exercise in wanted}
            return {"outcomes": failed, "messages": dict.fromkeys(failed, why), **report}
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started; its lab is removed by the reaper."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _page(path: Path) -> Page | None:
    try:
        return Page.read(path)
    except ConfigError:
        return None  # what was handed in is no notebook: nothing was attempted


def _count_marks(page: Page, mark: str) -> int:
    texts = (
        "".join(output.get("data", {}).get("text/plain", ""))
        for cell in page.code
        if ".reveal(" in cell.source
        for output in cell.get("outputs", [])
    )
    return sum(text.startswith(mark) for text in texts)


# --- in the process of one notebook -------------------------------------------------------------


def definitions(sources: Iterable[str]) -> str:
    """The part of a notebook's cells that defines something, as one program.

    Of several definitions of one name the last counts, as in a notebook run from top to bottom.
    """
    kept: list[ast.stmt] = []
    for source in sources:
        try:
            cell = ast.parse(source)
        except SyntaxError:  # a magic command, or a mistake: that cell defines nothing
            continue
        kept += [node for node in cell.body if isinstance(node, _KEPT) or _is_plain(node)]
    return ast.unparse(ast.Module(kept, []))


def _is_plain(node: ast.stmt) -> bool:
    """Whether it gives a name to a number, a text or the like."""
    if not isinstance(node, ast.Assign):
        return False
    named = all(isinstance(target, ast.Name) for target in node.targets)
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError):
        return False
    return named


def _functions(page: Page, program: str) -> dict[str, Any]:
    name = str(page.path)
    linecache.cache[name] = (len(program), None, program.splitlines(keepends=True), name)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, name, "exec"), names)
    return names


def _grade_one(path: Path, rung: int) -> dict[str, Any]:
    page = Page.read(path)
    program = definitions(cell.source for cell in page.code)
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    wanted = [exercise for exercise in exercises.ALL if exercise.page == page.number]
    servers = 3 if any(exercise.page.startswith("09") for exercise in wanted) else 1
    with Lab(nodes=0, ensemble=servers, backend="process", record=False) as lab:
        try:
            names = _functions(page, program)
        except Exception as error:
            names = {}
            messages = {e.id: f"{type(error).__name__}: {error}" for e in wanted}
        for exercise in wanted:
            outcome, why = _judged(lab, exercise, names.get(exercise.name))
            outcomes[exercise.id] = outcome
            if outcome == Outcome.FAILED:
                messages[exercise.id] = why
    report = {"outcomes": outcomes, "messages": messages}
    return report | (_climbed(program, names, rung, messages) if rung else {})


def _climbed(
    program: str, names: dict[str, Any], rung: int, messages: dict[str, str]
) -> dict[str, int]:
    """How far the best of a notebook's servers climbs; nothing if there is none."""
    reached = []
    Path("handed_in.py").write_text(program, encoding="utf-8")
    for name, one in names.items():
        if isinstance(one, type) and hasattr(one, "sequence"):
            try:
                result = climb(f"handed_in.py:{name}", rung=rung, backend="process")
            except LabError as error:
                reached.append(0)
                messages[name] = str(error)
            else:
                reached.append(result.reached)
                messages[name] = result.summary
    return {"reached": max(reached)} if reached else {}


def _judged(lab: Lab, exercise: Exercise, function: Any) -> tuple[str, str]:
    if function is None:
        return Outcome.NOT_ATTEMPTED.value, ""
    try:
        verdict = judge(lab, exercise, function)
    except LabError as error:
        return Outcome.FAILED.value, str(error)
    return verdict.outcome.value, verdict.message


if __name__ == "__main__":
    # Whatever a learner's functions print goes nowhere; the last line is the result.
    channel = os.fdopen(os.dup(1), "w")
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 — until the process ends
    print(json.dumps(_grade_one(Path(sys.argv[1]), int(sys.argv[2]))), file=channel, flush=True)
