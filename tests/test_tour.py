"""The command line in Docker: the tour shows what it shows with processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_images")]


def tour(backend: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "labkit.cli", "tour", "--backend", backend, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_tour_is_the_same_in_both_places() -> None:
    docker, process = tour("docker"), tour("process")
    assert docker["backend"] == "docker"
    assert process["backend"] == "process"
    assert len(docker["steps"]) > 5
    assert docker["steps"] == process["steps"]
