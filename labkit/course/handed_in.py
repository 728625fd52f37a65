"""The process in which one learner's notebook is judged: `python -m labkit.course.handed_in`.

Cells run by IPython's own rules, as on the page: magics, `!commands`, `name?`, `await` outside of
functions. What differs: the labs and exercises of the page are stand-ins that do nothing; a
statement that fails or takes too long does not keep the following ones from running; and of a cell
that is still as published only the definitions run. What a cell has exchanged in labkit is put back
before the judging.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import site
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from labkit.course import exercises, staged
from labkit.course.exercises.exercise import Exercise
from labkit.course.page import Page, Text, calls, files
from labkit.course.record import Outcome
from labkit.course.task import judge
from labkit.errors import ConfigError, LabError
from labkit.judge.ladder import climb
from labkit.lab.lab import Lab
from labkit.lazy import FACE

CELLS = 30.0  # seconds for all that is no definition
_STATEMENT = 5.0  # seconds
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def wanted(page: Page) -> list[Exercise]:
    """The exercises that a notebook answers: those of its page, by its number or its file's name,
    and those that it shows. None, if it is no page of the course.
    """
    stem = page.path.stem.lower()
    numbers = {p.stem.split("-")[0] for p in files() if p.stem.lower() in stem} | {page.number}
    shown = {ast.unparse(call.args[-1]) for c in page.code for call in calls(c, "exercise")}
    return [e for e in exercises.ALL if e.page in numbers or repr(e.id) in shown]


class _TooLong(BaseException):
    pass


class Cells:
    """A notebook's cells in an IPython of their own, and the names that they give."""

    def __init__(self) -> None:
        from IPython.core import page
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        settings = Config()
        settings.HistoryManager.enabled = False
        self._shell = InteractiveShell.instance(config=settings)
        self._shell.set_hook("show_in_pager", page.as_hook(page.display_page), 90)
        self._end = time.monotonic() + CELLS
        self.problems: dict[str, str] = {}  # by the cell's source

    @property
    def names(self) -> dict[str, Any]:
        """What the cells have defined, and what IPython offers."""
        from IPython.display import display

        names: dict[str, Any] = self._shell.user_ns
        names.setdefault("display", display)
        return names

    def run(self, source: str, published: bool) -> None:
        """Run a cell; of one that is as `published`, what it defines."""
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        try:
            cell = compile(self._shell.transform_cell(source), "<cell>", "exec", flags)
        except (SyntaxError, ValueError) as error:
            self.problems[source] = f"Its cell can't be run: {type(error).__name__}: {error}."
            return
        for node in cell.body:
            if _defines(node) or not (published or time.monotonic() > self._end):
                self._run(ast.unparse(node), source)

    def _run(self, statement: str, source: str) -> None:
        def stop(*_: object) -> None:
            raise _TooLong(f"it took over {_STATEMENT:g} seconds")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, _STATEMENT)
        try:
            done = self._shell.run_cell(statement, silent=True)
            error = done.error_before_exec or done.error_in_exec
        except BaseException as raised:  # the time was over between two steps of IPython's
            error = raised
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        if error is not None:
            self.problems[source] = f"Its cell failed: {type(error).__name__}: {error}"


def _defines(node: ast.stmt) -> bool:
    """Whether it gives a function, a class, a module or a plain value its name."""
    if isinstance(node, _DEFINES):
        return True
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    with suppress(ValueError, TypeError):
        ast.literal_eval(node.value)
        return True
    return False


class _AsItWas:
    """Puts labkit's modules and classes back as they were."""

    def __init__(self) -> None:
        self._homes = {id(home): (home, dict(vars(home))) for home in self._all()}

    @staticmethod
    def _all() -> Iterable[Any]:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "labkit":
                yield module
                for one in list(vars(module).values()):
                    if isinstance(one, type) and one.__module__ == name:
                        yield one

    def again(self) -> None:
        for home, before in self._homes.values():
            now = dict(vars(home))
            for name in now.keys() - before.keys():
                if not (isinstance(home, type) or name in sys.modules):
                    delattr(home, name)
            for name, value in before.items():
                if now.get(name) is not value:
                    with suppress(AttributeError, TypeError):
                        setattr(home, name, value)


def _stand_ins() -> None:
    """In the place of what pages import from labkit and what starts labs: calls that do nothing."""
    for module in map(import_module, FACE):
        for name in module.__all__:
            one = getattr(module, name)
            if not (isinstance(one, type) and issubclass(one, Exception)):
                setattr(module, name, MagicMock(name=name))
    vars(staged)["on_machines"] = MagicMock(name="on_machines")


def run_cells(page: Page) -> Cells:
    """Run all cells of a notebook."""
    published = {
        cell.source.strip()
        for path in files()
        if path.stem.split("-")[0] in {e.page for e in wanted(page)}
        for cell in Text.read(path).cells
    }
    for name in FACE:
        import_module(name)
    was = _AsItWas()
    _stand_ins()
    cells = Cells()
    for name in ("lab", "ex"):  # also where the cell that makes them does not run
        cells.names[name] = MagicMock(name=name)
    try:
        for cell in page.code:
            cells.run(cell.source, cell.source.strip() in published)
    finally:
        was.again()
    return cells


def report(path: Path, rung: int) -> dict[str, Any]:
    """What came of each exercise of a notebook, and why; and how far its servers climb."""
    page = Page.read(path)
    tasks = wanted(page)
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    servers = 3 if any(exercise.page.startswith("09") for exercise in tasks) else 1
    with Lab(nodes=0, ensemble=servers, backend="process", record=False) as lab:
        _move_home()
        cells = run_cells(page)
        names = {**cells.names, "lab": lab}
        cells.names["lab"] = lab
        for exercise in tasks:
            outcome, why = _judged(lab, exercise, names.get(exercise.name))
            if outcome == Outcome.NOT_ATTEMPTED:
                problems = (p for c, p in cells.problems.items() if exercise.name in c)
                if problem := next(problems, ""):
                    outcome, why = Outcome.FAILED.value, problem
            outcomes[exercise.id] = outcome
            if outcome == Outcome.FAILED:
                messages[exercise.id] = why
    found = {"outcomes": outcomes, "messages": messages}
    return found | (_climbed(names, rung, messages) if rung else {})


def _move_home() -> None:
    """What a learner's cells write to `~` goes to the directory that is removed afterwards."""
    import platformdirs

    os.environ["PYTHONUSERBASE"] = site.getuserbase()
    os.environ["XDG_CACHE_HOME"] = str(platformdirs.user_cache_path())
    os.environ["HOME"] = str(Path.cwd())
    os.environ["IPYTHONDIR"] = str(Path.cwd() / ".ipython")
    os.environ["MPLBACKEND"] = "Agg"
    sys.path.insert(0, str(Path.cwd()))  # as in the kernel of a page


def _climbed(names: dict[str, Any], rung: int, messages: dict[str, str]) -> dict[str, int]:
    """How far the best of a notebook's servers climbs; nothing if there is none."""
    reached = []
    for name, one in names.items():
        if isinstance(one, type) and one.__module__ == "__main__" and hasattr(one, "sequence"):
            try:
                result = climb(one, rung=rung, backend="process")
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 — until the process ends
    try:
        said = report(Path(sys.argv[1]), int(sys.argv[2]))
    except ConfigError as error:
        said = {"error": str(error)}
    print(json.dumps(said), file=channel, flush=True)
    os._exit(0)  # whatever threads a learner has started
