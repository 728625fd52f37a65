"""Predictions, exercises and progress, as a page uses them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import course, exercises, teach
from labkit.exercises.arena import Moment
from labkit.lab import Lab
from labkit.teach import Prediction, Task, exercise, predict, progress, timeline

PAGES = [page.path for page in course.pages()]


@pytest.fixture
def lab(zookeeper_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab in which nobody has predicted or solved anything."""
    monkeypatch.setattr(teach, "_ledger", teach._Ledger())
    return zookeeper_lab


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip()


# --- predictions ------------------------------------------------------------------------------


def test_words_lose_their_marks_and_code_keeps_its_own() -> None:
    text = "**Two** to the power of 41 is `2**41`:\n\n```python\nx = 2 ** 41\n```"
    shown = "Two to the power of 41 is `2**41`:\n\nx = 2 ** 41"
    assert repr(teach.Words(text)) == shown


def test_a_prediction_that_is_right(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.choice.index = 1
    assert p.answer == 4
    p.reveal(4)
    assert told(capsys) == "✓ Right: 4."
    assert p.right is True


def test_a_prediction_that_is_wrong(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.choice.index = 0
    p.reveal(4)
    assert told(capsys) == "✗ You said 2, and it is 4."


def test_a_prediction_that_nobody_made(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", [2, 4])
    assert p.answer is None
    p.reveal(4)
    assert told(capsys) == "○ Not predicted. It is 4."
    assert p.right is None


@pytest.mark.parametrize(
    ("typed", "word", "right"),
    [("3", "Right", True), ("2,9", "Right", True), ("2.4", "Close", False),
     ("30", "Not so", False), ("", "Not predicted", None), ("soon", "Not predicted", None)],
)  # fmt: skip
def test_a_number(
    lab: Lab, capsys: pytest.CaptureFixture[str], typed: str, word: str, right: bool | None
) -> None:
    p = predict(lab, "How many seconds?")
    p.choice.value = typed
    p.reveal(3.0)
    assert told(capsys)[2:].startswith(word)
    assert p.right is right


def test_a_truth_that_is_no_option(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", ["2", "4"])
    p.choice.index = 0
    p.reveal("no answer")
    assert told(capsys) == "✗ You said 2, and it is no answer."


def test_a_prediction_is_buttons_and_words() -> None:
    shown = Prediction("Which number?", [2, 4])._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/plain"] == "Predict: Which number?  ○ 2  ○ 4"
    assert "**Predict:** Which number?" in shown["text/markdown"]
    assert "____" in repr(Prediction("How long?"))


# --- exercises --------------------------------------------------------------------------------


def lowest_free(children: list[str]) -> Any: ...


def test_an_exercise_from_stub_to_solution(lab: Lab) -> None:
    ex = exercise(lab, "lowest-free")
    assert "lowest_free(children)" in repr(ex)
    assert repr(progress()) == "Exercises: 0 passed, 0 failed, 1 not attempted."
    assert repr(ex.check(lowest_free)).startswith("not attempted")
    assert [repr(ex.hint())[:12] for _ in range(4)] == [
        "Hint 1 of 3.", "Hint 2 of 3.", "Hint 3 of 3.", "Hint 1 of 3.",
    ]  # fmt: skip
    namespace: dict[str, Any] = {}
    exec("def lowest_free(children):\n    return len(children) + 1", namespace)
    assert ex.check(namespace["lowest_free"]).outcome == "failed"
    assert repr(progress()) == "Exercises: 0 passed, 1 failed, 0 not attempted."
    exec(re.search(r"```python\n(.*)\n```", ex.solution().text, re.DOTALL)[1], namespace)  # type: ignore[index]
    assert ex.check(namespace["lowest_free"]).outcome == "passed"
    assert repr(progress()) == "Exercises: 1 passed, 0 failed, 0 not attempted."


def test_progress_counts_predictions(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    exercise(lab, "claim")
    exercise(lab, "claim")  # the cell was run twice
    for i in range(3):
        p = predict(lab, f"Question {i}?", [1, 2])
        p.choice.index = {0: 0, 1: 1, 2: None}[i]
        p.reveal(1)
    assert repr(progress()) == (
        "Exercises: 0 passed, 0 failed, 1 not attempted. Predictions: 2 of 3 made, 1 right."
    )


def test_a_prediction_is_on_the_timeline(lab: Lab) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.choice.index = 0
    p.reveal(4)
    *_, last = (event for event in lab.timeline if event.kind == "prediction")
    assert last.data == {"question": "Which number?", "predicted": 2, "truth": 4}


def test_progress_is_of_the_page_whatever_its_labs(lab: Lab) -> None:
    exercise(lab, "claim")
    exercise(Lab(nodes=0), "lowest-free")
    assert repr(progress()) == "Exercises: 0 passed, 0 failed, 2 not attempted."


def test_a_failure_shows_its_moment(lab: Lab) -> None:
    task = Task(lab, exercises.find("claim"))
    verdict = task.check(exercises.find("claim").wrong[1])
    shown = verdict._repr_html_()
    assert "<b>Failed.</b>" in shown
    alt = re.search(r'<img src="data:image/png;base64,[^"]+" width="\d+" alt="([^"]+)">', shown)
    assert alt is not None
    assert "(the mistake)" in alt[1]
    assert "create 3 → NodeExists" in repr(verdict)
    assert verdict.chart is not None
    assert len(verdict.chart.png()) > 5000


def test_a_pass_shows_no_picture(lab: Lab) -> None:
    exercise = exercises.find("claim")
    verdict = Task(lab, exercise).check(exercise.answer)
    assert verdict.chart is None
    assert "<img" not in verdict._repr_html_()


def test_code_in_a_verdict_is_no_markup(lab: Lab) -> None:
    namespace: dict[str, Any] = {}
    exec("def lowest_free(children):\n    return '<b>**x**'", namespace)
    verdict = exercise(lab, "lowest-free").check(namespace["lowest_free"])
    assert "<b>**x" not in verdict._repr_html_()
    assert "&lt;b&gt;" in verdict._repr_html_()


def test_a_long_run_is_shown_by_its_end(lab: Lab) -> None:
    moments = [Moment(i / 1000, "your code", f"call {i} " + "x" * 300) for i in range(500)]
    chart = timeline(moments)
    assert chart.get_size_inches()[1] < 8
    assert "call 499" in chart.alt
    assert "call 1 " not in chart.alt


# --- the pages use them -----------------------------------------------------------------------


def _code(page: Path) -> list[str]:
    notebook = nbformat.read(page, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_exercises_and_their_stubs(page: Path) -> None:
    sources = _code(page)
    named = re.findall(r'exercise\(lab, "([^"]+)"\)', "\n".join(sources))
    assert named, "every page has an exercise"
    for name in named:
        wanted = exercises.find(name)
        assert wanted.page == page.stem[:2]
        stubs = [s for s in sources if s.startswith(wanted.stub + "\n")]
        assert len(stubs) == 1, f"{name}: {wanted.stub}"
        last = ast.parse(stubs[0]).body[-1]
        assert ast.unparse(last).endswith(f".check({wanted.name})")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_as_saved_has_nothing_attempted(page: Path) -> None:
    notebook = nbformat.read(page, as_version=4)
    shown = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code" and ".check(" in cell.source and "def " in cell.source
        for output in cell.outputs
        if "data" in output
    ]
    assert shown
    assert all(text.startswith("not attempted") for text in shown)
