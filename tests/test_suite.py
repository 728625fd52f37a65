"""The tests' own manners, and how the code is laid out."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ["tests/test_tour.py", "tests/servers/test_image.py"]  # all of their tests need an engine


def _without_an_engine(**environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={
            **os.environ,
            "DOCKER_HOST": "unix:///nowhere",
            "LABKIT_REQUIRE_DOCKER": "",
            **environ,
        },
    )
    return done.stdout


def test_without_an_engine_one_line_says_so() -> None:
    said = [line for line in _without_an_engine().splitlines() if line.startswith("SKIPPED")]
    assert len(said) == 1
    assert "No Docker engine answers" in said[0]


def test_where_an_engine_is_required_its_absence_fails() -> None:
    said = _without_an_engine(LABKIT_REQUIRE_DOCKER="1")
    assert "No Docker engine answers" in said
    assert " error" in said.splitlines()[-1]
    assert "skipped" not in said.splitlines()[-1]


def test_side_by_side_the_tests_of_a_file_stay_in_one_worker() -> None:
    options = ["-n", "2", "--dist", "loadgroup", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/servers/test_base.py"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
    )
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert len(passed) > 10
    assert len({line.split()[0] for line in passed}) == 1
    assert all("@test_base" in line for line in passed)


def test_the_files_that_are_treated_otherwise_are_there(pytestconfig: pytest.Config) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    there = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert there >= conftest.SLOW | conftest.LONG | conftest.SPREAD


ROOMS = {"cli", "course", "explore", "judge", "lab", "node", "see", "servers", "story"}
AT_THE_TOP = {"charts", "doctor", "errors", "files", "fire", "lazy", "progressbar", "tour"}


def _modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > 10 * len(folders)
    return found


def test_labkit_is_its_rooms_and_a_few_modules() -> None:
    """A new thing belongs in a room: docs/CONTRIBUTING.md says in which."""
    shown = {path.name for path in (ROOT / "labkit").iterdir() if path.name[0] not in "._"}
    assert shown == ROOMS | {f"{name}.py" for name in AT_THE_TOP} | {"py.typed", "requirements.txt"}


#: Names that two modules, or a module and a package, may have, each with its reason.
SHARED_NAMES = {
    "backend": "one protocol, two backends",
    "client": "kazoo's client as seen by an exercise, and by a search",
    "lab": "the room, and its class",
    "links": "the forwarder, and a reader's verbs for it",
    "node": "the server, and a reader's handle of it",
    "recipes": "the trials, and the page on them",
    "zookeeper": "how it is set up, and a reader's handle of it",
}


def test_a_modules_name_is_its_own() -> None:
    """So a name leads to one file."""
    names = Counter(
        path.parent.name if path.stem == "__init__" else path.stem for path in _modules("labkit")
    )
    assert {name for name, count in names.items() if count > 1} - {"__main__"} == {*SHARED_NAMES}


def test_the_words_of_every_room_mean_one_class_each() -> None:
    names = Counter(
        part.name.lstrip("_")
        for path in _modules("labkit", "benchmarks")
        for part in ast.walk(ast.parse(path.read_text()))
        if isinstance(part, ast.ClassDef)
    )
    assert [names[word] for word in ("Finding", "Machine", "Place", "Server")] == [1] * 4


#: Modules that may be longer than 520 lines, up to so many, each with its reason.
LONG_MODULES = {
    "labkit/explore/world.py": 560,  # all that may happen next, and what does: one table of kinds
    "labkit/see/drawing.py": 600,  # the one drawing of a run, a lane's parts one after the other
    "labkit/story/run.py": 620,  # the one reading: what each room asks is named in one place
}


def test_no_module_is_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in _modules("labkit", "benchmarks")
    }
    assert not {path: n for path, n in lines.items() if n > LONG_MODULES.get(path, 520)}
    assert all(lines[path] > 520 for path in LONG_MODULES)  # who is short again needs no leave


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{part.lineno} {part.name}"
        for path in _modules("labkit", "benchmarks", "tests")
        for part in ast.walk(ast.parse(path.read_text()))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        and (part.end_lineno or 0) - part.lineno >= 60
    ]
    assert not long


def test_few_checks_are_switched_off() -> None:
    """Each with its reason; and none of the formatter's, none for a whole module."""
    code = "\n".join(path.read_text() for path in _modules("labkit", "benchmarks"))
    assert code.count("# type: ignore") <= 5
    assert code.count("noqa: SLF001 — ") == code.count("SLF001") <= 3
    assert not re.findall("# fmt: (?:skip|off)|disable-error-code", code)


def test_a_room_says_which_question_it_answers() -> None:
    """Its first line asks it, and docs/architecture.md has the same table, the highest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    order = [room for layer in layers for room in layer.replace("labkit.", "").split(" : ")]
    first = {room: (ROOT / "labkit" / room / "__init__.py").read_text() for room in ROOMS}
    asked = {room: text.lstrip('"').partition("?")[0] + "?" for room, text in first.items()}
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| (.+?) \|", page, re.MULTILINE)
    rooms = sorted(ROOMS - {"cli"}, key=order.index)
    assert rows == [(room, asked[room]) for room in rooms]
    assert page.count("\n") <= 150
