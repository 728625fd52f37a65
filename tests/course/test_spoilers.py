"""No answer of a prediction stands above its question; half of the questions are no coins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import nbformat
import pytest
from matplotlib.text import Text
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from spoilers import later_deeds, problems, questions, unmeasured

from labkit.course import page as course
from labkit.course.page import Page
from labkit.see import style
from labkit.see.scene import MIME

COURSE = course.pages()
IMG = Path(__file__).parents[2] / "img"


def _draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", IMG / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def labels() -> dict[str, list[str]]:
    """The texts of each diagram."""
    with mpl.rc_context(style.SETTINGS):
        drawn = {name: draw().figure for name, draw in _draw().DRAWINGS.items()}
    return {
        name: [t.get_text().replace("\n", " ") for t in figure.findobj(Text) if t.get_text()]
        for name, figure in drawn.items()
    }


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_no_answer_stands_above_its_question(page: Page, labels: dict[str, list[str]]) -> None:
    assert problems(page, labels) == []


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_saved_controls_show_nothing_that_a_later_cell_has_done(page: Page) -> None:
    assert list(later_deeds(page)) == []


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_every_reveal_takes_its_truth_from_the_run(page: Page) -> None:
    assert list(unmeasured(page)) == []


def test_half_of_the_questions_ask_for_a_number_or_an_order() -> None:
    kinds = [question.kind for page in COURSE for question in questions(page)]
    assert kinds.count("number") + kinds.count("order") >= len(kinds) / 2


def test_a_question_is_asked_once() -> None:
    texts = [question.text for page in COURSE for question in questions(page)]
    assert sorted(set(texts)) == sorted(texts), "what was predicted is kept by the question's text"


# --- the test itself: each kind of spoiler is planted once ------------------------------------


def page(
    asked: str, truth: str, *above: NotebookNode, tells: str = "zebra", below: str = "A zebra."
) -> Page:
    """A page with one prediction, and what stands above it."""
    shown = new_output("display_data", {"text/plain": f"○ Not predicted. It is {truth}."})
    question = new_code_cell(f"p = predict(lab, {asked})\np")
    question.metadata["labkit"] = {"tells": [tells], "harmless": ["a harmless zebra"]}
    reveal = new_code_cell("p.reveal(truth)", outputs=[shown])
    cells = [*above, question, reveal, new_markdown_cell(below)]
    return Page(Path("07-planted.ipynb"), new_notebook(cells=cells))


OPTIONS = '"After a kill, the znode goes …", ["at once", "after the timeout"]'
NUMBER = '"How many of the 20 requests fail?", number=(0, 20), unit="requests"'
SECONDS = '"How many seconds until it is gone?", number=(0, 9)'
ORDER = '"Who answers first?", order=["node3", "node1", "node2"]'
IN_ORDER = "node1, then node2, then node3"

SPOILERS: dict[str, tuple[str, str, Callable[[str], NotebookNode], str]] = {
    "an option in a sentence": (
        OPTIONS,
        "after the timeout",
        new_markdown_cell,
        "Fine. A killed server stays until its timeout.",
    ),
    "an option in a heading": (OPTIONS, "at once", new_markdown_cell, "## Gone at once"),
    "an option in an alternative text": (
        OPTIONS,
        "after the timeout",
        new_markdown_cell,
        "![Killed, it goes when the time is up, after the timeout](a.svg)",
    ),
    "an option in a diagram": (OPTIONS, "at once", new_markdown_cell, "![A picture](told.svg)"),
    "an option in a comment": (OPTIONS, "at once", new_code_cell, "kill()  # gone at once"),
    "a number, and what is counted": (NUMBER, "3 requests", new_markdown_cell, "Three requests."),
    "a number in a list": (NUMBER, "3 requests", new_markdown_cell, "- So 3 failed requests."),
    "a number of seconds": (SECONDS, "3.1", new_markdown_cell, "It takes about 3 seconds."),
    "a large number": (NUMBER, "210", new_markdown_cell, "20 + 19 + … + 1 = 210 creates"),
    "an order": (ORDER, IN_ORDER, new_markdown_cell, "node1, node2, node3 answer."),
    "what the page itself names": (OPTIONS, "at once", new_markdown_cell, "It is a zebra."),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoiler_is_found(name: str) -> None:
    asked, truth, cell, text = SPOILERS[name]
    labels = {"told": ["the picture", "gone at once"]}
    (found,) = problems(page(asked, truth, cell(text)), labels)
    assert "is told by the" in found


@pytest.mark.parametrize(
    ("asked", "truth", "text"),
    [
        (OPTIONS, "at once", "At once, or after the timeout?"),
        (OPTIONS, "at once", "The znode goes."),
        (NUMBER, "3 requests", "Three servers run, node3 is one; of 20 requests none is slow."),
        (SECONDS, "3.1", "The session timeout is 2 seconds."),
        (ORDER, IN_ORDER, "node3 and node1 run, and node2 waits."),
        (OPTIONS, "at once", "This is a harmless zebra."),
    ],
)
def test_what_tells_nothing_is_let_pass(asked: str, truth: str, text: str) -> None:
    assert problems(page(asked, truth, new_markdown_cell(text)), {}) == []


def test_a_page_has_to_name_what_tells_and_then_to_tell_it() -> None:
    silent = page(OPTIONS, "at once", below="Nothing.")
    assert "nothing below tells 'zebra'" in problems(silent, {})[0]
    unnamed = page(OPTIONS, "at once")
    del unnamed.notebook.cells[0].metadata["labkit"]
    assert "labkit.tells" in problems(unnamed, {})[0]


def test_an_order_is_shuffled_and_every_question_is_revealed() -> None:
    listed = page(ORDER, "node3, then node1, then node2")
    assert "in the order that is right" in problems(listed, {})[0]
    unrevealed = page(OPTIONS, "at once")
    del unrevealed.notebook.cells[1]
    assert "no reveal follows" in problems(unrevealed, {})[0]


def test_questions_are_read_from_the_code() -> None:
    kinds: dict[str, Any] = {
        question.text: (question.kind, question.items, question.unit)
        for asked in (OPTIONS, NUMBER, SECONDS, ORDER)
        for question in questions(page(asked, "?"))
    }
    assert list(kinds.values()) == [
        ("options", ("at once", "after the timeout"), ""),
        ("number", (), "requests"),
        ("number", (), ""),
        ("order", ("node3", "node1", "node2"), ""),
    ]
    read = nbformat.from_dict(page(OPTIONS, "?").notebook)
    assert next(questions(Page(Path("x"), read))).tells == ("zebra",)


# --- what saved controls show, and where a truth comes from -----------------------------------


def drawn(
    source: str, until: float, *marks: tuple[float, str], controls: bool = False
) -> NotebookNode:
    """A cell with a saved picture of one node."""
    lanes = [{"name": "node1", "marks": [list(mark) for mark in marks]}]
    shown = new_output("display_data", {MIME: {"until": until, "lanes": lanes}})
    tagged = {"tags": ["controls"]} if controls else {}
    return new_code_cell(source, outputs=[shown], metadata=tagged)


def with_controls(*marks: tuple[float, str], until: float = 3.0, above: str = "") -> Page:
    cells = [
        new_code_cell(f"lab = Lab.only(nodes=1)\n{above}"),
        drawn("controls(lab)", until, *marks, controls=True),
        new_code_cell("lab.node(1).kill()"),
        drawn("assignment(lab.history())", 5.0, (4.0, "kill")),
    ]
    return Page(Path("07-planted.ipynb"), new_notebook(cells=cells))


def test_controls_that_show_a_later_kill_are_found() -> None:
    late = list(later_deeds(with_controls((4.0, "kill"), until=5.0)))
    assert len(late) == 2
    assert "saved at 5.0 s" in late[0]
    assert "no cell above has done: kill" in late[1]


def test_controls_as_they_were_at_their_cell_are_let_pass() -> None:
    assert list(later_deeds(with_controls())) == []
    killed = with_controls((2.0, "kill"), (2.5, "session ends"), above="lab.node(1).kill()")
    assert list(later_deeds(killed)) == []


@pytest.mark.parametrize(
    ("above", "reveal", "ok"),
    [
        ("", "p.reveal(4)", False),
        ("four = 2 + 2", "p.reveal(four)", False),
        ("voters = lab.zk.get('/config').count('voter')", "p.reveal(voters // 2 + 1)", False),
        ("numbers = [node.sequence() for node in lab.nodes]", "p.reveal(len(set(numbers)))", True),
        ("def ask():\n    return lab.node(1).sequence()", "p.reveal(ask())", True),
        ("seen = []\nlab.zk.get('/light', watch=seen.append)", "p.reveal(len(seen))", True),
        ("", "try:\n    lab.zk.set()\n    p.reveal('yes')\nexcept E:\n    p.reveal('no')", True),
    ],
)
def test_a_truth_comes_from_the_run(above: str, reveal: str, ok: bool) -> None:
    set_up = "from labkit import Lab\nlab = Lab.only()"
    cells = [new_code_cell(source) for source in (set_up, above, reveal)]
    found = list(unmeasured(Page(Path("07-planted.ipynb"), new_notebook(cells=cells))))
    assert (found == []) is ok
