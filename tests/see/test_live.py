"""The module that puts what can be used in the place of what is saved."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from labkit.see.walk import parts

LABKIT = Path(str(files("labkit")))
MODULE = LABKIT / "see" / "live.js"
SCRIPTS = sorted(LABKIT.rglob("*.js"))


def test_the_scripts_are_small_and_have_types() -> None:
    texts = [path.read_text() for path in SCRIPTS]
    assert sum(text.count("\n") for text in texts) <= 700
    assert all("// @ts-check\n" in text for text in texts)


@pytest.mark.long
@pytest.mark.slow
def test_the_types_hold(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the compiler that checks the types comes by npm")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    subprocess.run([*install, "typescript@5"], check=True, timeout=300)
    checked = subprocess.run(
        [
            *(tmp_path / "node_modules/.bin/tsc", "--noEmit", "--allowJs", "--checkJs", "--strict"),
            *("--target", "es2022", "--lib", "es2023,dom,dom.iterable", *SCRIPTS),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


_FACE = {
    "svg": '<svg viewBox="0 0 900 200"><defs></defs><g class="time"></g></svg>',
    "lanes": {},
    "lane": 46,
    "time": [0, 30, 74, 27],
    "down": "",
    "tree": "",
    "cells": [],
    "rows": [
        {
            "name": "node1",
            "chips": "<b>1</b>",
            "state": "running",
            "buttons": [
                [verb, "", False, None] for verb in ("stop", "kill", "pause", "partition", "ask")
            ],
        }
    ],
    "reserved": 6,
    "many": None,
    "slider": [4, 16],
    "zookeeper": [True, False],
    "timeout": 2.0,
    "clients": False,
    "window": [30, 10, 30],
    "again": False,
    "message": ["Drag the slider.", False],
}

_HOST = """
window.sent = [];
window.model = {on(_, hear) { this.hear = hear; }, off() {}, send(said) { sent.push(said); }};
part.initialize({model});
model.hear({uid: "u", kind: "panel", whole: true, face: FACE});
window.ready = true;
"""

_CUT = """() => {
  const bar = document.querySelector(".lk-bar"), panel = document.querySelector(".lk-panel");
  const edge = panel.getBoundingClientRect().right + 1;
  return [...panel.querySelectorAll("button, select, input")]
    .filter((one) => getComputedStyle(one).visibility !== "hidden")
    .filter((one) => one.getBoundingClientRect().right > edge
      || (bar.contains(one) && one.getBoundingClientRect().bottom
          > bar.getBoundingClientRect().bottom + 1))
    .map((one) => one.ariaLabel || one.textContent || one.type);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1100, 760, 560, 340, 212])
def test_the_slider_and_every_button_have_room(chromium: Browser, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.set_content(
        f"<style>body{{margin:0}}{MODULE.with_suffix('.css').read_text()}</style>"
        '<div data-labkit="u">saved</div>'
    )
    script = parts("walk", "live").replace("export default", "const part =")
    page.add_script_tag(type="module", content=script + _HOST.replace("FACE", json.dumps(_FACE)))
    page.wait_for_function("window.ready")
    slider = page.get_by_role("slider")
    box = slider.bounding_box()
    assert box is not None
    assert box["width"] >= 120
    assert page.evaluate(_CUT) == []
    slider.press("ArrowLeft")
    page.get_by_role("button", name="partition node1").press("Enter")
    said = [(one["do"], one.get("value")) for one in page.evaluate("sent")]
    assert said[-2:] == [("slider", 3), ("press", ["node1", 3])]
    page.close()
