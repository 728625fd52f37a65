"""Runs pages from top to bottom, each in a kernel of its own."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
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
from labkit.errors import LabError
from labkit.progressbar import PROGRESS
from labkit.servers import owner

#: Called as cells finish: (page, cells done, cells in all).
Progress = Callable[["Page", int, int], None]

_SOCKETS = "labkit-page-"  # so begin the directories with a kernel's sockets
_OWNER = "owner"  # the file in one of them that the process which runs the page holds
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
    seconds. Ending the iteration early ends the kernels too.
    """
    _remove_leftovers()
    kernels = _Kernels()
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="labkit-page") as pool:
        todo: dict[Future[NotebookNode | PageFailed], Page] = {
            pool.submit(_run_one, page, backend, kernels, progress, timeout): page
            for page in wanted
        }
        try:
            while todo:
                done, _ = wait(todo, return_when=FIRST_COMPLETED)
                for future in done:
                    yield todo.pop(future), future.result()
        finally:
            for future in todo:
                future.cancel()
            kernels.end()


def _remove_leftovers() -> None:
    """Remove the kernels' sockets of runs that are known to be dead."""
    for path in Path(gettempdir()).glob(f"{_SOCKETS}*"):
        if owner.has_ended(path / _OWNER):
            shutil.rmtree(path, ignore_errors=True)


class _Kernels:
    """The kernels at work, to be ended when nobody waits for them any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: set[int] = set()
        self.ended = False

    def add(self, pid: int) -> None:
        with self._lock:
            self._pids.add(pid)
        if self.ended:
            self.end()

    def remove(self, pid: int) -> None:
        with self._lock:
            self._pids.discard(pid)

    def end(self) -> None:
        """SIGKILL what is left; a killed kernel's lab is removed by its watchdog."""
        with self._lock:
            self.ended = True
            for pid in self._pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _run_one(
    page: Page, backend: str | None, kernels: _Kernels, progress: Progress | None, timeout: int
) -> NotebookNode | PageFailed:
    notebook = cast(NotebookNode, nbformat.from_dict(page.notebook))  # a deep copy
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with TemporaryDirectory(prefix=_SOCKETS) as sockets, owner.held(Path(sockets) / _OWNER):
        run = _Run(page, notebook, kernels, progress, timeout, sockets)
        if failure := _failure(run, backend, timeout):
            return failure
    _clean(notebook)
    notebook.metadata.setdefault("labkit", {})["source_hash"] = page.source_hash
    return notebook


def _failure(run: _Run, backend: str | None, timeout: int) -> PageFailed | None:
    try:
        asyncio.run(run.execute(backend))
    except CellExecutionError as error:
        return run.failed(f"{error.ename}: {error.evalue}", error.traceback)
    except CellTimeoutError:
        return run.failed(f"it was not done after {timeout} seconds", "")
    except RuntimeError as error:
        return run.failed(f"its kernel did not live: {error}", "")
    return None


class _Run:
    """One execution of one page."""

    def __init__(
        self,
        page: Page,
        notebook: NotebookNode,
        kernels: _Kernels,
        progress: Progress | None,
        timeout: int,
        sockets: str,
    ) -> None:
        self._page = page
        self._notebook = notebook
        self._kernels = kernels
        self._progress = progress
        self._at = 0
        self._client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(page.path.parent)}},
        )

    async def execute(self, backend: str | None) -> None:
        """Run every cell, and then ask whether the page has cleaned up."""
        environ = os.environ | {VARIABLE: ""} | ({"LABKIT_BACKEND": backend} if backend else {})
        recordings = list(_recordings(self._notebook))
        done = 0
        manager = self._client.create_kernel_manager()
        await self._client.async_start_new_kernel(env=environ)
        process = cast(Any, manager).provisioner.process
        self._kernels.add(process.pid)
        try:
            # Here and not below, where a kernel that ends too early leaves a traceback at exit.
            await self._client.async_start_new_kernel_client()
            async with self._client.async_setup_kernel():
                for at, cell in enumerate(self._notebook.cells):
                    self._at = at
                    for recording in recordings:
                        await self._record(recording, at)
                    await self._client.async_execute_cell(cell, at)
                    if cell.cell_type == "code" and cell.source.strip():
                        done += 1
                        if self._progress:
                            self._progress(self._page, done, len(self._page.code))
                self._at += 1
                for recording in recordings:
                    await self._record(recording, self._at)
                await self._probe(_LEFTOVERS)
        finally:
            self._kernels.remove(process.pid)
            process.kill()  # it has ended by now, unless its end has failed
            process.wait()

    async def _record(self, recording: _Recording, at: int) -> None:
        if at == recording.start:
            await self._probe(f"_labkit_lab, _labkit_now = {recording.since()}")
        elif at == recording.end:
            shown = await self._probe(recording.replay())
            self._notebook.cells[recording.controls].outputs += [
                nbformat.v4.new_output(
                    "display_data", output.data, metadata={"labkit": "recording"}
                )
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


# A page that ends with a lab open would leave its servers to the watchdog.
_LEFTOVERS = """
from labkit import Lab as _labkit_lab
if _labkit_lab.all_open():
    raise RuntimeError("the page ends with a lab open: its last cell should close it")
"""


@dataclass(frozen=True)
class _Recording:
    """The section around a page's controls: what happens in it is shown where the controls are.

    Nobody moves a slider when a page runs headless, but the same section breaks the same things
    by plain calls.
    """

    controls: int  # the index of the cell
    start: int
    end: int
    lab: str  # the expression that the controls were made for

    def since(self) -> str:
        return (
            f"(({self.lab}), ({self.lab}).timeline.now()) if {self.lab!r} in globals() "
            "else (None, 0.0)"
        )

    def replay(self) -> str:
        # Where nothing was done, all that was done before is more to look at.
        return (
            "from labkit.see.replay import replay as _labkit_replay\n"
            f"_labkit_events = ({self.lab}).timeline\n"
            f"_labkit_now = _labkit_now if _labkit_lab is ({self.lab}) else 0.0\n"
            "_labkit_done = any(e.kind == 'verb' and e.t > _labkit_now for e in _labkit_events)\n"
            "_labkit_replay(_labkit_events, since=_labkit_now if _labkit_done else None)"
        )


def _recordings(notebook: NotebookNode) -> Iterator[_Recording]:
    cells = notebook.cells
    starts = [
        index
        for index, cell in enumerate(cells)
        if cell.cell_type == "markdown" and re.match(r"#{1,2} ", cell.source)
    ]
    for index, cell in enumerate(cells):
        if cell.cell_type == "code" and "controls" in tags(cell) and (lab := _controlled(cell)):
            start = max((s for s in starts if s < index), default=0)
            end = min((s for s in starts if s > index), default=len(cells))
            yield _Recording(index, start, end, lab)


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
        cell.outputs = [
            output
            for output in cell.outputs
            if output.get("data", True) and output.get("metadata") != PROGRESS
        ]
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
