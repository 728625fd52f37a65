"""The generated cells of a page: its card, the way to the next page, the map of the course.

They are the cells tagged `card`, `nav` and `map`, written from the pages' metadata.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nbformat import NotebookNode

from labkit.course.page import Page, closing_picture, pages, tags


def course_of(page: Page) -> list[Page]:
    """The pages among which a page stands: those in its folder."""
    return pages(page.path.parent)


def write(chosen: Iterable[Page]) -> list[Path]:
    """Bring generated cells and closing pictures up to date in all folders that the chosen pages
    are in; returns the files that changed.
    """
    folders = sorted({page.path.parent for page in chosen})
    return [path for folder in folders for path in _write(pages(folder))]


def _write(course: Sequence[Page]) -> list[Path]:
    changed = []
    for page in course:
        changed += _write_picture(page)
        fresh = generated(page, course)
        stale = [cell for cell, text in fresh if cell.source != text]
        for cell, text in fresh:
            cell.source = text
        if stale:
            page.save(page.notebook)
            changed.append(page.path)
    return changed


def generated(page: Page, course: Sequence[Page]) -> list[tuple[NotebookNode, str]]:
    """The generated cells of a page, each with the text that it should have."""
    makers: dict[str, Callable[[Page, Sequence[Page]], str]] = {
        "card": _card,
        "nav": _nav,
        "map": lambda _, course: _map(course),
    }
    return [
        (cell, makers[tag](page, course))
        for cell in page.notebook.cells
        for tag in tags(cell)
        if tag in makers
    ]


def _card(page: Page, course: Sequence[Page]) -> str:
    known = {other.number: other for other in course}
    needs = " and ".join(_link(known[n]) if n in known else n for n in page.needs)
    lines = [f"> **{page.minutes} minutes.** " + (f"Builds on {needs}." if needs else "")]
    if (closing := closing_picture(page)) is not None:
        path = os.path.relpath(_picture_path(page), page.path.parent)
        alt = re.sub(r"[\[\]]", "", _shorten(closing.alt))
        lines += [">", "> It ends with this picture:", ">", f"> ![{alt}]({Path(path).as_posix()})"]
    return "\n".join(line.rstrip() for line in lines)


def _nav(page: Page, course: Sequence[Page]) -> str:
    at = [other.path for other in course].index(page.path)
    parts = []
    if at > 0:
        parts.append(f"← {_link(course[at - 1])}")
    if at > 1:
        parts.append(f"[All pages]({course[0].path.name})")
    if at + 1 < len(course):
        parts.append(f"{_link(course[at + 1])} →")
    return " &nbsp;|&nbsp; ".join(parts)


def _map(course: Sequence[Page]) -> str:
    rows = ["| Page | Builds on | Minutes |", "|:---|:---|---:|"]
    rows += [
        f"| {_link(page)} | {', '.join(page.needs) or '–'} | {page.minutes} |" for page in course
    ]
    rows.append(f"| All of it | | {sum(page.minutes for page in course)} |")
    return "\n".join(rows)


def _link(page: Page) -> str:
    return f"[{page.name}]({page.path.name})"


def _picture_path(page: Page) -> Path:
    return page.path.parent.parent / "img" / "pages" / f"{page.number}.png"


def _write_picture(page: Page) -> list[Path]:
    closing = closing_picture(page)
    path = _picture_path(page)
    if closing is None:
        return []
    small = _shrunk(closing.png)
    if path.exists() and path.read_bytes() == small:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(small)
    return [path]


def _shrunk(png: bytes, width: int = 900) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        height = round(image.height * width / image.width)
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.quantize(64).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _shorten(text: str, length: int = 240) -> str:
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"
