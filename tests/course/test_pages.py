"""The pages as they are saved: whole, fresh, and within the rules of thumb. Nothing runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from labkit.course import cells, exercises, lint
from labkit.course import page as course
from labkit.course.page import PATHS, Page, calls, exercise_calls, minutes
from labkit.errors import ConfigError
from labkit.see.scene import MIME

SAMPLES = Path(__file__).parent / "export" / "pages"
COURSE = course.pages()
FOUR = next(page for page in COURSE if page.number == "04")


def test_the_course_is_complete() -> None:
    whole = [page.number for page in COURSE if page.number.isdecimal()]
    assert whole == [f"{number:02}" for number in range(len(whole))]
    assert len(whole) >= 14


def test_a_page_with_a_letter_stands_behind_its_number(tmp_path: Path) -> None:
    for name in ("03b-told.ipynb", "04-next.ipynb", "03-watches.ipynb", "notes-03.ipynb"):
        (tmp_path / name).write_text(nbformat.writes(nbformat.v4.new_notebook()))
    assert [page.number for page in course.pages(tmp_path)] == ["03", "03b", "04"]


@pytest.mark.parametrize("name", ["04", "4", "04-the-sequence-node", "04-the-sequence-node.ipynb"])
def test_a_page_is_found_by_its_number_or_name(name: str) -> None:
    assert course.find(name) == FOUR.path
    with pytest.raises(ConfigError, match=f"no page {name}b"):
        course.find(f"{name}b")


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_a_page_keeps_the_rules(page: Page) -> None:
    assert [str(problem) for problem in lint.check(page, COURSE)] == []


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_a_page_builds_on_pages_before_it(page: Page) -> None:
    before = [other.number for other in COURSE[: COURSE.index(page)]]
    assert set(page.needs) <= set(before)


def test_the_paths_fit_into_their_time() -> None:
    known = {page.number: page for page in COURSE}
    hour, afternoon = PATHS.values()
    assert set(hour) < set(afternoon) < set(known)
    assert minutes(COURSE, "one hour") <= 60
    assert minutes(COURSE, "an afternoon") <= 240
    for number in afternoon:  # nothing is taken for known that is not on the way
        assert set(known[number].needs) < set(afternoon)


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_saved_exercises_are_not_attempted(page: Page) -> None:
    verdicts = [
        output.data["text/plain"].split(":")[0]
        for cell in page.code
        if calls(cell, "ex.check")
        for output in cell.outputs
    ]
    assert set(verdicts) == {"not attempted"}


def test_every_exercise_is_on_its_page() -> None:
    shown = {
        (page.number, call.args[1].value)  # type: ignore[attr-defined]  # a constant
        for page in COURSE
        for cell in page.code
        for call in exercise_calls(cell)
    }
    assert shown <= {(exercise.page, exercise.id) for exercise in exercises.ALL}
    assert len(shown) >= 24


# --- the rules themselves: each is broken once ------------------------------------------------

Breaker = Callable[[NotebookNode], object]


def cell(tag: str) -> Callable[[NotebookNode], NotebookNode]:
    """The first code cell, the first text cell, or the one with a tag."""

    def find(notebook: NotebookNode) -> NotebookNode:
        return next(
            c for c in notebook.cells if tag == c.cell_type or tag in c.metadata.get("tags", [])
        )

    return find


def says(text: str) -> Breaker:
    """Put a text cell with this source before the last cell."""
    return lambda notebook: notebook.cells.insert(-1, new_markdown_cell(text))


def shows(kind: str, data: str, **metadata: dict[str, str]) -> Breaker:
    """Let the first code cell show this."""
    output = new_output("display_data", {kind: data}, metadata=metadata)
    return lambda notebook: cell("code")(notebook).outputs.append(output)


def code(source: str, count: int = 1) -> Breaker:
    """Put code cells with this source before the last cell."""
    return lambda notebook: [notebook.cells.insert(-1, new_code_cell(source)) for _ in range(count)]


def pictured(forbidden: str, *lanes: dict[str, Any], down: tuple[float, float] = (9, 9)) -> Breaker:
    """Let the first code cell show a picture with these lanes, and forbid something in it."""

    def paint(notebook: NotebookNode) -> None:
        shows("image/png", "AAAA", **{"image/png": {"alt": "A picture."}})(notebook)
        cell("code")(notebook).outputs[-1].data[MIME] = {"lanes": lanes, "down": [down]}
        cell("code")(notebook).metadata.update(labkit={"forbids": [forbidden]})

    return paint


def lane(name: str, *bars: tuple[float, float, str], **marks: float) -> dict[str, Any]:
    """A lane of a picture's data: bars from, to and by whose word; verbs and when."""
    return {
        "name": name,
        "modes": [],
        "bars": [[start, end, 1, word, None] for start, end, word in bars],
        "marks": [[t, verb] for verb, t in marks.items()],
    }


