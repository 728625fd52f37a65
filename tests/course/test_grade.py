"""A class is graded by our own judges, whatever its notebooks contain."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from labkit.course import climbs, exercises, grade, handed_in
from labkit.course.page import HOME, Page
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
    (tmp_path / "ian").mkdir()
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
    given = grade.grade([tmp_path])
    grades = {g.learner: g.row() for g in given}
    assert {g.learner: [*g.unread] for g in given if g.unread} == {
        "dan": [PAGE.name],
        "ian": ["ian"],
    }
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
        "ian": (0, 0),
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


# What people write in notebooks, and what has to come of `answer` and `answer()`.
WAYS = {
    "cell magic": "%%time\ndef answer():\n    return 42",
    "quiet cell magic": "%%capture said\ndef answer():\n    return 42",
    "line magic": "%load_ext autoreload\n%autoreload 2\n%matplotlib inline\nanswer = lambda: 42",
    "shell": "!true\nfound = !echo 42\ndef answer():\n    return int(found[0])",
    "help": "def answer():\n    return 42\nanswer?",
    "pair": "SIX, SEVEN = 6, 7\ndef answer():\n    return SIX * SEVEN",
    "sum": "N = 6 * 7\ndef answer():\n    return N",
    "annotated": "N: int = 42\ndef answer():\n    return N",
    "grown": "N = 40\nN += 2\ndef answer():\n    return N",
    "object": "import threading\nlock = threading.Lock()\nanswer = lambda: lock.acquire() * 42",
    "try": "try:\n    import nowhere\nexcept ImportError:\n    N = 42\nanswer = lambda: N",
    "loop": "table = {}\nfor n in range(43):\n    table[n] = n\nanswer = lambda: table[42]",
    "if": "if True:\n    def answer():\n        return 42",
    "wrapped": "from functools import cache\none = cache(lambda: 42)\nanswer = lambda: one()",
    "await": "import asyncio\nN = await asyncio.sleep(0, 42)\ndef answer():\n    return N",
    "file": "%%writefile helper.py\nN = 42\n---\nfrom helper import N\ndef answer():\n    return N",
    "changed": "def answer():\n    return 1\n---\ndef answer():\n    return 42",
    "a lab": "lab = Lab.only(4)\nlab.node(1).sequence()\nlab.close()\ndef answer():\n    return 42",
    "a mistake": "missing\n1 / 0\ndef answer():\n    return 42",
    "an end": "raise SystemExit\n---\nexit()\n---\ndef answer():\n    return 42",
    "a check": "ex = exercise(lab, 'x')\ndef answer():\n    return 42\nex.check(answer)",
    "shown": "def answer():\n    display('working')\n    get_ipython()\n    return 42",
    "exchanged": "import labkit.course.task as task\ntask.judge = 1\ntask.Verdict.x = 1\n"
    "def answer():\n    return 42 if hasattr(task.judge, '__code__') else 0",
}
RUN = """
import json, sys
from pathlib import Path
from nbformat.v4 import new_code_cell, new_notebook
from labkit.course import handed_in
from labkit.course.page import Page
ways = json.loads(sys.stdin.read())
sys.stdin = open("/dev/null")
found = {}
for name, source in ways.items():
    cells = [new_code_cell(text) for text in source.split("\\n---\\n")]
    page = Page(Path("00-x.ipynb"), new_notebook(cells=cells))
    ran = handed_in.run_cells(page)
    found[name] = ran.names["answer"]()
    ran.names.pop("answer")
print("\\n" + json.dumps(found))
"""


def test_cells_run_as_on_the_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps({name: "from labkit import *\n---\n" + way for name, way in WAYS.items()}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(tmp_path)},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(WAYS, 42)


NOTHING = """
from labkit.course import handed_in
handed_in._stand_ins()
from labkit.charts import quorum
from labkit.course.staged import on_machines
from labkit.fire import Unavailable, chaos, explore, ladder, under_fire
for call in (chaos, explore, ladder, under_fire, quorum, on_machines):
    call("nothing is started")
