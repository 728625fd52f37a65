"""A class is graded by our own judges, whatever its notebooks contain."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from labkit.course import climbs, exercises, grade
from labkit.course.page import HOME
from labkit.errors import ConfigError
from labkit.servers import registry

pytestmark = pytest.mark.timeout(300)

PAGE = HOME / "01-znodes-and-versions.ipynb"
WANTED = [exercise for exercise in exercises.ALL if exercise.page == "01"]


def hand_in(folder: Path, learner: str, *sources: str) -> Path:
    """A learner's copy of page 01, with these cells at its end."""
    notebook = nbformat.read(PAGE, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(textwrap.dedent(text)) for text in sources]
    path = folder / learner / PAGE.name
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    return path


def as_asked(exercise: exercises.Exercise, body: str) -> str:
    return f"def {exercise.signature}:\n" + textwrap.indent(textwrap.dedent(body), "    ")


@pytest.mark.alone  # looks at all labs of the machine
def test_a_class(tmp_path: Path) -> None:
    everything = [exercise.solution for exercise in WANTED]
    hand_in(tmp_path, "ann", *everything)
    hand_in(tmp_path, "bob", *(as_asked(exercise, "return 'no'") for exercise in WANTED))
    hand_in(tmp_path, "cid")
    (tmp_path / "dan").mkdir()
    (tmp_path / "dan" / PAGE.name).write_text("no notebook at all")
    tampering = """
        import labkit.course.attempt as attempt
        attempt.judge = lambda *_: attempt.Verdict(attempt.Outcome.PASSED, "")
        raise SystemExit
    """
    hand_in(tmp_path, "eve", tampering, *(as_asked(e, "return 'no'") for e in WANTED))
    deletes = """
        import os
        for name in os.listdir("."):
            os.remove(name)
        open("mine", "w").close()
    """
    hand_in(tmp_path, "fay", *everything[1:], as_asked(WANTED[0], deletes))
    hand_in(tmp_path, "gus", *everything[1:], as_asked(WANTED[0], "while True: pass"))
    hand_in(tmp_path, "hal", *everything[1:], as_asked(WANTED[0], "raise RuntimeError('no')"))
    before = set(tmp_path.rglob("*"))
    labs = {lab.lab_id for lab in registry.registered()}
    grades = {g.learner: g.row() for g in grade.grade([tmp_path])}
    counts = {name: (row["passed"], row["failed"]) for name, row in grades.items()}
    n = len(WANTED)
    assert counts == {
        "ann": (n, 0),
        "bob": (0, n),
        "cid": (0, 0),
        "dan": (0, 0),
        "eve": (0, n),
        "fay": (n - 1, 1),
        "gus": (n - 1, 1),
        "hal": (n - 1, 1),
    }
    assert grades["cid"]["not attempted"] == n
    assert set(tmp_path.rglob("*")) == before
    assert {lab.lab_id for lab in registry.registered()} <= labs


def test_a_learners_server_climbs(tmp_path: Path) -> None:
    reference = Path(climbs.__file__).with_name("list_create_retry.py").read_text()
    hand_in(tmp_path, "ann", reference)
    hand_in(tmp_path, "bob", "class Mine:\n    def sequence(self):\n        return missing")
    hand_in(tmp_path, "cid")
    ann, bob, cid = grade.grade([tmp_path], rung=1)
    assert [one.row()["rung"] for one in (ann, bob, cid)] == [1, 0, 0]
    assert "ListCreateRetry stands on rung 1, as far" in ann.messages["ListCreateRetry"]
    assert "Mine" in bob.messages["Mine"]
    with pytest.raises(ConfigError, match="rungs 1 to 12"):
        grade.grade([tmp_path], rung=13)


def test_what_was_predicted_counts(tmp_path: Path) -> None:
    path = hand_in(tmp_path, "ann")
    notebook = nbformat.read(path, as_version=4)
    marks = iter(["✓ Right: 1.", "✗ wrong: you said 2, and it is 1."])
    for cell in notebook.cells:
        if ".reveal(" in cell.source and (text := next(marks, None)):
            data = {"text/plain": text}
            cell.outputs = [nbformat.v4.new_output("display_data", data)]
    nbformat.write(notebook, path)
    (result,) = grade.grade([path])
    assert (result.right, result.predicted) == (1, 2)
    assert result.learner == path.stem


def test_tables(tmp_path: Path) -> None:
    path = hand_in(tmp_path, "ann", WANTED[0].solution)
    command = [sys.executable, "-m", "labkit.cli", "grade", str(tmp_path)]
    said = subprocess.run([*command, "--csv"], capture_output=True, text=True, check=True).stdout
    (row,) = csv.DictReader(io.StringIO(said))
    assert (row["learner"], row["passed"], row[WANTED[0].id]) == ("ann", "1", "passed")
    said = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    (found,) = json.loads(said)
    assert found["exercises"][WANTED[0].id] == "passed"
    assert path.exists()


def test_only_definitions_run() -> None:
    cells = [
        "%matplotlib inline",
        "import os\nSIZE = 3\nos.remove('x')\nprint('hello')",
        "def f():\n    return SIZE",
        "f.__name__ = 'g'\nlab = Lab()\nclass C:\n    pass",
    ]
    program = grade.definitions(cells)
    assert program == "import os\nSIZE = 3\n\ndef f():\n    return SIZE\n\nclass C:\n    pass"


def test_nothing_to_grade(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no notebook to grade"):
        grade.grade([tmp_path])
    with pytest.raises(ConfigError, match="There is no .*nowhere"):
        grade.grade([tmp_path / "nowhere"])
