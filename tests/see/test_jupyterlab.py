"""The controls as a reader has them: JupyterLab, Chromium, a keyboard, real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from left import labs_of, processes_of
from playwright.sync_api import Browser, Locator, Page, expect

import labkit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

ARTIFACTS = Path(__file__).parent.parent.parent / "artifacts"
PAGE = Path(__file__).parent.parent.parent / "notebooks" / "04-the-sequence-node.ipynb"


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        request.getfixturevalue("docker_images")
    return str(request.param)


@pytest.fixture
def jupyter(backend: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of our own: its address, and the directory that it shows."""
    root = tmp_path / "pages"
    root.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "LABKIT_BACKEND": backend,
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--ip=127.0.0.1",
            "--IdentityProvider.token=see",
            f"--ServerApp.root_dir={root}",
            f"--LabApp.app_settings_dir={Path(labkit.__file__).parent / 'course' / 'jupyter'}",
        ],
        env={**os.environ, **settings},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    log.close()  # it is the server's now
    address = f"http://127.0.0.1:{port}"
    wait(lambda: answers(f"{address}/api/status?token=see"), 120, "JupyterLab answers")
    yield address, root
    server.terminate()
    server.wait(timeout=30)


def test_one_command_opens_the_course_and_the_slider_works_after_run_all(
    chromium: Browser, tmp_path: Path
) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    settings = {
        "LABKIT_BACKEND": "process",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    published = {path: path.read_bytes() for path in PAGE.parent.iterdir() if path.is_file()}
    said = tmp_path / "said"
    with said.open("w") as log:
        command = [str(Path(sys.executable).with_name("labkit")), "lab", "--no-browser"]
        command += ["--copy", str(tmp_path / "mine")]
        server = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
        )
    link = re.compile(r"(http://\S+)/lab/tree/pages/00-start-here.ipynb\?token=(\w+)")
    try:
        wait(lambda: link.search(said.read_text()) or server.poll() is not None, 60, "its address")
        found = link.search(said.read_text())
        assert found, said.read_text()
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(found[0])
        expect(page.locator(".jp-Notebook h1").first).to_contain_text(
            "break a ZooKeeper", timeout=120_000
        )
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
        run_all(page)
        closed = page.get_by_text("The lab is closed. Drag the slider")
        expect(closed).to_be_visible(timeout=120_000)
        tree = page.locator(".jp-OutputArea-output pre", has_text="ephemeral of")
        assert tree.evaluate(LINES) == len((tree.text_content() or "").splitlines())
        page.get_by_role("slider").press("ArrowLeft")
        expect(page.get_by_text("1 node alive: done")).to_be_visible(timeout=30_000)
        expect(picture(page).locator('[data-node="node2"] [data-word="both"]')).to_be_attached()
        expect(page.get_by_role("button", name="start the lab again")).to_be_hidden()
        page.screenshot(path=ARTIFACTS / "again.png")
        page.keyboard.press("Control+s")
        mine = tmp_path / "mine" / "pages" / "00-start-here.ipynb"
        before = published[PAGE.with_name(mine.name)]
        wait(lambda: mine.read_bytes() != before, 30, "the copy is saved")
        address, token = found.groups()
        is_exported_as_a_tutorial(page, address)
        shutil.copy(mine, mine.with_name("day-two.ipynb"))  # its kernel has never seen the run
        shows_all_cells(address, token)
        looks_as_it_was(page, f"{address}/lab/tree/pages/day-two.ipynb?token={token}&reset", mine)
        page.close()
        printed = said.read_text()
        assert not re.search(r"(?i)warning|\w+App\]", printed), printed  # nothing but the links
        assert {path: path.read_bytes() for path in published} == published
    finally:
        server.terminate()
        server.wait(timeout=30)


LINES = (
    "e => Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight))"
)


def is_exported_as_a_tutorial(page: Page, address: str) -> None:
    """JupyterLab's menu offers it, and what it asks its server for is the page with all in it."""
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Export Notebook As").hover()
    expect(page.locator(".lm-Menu-item", has_text="Tutorial")).to_be_visible()
    answer = page.request.get(
        f"{address}/nbconvert/tutorial/pages/00-start-here.ipynb?download=1",
        headers={"Referer": f"{address}/lab"},
    )
    assert answer.ok, answer.text()
    text = answer.text()
    assert "What happened" in text
    assert re.findall(r'\bsrc="(?!data:)[^"]*"', text) == []


