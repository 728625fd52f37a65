"""What a page of the course must keep, so that it teaches, reads well as saved, and stays true.

Pure: a page in, problems out. Each problem names the page and the cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

from nbformat import NotebookNode

from labkit.course.cells import generated
from labkit.course.page import Page, alternative, tags
from labkit.course.pictures import contradictions
from labkit.see.scene import MIME

_MAX_LINES = 15  # of a code cell
_MAX_MEDIAN = 4
_MAX_SETUP = 6
_MAX_WORDS = 120  # between the set-up and the first experiment
_RATIO = (1.2, 1.8)  # text cells to code cells
_MAX_BYTES = 1_500_000

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_MACHINE = re.compile(
    r"(/home/\w|/root/|/Users/\w|/tmp/|/var/folders/|site-packages| at 0x[0-9a-f]{6,}>|[A-Z]:\\\w)"
)


@dataclass(frozen=True)
class Problem:
    """A rule that a page breaks. `cell` counts from 1; 0 is the page as a whole."""

    page: str
    cell: int
    what: str

    def __str__(self) -> str:
        where = f"{self.page}, cell {self.cell}" if self.cell else self.page
        return f"{where}: {self.what}"


def check(page: Page, course: Sequence[Page]) -> list[Problem]:
    """Every rule that the page breaks."""
    rules = (_shape, _cells, _opening, _links, _headings, _outputs, _pictures, _fresh)
    found = [problem for rule in rules for problem in rule(page)]
    found += [
        (page.notebook.cells.index(cell) + 1, "is out of date: python -m labkit.course write")
        for cell, text in generated(page, course)
        if cell.source != text
    ]
    return [Problem(page.path.name, *problem) for problem in found]


Found = Iterator[tuple[int, str]]


def _shape(page: Page) -> Found:
    wanted = {"number", "question", "needs"}
    if missing := wanted - page.about.keys():
        yield 0, f"its metadata lack {', '.join(sorted(missing))}"
    if not page.path.name.startswith(page.number + "-"):
        yield 0, f"it says that it is page {page.number}"
    if "?" not in page.title and page.number != "00":
        yield 0, f"its title is no question: {page.title}"
    present = {tag for cell in page.notebook.cells for tag in tags(cell)}
    for tag in {"card", "nav"} - present:
        yield 0, f"it has no cell tagged {tag}"
    texts = [cell for cell in page.notebook.cells if cell.cell_type == "markdown"]
    ratio = len(texts) / max(len(page.code), 1)
    if page.number != "00" and not _RATIO[0] <= round(ratio, 2) <= _RATIO[1]:
        yield 0, f"{ratio:.2f} text cells to a code cell; from {_RATIO[0]} to {_RATIO[1]} is right"
    lengths = [_lines(cell) for cell in page.code]
    if lengths and median(lengths) > _MAX_MEDIAN:
        yield 0, f"half of its code cells are longer than {median(lengths):g} lines"
    size = len(page.path.read_bytes())
    if size > _MAX_BYTES:
        yield 0, f"it takes {size / 1e6:.1f} MB"


def _cells(page: Page) -> Found:
    cells = page.notebook.cells
    for at, cell in enumerate(cells, start=1):
        if cell.cell_type != "code":
            if "$" in re.sub(r"`[^`]*`", "", _prose(cell)):
                yield at, "has a $, which a code host takes for mathematics"
            continue
        if not cell.source.strip():
            yield at, "is empty"
        if _lines(cell) > _MAX_LINES:
            yield at, f"has {_lines(cell)} lines; {_MAX_LINES} is the limit"
        if re.search(r"\bsleep\(", cell.source):
            yield at, "sleeps; it should wait for a condition: lab.wait_until(…)"
    kinds = "".join("c" if cell.cell_type == "code" else "t" for cell in cells)
    for found in re.finditer("c{3,}", kinds):
        yield found.start() + 1, f"begins {len(found[0])} code cells in a row; two is the limit"


def _opening(page: Page) -> Found:
    cells = page.notebook.cells
    code = [at for at, cell in enumerate(cells) if cell.cell_type == "code"]
    if not code:
        yield 0, "it runs nothing"
        return
    if _lines(cells[code[0]]) > _MAX_SETUP:
        yield code[0] + 1, f"sets up in more than {_MAX_SETUP} lines"
    if len(code) > 1:
        between = cells[code[0] + 1 : code[1]]
        words = sum(len(_prose(cell).split()) for cell in between)
        if words > _MAX_WORDS:
            yield code[1] + 1, f"comes after {words} words; {_MAX_WORDS} is the limit"


def _links(page: Page) -> Found:
    for at, cell in enumerate(page.notebook.cells, start=1):
        if cell.cell_type != "markdown":
            continue
        text = re.sub(r"`[^`\n]*`", "", _without_fences(cell.source))
        for image, label, target in _LINK.findall(text):
            if image and not label.strip():
                yield at, f"the picture {target} has no alternative text"
            if problem := _dead(page.path, target):
                yield at, problem
        for tag in _HTML_IMAGE.findall(text):
            yield at, f"has a picture in HTML: {tag}"


def _dead(base: Path, target: str) -> str | None:
    url = urlsplit(target)
    if url.scheme in ("http", "https", "mailto"):
        return None if url.netloc or url.path else f"the link {target} leads nowhere"
    if url.scheme:
        return f"the link {target} is of an unknown kind"
    path = (base.parent / unquote(url.path)).resolve() if url.path else base
    if not path.exists():
        return f"the link {target} leads nowhere"
    if url.fragment and path.suffix == ".ipynb":
        known = {_anchor(title) for title in _titles(Page.read(path))}
        if unquote(url.fragment) not in known:
            return f"the link {target} leads to no heading"
    return None


def _headings(page: Page) -> Found:
    levels = []
    for at, cell in enumerate(page.notebook.cells, start=1):
        if cell.cell_type == "markdown":
            found = re.findall(r"^(#{1,6}) ", _without_fences(cell.source), re.MULTILINE)
            levels += [(at, len(marks)) for marks in found]
    if [level for _, level in levels].count(1) != 1:
        yield 0, "it has not exactly one heading of the first level"
    for (_, before), (at, level) in pairwise(levels):
        if level > before + 1:
            yield at, "its heading skips a level"


def _outputs(page: Page) -> Found:
    for at, cell in enumerate(page.notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                yield at, f"ended with {output.ename}: {output.evalue}"
            if output.output_type == "stream" and output.name == "stderr":
                yield at, f"wrote to the error output: {output.text[:80]!r}"
            data = output.get("data", {})
            if "image/png" in data and not alternative(output):
                yield at, "shows a picture without alternative text"
            for tag in _HTML_IMAGE.findall(data.get("text/html", "")):
                if not re.search(r'\balt="[^"]+"', tag):
                    yield at, "shows a picture without alternative text"
            text = "".join([output.get("text", ""), *_texts(data), *output.get("traceback", [])])
            if found := _MACHINE.search(text):
                yield at, f"shows something of the machine it ran on: {found[0]!r}"
        if "controls" in tags(cell) and not any(map(_has_figure, _section(page, at - 1))):
            yield at, "has controls, and no figure beside them"


def _pictures(page: Page) -> Found:
    for at, cell in enumerate(page.notebook.cells, start=1):
        if forbids := cell.metadata.get("labkit", {}).get("forbids"):
            shown = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
            if not shown:
                yield at, "forbids something in a picture, and shows none"
            for output in shown:
                if MIME not in output.data:
                    yield at, "the picture was saved without its data: run the page again"
                else:
                    for problem in contradictions(output.data[MIME], forbids):
                        yield at, f"the picture {problem}"


def _fresh(page: Page) -> Found:
    counts = [cell.execution_count for cell in page.code]
    if counts != list(range(1, len(counts) + 1)):
        yield 0, "its outputs are not of one clean run: python -m labkit.course run"
    if page.about.get("source_hash") != page.source_hash:
        yield 0, "its outputs are of another source: python -m labkit.course run"


def _lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _without_fences(text: str) -> str:
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)


def _prose(cell: NotebookNode) -> str:
    text = _LINK.sub(lambda link: "" if link[1] else link[2], _without_fences(cell.source))
    return re.sub(r"^[#>*\-| ]+", "", text, flags=re.MULTILINE)


def _titles(page: Page) -> list[str]:
    return [
        title
        for cell in page.notebook.cells
        if cell.cell_type == "markdown"
        for title in re.findall(r"^#{1,6} +(.+?) *#*$", _without_fences(cell.source), re.MULTILINE)
    ]


def _anchor(title: str) -> str:
    """How Jupyter names a heading."""
    return re.sub(r"[`*_]", "", title).replace(" ", "-")


def _texts(data: NotebookNode) -> list[str]:
    texts = [data.get(kind, "") for kind in ("text/plain", "text/html", "text/markdown")]
    return [re.sub(r"data:image/[^\"')]*", "", text) for text in texts]


def _section(page: Page, at: int) -> list[NotebookNode]:
    """The cell, and those after it up to the next heading of the second level."""
    cells: list[NotebookNode] = page.notebook.cells[at:]
    ends = (
        i
        for i, c in enumerate(cells)
        if c.cell_type == "markdown" and re.match("#{1,2} ", c.source)
    )
    return cells[: next(ends, len(cells))]


def _has_figure(cell: NotebookNode) -> bool:
    return any(
        "image/png" in output.get("data", {}) and output.metadata.get("labkit") != "recording"
        for output in cell.get("outputs", [])
    )
