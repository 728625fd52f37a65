"""How soon are N nodes ready?

A whole lab, from nothing, its ZooKeeper included, against as many bare interpreters that run the
same node, all started at once, with a ZooKeeper that runs already. Ready is who answers over HTTP
and is connected to ZooKeeper.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bare
from benchmarks.report import Bar, Result, Row, at_least, at_most, rotated, save
from labkit import Lab
from labkit.see import plots

METHOD = (
    "Ours from nothing, ZooKeeper included; theirs with a ZooKeeper that runs already; in turn; "
    "ready is who answers and is connected."
)

_OURS, _THEIRS = "a lab", "bare interpreters, without ZooKeeper"


def run(quick: bool) -> Result:
    sizes, rounds = ([1, 4], 1) if quick else ([1, 4, 8, 16, 32], 3)
    seconds: dict[str, dict[int, list[float]]] = {
        side: {size: [] for size in sizes} for side in (_OURS, _THEIRS)
    }
    with Lab(nodes=0, backend="process", record=False) as ground:
        hosts = ground.zookeeper.hosts
        sides: dict[str, Callable[[int], float]] = {
            _OURS: _start_lab,
            _THEIRS: lambda size: _start_interpreters(hosts, size),
        }
        for side in sides.values():
            side(1)  # warm-up: files are in the system's cache
        for size in sizes:
            for turn in range(rounds):
                for name in rotated(sides, turn):
                    seconds[name][size].append(sides[name](size))
    ours, theirs = (
        {size: median(times) for size, times in seconds[side].items()} for side in (_OURS, _THEIRS)
    )
    rows = [
        Row(
            f"ZooKeeper and {size} node{'s' * (size > 1)} ready",
            ours[size],
            "s",
            theirs[size],
            _THEIRS,
            _bars(size, ours[size], theirs[size]),
        )
        for size in sizes
    ]
    return Result(rows, {"seconds": seconds}, METHOD)


def _bars(size: int, ours: float, theirs: float) -> list[Bar]:
    if size == 8:
        return [at_most(ours, 3.0, "3 s")]
    if size == 16:
        return [at_most(ours, 2.5, "2.5 s"), at_least(theirs / ours, 2, "2 ×")]
    return []


def _start_lab(size: int) -> float:
    began = time.perf_counter()
    with Lab(nodes=size, backend="process", record=False):
        return time.perf_counter() - began


def _start_interpreters(hosts: str, size: int) -> float:
    began = time.perf_counter()
    with bare.nodes(hosts, size):
        return time.perf_counter() - began


def draw(data: dict[str, Any], directory: Path) -> None:
    medians = {
        side: {size: median(times) for size, times in by_size.items()}
        for side, by_size in data["seconds"].items()
    }
    chart = plots.storm(
        medians, measure="seconds", of="nodes", title="Seconds until all nodes are ready"
    )
    save(chart, directory / "bench-start.svg")
