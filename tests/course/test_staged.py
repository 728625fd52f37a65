"""Experiments on three machines, and the runs of them that came with the course."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labkit.course import runner, staged
from labkit.course.page import HOME, Page
from labkit.course.runner import PageFailed
from labkit.course.staged import StagedRun, on_machines
from labkit.errors import ConfigError
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.story.event import PlacedEvent, VerbEvent

SAVED = sorted(path.name.removesuffix(".jsonl.gz") for path in staged.HOME.glob("*"))


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No machines but those that a test names."""
    monkeypatch.delenv("LABKIT_ENGINES", raising=False)
    monkeypatch.setattr("labkit.servers.docker.nested.Machines.all", lambda machines: [])


def power_cut(lab: Lab) -> dict[str, Any]:
    raise AssertionError("nothing is run where there are no machines")


def test_without_machines_it_is_the_saved_run_and_says_so() -> None:
    run = on_machines(power_cut, nodes=6, ensemble=3)
    assert "Saved run of" in repr(run)
    assert "here are no three machines. `labkit machines up` makes three" in repr(run)
    assert run.told["free"] > 0


def test_machines_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ",".join(f"unix:///nowhere/{name}" for name in "abc")
    monkeypatch.setenv("LABKIT_ENGINES", nowhere)
    run = on_machines(power_cut, nodes=6, ensemble=3)
    assert "No Docker engine answers at unix:///nowhere/a" in repr(run)


def test_an_experiment_of_ones_own_needs_machines() -> None:
    def mine(lab: Lab) -> dict[str, Any]:
        return {}

    with pytest.raises(ConfigError, match=r"no saved run mine.*labkit machines up"):
        on_machines(mine, nodes=1)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = StagedRun({"cut": 1.5}, [VerbEvent("lab", verb="kill", phase="begin", id=1)], "somewhere")
    run.write(tmp_path / "run")
    assert StagedRun.read(tmp_path / "run") == run


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_run_was_on_three_machines_and_shows_what_its_page_says(name: str) -> None:
    run = StagedRun.read(staged.HOME / f"{name}.jsonl.gz")
    places = {event.machine for event in run.history if isinstance(event, PlacedEvent)}
    assert len(places) == 3
    broken = {violation.rule for violation in check(run.history, session_timeout=2).violations}
    assert broken == ({"answers", "unheld"} if name.endswith("-Trusting") else set())


@pytest.mark.docker
@pytest.mark.timeout(400)
def test_the_page_on_three_machines(engines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_ENGINES", ",".join(engines))
    [path] = HOME.glob("10b-*")
    [(_, notebook)] = runner.run([Page.read(path)])
    assert not isinstance(notebook, PageFailed), f"{notebook}\n{notebook.traceback}"
    said = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("Run on machines a, b, c, with ZooKeeper" in output for output in said) == 3
