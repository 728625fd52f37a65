"""The course: its pages in order, run from top to bottom, and their generated cells.

A page is a notebook in `notebooks/`. What it asks, how long it takes and what it builds on stand in
its metadata, under `labkit`; the cells tagged `card`, `nav` and `map` are written from there.

    python -m labkit.course run 04     execute, and save with the outputs
    python -m labkit.course write      write the generated cells again
    python -m labkit.course check      hold the pages to the rules of thumb
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import hashlib
import io
import os
import re
import shutil
import signal
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Literal, cast

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from traitlets.config import Config

from labkit.bar import PROGRESS
from labkit.errors import ConfigError, LabError

ROOT = Path(__file__).parent.parent
HOME = ROOT / "notebooks"

#: Called as cells finish: (page, cells done, cells in all).
Progress = Callable[["Page", int, int], None]

_SOCKETS = "labkit-page-"  # then the process, of the directories with its kernels' sockets
_CELL_TIMEOUT = 180  # seconds; a cell that waits longer waits for nothing
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PAGE = re.compile(r"\d\d[a-z]?-")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Page:
    """One page, as it is on disk."""

    path: Path
    notebook: NotebookNode

    @classmethod
    def read(cls, path: Path) -> Page:
        """Read a notebook. Raises `ConfigError` when it is none."""
        try:
            return cls(path, cast(NotebookNode, nbformat.read(path, as_version=4)))
        except FileNotFoundError:
            raise ConfigError(f"There is no page {path}.") from None
        except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
            raise ConfigError(f"{path} is not a notebook that can be read: {error}") from error

    def save(self, notebook: NotebookNode) -> Page:
        """Write `notebook` in the page's place."""
        text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
        self.path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        return Page(self.path, notebook)

    @property
    def about(self) -> dict[str, Any]:
        """What the page's metadata say of it."""
        return dict(self.notebook.metadata.get("labkit", {}))

    @property
    def number(self) -> str:
        """Its place in the course: "00" to "13"; "03b" stands between "03" and "04"."""
        return str(self.about.get("number", self.path.stem.split("-")[0]))

    @property
    def title(self) -> str:
        """Its first heading, or its file's name."""
        headings = (
            re.search(r"^# +(.+?) *$", cell.source, flags=re.MULTILINE)
            for cell in self.notebook.cells
            if cell.cell_type == "markdown"
        )
        return next((found[1] for found in headings if found), self.path.stem)

    @property
    def name(self) -> str:
        """How other pages call it."""
        return f"{self.number} · {self.about.get('question', self.title)}"

    @property
    def minutes(self) -> int:
        """How long it takes."""
        return int(self.about.get("minutes", 0))

    @property
    def needs(self) -> tuple[str, ...]:
        """The numbers of the pages to have read before."""
        return tuple(self.about.get("needs", ()))

    @cached_property
    def code(self) -> list[NotebookNode]:
        """The cells that run."""
        return [c for c in self.notebook.cells if c.cell_type == "code" and c.source.strip()]

    @property
    def source_hash(self) -> str:
        """A digest of all code; the saved outputs belong to the one that is saved with them."""
        text = "\0".join(cell.source for cell in self.code)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def pages(folder: Path = HOME) -> list[Page]:
    """All pages of the course, in order."""
    return [Page.read(path) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    """A page's file is called by its number: `03-….ipynb`, and `03b-….ipynb` follows it."""
    return sorted(path for path in folder.glob("*.ipynb") if _PAGE.match(path.name))


# --- running ----------------------------------------------------------------------------------


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
    """Remove the kernels' sockets of runs that were killed."""
    for path in Path(gettempdir()).glob(f"{_SOCKETS}*-*"):
        owner = path.name.removeprefix(_SOCKETS).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
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
    with TemporaryDirectory(prefix=f"{_SOCKETS}{os.getpid()}-") as sockets:
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
        environ = os.environ | ({"LABKIT_BACKEND": backend} if backend else {})
        recordings = list(_recordings(self._notebook))
        done = 0
        manager = self._client.create_kernel_manager()
        await self._client.async_start_new_kernel(env=environ)
        process = cast(Any, manager).provisioner.process
        self._kernels.add(process.pid)
        try:
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
            "from labkit.replay import replay as _labkit_replay\n"
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


def calls(cell: NotebookNode, name: str) -> list[ast.Call]:
    """The calls of that name in a cell: of a function or any method, or with a dot of just that."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:  # IPython understands more than Python
        return []
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = ((call, ast.unparse(call.func)) for call in found)
    return [call for call, full in names if name in (full, full.split(".")[-1])]


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


# --- generated cells --------------------------------------------------------------------------


def course_of(page: Page) -> list[Page]:
    """The pages among which a page stands: those in its folder."""
    return pages(page.path.parent)


def write(chosen: Iterable[Page]) -> list[Path]:
    """Bring generated cells and closing pictures up to date in all folders that the chosen pages
    are in; returns the files that changed.
    """
    folders = sorted({page.path.parent for page in chosen})
    return [path for folder in folders for path in _write(pages(folder))]


def _write(course: Sequence[Page]) -> list[Path]:
    changed = []
    for page in course:
        changed += _write_picture(page)
        fresh = generated(page, course)
        stale = [cell for cell, text in fresh if cell.source != text]
        for cell, text in fresh:
            cell.source = text
        if stale:
            page.save(page.notebook)
            changed.append(page.path)
    return changed


def generated(page: Page, course: Sequence[Page]) -> list[tuple[NotebookNode, str]]:
    """The generated cells of a page, each with the text that it should have."""
    makers: dict[str, Callable[[Page, Sequence[Page]], str]] = {
        "card": _card,
        "nav": _nav,
        "map": lambda _, course: _map(course),
    }
    return [
        (cell, makers[tag](page, course))
        for cell in page.notebook.cells
        for tag in tags(cell)
        if tag in makers
    ]


def _card(page: Page, course: Sequence[Page]) -> str:
    known = {other.number: other for other in course}
    needs = " and ".join(_link(known[n]) if n in known else n for n in page.needs)
    lines = [f"> **{page.minutes} minutes.** " + (f"Builds on {needs}." if needs else "")]
    if (closing := closing_picture(page)) is not None:
        path = os.path.relpath(_picture_path(page), page.path.parent)
        alt = re.sub(r"[\[\]]", "", _shorten(closing.alt))
        lines += [">", "> It ends with this picture:", ">", f"> ![{alt}]({Path(path).as_posix()})"]
    return "\n".join(line.rstrip() for line in lines)


def _nav(page: Page, course: Sequence[Page]) -> str:
    at = [other.path for other in course].index(page.path)
    parts = []
    if at > 0:
        parts.append(f"← {_link(course[at - 1])}")
    if at > 1:
        parts.append(f"[All pages]({course[0].path.name})")
    if at + 1 < len(course):
        parts.append(f"{_link(course[at + 1])} →")
    return " &nbsp;|&nbsp; ".join(parts)


def _map(course: Sequence[Page]) -> str:
    rows = ["| Page | Builds on | Minutes |", "|:---|:---|---:|"]
    rows += [
        f"| {_link(page)} | {', '.join(page.needs) or '–'} | {page.minutes} |" for page in course
    ]
    rows.append(f"| All of it | | {sum(page.minutes for page in course)} |")
    return "\n".join(rows)


def _link(page: Page) -> str:
    return f"[{page.name}]({page.path.name})"


@dataclass(frozen=True)
class Picture:
    """A figure among a page's outputs."""

    png: bytes
    alt: str


def closing_picture(page: Page) -> Picture | None:
    """The figure that the page ends with: of the cell tagged `closing`, or else the last one."""
    figures = [
        (cell, output)
        for cell in page.code
        for output in cell.outputs
        if "image/png" in output.get("data", {}) and output.metadata.get("labkit") != "recording"
    ]
    chosen = [figure for figure in figures if "closing" in tags(figure[0])] or figures
    if not chosen:
        return None
    output = chosen[-1][1]
    return Picture(b64decode(output.data["image/png"]), alternative(output))


def alternative(output: NotebookNode) -> str:
    """What an output's picture shows, in words; "" if nobody said."""
    alt = output.metadata.get("image/png", {}).get("alt") or output.data.get("text/plain", "")
    return "" if alt.startswith("<") else " ".join(alt.split())


def _picture_path(page: Page) -> Path:
    return page.path.parent.parent / "img" / "pages" / f"{page.number}.png"


def _write_picture(page: Page) -> list[Path]:
    closing = closing_picture(page)
    path = _picture_path(page)
    if closing is None:
        return []
    small = _shrunk(closing.png)
    if path.exists() and path.read_bytes() == small:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(small)
    return [path]


def _shrunk(png: bytes, width: int = 900) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        height = round(image.height * width / image.width)
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.quantize(64).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _shorten(text: str, length: int = 240) -> str:
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


# --- command line -----------------------------------------------------------------------------


def choose(names: Iterable[str]) -> list[Page]:
    """The pages named, as `find` takes them, or else all of the course."""
    return [Page.read(find(name)) for name in names] or pages()


def find(name: str) -> Path:
    """A page by its number ("04", "4", "3b"), its name with or without suffix, or a path.

    Raises `ConfigError` with the names of all pages if there is none.
    """
    known = _files(HOME)
    for path in known:
        if name in (path.name, path.stem) or _padded(name) == path.stem.split("-")[0]:
            return path
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    there = ", ".join(path.stem for path in known)
    raise ConfigError(f"There is no page {name}. There are: {there or 'none'}.")


def _padded(number: str) -> str:
    """A page's number in full: "04" for "4", "03b" for "3b"."""
    return re.sub(r"^\d(?!\d)", r"0\g<0>", number)


def _main(arguments: Sequence[str] | None = None) -> Literal[0, 1]:
    parser = argparse.ArgumentParser(prog="python -m labkit.course")
    parser.add_argument("verb", choices=["run", "write", "check"])
    parser.add_argument("pages", nargs="*", help="paths or numbers; all of the course")
    parser.add_argument("--backend", choices=["docker", "process"])
    parser.add_argument("--jobs", type=int, default=1, help="pages that run at the same time")
    options = parser.parse_args(arguments)
    try:
        chosen = choose(options.pages)
        if options.verb == "run":
            return _run(chosen, options.backend, options.jobs)
        if options.verb == "write":
            for path in write(chosen):
                print(path)
            return 0
        return _check(chosen)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


def _run(chosen: Sequence[Page], backend: str | None, jobs: int) -> Literal[0, 1]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    failures = []
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=sum(len(page.code) for page in chosen))

        def progress(page: Page, done: int, total: int) -> None:
            bar.update(task, advance=1, description=f"{page.number}: {done}/{total}")

        for page, result in run(chosen, backend, jobs=jobs, progress=progress):
            if isinstance(result, PageFailed):
                failures.append(result)
                print(f"✗ {result}\n{_ANSI.sub('', result.traceback)}", file=sys.stderr)
            else:
                page.save(result)
                print(f"✓ {page.path.name}")
    write(chosen)
    return 1 if failures else 0


def _check(chosen: Sequence[Page]) -> Literal[0, 1]:
    from labkit import rules

    found = [problem for page in chosen for problem in rules.check(page, course_of(page))]
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(_main())
