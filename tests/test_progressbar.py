"""The bar below a running cell, as the messages to a notebook tell it."""

from __future__ import annotations

from typing import Any

import nbformat
from nbclient import NotebookClient

from labkit.course import runner
from labkit.progressbar import PROGRESS, progress_bar

SLOW = """\
import time
from labkit.progressbar import progress_bar

with progress_bar("starting a server", delay=0.2) as report:
    with progress_bar("something inside", delay=0.0):
        time.sleep(0.4)
    report("building its image", 0.5)
    time.sleep(0.1)
"""
QUICK = """\
with progress_bar("starting a server", delay=0.5) as report:
    report("building its image", 0.5)
time.sleep(0.6)
"""
IN_A_THREAD = """\
from threading import Thread

def work():
    with progress_bar("a button's work", delay=0.0):
        time.sleep(0.2)

thread = Thread(target=work)
thread.start()
thread.join()
"""
FAILS = """\
try:
    with progress_bar("starting a server", delay=0.0):
        time.sleep(0.2)
        raise OSError
except OSError:
    print("failed")
"""


class Listener(NotebookClient):
    """Writes down what is displayed, as it comes."""

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.shown.append(msg["content"]["data"])
        return super().process_message(msg, cell, cell_index)


def shown(source: str) -> tuple[list[dict[str, str]], Any]:
    """What is displayed while the cell runs, and the cell afterwards."""
    cells = [nbformat.v4.new_code_cell(SLOW.split("\n\n")[0]), nbformat.v4.new_code_cell(source)]
    client = Listener(nbformat.v4.new_notebook(cells=cells), kernel_name="python3")
    client.shown = []
    client.execute()
    return client.shown, cells[1]


def test_it_comes_moves_and_goes() -> None:
    displayed, cell = shown(SLOW)
    first, second, last = displayed
    assert "starting a server" in first["text/html"]
    assert "value" not in first["text/html"]
    assert "building its image" in second["text/html"]
    assert 'value="0.50"' in second["text/html"]
    assert last["text/html"] == ""
    assert [output.metadata for output in cell.outputs] == [PROGRESS]


def test_what_is_quick_needs_none() -> None:
    assert shown(QUICK)[0] == []


def test_what_a_button_does_has_no_cell() -> None:
    assert shown(IN_A_THREAD)[0] == []


def test_it_goes_when_the_work_fails() -> None:
    displayed, cell = shown(FAILS)
    assert displayed[-1]["text/html"] == ""
    assert cell.outputs[-1].text == "failed\n"


def test_a_page_does_not_keep_it() -> None:
    _, cell = shown(SLOW)
    book = nbformat.v4.new_notebook(cells=[cell])
    runner._clean(book)
    assert cell.outputs == []


def test_a_terminal_has_none(capsys: Any) -> None:
    with progress_bar("starting a server", delay=0.0) as report:
        report("building its image", 0.5)
    assert capsys.readouterr() == ("", "")
