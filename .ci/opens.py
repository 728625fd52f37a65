#!/usr/bin/env python3
"""Runs `make lab`, and says after how many seconds JupyterLab serves the course's first page."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

PAGE = "my-course/pages/00-start-here.ipynb"  # the reader's own copy
LIMIT = 300  # seconds; it takes a few, but for machines that do much else


def serves(runtime: Path) -> bool:
    """Whether a server whose runtime files are in this directory shows the page."""
    try:
        return any(_shows(json.loads(path.read_text())) for path in runtime.glob("jpserver-*.json"))
    except (URLError, ValueError):  # it is only just starting
        return False


def _shows(server: dict[str, str]) -> bool:
    def get(path: str) -> bytes:
        return urlopen(f"{server['url']}{path}?token={server['token']}").read()

    page = json.loads(get(f"api/contents/{PAGE}"))
    return bool(page["content"]["cells"]) and b"jupyter-config-data" in get(f"lab/tree/{PAGE}")


with tempfile.TemporaryDirectory() as runtime:
    began = time.monotonic()
    make = subprocess.Popen(
        ["make", "lab"],
        env={**os.environ, "JUPYTER_RUNTIME_DIR": runtime, "BROWSER": "true"},
        start_new_session=True,
    )
    try:
        while not (served := serves(Path(runtime))) and make.poll() is None:
            if time.monotonic() > began + LIMIT:
                break
            time.sleep(0.2)
        took = time.monotonic() - began
    finally:
        os.killpg(make.pid, signal.SIGTERM)
        make.wait()
if not served:
    sys.exit(f"`make lab` serves no page after {took:.0f} s.")
print(f"`make lab` serves its first page after {took:.1f} s.")
