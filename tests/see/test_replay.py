"""A replay in a page that was exported: no kernel, no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import runs
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page

from labkit.see.replay import replay

pytestmark = pytest.mark.browser


def exported(*bundles: dict[str, object]) -> str:
    """A notebook with these outputs, as nbconvert writes it."""
    outputs = [nbformat.v4.new_output("display_data", data=bundle) for bundle in bundles]
    cell = nbformat.v4.new_code_cell("replay(lab.timeline)", outputs=outputs)
    # The template asks other sites for what other outputs may need; a replay needs none of it.
    elsewhere = dict.fromkeys(("mathjax_url", "require_js_url", "mermaid_js_url", "jquery_url"), "")
    html, _ = HTMLExporter(**elsewhere).from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    return html


@pytest.fixture
def page(chromium: Browser, tmp_path: Path) -> Iterator[Page]:
    file = tmp_path / "page.html"
    file.write_text(
        exported(
            replay(runs.zombie())._repr_mimebundle_(), replay(runs.outage())._repr_mimebundle_()
        )
    )
    context = chromium.new_context(offline=True, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda said: said.type == "error" and problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("http") and problems.append(asked.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert problems == []


def word(page: Page, node: str, which: int = 0) -> str | None:
    item = page.locator(".labkit-replay").nth(which).locator(".now > span", has_text=node)
    return item.get_attribute("data-word")


def shown(page: Page, which: int = 0) -> float:
    """How much of the drawing has been uncovered, in its own units."""
    past = page.locator(".labkit-replay").nth(which).locator("mask .past")
    return float(past.get_attribute("width") or 0)


def test_the_slider_moves_the_picture(page: Page) -> None:
    slider = page.get_by_label("time in the run").first
    assert shown(page) == pytest.approx(74)  # it begins at the beginning
    slider.fill("4")
    assert shown(page) == pytest.approx(74 + (4 - 0.5) / 12 * 814)
    assert word(page, "node2") == "zookeeper"  # frozen
    slider.fill("8.5")
    assert word(page, "node2") == "node"  # awake, and wrong
    assert word(page, "node3") == "both"
    assert "node2 answers 2, which it does not hold" in page.locator(".caption").first.inner_text()


def test_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.tagName") != "INPUT":
        page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert shown(page) == pytest.approx(888)
    page.keyboard.press("Home")
    assert shown(page) == pytest.approx(74)
    page.keyboard.press("ArrowRight")  # to what happens next
    assert page.locator(".caption").first.inner_text().startswith("1.00 s: node1 gets number 1")
    page.keyboard.press("Space")  # plays
    page.wait_for_function(
        "w => document.querySelector('mask .past').getAttribute('width') > w + 20",
        arg=shown(page),
    )
    page.keyboard.press("Space")  # pauses
    at = shown(page)
    page.wait_for_timeout(200)
    assert shown(page) == at


def test_play_runs_to_the_end(page: Page) -> None:
    page.get_by_label("time in the run").first.fill("12.2")
    play = page.get_by_role("button", name="play").first
    play.click()
    page.wait_for_function(
        "document.querySelector('mask .past').getAttribute('width') >= 888", timeout=20000
    )
    page.wait_for_function("!document.querySelector('[aria-label=pause]')")


def test_from_event_to_event(page: Page) -> None:
    caption = page.locator(".caption").first
    page.get_by_label("time in the run").first.fill("1.5")
    page.get_by_role("button", name="next event").first.click()
    assert caption.inner_text() == "2.01 s: pause node2"
    page.get_by_role("button", name="next event").first.click()
    assert caption.inner_text() == "7.00 s: node2's session ends; number 2 of node2 is free"
    page.get_by_role("button", name="event before").first.click()
    assert caption.inner_text() == "2.01 s: pause node2"


@pytest.mark.parametrize("width", [1000, 390])
def test_the_thumb_is_under_the_playhead(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    one = page.locator(".labkit-replay").first
    slider, head = one.get_by_label("time in the run"), one.locator("svg .head")
    for second in (0.5, 6.5, 12.5):
        slider.fill(str(second))
        ends, line = slider.bounding_box(), head.bounding_box()
        assert ends is not None
        assert line is not None
        thumb = ends["x"] + 8 + (second - 0.5) / 12 * (ends["width"] - 16)  # it is 16 pixels wide
        assert thumb == pytest.approx(line["x"] + line["width"] / 2, abs=2)


def test_a_caption_stands_until_it_is_read(page: Page) -> None:
    one = page.locator(".labkit-replay").first
    one.get_by_role("button", name="play").click()
    seen = page.evaluate(CAPTIONS, 6000)
    assert len(seen) >= 3
    for words, seconds in seen[1:-1]:  # the first and the last one were cut short
        assert seconds > len(words) / 25


CAPTIONS = """async (most) => {
  const caption = document.querySelector(".labkit-replay .caption"), seen = [];
  const began = performance.now();
  while (performance.now() - began < most) {
    const words = caption.textContent, now = performance.now() / 1000;
    if (seen.at(-1)?.words !== words) seen.push({words, from: now});
    seen.at(-1).until = now;
    await new Promise(requestAnimationFrame);
  }
  return seen.map(({words, from, until}) => [words, until - from]);
}"""


def test_two_replays_on_a_page_do_not_meet(page: Page) -> None:
    assert page.locator(".labkit-replay svg .time").count() == 2
    page.get_by_label("time in the run").nth(1).fill("3")
    assert word(page, "node1", which=1) == "none"
    assert shown(page, 1) < 300
    assert shown(page, 0) == pytest.approx(74)
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    replays = [name for name in ids if name.startswith("labkit-")]
    assert len(replays) == len(set(replays)) == 8


def test_without_a_script_the_figure_stands(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(exported(replay(runs.zombie())._repr_mimebundle_()))
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    figure = page.get_by_alt_text(re.compile("Numbers of each node over time"))
    box = figure.bounding_box()
    assert box is not None
    assert box["width"] > 500
    context.close()


@pytest.mark.parametrize(("paper", "ink"), [("#ffffff", "#222222"), ("#111111", "#dddddd")])
def test_text_is_as_legible_as_the_pages_own(
    chromium: Browser, tmp_path: Path, paper: str, ink: str
) -> None:
    file = tmp_path / "page.html"
    body = replay(runs.zombie()).html
    file.write_text(f"<meta charset=utf-8><body style='background:{paper};color:{ink}'>{body}")
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    names = page.locator(".labkit-replay svg > text", has_text=re.compile(r"^node\d$"))
    assert names.count() == 3
    wanted = f"rgb({int(ink[1:3], 16)}, {int(ink[3:5], 16)}, {int(ink[5:7], 16)})"
    fills = names.evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    assert fills == [wanted] * 3
    context.close()