@pytest.mark.long
@pytest.mark.parametrize("backend", ["process"], indirect=True)
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_on_day_two_a_page_looks_as_it_was(
    chromium: Browser, jupyter: tuple[str, Path], theme: str
) -> None:
    address, root = jupyter
    shows_all_cells(address, "see")
    put(address, "see", "@jupyterlab/apputils-extension:themes", theme=f"JupyterLab {theme}")
    shutil.copytree(PAGE.parent.parent / "img", root / "img")
    (root / "pages").mkdir()
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    for number in ("00", "04", "07", "13"):
        (saved,) = PAGE.parent.glob(f"{number}-*.ipynb")
        shutil.copy(saved, root / "pages")
        looks_as_it_was(page, f"{address}/lab/tree/pages/{saved.name}?token=see&reset", saved)
        page.screenshot(path=ARTIFACTS / f"day-two-{number}-{theme.lower()}.png")
    page.close()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["process"], indirect=True)
def test_page_04_by_keys_alone(chromium: Browser, jupyter: tuple[str, Path]) -> None:
    address, root = jupyter
    shows_all_cells(address, "see")
    shutil.copy(PAGE, root)
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(f"{address}/lab/tree/{PAGE.name}?token=see&reset")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
    keys = Keys(page)
    keys.to(".jp-Notebook, .jp-Notebook *")

    keys.run_until("p = predict(")
    keys.to('input[aria-label="your answer"]')
    keys.press("2", "Enter")
    expect(page.get_by_text("noted").first).to_be_visible()
    keys.back()
    keys.run_until("assignment(lab.history())")
    expect(page.get_by_text("Right").first).to_be_visible(timeout=30_000)

    keys.run_until("controls(lab)")
    keys.to('input[type="range"]')
    keys.press("ArrowLeft")
    expect(page.get_by_text("3 nodes alive: done")).to_be_visible(timeout=30_000)
    keys.to('button[aria-label^="kill "]')
    keys.press("Enter")
    expect(page.locator('[data-word="zookeeper"]').first).to_be_attached(timeout=30_000)
    keys.back()

    keys.run_until("def lowest_free(")
    keys.press("Escape", "ArrowUp", "Enter", "Control+a")
    page.keyboard.insert_text(LOWEST_FREE)
    keys.press("Shift+Enter")
    expect(page.get_by_text("Passed").first).to_be_visible(timeout=60_000)
    page.close()


LOWEST_FREE = """
def lowest_free(children):
    return next(n for n in range(1, len(children) + 2) if str(n) not in children)

ex.check(lowest_free)"""


class Keys:
    """A reader's hands that have no mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def to(self, selector: str) -> None:
        """Tab until something has the focus."""
        for _ in range(80):
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                return
            self.press("Tab")
        raise AssertionError(f"no Tab leads to {selector}")

    def back(self) -> None:
        """To the next cell, out of what one shows."""
        self.press("Escape")
        expect(self.page.locator(".jp-Cell:focus")).to_be_attached()
        self.press("ArrowDown")

    def run_until(self, code: str) -> None:
        """Run cell after cell, and at last the one that has this in it."""
        for _ in range(60):
            cell = self.page.locator(".jp-Notebook-cell.jp-mod-active")
            found = code in (cell.locator(".jp-InputArea-editor").text_content() or "")
            self.press("Shift+Enter")
            if found:
                expect(self.page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
                return
        raise AssertionError(f"no cell has {code}")


def put(address: str, token: str, plugin: str, **settings: str) -> None:
    """Change a setting of JupyterLab's, as its reader may."""
    said = requests.put(
        f"{address}/lab/api/settings/{plugin}",
        json={"raw": json.dumps(settings)},
        headers={"Authorization": f"token {token}"},
        timeout=30,
    )
    assert said.ok, said.text


def shows_all_cells(address: str, token: str) -> None:
    put(address, token, "@jupyterlab/notebook-extension:tracker", windowingMode="none")


