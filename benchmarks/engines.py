"""What do sixty nodes cost on three engines, beside one?

A lab in Docker, from nothing, until each node has answered with its number: on the engine of this
machine, and on the engines of three machines in containers of it, which are a Swarm. So both have
the same processors and the same memory, and what differs is the engines' work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from typing import Any

import docker

from benchmarks.containers import choose_images
from benchmarks.report import Result, Row, rotated
from labkit import Lab
from labkit.errors import BackendUnavailable
from labkit.servers.docker import engine
from labkit.servers.docker.nested import Machines

METHOD = (
    "From nothing, images apart, ZooKeeper included, until each node has answered with its number; "
    "in turn; medians. Three engines are machines in containers of the one. Memory is what the "
    "engine reports of a container as used, without files that it could drop; the lab's is that of "
    "its nodes, its ZooKeeper and, on three engines, what relays requests to each; the engines' "
    "own is not in it."
)

_ONE, _THREE = "one engine", "three engines"


def run(quick: bool) -> Result:
    if reason := engine.available():
        return Result([], {}, METHOD, skipped=reason)
    with closing(docker.from_env()) as client:
        choose_images(client)
    machines = Machines(f"labkit-bench-{os.getpid()}")
    try:
        there = machines.up(3, lambda what, fraction: None)
        return _run([m.url for m in there], 6 if quick else 60, 1 if quick else 3)
    except BackendUnavailable as error:
        return Result([], {}, METHOD, skipped=str(error))
    finally:
        machines.down()


def _run(urls: Sequence[str], count: int, rounds: int) -> Result:
    sides: dict[str, Sequence[str]] = {_ONE: (), _THREE: urls}
    samples: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for engines in sides.values():
        _measure(engines, 1)  # warm-up: images are built, and handed to the machines
    for turn in range(rounds):
        for side in rotated(sides, turn):
            samples[side].append(_measure(sides[side], count))
    one, three = (
        {key: median(sample[key] for sample in samples[side]) for key in samples[side][0]}
        for side in sides
    )
    rows = [
        Row(
            f"{count} nodes on three engines, each with its number",
            three["seconds"],
            "s",
            one["seconds"],
            "on one engine",
        ),
        Row(
            f"memory a node's container, of {count} on three engines",
            three["MB a node"],
            "MB",
            one["MB a node"],
            "on one engine",
        ),
        Row(
            f"memory of that lab's containers, {count} nodes on three engines",
            three["MB"],
            "MB",
            one["MB"],
            "on one engine",
        ),
    ]
    return Result(rows, {"samples": samples, "count": count}, METHOD)


def _measure(urls: Sequence[str], count: int) -> dict[str, float]:
    """A lab's seconds until each node has answered, and its containers' memory."""
    began = time.perf_counter()
    backend = "swarm" if urls else "docker"
    with Lab(count, backend=backend, engines=urls, record=False) as lab:
        with ThreadPoolExecutor(max_workers=16) as pool:
            numbers = set(pool.map(lambda node: node.sequence(), lab.nodes))
        seconds = time.perf_counter() - began
        assert numbers == set(range(1, count + 1))
        weights = {name: mb for url in urls or (None,) for name, mb in _weigh(url, lab.id)}
    nodes = [mb for name, mb in weights.items() if "-node" in name]
    assert len(nodes) == count
    return {
        "seconds": round(seconds, 2),
        "MB a node": round(sum(nodes) / count, 2),
        "MB": round(sum(weights.values()), 1),
    }


def _weigh(url: str | None, lab_id: str) -> list[tuple[str, float]]:
    """The names of a lab's containers on an engine, and their memory in MB."""
    with closing(engine.connect(url)) as client, ThreadPoolExecutor(max_workers=8) as pool:

        def weigh(container: dict[str, Any]) -> tuple[str, float]:
            stats = client.api.stats(container["Id"], stream=False, one_shot=True)["memory_stats"]
            of = stats["stats"]  # named differently in the two versions of Linux's cgroups
            files = of.get("total_inactive_file", of.get("inactive_file", 0))
            return f"{url} {container['Names'][0]}", (stats["usage"] - files) / 1e6

        found = client.api.containers(filters={"label": f"labkit.lab={lab_id}"})
        return list(pool.map(weigh, found))