assert issubclass(Unavailable, Exception)
"""


def test_what_pages_call_does_nothing_where_they_are_graded() -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def page_bytes() -> bytes:
    return PAGE.read_bytes()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"\0" * 4096, "it is empty"),
        (b"PK\x03\x04\xff\xfe", "is no UTF-"),
        (b"<html>404</html>", "it is no JSON"),
        (b'{"cells": [\n<<<<<<< HEAD\n', "marks of a merge conflict, line 2"),
        (b'{"cells": [', "it is no JSON"),
        (b"[]", "it is no notebook"),
        (b"3", "it is no notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}', "it is no notebook"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_others_are_graded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, why: str
) -> None:
    for who, content in (("ann", page_bytes()), ("bob", data)):
        (tmp_path / who).mkdir()
        (tmp_path / who / "01.ipynb").write_bytes(content)
    judged = []

    def started(command: list[str], **_: object) -> None:
        judged.append(command)
        raise ValueError("as far as this test goes")

    monkeypatch.setattr(grade.subprocess, "Popen", started)
    with pytest.raises(ValueError, match="as far as"):
        grade.grade([tmp_path / "ann"])
    (bob,) = grade.grade([tmp_path / "bob"])
    assert len(judged) == 1
    assert why in bob.unread["01.ipynb"]
    assert why in json.loads(grade.as_json([bob]))[0]["why"]["01.ipynb"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_notebook_is_read_in_every_encoding_of_json(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / PAGE.name
    path.write_bytes(page_bytes().decode().encode(encoding))
    assert Page.read(path).notebook == Page.read(PAGE).notebook


@pytest.mark.parametrize(
    "name",
    ["01-ZNODES-AND-VERSIONS.IPYNB", "Bob_1_file_01-znodes-and-versions (1).ipynb", "x.ipynb"],
)
def test_a_renamed_notebook_is_known(tmp_path: Path, name: str) -> None:
    """By its file's name, its metadata or the exercises that it shows."""
    notebook = nbformat.read(PAGE, as_version=4)
    del notebook.metadata["labkit"]
    nbformat.write(notebook, tmp_path / "x")
    path = tmp_path / name
    (tmp_path / "x").rename(path)
    assert handed_in.wanted(Page.read(path)) == WANTED
    assert [one.path for one in grade._learners([tmp_path])] == [path]


def test_a_learner_works_on_a_copy(tmp_path: Path) -> None:
    path = hand_in(tmp_path, "ann")
    (path.parent / "helper.py").write_text("N = 1")
    (path.parent / "away").symlink_to(tmp_path)
    [one] = grade._learners([tmp_path])
    (tmp_path / "scratch").mkdir()
    copy = grade._copied(one, tmp_path / "scratch")
    assert sorted(p.name for p in copy.parent.iterdir()) == [PAGE.name, "helper.py"]


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_graded(tmp_path: Path) -> None:
    hand_in(tmp_path, "ann", *(e.solution for e in WANTED))
    for name in ("bob", "cid", "dan", "eve"):
        hand_in(tmp_path, name, "import os, time\nopen('here', 'w').close()\ntime.sleep(60)")
    (tmp_path / "ann").rename(tmp_path / "aaa")
    command = [sys.executable, "-m", "labkit.cli", "grade", str(tmp_path), "--jobs", "1", "--csv"]
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as said, err.open("w") as told:
        process = psutil.Popen(command, stdout=said, stderr=told)

    def children() -> set[int]:
        found = process.children()
        return {c.pid for c in found if "handed_in" in " ".join(_cmdline(c))}

    seen: set[int] = set()
    while len(seen) < 2:  # the first has been graded
        assert process.poll() is None
        seen |= children()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert time.monotonic() - began < 10  # on a machine that does other things; two, if it does not
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    assert (row["learner"], row["passed"]) == ("aaa", str(len(WANTED)))
    assert "4 more were not graded" in err.read_text()
    assert not [pid for pid in seen if psutil.pid_exists(pid)]


def test_nothing_to_grade(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no notebook to grade"):
        grade.grade([tmp_path])
    with pytest.raises(ConfigError, match="There is no .*nowhere"):
        grade.grade([tmp_path / "nowhere"])


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return []