def looks_as_it_was(page: Page, link: str, saved: Path) -> None:
    """Opened with a kernel that knows nothing of its run, a page has all that was saved of it."""
    page.goto(link)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
    outputs = [
        output
        for cell in nbformat.read(saved, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    kinds = [set(output.get("data", {})) for output in outputs]
    assert not any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)
    figures = sum("application/vnd.labkit.picture+json" in kind for kind in kinds)
    assert figures
    shown = page.locator(".jp-OutputArea-output")
    expect(shown.locator("img, svg").filter(visible=True).nth(figures - 1)).to_be_visible()
    expect(shown.filter(has_text=re.compile("Error displaying widget|not found"))).to_have_count(0)
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []
    found = Axe().run(page, context={"include": [[".jp-OutputArea-output"]]})
    assert not found.response["violations"], found.generate_report()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait(condition: Callable[[], object], timeout: float, what: str) -> float:
    """Wait until it is so; returns how long that took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, f"not within {timeout} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture
def notebook(chromium: Browser, jupyter: tuple[str, Path]) -> Iterator[Page]:
    """Page 04 as it is shipped, up to the cell with the controls."""
    address, root = jupyter
    page_file = nbformat.read(PAGE, as_version=4)
    tagged = ["controls" in cell.metadata.get("tags", []) for cell in page_file.cells]
    page_file.cells = page_file.cells[: tagged.index(True) + 1]
    nbformat.write(page_file, root / "page.ipynb")
    context = chromium.new_context(viewport={"width": 1250, "height": 1000})
    page = context.new_page()
    page.goto(f"{address}/lab/tree/page.ipynb?token=see&reset")
    # Whoever runs a cell before the kernel has been chosen is asked which one it shall be.
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
    yield page
    run(page, "lab.close()")
    context.close()


def start(page: Page, code: str) -> Locator:
    """Run a cell at the notebook's end, and don't wait for it; what it shows."""
    page.keyboard.press("Escape")
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    return page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-Cell-outputArea")


def run(page: Page, code: str) -> str:
    """Run a cell at the notebook's end; returns what it printed."""
    output = start(page, f"{code}\nprint('ran')")
    expect(output).to_contain_text("ran", timeout=120_000)
    return output.inner_text()


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def picture(page: Page) -> Locator:
    return page.locator('svg[aria-label="Which node has which number"]')


def numbers(zk: KazooClient) -> dict[str, str]:
    """Who holds which number, asked of ZooKeeper itself."""
    held = {}
    for number in filter(str.isdigit, zk.retry(zk.get_children, "/sequence")):
        with suppress(NoNodeError):  # gone since
            held[number] = json.loads(zk.retry(zk.get, f"/sequence/{number}")[0])["owner"]
    return held


def alive(url: str) -> bool:
    return answers(f"{url}/status")


def the_run_again(page: Page) -> None:
    """Replay the lab's run, which still goes on, and move in it by keys."""
    run(page, "from labkit import replay\ndisplay(replay(lab.timeline))")
    again = page.locator(".labkit-replay")
    slider = again.get_by_label("time in the run")
    uncovered = again.locator("mask .past")
    slider.focus()
    slider.press("End")
    before = float(uncovered.get_attribute("width") or 0)
    slider.press("ArrowLeft")  # which in JupyterLab's command mode would go to another cell
    slider.press("ArrowLeft")
    assert float(uncovered.get_attribute("width") or 0) < before
    expect(slider).to_be_focused()


@pytest.mark.long
def test_drag_and_see(notebook: Page) -> None:
    page = notebook
    run_all(page)
    expect(picture(page)).to_be_visible(timeout=120_000)
    panel = page.locator(".jp-OutputArea-output", has=picture(page))
    said = run(page, "print('at', lab.zookeeper.hosts, *[node.url for node in lab.alive])")
    _, hosts, *urls = said.split()[:6]
    doomed, kept = urls[:2], urls[2:]  # the longest-lived come first
    assert all(map(alive, urls))
    zk = KazooClient(hosts=hosts)
    zk.start()
    assert numbers(zk).keys() == {"1", "2", "3", "4"}

    handle = panel.get_by_role("slider")
    handle.focus()
    handle.press("ArrowLeft")
    handle.press("ArrowLeft")
    wait(lambda: not any(map(alive, doomed)), 30, "the two longest-lived nodes are dead")
    assert all(map(alive, kept))
    wait(lambda: len(numbers(zk)) == 2, 30, "their znodes are gone, a session timeout later")
    freed = {"1", "2", "3", "4"} - numbers(zk).keys()
    for number in freed:
        ghost = f'[data-number="{number}"][data-word="zookeeper"]'
        expect(picture(page).locator(ghost).last).to_be_attached()
    expect(page.locator('[aria-label="znodes"] > div')).to_have_count(2)

    handle.press("ArrowRight")
    handle.press("ArrowRight")
    wait(lambda: len(numbers(zk)) == 4, 30, "two new nodes have numbers")
    new = {number: numbers(zk)[number] for number in freed}
    assert set(new.values()) == {"node5", "node6"}
    for number, node in new.items():
        bar = picture(page).locator(f'[data-node="{node}"] [data-word="both"]')
        expect(bar.last).to_have_attribute("data-number", number, timeout=10_000)
    zk.stop()
    zk.close()
    page.wait_for_timeout(2000)  # so that the new bars are seen well
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "jupyterlab.png")
    panel.screenshot(path=ARTIFACTS / "controls.png")

    the_run_again(page)

    # Closing the output ends the updates.
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_text("Clear Outputs of All Cells", exact=True).click()
    expect(picture(page)).to_have_count(0)
    drawn = re.search(r"drawn (\d+), then (\d+)", run(page, COUNT))
    assert drawn
    assert int(drawn[1]) > 10
    assert drawn[1] == drawn[2]


