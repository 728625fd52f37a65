"""Runs pages from top to bottom, each in a kernel of its own."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, cast

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from traitlets.config import Config

from labkit.course.page import Page, calls, tags
from labkit.course.record import VARIABLE
from labkit.course.workers import Children, side_by_side
from labkit.errors import LabError
from labkit.progressbar import PROGRESS
from labkit.see.live import LIVE
from labkit.servers import owner
from labkit.servers.choice import asked_for

#: Called as cells finish: (page, cells done, cells in all).
Progress = Callable[["Page", int, int], None]

_SOCKETS = "labkit-page-"  # so begin the directories with a kernel's sockets
_OWNER = "owner"  # the file in one of them that the process which runs the page holds
_END = 1.5  # seconds in which those who have to do with a kernel notice its end
_TIDY = 10.0  # seconds for what is cancelled then to let go of its sockets
_CELL_TIMEOUT = 180  # seconds; a cell that waits longer waits for nothing
_WIDGET = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PageFailed(LabError):
    """A page did not run to its end. `notebook` has the outputs up to there."""

    def __init__(
        self, page: Page, index: int, error: str, traceback: str, notebook: NotebookNode
    ) -> None:
        source = notebook.cells[index].source.strip() if index < len(notebook.cells) else ""
        first = source.splitlines()[0] if source else "at its end"
        super().__init__(f"{page.path.name}, cell {index + 1} ({first}): {error}")
        self.page = page
        self.cell = index + 1  # counted from 1, text cells included
        self.error = error
        self.traceback = traceback
        self.notebook = notebook


def run(
    wanted: Sequence[Page],
    backend: str | None = None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    timeout: int = _CELL_TIMEOUT,
) -> Iterator[tuple[Page, NotebookNode | PageFailed]]:
    """Execute pages, each in a kernel of its own, `jobs` at a time; yields them as they finish.

    `backend` is "docker", "process", or None to let the pages choose. Cells may take `timeout`
    seconds. Ending the iteration early ends the kernels too, and waits for nobody who waits for
    one of them. Raises `ConfigError` for an unknown backend.
    """
    asked_for(backend)
    _remove_leftovers()
    kernels = Children()
    with (
        TemporaryDirectory(prefix=_SOCKETS, ignore_cleanup_errors=True) as sockets,
        owner.held(Path(sockets) / _OWNER),
    ):

        def work(numbered: tuple[int, Page]) -> NotebookNode | PageFailed:
            number, page = numbered
            setting = _Setting(kernels, progress, timeout, f"{sockets}/{number}")
            return _run_one(page, backend, setting)

        for (_, page), result in side_by_side(list(enumerate(wanted)), work, jobs, kernels):
            yield page, result


def _remove_leftovers() -> None:
    """Remove the kernels' sockets of runs that are known to be dead."""
    for path in Path(gettempdir()).glob(f"{_SOCKETS}*"):
        if owner.has_ended(path / _OWNER):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class _Setting:
    """What a page's run is given."""

    kernels: Children
    progress: Progress | None
    timeout: int  # seconds for a cell
    sockets: str  # so begin their paths


def _run_one(page: Page, backend: str | None, setting: _Setting) -> NotebookNode | PageFailed:
    notebook = cast(NotebookNode, nbformat.from_dict(page.notebook))  # a deep copy
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    run = _PageRun(page, notebook, setting)
    if failure := _failure(run, backend, setting.timeout):
        return failure
    _clean(notebook)
    notebook.metadata.setdefault("labkit", {})["source_hash"] = page.source_hash
    return notebook


def _failure(run: _PageRun, backend: str | None, timeout: int) -> PageFailed | None:
    loop = asyncio.new_event_loop()  # asyncio.run would wait for tasks that don't end
    try:
        loop.run_until_complete(run.execute(backend))
    except CellExecutionError as error:
        return run.failed(f"{error.ename}: {error.evalue}", error.traceback)
    except CellTimeoutError:
        return run.failed(f"it was not done after {timeout} seconds", "")
    except RuntimeError as error:
        return run.failed(f"its kernel did not live: {error}", "")
    finally:
        loop.close()
    return None


