"""A lab on a projector: controls and the live picture in a browser tab, without JupyterLab.

Voilà serves a page that is made for it. Each tab has a kernel and a lab of its own, which end with
the tab.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.errors import LabError
from labkit.lab.urls import link
from labkit.servers.base import Endpoint, wait_until
from labkit.servers.ports import Ports, is_free

_TIMEOUT = 60.0  # seconds in which Voilà starts, or ends

_LOOKS = {"theme": "dark", "show_tracebacks": True}
_TITLE = "ZooKeeper Sequence Lab"
_HEAD = f"""\
<style>body {{ zoom: 1.5 }}</style>

# {_TITLE}"""  # so large that the last row of a room can read it

_CODE = """\
from labkit import Lab, controls

panel = controls(Lab({arguments}).start())
panel.clients.value = True
panel"""


def show(tell: Callable[[str], object], browser: bool, **arguments: object) -> NoReturn:
    """Serve the page until it is interrupted. Raises `LabError` if Voilà ends before.

    `tell` gets the address, with a token that keeps others on this machine out; `browser` opens a
    tab. `arguments` are those of `Lab`.

    `show(print, browser=True, nodes=4)`
    """
    said = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    at = Endpoint("127.0.0.1", Ports().reserve(8866))
    token = secrets.token_urlsafe()
    settings = {"ip": at.host, "port": at.port, "token": token, "open_browser": browser}
    # The token keeps others out; a tab that says its last word has no other proof to send.
    settings["tornado_settings"] = {"disable_check_xsrf": True}
    with tempfile.TemporaryDirectory(prefix="labkit-page-") as home:
        page, log = Path(home, "lab.ipynb"), Path(home, "log")
        cells = [new_markdown_cell(_HEAD), new_code_cell(_CODE.format(arguments=said))]
        nbformat.write(new_notebook(cells=cells, metadata={"title": _TITLE}), page)
        # In a file: a command line can be read by all users of a machine.
        page.with_name("voila.json").write_text(
            json.dumps({"Voila": settings, "VoilaConfiguration": _LOOKS})
        )
        with log.open("w") as sink:
            # Out of the reach of Ctrl-C, at which it would ask whether that is meant.
            voila = subprocess.Popen(
                [sys.executable, "-m", "voila", page.name],
                cwd=home,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        try:
            if wait_until(lambda: voila.poll() is not None or not is_free(at.port), _TIMEOUT):
                tell(f"{link(at)}/?token={token}")
            voila.wait()
        finally:
            voila.terminate()
            voila.wait(_TIMEOUT)
        raise LabError(f"Voilà, which serves the page, has ended: {log.read_text()[-500:]}")
