"""Predictions, exercises and progress, as a page uses them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib.text import Text

from labkit.course import exercises, markup, task
from labkit.course import guess as guesses
from labkit.course import page as course
from labkit.course import predict as predictions
from labkit.course.attempt import timeline
from labkit.course.exercises.values import Moment
from labkit.course.guess import Amount, Choice, Form, Order
from labkit.course.predict import predict
from labkit.course.record import Book
from labkit.course.standing import Standing
from labkit.course.task import Task, exercise, progress
from labkit.errors import ConfigError
from labkit.lab.lab import Lab
from labkit.see.plots import Chart
from labkit.story.event import PredictionEvent

PAGES = [page.path for page in course.pages()]


@pytest.fixture
def lab(zookeeper_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab in which nobody has predicted or solved anything."""
    fresh = Standing(Book())
    monkeypatch.setattr(predictions, "standing", fresh)
    monkeypatch.setattr(task, "standing", fresh)
    return zookeeper_lab


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.strip()


# --- predictions ------------------------------------------------------------------------------


def test_words_lose_their_marks_and_code_keeps_its_own() -> None:
    text = "**Two** to the power of 41 is `2**41`:\n\n```python\nx = 2 ** 41\n```"
    shown = "Two to the power of 41 is `2**41`:\n\nx = 2 ** 41"
    assert repr(markup.Words(text)) == shown


