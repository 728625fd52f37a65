"""The controls as a reader has them: JupyterLab, Chromium, a keyboard, real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from kazoo.client import KazooClient
from playwright.sync_api import Browser, Locator, Page, expect

import labkit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

ARTIFACTS = Path(__file__).parent.parent.parent / "artifacts"
CELLS = """
from labkit import Lab, assignment, controls, replay
lab = Lab(nodes=4, backend="BACKEND", session_timeout=1.5).start()
[node.sequence() for node in lab.nodes]
---
print("hosts", lab.zookeeper.hosts, "urls", *[node.url for node in lab.nodes])
---
panel = controls(lab)
panel
"""


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
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
            "--ip=127.0.0.1", "--IdentityProvider.token=see", f"--ServerApp.root_dir={root}",
            f"--LabApp.app_settings_dir={Path(labkit.__file__).parent / 'jupyter'}",
        ],
        env={**os.environ, **settings},
        stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    log.close()  # it is the server's now
    address = f"http://127.0.0.1:{port}"
    wait(lambda: answers(f"{address}/api/status?token=see"), 60, "JupyterLab answers")
    yield address, root
    server.terminate()
    server.wait(timeout=30)


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
def notebook(chromium: Browser, backend: str, jupyter: tuple[str, Path]) -> Iterator[Page]:
    address, root = jupyter
    code = CELLS.replace("BACKEND", backend)
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in code.split("---")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    page_file = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(page_file, root / "page.ipynb")
    context = chromium.new_context(viewport={"width": 1250, "height": 1000})
    page = context.new_page()
    page.goto(f"{address}/lab/tree/page.ipynb?token=see&reset")
    # Whoever runs a cell before the kernel has been chosen is asked which one it shall be.
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    yield page
    run(page, "lab.close()")
    context.close()


def run(page: Page, code: str) -> str:
    """Run a cell at the notebook's end; returns what it printed."""
    page.keyboard.press("Escape")
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code + "\nprint('ran')")
    page.keyboard.press("Control+Enter")
    output = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".jp-OutputArea-output")
    expect(output).to_contain_text("ran", timeout=60_000)
    return output.inner_text()


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def picture(page: Page) -> Locator:
    return page.locator('svg[aria-label="Which node has which number"]')


def test_drag_and_see(notebook: Page) -> None:
    page = notebook
    run_all(page)
    expect(picture(page)).to_be_visible(timeout=60_000)
    said = page.locator(".jp-OutputArea-output", has_text="hosts").inner_text()
    _, hosts, _, *urls = said.split()
    doomed, kept = urls[:2], urls[2:]
    zk = KazooClient(hosts=hosts)
    zk.start()
    assert all(map(alive, urls))

    handle = page.get_by_role("slider").first
    handle.focus()
    handle.press("ArrowLeft")
    handle.press("ArrowLeft")
    wait(lambda: not any(map(alive, doomed)), 5, "the two longest-lived nodes are dead")
    assert all(map(alive, kept))
    wait(
        lambda: set(zk.retry(zk.get_children, "/sequence")) == {"3", "4"},
        10,
        "their znodes are gone",
    )
    expect(page.locator('[aria-label="znodes"]')).not_to_contain_text("node1")
    dead = picture(page).locator('[data-node="node1"] [data-word="zookeeper"][data-number="1"]')
    expect(dead).to_have_count(1)

    handle.press("ArrowRight")
    handle.press("ArrowRight")
    wait(lambda: len(zk.retry(zk.get_children, "/sequence")) == 4, 20, "two new nodes have numbers")
    owners = {n: json.loads(zk.get(f"/sequence/{n}")[0])["owner"] for n in ("1", "2")}
    assert owners == {"1": "node5", "2": "node6"}
    for node, number in (("node5", 1), ("node6", 2)):
        bar = picture(page).locator(f'[data-node="{node}"] [data-word="both"]')
        expect(bar).to_have_attribute("data-number", str(number), timeout=10_000)
    zk.stop()
    zk.close()
    page.wait_for_timeout(1500)  # so that the picture shows the new bars well
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "jupyterlab.png")
    page.locator(".jp-OutputArea-output", has=picture(page)).screenshot(
        path=ARTIFACTS / "controls.png"
    )

    # A cell runs while a verb does, and closing the output ends the updates.
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_text("Clear Outputs of All Cells", exact=True).click()
    expect(picture(page)).to_have_count(0)
    code = "import time; a = panel.pictures; time.sleep(1); print('grown by', panel.pictures - a)"
    grown = run(page, code)
    assert "grown by 0" in grown


def alive(url: str) -> bool:
    return answers(f"{url}/status")
