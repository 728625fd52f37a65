"""The runner of pages: what it saves, and what becomes of a page that fails, hangs or litters."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.course import page as course
from labkit.course import runner, workers
from labkit.course.page import Page
from labkit.course.runner import PageFailed
from labkit.servers import owner


def page(folder: Path, *sources: str, tags: tuple[str, ...] = ()) -> Page:
    cells = [new_markdown_cell("# Why?")]
    cells += [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    path = folder / "01-page.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return Page.read(path)


def failure(page: Page, timeout: int = 60) -> PageFailed:
    ((_, result),) = runner.run([page], timeout=timeout)
    assert isinstance(result, PageFailed)
    return result


def test_a_run_saves_what_belongs_to_the_source(tmp_path: Path) -> None:
    before = page(tmp_path, "import ipywidgets\nipywidgets.IntSlider()", "print('a')", "", "6 * 7")
    seen: list[tuple[int, int]] = []
    progress = lambda page, done, total: seen.append((done, total))  # noqa: E731
    ((_, notebook),) = runner.run([before], progress=progress)
    assert not isinstance(notebook, PageFailed)
    after = before.save(notebook)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [cell.execution_count for cell in after.code] == [1, 2, 3]
    widget, printed, answer = (cell.outputs[0] for cell in after.code)
    assert list(widget.data) == ["text/plain"]  # its view would be a broken widget
    assert printed.text == "a\n"
    assert answer.data["text/plain"] == "42"
    assert after.about["source_hash"] == after.source_hash == before.source_hash
    assert "widgets" not in after.notebook.metadata
    assert all("execution" not in cell.metadata for cell in after.notebook.cells)
    assert Page.read(before.path).notebook == after.notebook


def test_a_readers_own_profile_is_in_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-mine.py").write_text("mine = True\n")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    ((_, notebook),) = runner.run([page(tmp_path, "'mine' in globals()")])
    assert not isinstance(notebook, PageFailed)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "False"


def test_the_backend_reaches_the_page(tmp_path: Path) -> None:
    asked = page(tmp_path, "import os\nos.environ['LABKIT_BACKEND']")
    ((_, notebook),) = runner.run([asked], "process")
    assert not isinstance(notebook, PageFailed)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "'process'"


def test_a_failure_names_the_cell_and_keeps_the_outputs(tmp_path: Path) -> None:
    found = failure(page(tmp_path, "print('so far')", "missing"))
    assert str(found) == (
        "01-page.ipynb, cell 3 (missing): NameError: name 'missing' is not defined"
    )
    assert found.notebook.cells[1].outputs[0].text == "so far\n"
    assert "missing" in found.traceback


def test_a_cell_that_hangs_is_given_up(tmp_path: Path) -> None:
    found = failure(page(tmp_path, "import threading\nthreading.Event().wait()"), timeout=2)
    assert "it was not done after 2 seconds" in str(found)
    assert kernels() == []


def test_a_kernel_that_dies_is_said(tmp_path: Path) -> None:
    found = failure(page(tmp_path, "import os\nos._exit(3)"))
    assert "its kernel did not live" in str(found)


def test_a_page_that_leaves_its_lab_open_fails(tmp_path: Path) -> None:
    found = failure(
        page(tmp_path, "from labkit import Lab\nlab = Lab(nodes=0, backend='process').start()")
    )
    assert "ends with a lab open" in str(found)


def test_ending_early_ends_the_kernels(tmp_path: Path) -> None:
    quick = page(tmp_path, "1")
    (tmp_path / "more").mkdir()
    slow = page(tmp_path / "more", "import threading\nthreading.Event().wait()")
    results = runner.run([quick, slow], jobs=2)
    assert next(results)[0].path == quick.path
    results.close()  # type: ignore[attr-defined]  # a generator
    assert kernels() == []


def test_a_run_removes_what_a_killed_one_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, alive, unknown = (tmp_path / f"labkit-page-{name}" for name in ("a", "b", "c"))
    for path in (left, alive, unknown):
        (path / "kernel-1").mkdir(parents=True)
    hold = "from labkit.servers import owner; owner.hold(owner.Path(__import__('sys').argv[1]))"
    subprocess.run([sys.executable, "-c", hold, str(left / "owner")], check=True)
    with owner.held(alive / "owner"):
        assert list(runner.run([])) == []
    assert not left.exists()
    assert alive.exists()
    assert unknown.exists()


@pytest.mark.parametrize("hangs", ["async_start_new_kernel_client", "async_execute_cell"])
def test_nobody_waits_for_the_reply_of_a_dead_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    """Whatever the kernel's client waits for, and whether or not it looks for its end."""
    waiting = threading.Event()

    async def wait_for_ever(*_: object, **__: object) -> None:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runner.NotebookClient, hangs, wait_for_ever)
    killer = threading.Thread(target=lambda: (waiting.wait(60), kernels()[0].kill()))
    killer.start()
    assert "its kernel did not live" in str(failure(page(tmp_path, "1")))
    killer.join()


def test_an_early_end_waits_for_no_page_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, never = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        begun.set()
        never.wait()

    monkeypatch.setattr(runner, "_run_one", hang)
    monkeypatch.setattr(workers, "_END", 0.1)
    results = runner.run([page(tmp_path, "1")])
    waiter = threading.Thread(target=lambda: (begun.wait(60), signal.raise_signal(signal.SIGINT)))
    waiter.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(results)
    finally:
        never.set()
        waiter.join()


@pytest.mark.alone  # other tests' load makes the end slow
def test_an_interrupt_ends_the_run_and_its_kernels(tmp_path: Path) -> None:
    slow = page(tmp_path, "print('here')\nimport threading\nthreading.Event().wait()")
    command = [sys.executable, "-m", "labkit.cli", "export", str(slow.path), "--out", "out"]
    export = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    process = psutil.Process(export.pid)
    while not any("ipykernel" in " ".join(p.cmdline()) for p in process.children()):
        assert export.poll() is None
    children = process.children(recursive=True)
    export.send_signal(signal.SIGINT)
    _, said = export.communicate(timeout=30)
    assert export.returncode == 130
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert not (tmp_path / "out").exists()


def kernels() -> list[psutil.Process]:
    children = psutil.Process(os.getpid()).children(recursive=True)
    return [
        child
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE
        and "ipykernel_launcher" in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize(
    ("source", "lab"),
    [
        ("controls(lab)", "lab"),
        ("panel = labkit.controls(labs[0])\npanel", "labs[0]"),
        ("replay(lab.timeline)", None),
        ("%magic", None),
    ],
)
def test_the_lab_under_the_controls_is_found(source: str, lab: str | None) -> None:
    found = [call.args[0] for call in course.calls(new_code_cell(source), "controls")]
    assert [runner.ast.unparse(argument) for argument in found] == ([lab] if lab else [])
