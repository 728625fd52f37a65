"""The reader's copy: what is refreshed, and what is never overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.course import page as course
from labkit.course import working_copy
from labkit.course.lint import check
from labkit.course.working_copy import WorkingCopy, refresh
from labkit.errors import ConfigError

LIGHT = "03-light.ipynb"


def write(path: Path, *texts: str, outputs: str = "") -> None:
    code = new_code_cell("1 + 1", id="one")
    if outputs:
        code.outputs = [new_output("stream", name="stdout", text=outputs)]
    cells = [new_markdown_cell(text, id=f"t{i}") for i, text in enumerate(texts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(new_notebook(cells=[*cells, code])))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two pages, one of them with a picture."""
    folder = tmp_path / "notebooks"
    write(folder / LIGHT, "# Light?", "![A light](../img/light.svg)")
    write(folder / "04-next.ipynb", "# Next?", f"[back]({LIGHT})")
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "light.svg").write_text("<svg/>")
    (tmp_path / "img" / "unused.svg").write_text("<svg/>")
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def change(path: Path, edit: Callable[[nbformat.NotebookNode], None]) -> bytes:
    """Edit a notebook; what is then in its file."""
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    path.write_text(nbformat.writes(notebook))
    return path.read_bytes()


def run_all(notebook: nbformat.NotebookNode) -> None:
    """What running a page in JupyterLab, from the keyboard, does to its file."""
    notebook.cells[-1].outputs = [new_output("stream", name="stdout", text="2\n")]
    notebook.cells[-1].execution_count = 7
    notebook.cells.append(new_code_cell(""))


