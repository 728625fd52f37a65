"""A page that Jupyter exports: one file, with its pictures, its looks and its panels in it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import runs
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.course.export.tutorial import Tutorial
from labkit.see.picture import assignment
from labkit.see.replay import replay

IMG = Path(__file__).resolve().parents[3] / "img"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def exported(folder: Path) -> str:
    (folder / "a.svg").write_bytes((IMG / "04-the-sequence-node.svg").read_bytes())
    (folder / "b.png").write_bytes((IMG / "logo.png").read_bytes())
    picture, _ = assignment(runs.zombie())._repr_mimebundle_()
    panel = {"text/html": f'<div data-labkit="u">{assignment(runs.outage()).svg()}</div>'}
    cells = [
        new_markdown_cell("# Who?\n\n![a diagram](a.svg)\n\n![a photo](b.png)"),
        new_code_cell(
            "controls(lab)",
            outputs=[
                new_output("display_data", {_WIDGET: {}, "text/plain": "Controls of 4 nodes"}),
                new_output("display_data", panel),
                new_output("display_data", replay(runs.zombie())._repr_mimebundle_()),
            ],
        ),
        new_code_cell("assignment(lab.history())", outputs=[new_output("display_data", picture)]),
    ]
    page = folder / "04-who.ipynb"
    nbformat.write(new_notebook(cells=cells), page)
    text, resources = Tutorial().from_filename(str(page))
    assert not resources["outputs"], "a page with files beside it is packed into a zip"
    return str(text)


def test_all_that_a_page_shows_is_in_the_one_file(tmp_path: Path) -> None:
    text = exported(tmp_path)
    refers = re.findall(r'\b(?:src|href)="([^"]*)"', text)
    assert [to[:60] for to in refers if not to.startswith(("data:", "#"))] == []
    assert 'alt="a photo"' in text
    assert "Nobody has asked node 4" in text  # the diagram, in its own words
    assert "--ink" in text  # the style
    assert text.count('aria-label="Numbers of each node over time') == 2  # the panel's, the page's
    assert 'class="labkit-replay"' in text
    assert "Controls of 4 nodes" not in text


def test_pictures_follow_the_theme_and_need_no_script(tmp_path: Path) -> None:
    text = exported(tmp_path)
    assert "labkit-figure" not in text
    diagram = next(svg for svg in re.findall(r"<svg[^>]*>", text) if "Nobody has asked" in svg)
    assert " color=" not in diagram, "in a page it has the page's ink"
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert len(ids) == len(set(ids))
