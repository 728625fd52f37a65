"""How long does a number stay taken after its holder was stopped, killed or paused?

From the moment before the signal to the moment at which a watch on the number's znode fires, for
several session timeouts. The limit is the session timeout itself, for whoever is not asked to
leave; ZooKeeper rounds it up to its ticks.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Result, Row, at_most, save
from labkit import Lab
from labkit.lab.node import Node
from labkit.see import curves
from labkit.servers.base import ZooKeeperSettings

METHOD = (
    "From the moment before the signal to a watch on the number's znode; nodes hit at random "
    "moments, so that ticks and heartbeats fall everywhere."
)

_VERBS: dict[str, Callable[[Node], None]] = {
    "stop": Node.stop,
    "kill": Node.kill,
    "pause": Node.pause,
}
_TICK = ZooKeeperSettings().tick_time / 1000


def run(quick: bool) -> Result:
    timeouts, times = ((1.0,), 2) if quick else ((1.0, 2.0, 5.0), 7)
    rows: list[Row] = []
    data: dict[str, Any] = {}
    with Lab(nodes=0, backend="process") as lab:
        for timeout in timeouts:
            lab.session_timeout = timeout
            freed = _measure(lab, timeout, times)
            data[f"{timeout:g}"] = freed
            for verb, seconds in freed.items():
                limit, text = (0.1, "100 ms")
                if verb != "stop":
                    limit, text = timeout + 2 * _TICK, f"{timeout + 2 * _TICK:g} s"
                rows.append(
                    Row(
                        f"number free again after {verb}, session timeout {timeout:g} s",
                        median(seconds),
                        "s",
                        timeout,
                        "that timeout",
                        [at_most(max(seconds), limit, f"{text}, slowest of {times}")],
                    )
                )
    return Result(rows, data, METHOD)


def _measure(lab: Lab, timeout: float, times: int) -> dict[str, list[float]]:
    nodes = [lab.add_node() for _ in range(times * len(_VERBS))]
    for node in nodes:
        node.sequence()
    freed: dict[str, list[float]] = {verb: [] for verb in _VERBS}

    def hit(node: Node, verb: str, delay: float) -> None:
        gone = threading.Event()
        moment: list[float] = []

        def watch(_: object) -> None:
            moment.append(time.perf_counter())
            gone.set()

        path = f"/sequence/{node.sequence()}"
        # A listing's watch, for the nodes' heartbeats would use up one of the znode's data.
        lab.zk.get_children(path, watch=watch)
        time.sleep(delay)
        began = time.perf_counter()
        _VERBS[verb](node)
        if not gone.wait(timeout + 10):
            raise TimeoutError(f"{path} is not free {timeout + 10} s after {verb}.")
        freed[verb].append(moment[0] - began)

    verbs = list(_VERBS) * times
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        delays = [random.uniform(0, timeout) for _ in nodes]
        list(pool.map(hit, nodes, verbs, delays))
    for node in nodes:
        node.kill()
    return freed


def draw(data: dict[str, Any], directory: Path) -> None:
    longest = max(data, key=float)
    chart = curves.latency(data[longest], session_timeout=float(longest))
    save(chart, directory / "bench-freed.svg")