def answer(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[-1].source = "1 + 2"


def test_a_copy_has_every_page_and_the_pictures_that_are_shown(published: Path, mine: Path) -> None:
    copy = refresh(mine, published)
    for name in (LIGHT, "04-next.ipynb"):
        assert (copy.pages / name).read_bytes() == (published / name).read_bytes()
    assert [path.name for path in (mine / "img").iterdir()] == ["light.svg"]
    assert copy.behind == ()


def test_a_second_time_nothing_is_written(published: Path, mine: Path) -> None:
    refresh(mine, published)
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*.ipynb")}
    refresh(mine, published)
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*.ipynb")} == before


def test_a_page_that_was_only_run_keeps_its_outputs_until_its_cells_change(
    published: Path, mine: Path
) -> None:
    copy = refresh(mine, published)
    ran = change(copy.pages / LIGHT, run_all)
    write(published / LIGHT, "# Light?", "![A light](../img/light.svg)", outputs="other\n")
    assert refresh(mine, published).behind == ()
    assert (copy.pages / LIGHT).read_bytes() == ran
    write(published / LIGHT, "# Light, still?")
    assert refresh(mine, published).behind == ()
    assert (copy.pages / LIGHT).read_bytes() == (published / LIGHT).read_bytes()


def test_a_page_that_was_not_run_gets_new_outputs(published: Path, mine: Path) -> None:
    copy = refresh(mine, published)
    write(published / LIGHT, "# Light?", "![A light](../img/light.svg)", outputs="2\n")
    refresh(mine, published)
    assert (copy.pages / LIGHT).read_bytes() == (published / LIGHT).read_bytes()


def test_a_page_that_the_reader_has_changed_stays_and_a_newer_one_is_named(
    published: Path, mine: Path
) -> None:
    copy = refresh(mine, published)
    changed = change(copy.pages / LIGHT, answer)
    assert refresh(mine, published).behind == ()  # there is nothing newer
    write(published / LIGHT, "# Light, still?")
    for _ in range(2):
        assert refresh(mine, published).behind == (LIGHT,)
        assert (copy.pages / LIGHT).read_bytes() == changed
    (copy.pages / LIGHT).rename(copy.pages / "my-light.ipynb")
    assert refresh(mine, published).behind == ()
    assert (copy.pages / LIGHT).read_bytes() == (published / LIGHT).read_bytes()
    assert (copy.pages / "my-light.ipynb").read_bytes() == changed


def test_a_change_that_the_course_has_made_too_is_no_change(published: Path, mine: Path) -> None:
    copy = refresh(mine, published)
    change(copy.pages / LIGHT, answer)
    change(published / LIGHT, answer)
    assert refresh(mine, published).behind == ()
    write(published / LIGHT, "# Light, still?")
    assert refresh(mine, published).behind == ()
    assert (copy.pages / LIGHT).read_bytes() == (published / LIGHT).read_bytes()


@pytest.mark.parametrize("record", [None, "", "[]", '{"03-light.ipynb": 3}', "{]"])
def test_without_a_record_nothing_that_differs_is_overwritten(
    published: Path, mine: Path, record: str | None
) -> None:
    copy = refresh(mine, published)
    changed = change(copy.pages / LIGHT, answer)
    (mine / ".published.json").unlink()
    if record is not None:
        (mine / ".published.json").write_text(record)
    assert refresh(mine, published).behind == (LIGHT,)
    assert (copy.pages / LIGHT).read_bytes() == changed
    write(published / "04-next.ipynb", "# Next, please?")  # of this one the copy was the same
    refresh(mine, published)
    assert (copy.pages / "04-next.ipynb").read_bytes() == (published / "04-next.ipynb").read_bytes()


def test_a_file_that_is_no_notebook_any_more_stays(published: Path, mine: Path) -> None:
    copy = refresh(mine, published)
    (copy.pages / LIGHT).write_text("half a no")
    write(published / LIGHT, "# Light, still?")
    assert refresh(mine, published).behind == (LIGHT,)
    assert (copy.pages / LIGHT).read_text() == "half a no"


def test_a_page_that_the_course_drops_goes_unless_it_was_changed(
    published: Path, mine: Path
) -> None:
    copy = refresh(mine, published)
    changed = change(copy.pages / LIGHT, answer)
    for path in published.iterdir():
        path.unlink()
    write(published / "05-other.ipynb", "# Other?")
    refresh(mine, published)
    assert sorted(path.name for path in copy.pages.iterdir()) == [LIGHT, "05-other.ipynb"]
    assert (copy.pages / LIGHT).read_bytes() == changed


def test_where_it_cannot_be_written_is_said(published: Path, mine: Path) -> None:
    mine.write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written to .*mine.*labkit lab --copy"):
        refresh(mine, published)


def test_pages_are_found_in_the_copy(mine: Path) -> None:
    copy = WorkingCopy(mine)
    assert copy.find("04") == mine / "pages" / "04-the-sequence-node.ipynb"
    assert copy.find(str(course.HOME / "00-start-here.ipynb")).parent == mine / "pages"
    own = mine / "pages" / "my-own.ipynb"
    write(own, "# Mine")
    assert copy.find(str(own)) == own
    elsewhere = mine.parent / "elsewhere.ipynb"
    write(elsewhere, "# Not here")
    with pytest.raises(ConfigError, match="is not in"):
        copy.find(str(elsewhere))


def test_links_and_pictures_of_the_course_work_in_its_copy(mine: Path) -> None:
    copy = refresh(mine)
    pages = course.pages(copy.pages)
    assert [page.path.name for page in pages] == [page.path.name for page in course.pages()]
    assert [str(problem) for page in pages for problem in check(page, pages)] == []


def test_the_copy_is_not_among_the_files_of_the_project() -> None:
    ignored = (course.ROOT / ".gitignore").read_text().splitlines()
    assert f"/{working_copy.DEFAULT.relative_to(course.ROOT)}/" in ignored


def test_the_record_is_readable(published: Path, mine: Path) -> None:
    refresh(mine, published)
    assert sorted(json.loads((mine / ".published.json").read_text())) == [LIGHT, "04-next.ipynb"]
