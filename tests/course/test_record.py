"""What a reader has predicted and solved outlives a page, a kernel, and a broken file."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.cli.commands import labkit
from labkit.course import exercises, record, runner, standing
from labkit.course import page as course
from labkit.course.page import Page
from labkit.course.predict import predict
from labkit.course.record import Book, Outcome, Record
from labkit.course.runner import PageFailed
from labkit.course.standing import Standing
from labkit.lab.lab import Lab

FIRST = standing._course()[0]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the record is kept; it is not there yet, and neither is its directory."""
    named = tmp_path / "state" / "kept.json"
    monkeypatch.setenv(record.VARIABLE, str(named))
    return named


def kernel(told: list[str] | None = None) -> Standing:
    """The page of a new kernel, with an exercise and a question of the course's first page."""
    fresh = Standing(Book([].append if told is None else told.append))
    fresh.show(FIRST.exercises[0])
    fresh.ask(FIRST.questions[0])
    return fresh


def test_a_new_kernel_knows_what_an_earlier_one_did(file: Path) -> None:
    earlier = kernel()
    earlier.solve(FIRST.exercises[0], Outcome.PASSED)
    earlier.predict(FIRST.questions[0], "4", True)
    words = kernel().told()
    assert "**Exercises:** 1 passed, 0 failed, 0 not attempted." in words
    assert "**Predictions:** 1 of 1 made, 1 right." in words
    total = sum(len(part.exercises) for part in standing._course())
    assert f"1 of {total} exercises passed; 1 of " in words
    assert str(file) in words


def test_solved_stays_solved_and_the_first_prediction_counts(file: Path) -> None:
    now = kernel()
    now.solve("claim", Outcome.FAILED)
    now.solve("claim", Outcome.PASSED)
    now.solve("claim", Outcome.FAILED)
    now.predict("How many?", "2", False)
    now.predict("How many?", "3", True)
    kept = Record.from_json(file.read_text())
    assert kept == Record({"claim": Outcome.PASSED}, {"How many?": ("2", False)})


def test_nothing_done_leaves_no_file(file: Path) -> None:
    now = kernel()
    now.solve("claim", Outcome.NOT_ATTEMPTED)
    assert "0 of" in now.told()
    assert not file.parent.exists()


def test_predictions_and_exercises_of_a_page_are_kept(
    file: Path, zookeeper_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    from labkit.course.task import Task

    p = predict(zookeeper_lab, "Kept?", ["yes", "no"])
    p.reveal("yes")  # nobody has answered
    assert not file.exists()
    p.guess("no")
    p.reveal("yes")
    exercise = exercises.find("lowest-free")
    assert Task(zookeeper_lab, exercise).check(exercise.answer).outcome is Outcome.PASSED
    kept = Record.from_json(file.read_text())
    assert kept == Record({"lowest-free": Outcome.PASSED}, {"Kept?": ("no", False)})


_WRITER = """
import sys
from labkit.course.record import Book
book = Book()
for i in range(25):
    book.note(lambda record: record.predict(f"{sys.argv[1]} {i}", "yes", True))
"""


def test_two_kernels_at_once_lose_nothing(file: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, name]) for name in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert len(Record.from_json(file.read_text()).predictions) == 50


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b"7", b'{"outcomes": 3}', b"\xff\xfe", b'{"outcomes": {"claim": "won"}}'],
)
def test_a_broken_file_is_put_aside_and_told_once(file: Path, broken: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(broken)
    told: list[str] = []
    now = kernel(told)
    now.told()
    now.solve("claim", Outcome.PASSED)
    now.told()
    (aside,) = file.parent.glob("kept.broken-*.json")
    assert aside.read_bytes() == broken
    assert len(told) == 1
    assert aside.name in told[0]
    assert Record.from_json(file.read_text()).outcomes == {"claim": Outcome.PASSED}


def test_without_a_place_it_counts_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("this is no directory")
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "state" / "kept.json"))
    told: list[str] = []
    now = kernel(told)
    now.solve(FIRST.exercises[0], Outcome.FAILED)
    now.predict(FIRST.questions[0], "4", True)
    words = now.told()
    assert "0 passed, 1 failed" in words
    assert "1 of 1 made, 1 right" in words
    assert "is not kept" in words
    assert len(told) == 1
    assert record.VARIABLE in told[0]


def test_a_kernel_that_holds_the_file_does_not_hold_up_the_others(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_TIMEOUT", 0.1)
    file.parent.mkdir()
    told: list[str] = []
    with record._lock(file).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel(told).solve("claim", Outcome.PASSED)
    assert "another kernel" in told[0]


def test_a_page_that_runs_headless_leaves_the_file_alone(file: Path, tmp_path: Path) -> None:
    source = (
        "from labkit.course.record import Book, Outcome\n"
        "Book().note(lambda record: record.solve('claim', Outcome.PASSED))"
    )
    path = tmp_path / "01-page.ipynb"
    path.write_text(
        json.dumps(new_notebook(cells=[new_markdown_cell("# Why?"), new_code_cell(source)]))
    )
    ((_, result),) = runner.run([Page.read(path)], "process")
    assert not isinstance(result, PageFailed)
    assert not file.exists()


def test_the_file_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(record.VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ann/state")
    if sys.platform == "linux":
        assert record.place() == Path("/home/ann/state/labkit/progress.json")
    monkeypatch.setenv(record.VARIABLE, "~/mine.json")
    assert record.place() == Path(os.path.expanduser("~/mine.json"))
    monkeypatch.setenv(record.VARIABLE, "")
    assert record.place() is None
    assert Book().where == ""


def test_the_command_line_shows_each_page_and_forgets(file: Path) -> None:
    kernel().solve(FIRST.exercises[0], Outcome.PASSED)
    shown = CliRunner().invoke(labkit, ["progress"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"1 of {len(FIRST.exercises)}" in shown.output
    assert all(page.number in shown.output for page in course.pages())
    assert file.exists()
    gone = CliRunner().invoke(labkit, ["progress", "--reset"])
    assert str(file) in gone.output
    assert list(file.parent.iterdir()) == []
    assert "no " + str(file) in CliRunner().invoke(labkit, ["progress", "--reset"]).output


def test_a_page_without_metadata_counts_by_its_heading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that a teacher has added."""
    path = tmp_path / "18-my-own.ipynb"
    cells = [new_markdown_cell("# Mine"), new_code_cell("1 + 1")]
    own = new_notebook(cells=cells)
    Page(path, own).save(own)
    monkeypatch.setattr(standing, "files", lambda: [path])
    [part] = standing._course.__wrapped__()
    assert part == standing.Part("18 · Mine", (), ())
