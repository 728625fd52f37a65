"""Hosted environments: what they are told to run exists, and installs what a lab needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from labkit.course.page import PATHS, pages

ROOT = Path(__file__).parent.parent


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([\w./-]+):", makefile, flags=re.MULTILINE))


def _make_calls(text: str) -> set[str]:
    return {target for call in re.findall(r"\bmake ([\w./ -]+)", text) for target in call.split()}


def test_the_dev_container_has_an_engine_and_opens_the_lab() -> None:
    path = ROOT / ".devcontainer/devcontainer.json"
    container = json.loads(path.read_text())
    assert any("docker-in-docker" in feature for feature in container["features"])
    calls = _make_calls("\n".join(str(value) for value in container.values()))
    assert {".venv/ready", "lab"} <= calls <= _targets()


def test_binder_brings_a_zookeeper() -> None:
    packages = (ROOT / ".binder/apt.txt").read_text().split()
    assert {"zookeeper", "default-jre-headless"} <= set(packages)
    build = ROOT / ".binder/postBuild"
    assert os.access(build, os.X_OK)
    subprocess.run(["bash", "-n", str(build)], check=True)
    assert "deploy/constraints.txt -e ." in build.read_text()


def test_the_workflow_tests_and_publishes() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    jobs = workflow["jobs"]
    assert "test" in jobs["publish"]["needs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert _make_calls("\n".join(runs)) <= _targets()
    assert {"make test", "make test-long"} <= set(runs)
    [export] = [run for run in runs if "labkit export" in run]
    shown = subprocess.run(
        [sys.executable, "-m", "labkit.cli", "export", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    ).stdout
    assert all(option in shown for option in re.findall(r"--\w+", export))


def test_the_workflow_takes_nothing_on_trust() -> None:
    """Actions by the commit that was looked at, and no right beyond what a job needs."""
    text = (ROOT / ".github/workflows/test.yml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}: which release is that?"
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == ["publish"]
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


def test_the_workflow_runs_on_every_python_that_the_pins_hold_for() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [f">={matrix['python'][0]}"] == [project["requires-python"]]
    named = re.findall(r":: (3\.\d+)", "\n".join(project["classifiers"]))
    assert matrix["python"] == named


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-workflows", ".github/workflows/test.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("compose-spec", "docker-compose.yml"),
    ],
)
def test_a_file_fits_its_schema(schema: str, path: str) -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [checker, "--builtin-schema", f"vendor.{schema}", ROOT / path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_conda_installs_what_is_pinned() -> None:
    environment = yaml.safe_load((ROOT / "deploy/environment.yml").read_text())
    *names, last = environment["dependencies"]
    assert {"python>=3.11", "pip"} <= set(names)
    assert last["pip"] == ["-c constraints.txt", "-e .."]


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert cited["abstract"].strip() == project["description"]
    assert {"message", "title", "authors", "cff-version"} <= cited.keys()


def test_the_plans_for_a_class_add_up() -> None:
    minutes = {}
    for page in pages():
        card = re.search(r"\*\*(\d+) minutes", "".join(cell.source for cell in page.notebook.cells))
        assert card
        minutes[page.number] = int(card[1])
    plans = (ROOT / "docs/teaching.md").read_text()
    assert f"00 ({minutes['00']} min), 04 ({minutes['04']}), 06 ({minutes['06']})" in plans
    afternoon = sum(minutes[number] for number in PATHS["an afternoon"])
    assert f"{', '.join(PATHS['an afternoon'])} ({afternoon} min in all)" in plans
    assert re.findall(r"(\d\d\w?) \(", plans.splitlines()[10]) == list(PATHS["one hour"])
    first = sum(minutes[number] for number in ("00", "01", "02", "03", "03b"))
    second = sum(minutes[number] for number in ("04", "05", "06", "07", "08"))
    third = sum(minutes[number] for number in ("09", "09b", "11", "13"))
    for said in (first, second, third):
        assert f"({said} min" in plans
    asked = set(re.findall(r"^\| (\d\db?) \|", plans, re.MULTILINE))
    assert asked == minutes.keys() - {"00"}  # every page but the first has its tempting answer
