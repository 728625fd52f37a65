"""How soon are four nodes ready in Docker?

Nodes of a lab, until they answer over HTTP and have reached ZooKeeper, against four bare
`docker run` of the same image, one after another, until the command line has returned from the
last one, ready or not. ZooKeeper is not counted.
"""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median

import docker
from docker.errors import ImageNotFound

from benchmarks.report import Result, Row, at_most
from labkit import Lab
from labkit.errors import BackendUnavailable
from labkit.servers.docker import engine

METHOD = (
    "Bare runs count until the command line has returned from the last one, ready or not; nodes "
    "until they answer and are connected. In turn; ratio of the medians; ZooKeeper not counted."
)

# Built by tests/images/build.sh, for machines that cannot pull the official images.
_STAND_INS = {
    "LABKIT_PYTHON_IMAGE": "labkit-test/python",
    "LABKIT_ZOOKEEPER_IMAGE": "labkit-test/zookeeper",
}


def run(quick: bool) -> Result:
    if reason := engine.available():
        return Result([], {}, METHOD, skipped=reason)
    with closing(docker.from_env()) as client:
        choose_images(client)
        try:
            return _run(client, 2 if quick else 4, 1 if quick else 7)
        except BackendUnavailable as error:
            return Result([], {}, METHOD, skipped=str(error))


def _run(client: docker.DockerClient, count: int, rounds: int) -> Result:
    bare: list[float] = []
    in_lab: list[float] = []
    with Lab(nodes=1, backend="docker", record=False) as lab:
        (node,) = client.containers.list(
            filters={"label": f"labkit.lab={lab.id}", "name": "-node1"}
        )
        image = node.attrs["Config"]["Image"]
        for turn in range(rounds + 1):
            first, second = _run_bare(image, count), _run_in_lab(lab, count)
            if turn:  # the first round is a warm-up
                bare.append(first)
                in_lab.append(second)
    ratio = median(in_lab) / median(bare)
    row = Row(
        f"{count} containers ready, ZooKeeper running",
        median(in_lab),
        "s",
        median(bare),
        f"{count} × docker run, not ready yet",
        [at_most(ratio, 2, "2 × as long")],
    )
    engine = client.version()
    data = {
        "seconds": {"lab": in_lab, "bare": bare},
        "time here / time of bare runs": ratio,
        "engine": engine["Version"],
    }
    return Result([row], data, METHOD)


def choose_images(client: docker.DockerClient) -> None:
    for variable, image in _STAND_INS.items():
        if not os.environ.get(variable):
            try:
                client.images.get(image)
            except ImageNotFound:
                continue
            os.environ[variable] = image


def _run_bare(image: str, count: int) -> float:
    """Seconds for `count` times `docker run`, one after another."""
    names = []
    began = time.perf_counter()
    try:
        for _ in range(count):
            command = ["docker", "run", "--detach", "--publish", "127.0.0.1::80", image]
            names.append(subprocess.check_output(command, text=True).strip())
        return time.perf_counter() - began
    finally:
        if names:
            subprocess.check_output(["docker", "rm", "--force", "--volumes", *names])


def _run_in_lab(lab: Lab, count: int) -> float:
    """Seconds until `count` new nodes are ready; they are killed afterwards."""
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=count) as pool:
        nodes = list(pool.map(lambda _: lab.add_node(), range(count)))
    lab.wait_until(
        lambda: all(node.status()["connection"] == "CONNECTED" for node in nodes), timeout=30
    )
    seconds = time.perf_counter() - began
    for node in nodes:
        node.kill()
    return seconds
