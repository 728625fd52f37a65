"""The generated cells of a page: its card, the way to the next page, the map of the course.

They are the cells tagged `card`, `nav` and `map`, written from the pages' metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nbformat import NotebookNode

from labkit.course.page import ALL, PATHS, Page, minutes, pages, tags


def course_of(page: Page) -> list[Page]:
    """The pages among which a page stands: those in its folder."""
    return pages(page.path.parent)


def write(chosen: Iterable[Page]) -> list[Path]:
    """Bring generated cells up to date in all folders that the chosen pages are in; returns the
    files that changed.
    """
    folders = sorted({page.path.parent for page in chosen})
    return [path for folder in folders for path in _write(pages(folder))]


def _write(course: Sequence[Page]) -> list[Path]:
    changed = []
    for page in course:
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
    lines += [">", f"> Paths: {' · '.join(page.paths)}"]
    if sketch := page.about.get("sketch"):
        lines += [">", f"> When you are through: can you draw {sketch}?"]
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
    paths = [*PATHS, ALL]
    rows = [
        f"| Page | Builds on | Minutes | {' | '.join(paths)} |",
        "|:---|:---|---:|" + ":---:|" * len(paths),
    ]
    for page in course:
        marks = " | ".join("●" if path in page.paths else "" for path in paths)
        rows.append(f"| {_link(page)} | {', '.join(page.needs)} | {page.minutes} | {marks} |")
    total = " | ".join(f"{minutes(course, path)} min" for path in paths)
    rows.append(f"| | | | {total} |")
    return "\n".join(rows)


def _link(page: Page) -> str:
    return f"[{page.name}]({page.path.name})"
