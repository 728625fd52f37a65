"""The image with all of it: the course opens for whoever has its token, and labs work inside."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parent.parent
IMAGE = "labkit-test/lab"
CONTEXT = "/tmp/context"  # where Dockerfile.lab has what it was given
pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.timeout(600)]


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr  # a container's log is on both


@pytest.fixture
def container(docker_images: None) -> Iterator[str]:
    """A container of the image, built as a reader builds it, from what is on this machine."""
    archive = Path(output("tests/images/release.sh").strip())
    given = {
        "LABKIT_ZOOKEEPER_URL": f"{CONTEXT}/{archive.name}",
        "LABKIT_ZOOKEEPER_SHA512": hashlib.sha512(archive.read_bytes()).hexdigest(),
    }
    if python := os.environ.get("LABKIT_PYTHON_IMAGE"):
        given["PYTHON_IMAGE"] = python
    arguments = " ".join(f"--build-arg {name}={value}" for name, value in given.items())
    output("make", "image", f"IMAGE={IMAGE}", f"IMAGE_FILES={archive}", f"IMAGE_ARGS={arguments}")
    container = output("docker", "run", "--init", "-d", "-p", "127.0.0.1:0:8888", IMAGE).strip()
    yield container
    output("docker", "rm", "--force", container)


def test_the_image_has_all_of_it(container: str) -> None:
    address = f"http://{output('docker', 'port', container, '8888').split()[0]}"
    began = time.monotonic()
    while not (token := re.search(r"token=(\w+)", output("docker", "logs", container))):
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    page = f"{address}/api/contents/pages/00-start-here.ipynb"
    assert requests.get(page, timeout=20).status_code == 403
    answer = requests.get(page, params={"token": token[1]}, timeout=20)
    assert answer.json()["content"]["cells"]
    assert output("docker", "exec", container, "id", "-u").strip() != "0"
    assert '"ok": true' in output("docker", "exec", container, "labkit", "tour", "--json")
