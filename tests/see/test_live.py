"""The module that puts what can be used in the place of what is saved."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from benchmarks.runs import run
from labkit.see.drawing import Frame, Look, draw
from labkit.see.scene import Scene
from labkit.see.walk import parts
from labkit.story.run import Story

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


_FACE: dict[str, Any] = {
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


def opened(chromium: Browser, face: dict[str, Any], width: int) -> Page:
    """A page with nothing but a panel, and a line below it."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.set_content(
        f"<style>body{{margin:0}}{MODULE.with_suffix('.css').read_text()}</style>"
        '<div data-labkit="u">saved</div><p id="below">below</p>'
    )
    script = parts("walk", "live").replace("export default", "const part =")
    page.add_script_tag(type="module", content=script + _HOST.replace("FACE", json.dumps(face)))
    page.wait_for_function("window.ready")
    return page


def face_of(nodes: int) -> dict[str, Any]:
    """What a panel shows of a minute of so many nodes, with a fault every three seconds."""
    spans = Story()
    for event in run(nodes, 60):
        spans.add(event)
    look = Look("bench")
    scene = Scene.of(spans, spans.end - 30, spans.end)
    frame = Frame(scene, look)
    names = [lane.name for lane in scene.lanes if not lane.is_server]
    (row,) = _FACE["rows"]
    return _FACE | {
        "svg": draw(scene, look),
        "lanes": {lane.name: frame.y(at) for at, lane in enumerate(scene.lanes)},
        "lane": frame.lane,
        "time": [spans.end - 30, spans.end, frame.left, 27],
        "cells": [[name, "<b>1</b>", "running"] for name in names] if nodes > 16 else [],
        "rows": [] if nodes > 16 else [row | {"name": name} for name in names],
        "reserved": 12,
        "many": [names[0], row | {"name": names[0]}] if nodes > 16 else None,
    }


REDRAWN = """async () => {
  for (let i = 0; i < 5; i++) {
    await new Promise(requestAnimationFrame);
    model.hear({uid: "u", kind: "panel", whole: false, face});
  }
  await new Promise(requestAnimationFrame);
}"""


@pytest.mark.browser
@pytest.mark.alone
@pytest.mark.parametrize(("nodes", "most"), [(8, 16), (64, 50)])
def test_a_redraw_leaves_the_browser_time(chromium: Browser, nodes: int, most: float) -> None:
    face = face_of(nodes)
    page = opened(chromium, face, 1100)
    tools = page.context.new_cdp_session(page)
    # Processor time of the main thread: what else the machine does is no part of it.
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = tools.send("Performance.getMetrics")["metrics"]
        return sum(one["value"] for one in metrics if one["name"] == "TaskDuration")

    page.evaluate("face => { window.face = face }", face)
    times = []
    for _ in range(5):
        before = busy()
        page.evaluate(REDRAWN)
        times.append((busy() - before) / 5 * 1000)
    taken = min(times)  # the first time all is compiled; a processor that is shared is slower
    print(f"a redraw of {nodes} nodes takes {taken:.1f} ms of the browser's main thread")
    assert 0 < taken <= most
    page.close()


MOVED = """async (faces) => {
  let moved = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((one) => (moved += one.value)))
    .observe({type: "layout-shift", buffered: false});
  const fixed = document.querySelectorAll("#below, .lk-panel > *, .lk-bar > *");
  const place = () => JSON.stringify([...fixed].map((one) => one.getClientRects()[0]));
  for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  const places = new Set([place()]);
  for (const face of faces) {
    model.hear({uid: "u", kind: "panel", whole: false, face});
    places.add(place());
    for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  }
  return [moved, places.size];
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1100, 390])
def test_nothing_moves_while_servers_come_go_and_lose_zookeeper(
    chromium: Browser, width: int
) -> None:
    face = face_of(8)
    page = opened(chromium, face, width)
    rows = face["rows"]
    busy = "node1 is being started, which takes a while: its image has to be got first. " * 4
    others = [
        {"rows": rows[:3]},
        {"rows": [None, *rows[1:], rows[0] | {"name": "node9"}]},
        {"rows": [row | {"chips": "", "state": "503 session lost, and then more"} for row in rows]},
        {"zookeeper": [False, True], "down": "ZooKeeper is down"},
        {"message": [busy, True]},
        {"again": True, "rows": []},
        {"zookeeper": [True, False], "again": False, "rows": rows, "message": ["done", False]},
        {"tree": "<div>/sequence</div>" * 30},
    ]
    assert page.evaluate(MOVED, others) == [0, 1]
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1100, 760, 560, 340, 212])
def test_the_slider_and_every_button_have_room(chromium: Browser, width: int) -> None:
    page = opened(chromium, _FACE, width)
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
