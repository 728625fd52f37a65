"""The command line: the tour shows the same in Docker, on a Swarm and with processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_images")]


def tour(backend: str, **environ: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "labkit.cli", "tour", "--backend", backend, "--json"]
    environ = {**os.environ, **environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(300)
def test_the_tour_is_the_same_everywhere(engines: list[str]) -> None:
    docker, process = tour("docker"), tour("process")
    swarm = tour("swarm", LABKIT_ENGINES=",".join(engines))
    assert swarm["backend"] == "swarm"
    assert docker["backend"] == "docker"
    assert process["backend"] == "process"
    assert len(docker["steps"]) > 5
    assert docker["steps"] == process["steps"] == swarm["steps"]
