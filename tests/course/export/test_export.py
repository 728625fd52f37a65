"""What an export writes, into which directory, and what it says when a page fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from labkit.course import page as course
from labkit.course.export import SUFFIXES, Format, export
from labkit.course.page import Page
from labkit.errors import ConfigError

SAMPLES = Path(__file__).parent / "pages"


def page(folder: Path, name: str, *cells: str) -> Page:
    """A page of text cells ("# …", "…") and code cells (">>> …")."""
    made = [
        new_code_cell(cell.removeprefix(">>> "))
        if cell.startswith(">>> ")
        else new_markdown_cell(cell)
        for cell in cells
    ]
    about = {"number": name[:2], "question": "Why?", "needs": []}
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=made, metadata={"labkit": about}), path)
    return Page.read(path)


def labkit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labkit.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.fixture
def pages(tmp_path: Path) -> list[Page]:
    """Three pages, the middle one with a mistake."""
    good = ["# Good?", "text", ">>> 1 + 1"]
    bad = ["# Bad?", ">>> ready = True", "text", ">>> print('so far')\n1 / 0", ">>> never = True"]
    return [
        page(tmp_path, "01-good", *good),
        page(tmp_path, "02-bad", *bad),
        page(tmp_path, "03-good", *good),
    ]


def test_a_part_says_what_it_is(tmp_path: Path) -> None:
    export([Page.read(course.files(SAMPLES)[0])], tmp_path / "site", execute=False)
    text = (tmp_path / "site" / "index.html").read_text()
    assert "One of the 2 pages is here" in text
    assert "three paths" not in text


def test_a_page_that_fails_is_named_and_the_others_are_written(
    pages: list[Page], tmp_path: Path
) -> None:
    done = export(pages, tmp_path / "out", jobs=2)
    (failure,) = done.failures
    assert str(failure) == (
        "02-bad.ipynb, cell 4 (print('so far')): ZeroDivisionError: division by zero"
    )
    assert "1 / 0" in failure.traceback
    for name in ("01-good", "03-good"):
        assert "<pre>2</pre>" in (tmp_path / "out" / f"{name}.html").read_text()
    bad = (tmp_path / "out" / "02-bad.html").read_text()
    assert "did not run to its end" in bad
    assert "so far" in bad
    assert "ZeroDivisionError" in bad


@pytest.mark.parametrize("asks", ["predict(lab, 'n + 3?')", "exercise(lab, 'claim').spot()"])
def test_what_explains_an_answer_is_folded_with_it(asks: str, tmp_path: Path) -> None:
    asked = page(
        tmp_path,
        "01-asked",
        "# What?",
        f">>> n = 4\np = {asks}\np",
        ">>> p.reveal(n + 3)",
        "It is seven, of course.",
        "Go on.",
        ">>> n",
        "Not folded.",
        ">>> p.reveal(7)",
        "## Next\n\nA heading ends it.",
    )
    for cell in asked.code[:2]:
        cell.outputs = [new_output("display_data", {"text/plain": "said"})]
    export([asked], tmp_path / "out", execute=False, to="markdown")
    text = (tmp_path / "out" / "01-asked.md").read_text()
    folds = re.findall(r"<details.*?</details>", text, re.DOTALL)
    assert ["seven" in fold for fold in folds] == [True, False]
    assert text.count("It is seven, of course.") == 1
    outside = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    assert re.findall("Go on|Not folded|A heading", outside) == ["Go on", "Not folded", "A heading"]
    assert "n = 4" in outside  # what was set up before the question
    assert asks not in text  # what is shown is the question, not how it is asked


def test_the_notebooks_stay_as_they_are(pages: list[Page], tmp_path: Path) -> None:
    before = [page.path.read_bytes() for page in pages]
    export(pages[:1], tmp_path / "out")
    assert [page.path.read_bytes() for page in pages] == before


def test_exit_codes_and_what_is_said(pages: list[Page], tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = labkit("export", pages[0].path, "--out", out, "--backend", "process")
    assert (good.returncode, good.stderr.strip()) == (0, "")
    assert (out / "01-good.html").is_file()
    assert re.search(r"Wrote \d+ files", good.stdout)
    bad = labkit("export", pages[0].path, pages[1].path, "--out", out)
    assert bad.returncode == 1
    assert f"Nothing was written: {out} stays as it was." in bad.stderr
    assert "02-bad.ipynb, cell 4" in bad.stderr
    assert "ZeroDivisionError" in bad.stderr
    for wrong in (["nosuch"], ["--to", "pdf"], ["--jobs", "0"]):
        usage = labkit("export", *wrong, "--out", out)
        assert usage.returncode == 2
        assert "Traceback" not in usage.stderr


def test_a_directory_of_others_is_left_alone(pages: list[Page], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="--force"):
        export(pages, mine, execute=False)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    export(pages, mine, execute=False, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert (mine / "index.html").is_file()
    with pytest.raises(ConfigError, match="is a file"):
        export(pages, mine / "thesis.txt", execute=False, force=True)


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("to", ["html", "markdown"])
def test_one_page_of_a_whole_export_is_written_again_and_nothing_else(
    pages: list[Page], tmp_path: Path, to: Format
) -> None:
    out = tmp_path / "out"
    export(pages, out, to=to, execute=False, address="https://example.org/")
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    pages[1].notebook.cells[2].source = "another text"
    export(pages[1:2], out, to=to, execute=False)
    after = contents(out)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"02-bad{SUFFIXES[to]}"}  # the index and the way to other pages, too
    assert after.keys() == before.keys()


def test_what_a_page_no_longer_shows_goes(pages: list[Page], tmp_path: Path) -> None:
    out = tmp_path / "out"
    picture = new_output("display_data", {"image/png": "iVBORw0KGgo="})
    for one in pages[:2]:
        one.notebook.cells[2 if one is pages[0] else 1].outputs = [picture]
    export(pages, out, execute=False)
    pages[0].notebook.cells[2].outputs = []
    export(pages[:1], out, execute=False)
    assert not (out / "01-good_files").exists()
    assert list((out / "02-bad_files").iterdir())


def test_an_export_that_fails_changes_nothing(pages: list[Page], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(pages, out, execute=False)
    before = contents(out)
    done = export(pages[1:2], out)
    assert (len(done.failures), done.files) == (1, {})
    assert contents(out) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_an_export_that_is_not_written_to_its_end_changes_nothing(
    pages: list[Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    out = tmp_path / "out"
    export(pages, out, execute=False)
    before = contents(out)
    pages[0].notebook.cells[0].source = "# Other"
    write, left = Path.write_bytes, iter(range(3))

    def full(path: Path, data: bytes) -> int:
        if next(left, None) is None:
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises((ConfigError, KeyboardInterrupt)):
        export(pages, out, execute=False)
    assert contents(out) == before
    with pytest.raises((ConfigError, KeyboardInterrupt)):
        export(pages, tmp_path / "new", execute=False)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["out"]


def test_formats_do_not_replace_each_other(pages: list[Page], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(pages, out, execute=False)
    with pytest.raises(ConfigError, match="holds an export as html"):
        export(pages, out, to="markdown", execute=False)
    export(pages[:1], out, to="markdown", execute=False, force=True)
    assert not (out / "index.html").exists()
    assert (out / "01-good.md").is_file()


def test_what_cannot_be_written_is_told(pages: list[Page], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = labkit("export", pages[0].path, "--no-run", "--out", tmp_path / "file" / "out")
    (tmp_path / "out" / "01-good.html").mkdir(parents=True)
    over = labkit("export", pages[0].path, "--no-run", "--force", "--out", tmp_path / "out")
    for done, why in ((below, "Not a directory"), (over, "Is a directory")):
        assert done.returncode == 2
        assert why in done.stderr
        assert "Name another directory with --out" in done.stderr
        assert "bug" not in done.stderr


def test_one_page_is_named(pages: list[Page], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = labkit("export", pages[0].path, "--no-run", "--to", "markdown", "--out", out)
    assert re.search(rf"Wrote 1 file, \S+ MB: {out}/01-good.md", done.stdout)


def test_a_marker_cannot_make_it_delete_elsewhere(pages: list[Page], tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other.txt"
    other.write_text("not part of it")
    export(pages, out, execute=False)
    said = {"format": "html", "files": ["../other.txt", "01-good.html"]}
    (out / ".labkit-export").write_text(json.dumps(said))
    export(pages[:1], out, execute=False)
    assert other.is_file()


def test_saved_outputs_are_taken_without_running(pages: list[Page], tmp_path: Path) -> None:
    done = export(pages, tmp_path / "out", execute=False)
    assert done.failures == []
    assert "<pre>2</pre>" not in (tmp_path / "out" / "01-good.html").read_text()
    cell = pages[1].notebook.cells[3]
    cell.outputs = [nbformat.v4.new_output("error", ename="Broken", evalue="was", traceback=["x"])]
    (failure,) = export(pages, tmp_path / "out", execute=False).failures
    assert (failure.cell, failure.error) == (4, "Broken: was")


def test_what_was_printed_beside_the_controls_is_left_out(tmp_path: Path) -> None:
    """Such as a warning on the error output: a stream has no metadata."""
    panel = page(tmp_path, "01-panel", "# Panel?", ">>> controls(lab)")
    data = {"text/plain": "the recording"}
    panel.notebook.cells[1].outputs = [
        new_output("stream", name="stderr", text="something red\n"),
        new_output("display_data", data, metadata={"labkit": "recording"}),
        new_output("display_data", {"text/plain": "the widget"}),
    ]
    for to in ("html", "markdown"):
        done = export([panel], tmp_path / to, to=to, execute=False)
        text = "".join(
            (tmp_path / to / name).read_text() for name in done.files if name.endswith(("l", "md"))
        )
        assert "the recording" in text
        assert "something red" not in text
        assert "the widget" not in text


def test_links_stay_inside_the_export(tmp_path: Path) -> None:
    first = page(
        tmp_path, "01-a", "# A?", "to [b](02-b.ipynb#B), [c](03-c.ipynb), [w](https://w.org)"
    )
    second = page(tmp_path, "02-b", "# B?", "## B")
    page(tmp_path, "03-c", "# C?")
    export([first, second], tmp_path / "out", execute=False)
    html = (tmp_path / "out" / "01-a.html").read_text()
    assert '<a href="02-b.html#B">b</a>, c, <a href="https://w.org">w</a>' in html
    export([first, second], tmp_path / "md", to="markdown", execute=False)
    markdown = (tmp_path / "md" / "01-a.md").read_text()
    assert "to [b](02-b.md#B), c, [w](https://w.org)" in markdown


def test_a_missing_picture_is_said(tmp_path: Path) -> None:
    broken = page(tmp_path, "01-a", "# A?", "![gone](gone.png)")
    with pytest.raises(ConfigError, match=r"01-a\.ipynb shows gone\.png"):
        export([broken], tmp_path / "out", execute=False)


def test_markdown_is_a_file_and_its_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = labkit(
        "export", *sorted(SAMPLES.glob("0*.ipynb")), "--to", "markdown", "--no-run", "--out", out
    )
    assert done.returncode == 0, done.stderr
    for name in ("01-who-gets-it", "02-break-it"):
        text = (out / f"{name}.md").read_text()
        pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
        assert len(pictures) >= 2
        for alt, target in pictures:
            assert len(alt) > 10
            with Image.open(out / target) as image:
                assert image.width > 100
        fences = re.findall(r"^```\w*$", text, flags=re.MULTILINE)
        assert len(fences) % 2 == 0
        assert "<script" not in text
    assert "make lab" in (out / "02-break-it.md").read_text()
    assert "<summary>Code</summary>" in (out / "01-who-gets-it.md").read_text()


def test_every_page_of_the_course_becomes_markdown(tmp_path: Path) -> None:
    export(course.pages(), tmp_path / "out", to="markdown", execute=False)
    for page in course.pages():
        text = (tmp_path / "out" / f"{page.path.stem}.md").read_text()
        assert text.startswith(f"# {page.title}")
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            assert (tmp_path / "out" / target).is_file()


def test_a_link_to_the_site_has_a_preview(tmp_path: Path) -> None:
    pages = [page(tmp_path, "01-good", "# Good?", "text")]
    export(pages, tmp_path / "site", execute=False, address="https://example.org/lab")
    first = (tmp_path / "site" / "index.html").read_text()
    assert '<meta property="og:image" content="https://example.org/lab/title.png">' in first
    with Image.open(tmp_path / "site" / "title.png") as picture:
        assert picture.width > 600  # what sites that preview links ask for
    text = (tmp_path / "site" / "01-good.html").read_text()
    assert '<meta property="og:title" content="Good? – ZooKeeper Sequence Lab">' in text
    export(pages, tmp_path / "site", execute=False)
    assert "og:image" not in (tmp_path / "site" / "index.html").read_text()