class _PageRun:
    """One execution of one page."""

    def __init__(self, page: Page, notebook: NotebookNode, setting: _Setting) -> None:
        self._page = page
        self._notebook = notebook
        self._kernels = setting.kernels
        self._progress = setting.progress
        self._profile = f"{setting.sockets}-ipython"
        self._at = 0
        self._client = NotebookClient(
            notebook,
            timeout=setting.timeout,
            kernel_name="python3",
            config=Config({"KernelManager": {"transport": "ipc", "ip": setting.sockets}}),
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(page.path.parent)}},
        )

    async def execute(self, backend: str | None) -> None:
        """Run every cell, and then ask whether the page has cleaned up.

        Ends soon after the kernel has, whatever is waited for: a reply to a question that was
        asked just before its end comes never, and not every wait looks for that.
        """
        own = {VARIABLE: "", "IPYTHONDIR": self._profile}  # nothing of the reader's is in a page
        environ = os.environ | own | ({"LABKIT_BACKEND": backend} if backend else {})
        manager = cast(Any, self._client.create_kernel_manager())
        await self._client.async_start_new_kernel(env=environ)
        process = manager.provisioner.process
        self._kernels.add(process.pid)
        cells = asyncio.ensure_future(self._cells())
        end = asyncio.ensure_future(_has_ended(process))
        try:
            await asyncio.wait({cells, end}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({cells}, timeout=_END)  # who has asked it to end needs a moment
            if not cells.done():
                raise RuntimeError("it has ended")
            cells.result()
        finally:
            for task in (cells, end):
                task.cancel()
            await asyncio.wait({cells, end}, timeout=_TIDY)
            self._kernels.remove(process.pid)
            process.kill()  # it has ended by now, unless its end has failed
            process.wait()
            if self._client.km is not None:  # nbclient lets go of its sockets, unless cancelled
                if self._client.kc is not None:
                    self._client.kc.stop_channels()
                await manager.cleanup_resources()

    async def _cells(self) -> None:
        recordings = _recordings(self._notebook)
        done = 0
        # Here and not below, where a kernel that ends too early leaves a traceback at exit.
        await self._client.async_start_new_kernel_client()
        async with self._client.async_setup_kernel():
            for at, cell in enumerate(self._notebook.cells):
                self._at = at
                await self._client.async_execute_cell(cell, at)
                if at in recordings:
                    await self._record(recordings[at])
                if cell.cell_type == "code" and cell.source.strip():
                    done += 1
                    if self._progress:
                        self._progress(self._page, done, len(self._page.code))
            self._at += 1
            await self._probe(_LEFTOVERS)

    async def _record(self, lab: str) -> None:
        """Show beside the controls what has happened to their lab so far.

        Nobody moves a slider when a page runs headless. What later cells do is not shown here: it
        would answer the questions that stand in between.
        """
        shown = await self._probe(
            "from labkit.see.replay import replay as _labkit_replay\n"
            f"_labkit_replay(({lab}).timeline)"
        )
        self._notebook.cells[self._at].outputs += [
            nbformat.v4.new_output("display_data", output.data, metadata={"labkit": "recording"})
            for output in shown
        ]

    async def _probe(self, source: str) -> list[NotebookNode]:
        """What a piece of code displays that is none of the page's."""
        index = min(self._at, len(self._notebook.cells) - 1)
        real = self._notebook.cells[index]
        cell = nbformat.v4.new_code_cell(source)
        try:
            await self._client.async_execute_cell(cell, index, store_history=False)
        finally:
            self._notebook.cells[index] = real
        return [output for output in cell.outputs if output.output_type != "stream"]

    def failed(self, error: str, traceback: str) -> PageFailed:
        """The failure, with what the page had shown until then."""
        _clean(self._notebook)
        return PageFailed(self._page, self._at, error, traceback, self._notebook)


async def _has_ended(process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        await asyncio.sleep(0.1)


# A page that ends with a lab open would leave its servers to the watchdog.
_LEFTOVERS = """
from labkit import Lab as _labkit_lab
if _labkit_lab.all_open():
    raise RuntimeError("the page ends with a lab open: its last cell should close it")
"""


def _recordings(notebook: NotebookNode) -> dict[int, str]:
    """The cells with controls, and the expression for the lab that each was made for."""
    return {
        index: lab
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "controls" in tags(cell) and (lab := _controlled(cell))
    }


def _controlled(cell: NotebookNode) -> str | None:
    """The expression in `controls(…)`."""
    return next((ast.unparse(call.args[0]) for call in calls(cell, "controls")), None)


def _clean(notebook: NotebookNode) -> None:
    """Drop what means something only to the kernel that ran the page, or to one machine.

    A widget without its kernel is an error message in JupyterLab and a blank on a code host; the
    words or the figure that came with it stay.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type in ("display_data", "execute_result"):
                output.data.pop(_WIDGET, None)
            if output.get("metadata") == LIVE:  # on paper there are words, and a replay
                output.data.pop("text/html", None)
                output.metadata = NotebookNode()
        cell.outputs = [
            output
            for output in cell.outputs
            if output.get("data", True) and output.get("metadata") != PROGRESS
        ]
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
