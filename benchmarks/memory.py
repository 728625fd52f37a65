"""What does a node weigh?

The share of memory that each process has (its own pages, and its part of those that it shares), of
a lab's nodes and what forked them, against bare Flask apps on the same server, each in an
interpreter of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from benchmarks import bare
from benchmarks.report import Result, Row
from labkit import Lab

METHOD = (
    "Proportional set size (pages that are shared are divided among who shares them), the process "
    "that forks the nodes included; every server has answered before."
)


def run(quick: bool) -> Result:
    count = 4 if quick else 16
    me = psutil.Process()
    before = set(me.children())
    with Lab(nodes=count, backend="process", record=False) as lab:
        for node in lab.nodes:
            node.sequence()
        nodes = [psutil.Process(node.status()["pid"]) for node in lab.nodes]
        parents = {node.parent() for node in nodes} - before - {None, me}
        ours = _weigh(nodes), _weigh(parent for parent in parents if parent)
    with bare.constant_views(count) as servers:
        theirs = _weigh(server.process for server in servers)
    if not all(weight["pss"] for weight in (*ours, theirs)):
        return Result([], {}, METHOD, skipped="This system does not tell proportional sizes.")
    share = (ours[0]["pss"] + ours[1]["pss"]) / count
    rows = [
        Row(
            f"memory a node, of {count} (proportional)",
            share,
            "MB",
            theirs["pss"] / count,
            "a bare Flask app",
        ),
        Row(
            "memory a node (resident)",
            ours[0]["rss"] / count,
            "MB",
            theirs["rss"] / count,
            "a bare Flask app",
        ),
    ]
    data = {"MB": {"nodes": ours[0], "what forks them": ours[1], "bare": theirs}, "count": count}
    return Result(rows, data, METHOD)


def _weigh(processes: Iterable[psutil.Process]) -> dict[str, float]:
    infos = [process.memory_full_info() for process in processes]
    return {
        kind: round(sum(getattr(info, kind, 0) for info in infos) / 1e6, 2)
        for kind in ("pss", "rss", "uss")
    }