def test_a_prediction_that_is_right(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.guess(4)
    assert p.answer == 4
    p.reveal(4)
    assert told(capsys) == "✓ Right: 4."
    assert p.right is True


def test_a_prediction_that_is_wrong(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.guess(2)
    p.reveal(4)
    assert told(capsys) == "✗ Not so: you said 2, and it is 4."


def test_a_prediction_that_nobody_made(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for p in (predict(lab, "Which number?", [2, 4]), predict(lab, "How many?", number=(0, 9))):
        assert p.answer is None
        p.reveal(4)
        assert told(capsys) == "○ Not predicted. It is 4."
        assert p.right is None


@pytest.mark.parametrize(
    ("typed", "word", "right"),
    [
        ("3", "Right", True),
        ("2,9", "Right", True),
        ("3 s", "Right", True),
        ("2.4", "Close", False),
        ("30", "Not so", False),
        ("", "Not predicted", None),
        ("soon", "Not predicted", None),
        ("inf", "Not predicted", None),
    ],
)
def test_a_number(
    lab: Lab, capsys: pytest.CaptureFixture[str], typed: str, word: str, right: bool | None
) -> None:
    p = predict(lab, "How long?", unit="s")
    p.hear("answer", typed)
    p.reveal(3.0)
    assert told(capsys)[2:].startswith(word)
    assert p.right is right


@pytest.mark.parametrize(
    ("guess", "truth", "word"),
    [
        (0, 0, "Right: 0 items"),
        (1, 0, "Right: you said 1 items"),
        (5, 0, "Close"),
        (20, 0, "Not so"),
    ],
)
def test_a_number_is_held_against_its_range(
    lab: Lab, capsys: pytest.CaptureFixture[str], guess: int, truth: int, word: str
) -> None:
    p = predict(lab, "How many of 50?", number=(0, 50), unit="items")
    p.guess(guess)
    p.reveal(truth)
    assert told(capsys)[2:].startswith(word)


def test_a_number_out_of_its_range_is_no_answer(lab: Lab) -> None:
    p = predict(lab, "How many of 30?", number=(0, 30), unit="items")
    p.hear("answer", "31")
    assert p.answer is None
    assert "asked for: 0 to 30" in p.face()["html"]
    p.hear("answer", "30")
    assert p.answer == 30
    assert "asked for" not in p.face()["html"]
    assert "✓ noted" in p.face()["html"]
    for wrong in (31, "many", None):
        with pytest.raises(ConfigError, match="0 to 30"):
            p.guess(wrong)
    assert p.answer == 30


def test_an_order_is_clicked(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Who is first?", order=["b", "a", "c"])
    b, a, c = "0", "1", "2"
    for button in (a, b, c):
        assert p.answer is None
        p.hear("answer", button)
    assert p.answer == ["a", "b", "c"]
    assert re.findall(r">(\d\. \w)</button>", p.face()["html"]) == ["2. b", "1. a", "3. c"]
    p.hear("answer", b)  # takes b back, and c, which came after it
    assert p.answer is None
    for button in (c, b):
        p.hear("answer", button)
    p.reveal(["a", "b", "c"])
    shown = told(capsys)
    assert shown.startswith("✗ Not so: you said a, then c, then b, and it is a, then b, then c.")
    assert p.face()["html"].count(" disabled>") == 3
    p.hear("answer", a)
    assert p.answer == ["a", "c", "b"]


def test_an_order_that_is_right(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Who is first?", order=["b", "a"])
    with pytest.raises(ConfigError, match="no order"):
        p.guess(["a", "a"])
    p.guess(["a", "b"])
    p.reveal(("a", "b"))
    assert told(capsys).startswith("✓ Right")
    assert p.right is True


@pytest.mark.parametrize("asked", [{"number": (3, 1)}, {"order": ["a"]}, {"order": ["a", "a"]}])
def test_a_question_that_cannot_be_answered(lab: Lab, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        predict(lab, "?", **asked)
    with pytest.raises(ConfigError, match="one thing"):
        predict(lab, "?", [1, 2], **asked)


def test_a_guess_is_drawn_with_the_truth(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(predictions, "display", shown.append)
    number = predict(lab, "How many?", number=(0, 30), unit="items")
    order = predict(lab, "Who?", order=["b", "a"])
    for p, guess, truth in ((number, 7, 13), (order, ["b", "a"], ["a", "b"])):
        p.guess(guess)
        p.reveal(truth)
        picture = shown.pop()
        assert isinstance(picture, Chart)
        words = " ".join(text.get_text() for text in picture.findobj(Text))
        assert "you" in words
        assert "the run" in words
        assert f"You said {p.form.text(guess)}; the run gave {p.form.text(truth)}" in picture.alt
    predict(lab, "And now?", number=(0, 30)).reveal(3)
    assert not isinstance(shown[-1], Chart), "no guess, no picture"


def test_a_guess_is_drawn_into_a_figure_of_the_page(lab: Lab) -> None:
    p = predict(lab, "After how many seconds?", number=(0, 9), unit="s")
    chart = Chart()
    axes = chart.add_subplot(xlim=(10, 20), ylim=(0, 1))
    assert p.mark(chart, "x", since=12) is chart
    assert not axes.lines, "nothing was predicted"
    p.guess(3)
    p.mark(chart, "x", since=12)
    assert list(axes.lines[0].get_xdata()) == [15, 15]
    assert "you: 3 s" in [text.get_text() for text in axes.texts]
    p.mark(chart, "x", since=19)
    assert list(axes.lines[1].get_xdata()) == [20, 20], "kept within the figure, and said"
    assert axes.texts[-1].get_text() == "you: 3 s (outside)"
    assert "you: 3 s." in chart.alt
    p.mark(chart)
    assert axes.get_ylim() == (0, 1)


def test_a_truth_that_is_no_option(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    p = predict(lab, "Which number?", ["2", "4"])
    p.guess("2")
    p.reveal("no answer")
    assert told(capsys) == "✗ Not so: you said 2, and it is no answer."
    p = predict(lab, "After how many seconds?", number=(0, 9), unit="s")
    p.guess(2)
    p.reveal("never")
    assert told(capsys) == "✗ Not so: you said 2 s, and it is never."


def test_a_prediction_is_words_with_a_place_for_what_can_be_used(lab: Lab) -> None:
    for p, words in (
        (predict(lab, "Which number?", [2, 4]), "Predict: Which number?  ○ 2  ○ 4"),
        (predict(lab, "How long?", unit="s"), "Predict: How long?  A number: ____ s"),
        (
            predict(lab, "How many?", number=(0, 9)),
            "Predict: How many?  A number from 0 to 9: ____",
        ),
        (predict(lab, "Who?", order="ba"), "Predict: Who?  Put in order: __ b  __ a"),
    ):
        shown = p._repr_mimebundle_()
        assert f'data-labkit="{p.uid}"' in shown["text/html"]
        assert not any("widget" in kind for kind in shown)  # a viewer would miss its model
        assert shown["text/plain"] == words
        assert f"**Predict:** {p.question}" in shown["text/markdown"]


@pytest.mark.parametrize(
    "form",
    [
        Choice(["at once", "after the timeout"]),
        Amount(),
        Amount(unit="points"),
        Amount((0, 2.5), "s"),
        Order(["c7", "1a", "9f"]),
    ],
    ids=Form.blank,
)
def test_what_is_saved_of_a_question_can_be_asked_again(form: Form) -> None:
    found = guesses.asked(repr(predictions.Prediction("How far, and how?", form)))
    assert found is not None
    question, again = found
    assert question == "How far, and how?"
    assert (type(again), again.blank()) == (type(form), form.blank())
    assert guesses.asked("[1, 2]") is None


def test_a_saved_prediction_says_what_was_guessed_and_then_what_was_true(lab: Lab) -> None:
    p = predict(lab, "Which number?", [2, 4])
    assert "○ 2  ○ 4" in p.saved()
    p.guess(4)
    assert "You said 4." in p.saved()
    assert "<button" not in p.saved()
    p.reveal(2)
    assert "you said 4, and it is 2" in p.saved()
    unanswered = predict(lab, "And this one?", [2, 4])
    unanswered.reveal(2)
    assert unanswered.saved().count("2") == 1  # the answer does not stand at its question


# --- exercises --------------------------------------------------------------------------------


def lowest_free(children: list[str]) -> Any: ...


def test_an_exercise_from_stub_to_solution(lab: Lab) -> None:
    ex = exercise(lab, "lowest-free")
    assert "lowest_free(children)" in repr(ex)
    assert repr(progress()) == "Exercises: 0 passed, 0 failed, 1 not attempted."
    assert repr(ex.check(lowest_free)).startswith("not attempted")
    assert [repr(ex.hint())[:12] for _ in range(4)] == [
        "Hint 1 of 3.",
        "Hint 2 of 3.",
        "Hint 3 of 3.",
        "Hint 1 of 3.",
    ]
    namespace: dict[str, Any] = {}
    exec("def lowest_free(children):\n    return len(children) + 1", namespace)
    assert ex.check(namespace["lowest_free"]).outcome == "failed"
    assert repr(progress()) == "Exercises: 0 passed, 1 failed, 0 not attempted."
    exec(re.search(r"```python\n(.*)\n```", ex.solution().text, re.DOTALL)[1], namespace)  # type: ignore[index]
    assert ex.check(namespace["lowest_free"]).outcome == "passed"
    assert repr(progress()) == "Exercises: 1 passed, 0 failed, 0 not attempted."


def test_progress_counts_predictions(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    repr(exercise(lab, "claim"))
    repr(exercise(lab, "claim"))  # the cell was run twice
    for i in range(3):
        p = predict(lab, f"Question {i}?", [1, 2])
        if i < 2:
            p.guess([1, 2][i])
        p.reveal(1)
    assert repr(progress()) == (
        "Exercises: 0 passed, 0 failed, 1 not attempted. Predictions: 2 of 3 made, 1 right."
    )


def test_a_prediction_is_on_the_timeline(lab: Lab) -> None:
    p = predict(lab, "Which number?", [2, 4])
    p.guess(2)
    p.reveal(4)
    *_, last = (event for event in lab.timeline if isinstance(event, PredictionEvent))
    assert (last.question, last.predicted, last.truth) == ("Which number?", 2, 4)


def test_progress_is_of_the_page_whatever_its_labs(lab: Lab) -> None:
    repr(exercise(lab, "claim"))
    repr(exercise(Lab(nodes=0), "lowest-free"))
    assert repr(progress()) == "Exercises: 0 passed, 0 failed, 2 not attempted."


def test_a_failure_shows_its_moment(lab: Lab) -> None:
    task = Task(lab, exercises.find("claim"))
    verdict = task.check(exercises.find("claim").wrong[1])
    shown = verdict._repr_html_()
    assert "<b>Failed.</b>" in shown
    assert '<ol class="said">' in shown, "the steps that lead to it"
    assert "→   4  your code creates the ephemeral znode /claim/2" in repr(verdict)
    assert [step["step"] for step in verdict.schedule] == [1, 2, 3, 4]


def test_a_failure_of_sums_shows_its_moment(lab: Lab) -> None:
    verdict = Task(lab, exercises.find("whose")).check(exercises.find("whose").wrong[0])
    alt = re.search(
        r'<img src="data:image/png;base64,[^"]+" width="\d+" height="\d+" [^>]*alt="([^"]+)">',
        verdict._repr_html_(),
    )
    assert alt is not None
    assert "(the mistake)" in alt[1]
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
    named = re.findall(r'exercise\(lab, "([^"]+)"\)(?!\.spot)', "\n".join(sources))
    assert named, "every page has an exercise"
    for name in named:
        wanted = exercises.find(name)
        assert wanted.page == page.stem.split("-")[0]
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
