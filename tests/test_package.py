"""The wheel alone, in an empty directory: the course can be opened, run, exported and climbed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and nothing of the checkout."""
    place = tmp_path_factory.mktemp("package")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "build", "-q", "-o", place / "dist", ROOT], check=True)
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, place / "venv"], check=True)
    (wheel,) = (place / "dist").glob("*.whl")
    python = place / "venv/bin/python"
    install = [
        *uv,
        "pip",
        "install",
        "-q",
        "--python",
        python,
        "-c",
        ROOT / "deploy/constraints.txt",
    ]
    subprocess.run([*install, wheel], check=True)
    return place / "venv/bin"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the programs are called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABKIT_BACKEND", "process")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def output(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_the_wheel_that_is_used(installed: Path, here: Path) -> None:
    program = "import labkit, labkit.course.page as p; print(labkit.__file__, len(p.pages()))"
    where, count = output(installed / "python", "-c", program).split()
    assert Path(where).is_relative_to(installed.parent)
    assert int(count) == len(list((ROOT / "notebooks").glob("*.ipynb")))


def test_the_tour_and_the_ladder(installed: Path, here: Path) -> None:
    assert json.loads(output(installed / "labkit", "tour", "--json"))["ok"]
    climb = output(installed / "labkit", "ladder", "lowest-free", "--rung", "1", "--json")
    assert json.loads(climb)["reached"] >= 1


def test_a_page_is_run_and_exported(installed: Path, here: Path) -> None:
    output(installed / "labkit", "export", "01")
    page = (here / "site" / "01-znodes-and-versions.html").read_text()
    assert "<h1" in page
    for picture in re.findall(r'<img[^>]* src="([^":]+)"', page):
        assert (here / "site" / picture).is_file()


def test_the_nodes_image_can_be_built(installed: Path, here: Path) -> None:
    program = (
        "from labkit.servers.docker.images import build_context\n"
        "print(*build_context(), sep='\\n')\n"
    )
    names = output(installed / "python", "-c", program).splitlines()
    assert {"Dockerfile.node", "deploy/constraints.txt", "labkit/node/requirements.txt"} <= {*names}
    imported = {"labkit/__init__.py", "labkit/fire.py", "labkit/lazy.py"}
    assert all(name.startswith("labkit/node/") for name in {*names[2:]} - imported)


@pytest.fixture
def course(installed: Path, here: Path) -> Iterator[str]:
    """JupyterLab, opened as `uvx zookeeper-sequence-lab` does; its address with the token."""
    command = [installed / "zookeeper-sequence-lab", "lab", "04", "--no-browser"]
    environ = {**os.environ, "JUPYTER_CONFIG_DIR": str(here / "jupyter")}
    with (here / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"http://(127.0.0.1:\S+)", (here / "log").read_text())):
            assert process.poll() is None, (here / "log").read_text()
            assert time.monotonic() < deadline, (here / "log").read_text()
            time.sleep(0.1)
        yield "http://" + found[1]
    finally:
        process.terminate()
        process.wait()


def test_the_course_opens_as_a_copy_in_a_directory_of_its_own(course: str, here: Path) -> None:
    base, _, token = course.partition("/lab")
    headers = {"Authorization": f"token {token.partition('token=')[2]}"}
    for path in ("pages/04-the-sequence-node.ipynb", "img/04-the-sequence-node.svg"):
        answer = requests.get(f"{base}/api/contents/{path}", headers=headers, timeout=20)
        assert answer.status_code == 200, (answer.text, (here / "log").read_text())
        assert (here / "my-course" / path).is_file()
