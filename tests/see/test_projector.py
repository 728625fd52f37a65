"""The page for a projector: one command, a tab, and nothing when either is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from labkit.servers.base import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

ARTIFACTS = Path(__file__).parent.parent.parent / "artifacts"
LABKIT = Path(sys.executable).with_name("labkit")


SIZE = """of => parseFloat(getComputedStyle(of).fontSize)
  * (of.getBoundingClientRect().height / of.offsetHeight)"""


def test_a_tab_has_a_lab_that_ends_with_it(chromium: Browser, tmp_path: Path) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    settings = {
        "LABKIT_BACKEND": "process",
        "TMPDIR": str(tmp_path),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    said = tmp_path / "said"
    with said.open("w") as sink:
        command = [LABKIT, "up", "--nodes", "3", "--session-timeout", "2", "--page", "--no-browser"]
        shown = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        link = re.compile(r"http://\S+\?token=[\w-]+(?=\s)")
        assert wait_until(lambda: link.search(said.read_text()) or shown.poll() is not None, 60)
        found = link.search(said.read_text())
        assert found, said.read_text()
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        # Other users of this machine reach the port, too.
        bare = page.request.get(found[0].partition("?")[0])
        assert "password" in bare.text().lower()
        page.goto(found[0])
        picture = page.locator('svg[aria-label="Which node has which number"]')
        for node in ("node1", "node2", "node3"):  # clients ask from the start
            answer = picture.locator(f'[data-node="{node}"] [data-word="both"]')
            expect(answer.first).to_be_attached(timeout=60_000)
        assert page.title() == page.get_by_role("heading").inner_text() == "ZooKeeper Sequence Lab"
        ground = "getComputedStyle(document.body).backgroundColor"
        assert max(int(part) for part in re.findall(r"\d+", page.evaluate(ground))) < 60  # dark
        assert page.locator(".lk-who b").first.evaluate(SIZE) >= 18  # pixels of the screen
        page.get_by_role("slider").first.press("ArrowLeft")
        expect(page.get_by_text("2 nodes alive: done")).to_be_visible(timeout=30_000)
        page.screenshot(path=ARTIFACTS / "projector.png")
        labs = list(tmp_path.glob("labkit-*/*/lab.json"))
        assert len(labs) == 1
        page.goto("about:blank")
        assert wait_until(lambda: not labs[0].exists(), 30), "the lab outlives its tab"
        assert shown.poll() is None
    finally:
        shown.send_signal(signal.SIGINT)
        assert shown.wait(30) == 0  # ended as it says itself
    assert not list(tmp_path.glob("labkit-page-*"))