BREAKERS: dict[str, Breaker] = {
    "metadata lack needs": lambda nb: nb.metadata.labkit.pop("needs"),
    "it says that it is page 07": lambda nb: nb.metadata.labkit.update(number="07"),
    "title is no question": lambda nb: nb.cells[0].update(source="# An answer"),
    "no cell tagged nav": lambda nb: nb.cells.pop(),
    "text cells to a code cell": lambda nb: [says("More.")(nb) for _ in range(9)],
    "longer than 6 lines": lambda nb: [
        c.update(source="1\n" * 6) for c in nb.cells if c.cell_type == "code"
    ],
    "has 16 lines; 15 is the limit": code("pass\n" * 16),
    "takes 2": shows("image/png", "A" * 2_000_000),
    "has a $": says("It costs $5 or $6."),
    "is empty": code(""),
    "it should wait for a condition": code("time.sleep(1)"),
    "begins 4 code cells in a row": code("1", 3),
    "sets up in more than 6 lines": lambda nb: cell("code")(nb).update(source="1\n" * 7),
    "words; 120 is the limit": lambda nb: nb.cells.insert(3, new_markdown_cell("word " * 121)),
    "the link nowhere.ipynb leads nowhere": says("[there](nowhere.ipynb)"),
    "the link 02-break-it.ipynb#No-such leads to no heading": says(
        "[x](02-break-it.ipynb#No-such)"
    ),
    "the link https:// leads nowhere": says("[x](https://)"),
    "the picture pictures/two.png has no alternative text": says("![ ](pictures/two.png)"),
    "the link gone.png leads nowhere": says("![A picture](gone.png)"),
    "has a picture in HTML": says('<img src="pictures/two.png">'),
    "exactly one heading of the first level": says("# Another?"),
    "its heading skips a level": says("#### Deep"),
    "ended with ValueError: no": lambda nb: cell("code")(nb).outputs.append(
        new_output("error", ename="ValueError", evalue="no", traceback=[])
    ),
    "wrote to the error output": lambda nb: cell("code")(nb).outputs.append(
        new_output("stream", name="stderr", text="DeprecationWarning")
    ),
    "shows a picture without alternative text": shows("image/png", "AAAA"),
    "of the machine it ran on: '/home/u'": shows("text/plain", "File /home/user/page.py"),
    "of the machine it ran on: ' at 0x7f0c1a2b>'": shows("text/plain", "<object at 0x7f0c1a2b>"),
    "its outputs are not of one clean run": lambda nb: cell("code")(nb).update(execution_count=9),
    "its outputs are of another source": lambda nb: cell("code")(nb).update(source="other"),
    "the picture shows an answer while ZooKeeper is down: node1, 1.0 to 4.5 s": pictured(
        "an answer while ZooKeeper is down",
        lane("node1", (1.0, 4.5, "both"), (4.5, 5.0, "zookeeper")),
        lane("node2", (1.0, 3.2, "both"), (3.2, 5.0, "zookeeper")),
        down=(3.0, 4.9),
    ),
    "the picture shows silence without a fault: node2, 2.0 to 3.0 s": pictured(
        "silence without a fault",
        lane("node1", (1.0, 2.0, "both"), (2.0, 3.0, "zookeeper"), kill=2.0),
        lane("node2", (1.0, 2.0, "both"), (2.0, 3.0, "zookeeper"), start=0.9),
    ),
    "the picture shows an answer that is not held: node1, 2.0 to 3.0 s": pictured(
        "an answer that is not held",
        lane("node1", (1.0, 2.0, "both"), (2.0, 3.0, "node")),
        lane("node2"),
    ),
    "the picture shows no node": pictured("silence without a fault"),
    "the picture forbids 'rain', which nobody checks": pictured("rain", lane("node1")),
    "the picture was saved without its data": lambda nb: (
        pictured("silence without a fault", lane("node1"))(nb),
        cell("code")(nb).outputs[-1].data.pop(MIME),
    ),
    "forbids something in a picture, and shows none": lambda nb: cell("code")(nb).metadata.update(
        labkit={"forbids": ["silence without a fault"]}
    ),
    "is out of date": lambda nb: cell("card")(nb).update(source="> 99 minutes"),
}


@pytest.mark.parametrize("complaint", BREAKERS)
def test_a_broken_rule_is_noticed(complaint: str, tmp_path: Path) -> None:
    page = broken(SAMPLES / "01-who-gets-it.ipynb", BREAKERS[complaint], tmp_path)
    found = [str(problem) for problem in lint.check(page, cells.course_of(page))]
    assert any(complaint in problem for problem in found), found


def test_controls_without_a_figure_are_noticed(tmp_path: Path) -> None:
    def bare(notebook: NotebookNode) -> None:
        for one in notebook.cells:
            if one.cell_type == "code" and "controls" not in one.metadata.get("tags", []):
                one.outputs = []

    page = broken(SAMPLES / "02-break-it.ipynb", bare, tmp_path)
    found = [str(problem) for problem in lint.check(page, cells.course_of(page))]
    assert any("has controls, and no figure beside them" in problem for problem in found), found


def broken(path: Path, breaker: Breaker, tmp_path: Path) -> Page:
    """A copy of a page, in a folder like its own, with something broken."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for other in SAMPLES.iterdir():
        os.symlink(other, folder / other.name)
    notebook = nbformat.read(path, as_version=4)
    breaker(notebook)
    copy = folder / path.name
    copy.unlink()
    nbformat.write(notebook, copy)
    return Page.read(copy)


def test_a_good_page_breaks_no_rule() -> None:
    for page in course.pages(SAMPLES):
        assert [str(problem) for problem in lint.check(page, course.pages(SAMPLES))] == []


def test_generated_cells_are_written_once(tmp_path: Path) -> None:
    page = broken(
        SAMPLES / "02-break-it.ipynb",
        lambda nb: nb.metadata.labkit.update(sketch="who had number 2"),
        tmp_path,
    )
    assert cells.write([page]) == [page.path]
    card = cell("card")(Page.read(page.path).notebook).source
    assert (
        f"**{page.minutes} minutes.** Builds on [01 · Who gets the number?](01-who-gets-it.ipynb)."
        in card
    )
    assert "When you are through: can you draw who had number 2?" in card
    assert cells.write([page]) == []
