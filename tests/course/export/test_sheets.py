"""What is read beside the pages says what the pages say, and fits on paper."""

from __future__ import annotations

import re
from pathlib import Path

import kazoo.exceptions
import pytest
from bs4 import BeautifulSoup
from kazoo.client import KazooClient, TransactionRequest
from kazoo.exceptions import KazooException
from playwright.sync_api import Browser

from labkit.course import exercises
from labkit.course.export.sheets import SOURCES, not_promised, sheets
from labkit.course.page import ROOT, Page, pages

COURSE = pages()
ENTRY = re.compile(
    r"^- \*\*(.+)\*\*: (.+)\n  \[(\w+) · (.+)\]\(\.\./notebooks/(.+\.ipynb)#(.+)\)$", re.M
)
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
CHEATS = (ROOT / "docs/cheat-sheet.md").read_text()


def sections(page: Page) -> dict[str, str]:
    """The page's text by its headings."""
    text = "\n\n".join(c.source for c in page.notebook.cells if c.cell_type == "markdown")
    parts = re.split(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_word_leads_to_where_it_is_shown() -> None:
    by_number = {page.number: page for page in COURSE}
    found = ENTRY.findall(GLOSSARY)
    assert len(found) == GLOSSARY.count("\n- ") >= 45
    words = [word.lower() for word, *_ in found]
    assert words == sorted(set(words))
    for word, said, number, heading, file, anchor in found:
        page = by_number[number]
        assert file == page.path.name
        assert anchor == heading.replace("`", "").replace(" ", "-")
        shown = f"{heading} {sections(page)[heading]}".replace("*", "")
        assert word.lower() in shown.lower(), f"{word} is not in {page.name}, {heading}"
        assert 1 <= len(re.findall(r"[.:?](?= |$)", said)) <= 3
        assert said.endswith(".")


def test_all_of_them_are_in_the_export(site: Path) -> None:
    index = BeautifulSoup((site / "index.html").read_text(), "html.parser")
    for name in ("glossary", "cheat-sheet", "not-promised", "reference"):
        assert index.select(f'main a[href="{name}.html"]')
        sheet = BeautifulSoup((site / f"{name}.html").read_text(), "html.parser")
        assert sheet.h1
        for link in sheet.select("main a[href]"):
            file, _, anchor = str(link["href"]).partition("#")
            if file.startswith("https://"):
                continue
            target = BeautifulSoup((site / file).read_text(), "html.parser")
            assert not anchor or target.find(id=anchor), link
    glossary = BeautifulSoup((site / "glossary.html").read_text(), "html.parser")
    assert len(glossary.select("main a")) == len(ENTRY.findall(GLOSSARY))


def test_some_pages_have_no_sheets() -> None:
    assert sheets(COURSE[:3]) == []


def test_each_page_says_what_is_not_promised() -> None:
    rows = not_promised(COURSE).splitlines()[6:]
    assert len(rows) == len(COURSE) == len(SOURCES)
    for page, row in zip(COURSE, rows, strict=True):
        promise, where, tasks, source = row.strip("| ").split(" | ")
        recap = sections(page)["Recap"]
        assert promise[1:] in recap
        assert where == f"[{page.name}]({page.path.name})"
        assert set(tasks.split("; ")) == {e.title for e in exercises.ALL if e.page == page.number}
        assert re.fullmatch(r"\[.+\]\(https://\S+\)", source)


def test_the_cheat_sheet_names_what_there_is() -> None:
    calls = set(re.findall(r"\bzk\.(\w+)\(", CHEATS))
    assert len(calls) >= 10
    assert all(hasattr(KazooClient(), call) for call in calls)
    assert all(hasattr(TransactionRequest, call) for call in re.findall(r"\bt\.(\w+)\(", CHEATS))
    known = {
        name
        for name, value in vars(kazoo.exceptions).items()
        if isinstance(value, type)
        and issubclass(value, KazooException)
        and value is not KazooException
    }
    listed = set(re.findall(r"^\| `(\w+)` \|", CHEATS.split("## What an error says")[1], re.M))
    errors = listed & known
    text = "\n".join(cell.source for page in COURSE for cell in page.notebook.cells)
    assert errors >= {name for name in known if re.search(rf"\b{name}\b", text)}
    numbers = {page.number for page in COURSE}
    assert set(re.findall(r"\[(\d\d\w?)\]", CHEATS)) < numbers
    production = next(page for page in COURSE if page.number == "16")
    watched = "\n".join(cell.source for cell in production.code)
    assert all(f'"{figure}"' in watched for figure in re.findall(r"`(zk_\w+)`", CHEATS))


@pytest.mark.browser
@pytest.mark.parametrize(("name", "least", "most"), [("cheat-sheet", 2, 2), ("not-promised", 1, 3)])
def test_it_fits_on_paper(chromium: Browser, site: Path, name: str, least: int, most: int) -> None:
    page = chromium.new_page()
    page.goto((site / f"{name}.html").as_uri())
    printed = page.pdf(format="A4")
    page.close()
    assert least <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= most
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert {(float(x) // 10, float(y) // 10) for x, y in boxes} == {(59, 84)}  # A4, in points