COUNT = """
import time
from labkit.see.live import _stage
drawn = lambda: sum(getattr(piece, "pictures", 0) for piece in _stage().pieces.values())
before = drawn()
time.sleep(1)
print(f"drawn {before}, then {drawn()}")"""


LADDER = """
import os
from labkit.fire import ladder

class MyServer:
    def start(self, zk, name):
        self.zk, self.number = zk, None
        zk.ensure_path(ROOT)

    def sequence(self):
        if self.number is None:
            taken = self.zk.get_children(ROOT)
            number = next(n for n in range(1, 1024) if str(n) not in taken)
            self.zk.create(f"{ROOT}/{number}", ephemeral=True)
            self.number = number
        return self.number

print("kernel", os.getpid())"""


@pytest.mark.long
@pytest.mark.alone  # it measures time
@pytest.mark.parametrize("backend", ["process"], indirect=True)
def test_a_class_of_a_cell_climbs_and_interrupt_ends_it(
    chromium: Browser, jupyter: tuple[str, Path]
) -> None:
    address, root = jupyter
    mine = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("ROOT = '/sequence'")])
    mine.metadata.update(nbformat.read(PAGE, as_version=4).metadata)  # its kernel
    nbformat.write(mine, root / "mine.ipynb")
    page = chromium.new_page(viewport={"width": 1250, "height": 1000})
    page.goto(f"{address}/lab/tree/mine.ipynb?token=see&reset")
    idle = page.get_by_text("Python 3 (ipykernel) | Idle")
    expect(idle).to_be_visible(timeout=120_000)
    run_all(page)
    kernel = int(run(page, LADDER).split()[1])
    said = run(page, "display(ladder(MyServer, rung=2, seed=1))")
    assert "MyServer stands on rung 2" in said
    assert "2 all at once" in said

    output = start(page, "ladder(MyServer)")
    wait(lambda: labs_of(kernel), 60, "the first lab of the climb")
    page.wait_for_timeout(1000)
    labs = labs_of(kernel)
    page.keyboard.press("i")
    page.keyboard.press("i")
    began = time.monotonic()
    expect(output).to_contain_text("KeyboardInterrupt", timeout=2_000)
    wait(lambda: not labs_of(kernel), 2 - (time.monotonic() - began), "no lab is left")
    assert labs
    assert [process for lab in labs for process in processes_of(lab)] == []
    assert run(page, "print('goes on')").startswith("goes on")
    page.close()
