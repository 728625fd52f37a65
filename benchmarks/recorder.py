"""What does it cost to record 32 nodes?

Processor time of the lab's process with its recorder and without, in turn, while the nodes hold
their numbers; and of the nodes, which answer its questions.
"""

from __future__ import annotations

import time
from statistics import median

import psutil

from benchmarks.report import Result, Row, at_most
from labkit import Lab
from labkit.lab.recorder import Recorder
from labkit.story.timeline import Timeline

METHOD = "Processor time with the recorder less that without, in turn, median of the differences."


def run(quick: bool) -> Result:
    count, rounds, seconds = (8, 2, 0.5) if quick else (32, 6, 2.0)
    with Lab(nodes=count, backend="process", record=False) as lab:
        for node in lab.nodes:
            node.sequence()
        nodes = [psutil.Process(node.status()["pid"]) for node in lab.nodes]
        timeline = Timeline()
        addresses = [(node.name, node.url) for node in lab.nodes]
        recorder = Recorder(timeline, lambda: addresses, lab.zk)
        own: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            without = _spent(nodes, seconds)
            recorder.start()
            time.sleep(0.5)  # the first listing is no part of what it costs to go on
            with_it = _spent(nodes, seconds)
            recorder.stop()
            own.append((with_it[0] - without[0]) / seconds)
            theirs.append((with_it[1] - without[1]) / seconds)
    cost = max(median(own), 0.0)
    rows = [
        Row(
            f"recorder, {count} nodes",
            cost,
            "cores",
            None,
            "",
            [at_most(cost, 0.1, "10 % of a core")],
        ),
        Row(f"answering it, {count} nodes together", max(median(theirs), 0.0), "cores"),
    ]
    return Result(rows, {"cores": {"recorder": own, "nodes": theirs}}, METHOD)


def _spent(nodes: list[psutil.Process], seconds: float) -> tuple[float, float]:
    """Processor seconds in so many seconds: of this process, and of the nodes."""

    def of_nodes() -> float:
        return sum(sum(node.cpu_times()[:2]) for node in nodes)

    began = time.process_time(), of_nodes()
    time.sleep(seconds)
    return time.process_time() - began[0], of_nodes() - began[1]
