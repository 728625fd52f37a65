"""Every page, top to bottom, without anybody there, on either backend; and what it leaves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from nbformat import NotebookNode

from labkit.course import page, runner
from labkit.course.page import Page, calls
from labkit.course.runner import PageFailed
from labkit.servers.docker import engine, leftovers

COURSE = page.pages()
JOBS = 4  # pages at a time: most of a page is waiting
LIMITS = {"process": 480, "docker": 900}  # seconds for all pages, on a machine that is shared

pytestmark = [pytest.mark.alone, pytest.mark.timeout(1500)]


class WholeRun:
    """The whole course on one backend."""

    def __init__(self, backend: str, again: bool) -> None:
        # Everything that a lab leaves on a machine is below its temporary directory, or is a
        # process that has it in its environment.
        with tempfile.TemporaryDirectory(prefix="lab-") as home, pytest.MonkeyPatch.context() as at:
            at.setenv("TMPDIR", home)
            began = time.monotonic()
            self.results = {
                page.path: result for page, result in runner.run(COURSE, backend, jobs=JOBS)
            }
            self.seconds = time.monotonic() - began
            failed = [page for page in COURSE if isinstance(self.results[page.path], PageFailed)]
            if again and failed:  # as any other test on a machine that may stall
                self.results |= {page.path: result for page, result in runner.run(failed, backend)}
            self.processes = _until_empty(lambda: _processes(home))
            self.directories = _until_empty(lambda: [str(p) for p in Path(home).glob("labkit-*/*")])
        self.containers = _until_empty(_left_over) if backend == "docker" else []


def _until_empty(look: Callable[[], list[str]], timeout: float = 5.0) -> list[str]:
    deadline = time.monotonic() + timeout
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _left_over() -> list[str]:
    with closing(engine.connect()) as client:
        left = leftovers.leftovers([client])
        return [lab for lab in left if not leftovers.is_unused(client, lab)]


def _processes(home: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == home and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture(
    scope="module",
    params=["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.long])],
)
def whole(request: pytest.FixtureRequest) -> tuple[str, WholeRun]:
    if request.param == "docker":
        request.getfixturevalue("docker_images")
    return request.param, WholeRun(request.param, again=bool(request.config.getoption("reruns")))


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.stem)
def test_a_page_runs_to_its_end(page: Page, whole: tuple[str, WholeRun]) -> None:
    result = whole[1].results[page.path]
    assert not isinstance(result, PageFailed), f"{result}\n{result.traceback}"
    assert [output for cell in result.cells for output in _errors(cell)] == []


def _errors(cell: NotebookNode) -> list[NotebookNode]:
    return [
        output
        for output in cell.get("outputs", [])
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def test_nobody_answered_so_nothing_is_passed(whole: tuple[str, WholeRun]) -> None:
    verdicts = [
        output.data["text/plain"].split(":")[0]
        for result in whole[1].results.values()
        if not isinstance(result, PageFailed)
        for cell in result.cells
        if cell.cell_type == "code" and calls(cell, "ex.check")
        for output in cell.outputs
    ]
    assert set(verdicts) == {"not attempted"}
    assert len(verdicts) >= 24


def test_nothing_is_left(whole: tuple[str, WholeRun]) -> None:
    assert whole[1].processes == []
    assert whole[1].directories == []
    assert whole[1].containers == []


def test_it_does_not_take_long(whole: tuple[str, WholeRun]) -> None:
    backend, run = whole
    assert run.seconds < LIMITS[backend]
