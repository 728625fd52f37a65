"""The player and the puzzle in a file that is opened without a kernel or a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.exercises import locks
from labkit.see.player import be_the_network, explore

_HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Player</title>'
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
    'content="light dark"><main><h1>Player</h1>'
)


def test_a_schedule_on_paper_has_every_step_and_what_is_believed_wrongly() -> None:
    found = explore(ListCreateRetry, nodes=2, requests=2, faults=1)
    html = found._repr_html_()
    assert html.count("<li ") == len(found.schedule)
    assert html.count('class="fault"') == sum(step["fault"] for step in found.schedule) == 1
    assert "believes answered 1, not so" in html


def test_a_search_that_finds_nothing_says_how_much_it_has_seen() -> None:
    found = explore(locks.acquire, as_a="lock", users=2, faults=0)
    assert found.complete
    assert f"all {found.states:,} states are right" in found._repr_html_()


@pytest.mark.parametrize(("answer", "par"), [("_losing", 4), ("_queueing_twice", 7)])
def test_par_is_as_many_moves_as_the_search_needs(answer: str, par: int) -> None:
    puzzle = be_the_network(getattr(locks, answer), as_a="lock")
    assert puzzle.par == par == len(explore(getattr(locks, answer), as_a="lock").schedule)
    assert len(puzzle._repr_html_()) < 400_000


def test_what_is_right_has_no_par() -> None:
    puzzle = be_the_network(locks.acquire, as_a="lock")
    assert puzzle.par is None
    assert puzzle.graph["complete"]
    assert "None of" in str(puzzle)


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Browser, tmp_path: Path) -> Iterator[Page]:
    file = tmp_path / "page.html"
    parts = (
        explore(ListCreateRetry, nodes=2, requests=2, faults=1),
        be_the_network(locks._losing, as_a="lock"),
    )
    file.write_text(_HEAD + "".join(part._repr_html_() for part in parts) + "</main></html>")
    context = chromium.new_context(
        offline=True, viewport={"width": 390, "height": 800}, color_scheme=request.param
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    page.get_by_role("button", name="mark a good move").wait_for()
    yield page
    context.close()
    assert problems == []


@pytest.mark.browser
def test_by_keyboard_alone_on_a_phone(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    slider = page.get_by_label("step", exact=True)
    assert slider.bounding_box()["width"] >= 120  # type: ignore[index]
    slider.focus()
    assert slider.input_value() == "1"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "5"
    assert "its session ends" in page.locator("[aria-live]").first.inner_text()
    assert page.locator("td", has_text="≠ nothing").count() == 1
    page.keyboard.press("Home")
    assert slider.input_value() == "1"
    assert page.locator("td", has_text="≠ nothing").count() == 0


@pytest.mark.browser
def test_hints_lead_to_par_and_undo_back(page: Page) -> None:
    puzzle = page.locator(".labkit-player").nth(1)
    said = puzzle.locator("[aria-live]")
    for _ in range(4):
        puzzle.get_by_role("button", name="mark a good move").press("Enter")
        puzzle.locator(".moves button", has_text="→").press("Enter")
    assert "that is par" in said.inner_text()
    assert puzzle.locator(".moves button").count() == 0
    puzzle.get_by_role("button", name="undo the last move").press("Enter")
    assert said.inner_text() == "3 moves. What happens next?"
    puzzle.get_by_role("button", name="show a shortest way").press("Enter")
    assert puzzle.locator(".said li").count() == 4


@pytest.mark.browser
def test_everybody_can_use_it(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:90] for n in v["nodes"]][:3]) for v in found] == []
