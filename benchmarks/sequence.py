"""How much slower than a constant is `GET /sequence`?

A node against a Flask view that returns a constant with the same headers, on the same WSGI server,
each alone in an interpreter of its own, asked by one client on connections that stay open. Short
stretches in turn, as pairs; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bare
from benchmarks.http_load import Connections, Load
from benchmarks.report import Result, Row, at_least
from labkit import Lab

METHOD = (
    "Node and constant view in an interpreter each, on waitress with the same settings; one client "
    "process, connections kept open; pairs of stretches in turn, median of the pairs' ratios."
)

_AGAINST = "a constant Flask view"


def run(quick: bool) -> Result:
    pairs, seconds = (3, 0.2) if quick else (25, 0.4)
    rows: list[Row] = []
    data: dict[str, Any] = {}
    with (
        Lab(nodes=0, backend="process", record=False) as lab,
        bare.nodes(lab.zookeeper.hosts, 1) as [(node, _)],
        bare.constant_views(1) as [(constant, _)],
    ):
        for count in (1, 16):
            ours, theirs = _compare(node, constant, count, pairs, seconds)
            ratios = [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]
            p99s = [b.p99 / a.p99 for a, b in zip(ours, theirs, strict=True)]
            name = f"{count} connection{'s' * (count > 1)}"
            rows += [
                Row(
                    f"/sequence, {name}: requests",
                    *_in_ratio(median(a.rate for a in ours), median(ratios), "/s", _AGAINST),
                    bars=[at_least(median(ratios), 0.9, "0.9 ×")],
                ),
                Row(
                    f"/sequence, {name}: 99th percentile",
                    *_in_ratio(median(a.p99 for a in ours), 1 / median(p99s), "s", _AGAINST),
                ),
            ]
            data[name] = {
                "requests a second": {
                    "node": [round(a.rate, 1) for a in ours],
                    "constant": [round(b.rate, 1) for b in theirs],
                },
                "99th percentile in seconds": {
                    "node": [round(a.p99, 6) for a in ours],
                    "constant": [round(b.p99, 6) for b in theirs],
                },
                "median ratio of requests": median(ratios),
                "median ratio of 99th percentiles": median(p99s),
            }
    return Result(rows, data, METHOD)


def _in_ratio(ours: float, ratio: float, unit: str, against: str) -> tuple[float, str, float, str]:
    """A row's figures, of which the other side's keeps the median ratio of the pairs."""
    return ours, unit, ours / ratio, against


def _compare(
    node: int, constant: int, count: int, pairs: int, seconds: float
) -> tuple[list[Load], list[Load]]:
    ours: list[Load] = []
    theirs: list[Load] = []
    with (
        Connections(node, "/sequence", count) as to_node,
        Connections(constant, "/sequence", count) as to_constant,
    ):
        sides = [(to_node, ours), (to_constant, theirs)]
        for connections, _ in sides:
            connections.ask(seconds)  # warm-up
        for pair in range(pairs):
            for connections, loads in sides if pair % 2 else reversed(sides):
                loads.append(connections.ask(seconds))
    return ours, theirs


def draw(data: dict[str, Any], directory: Path) -> None:
    """No picture: two figures are best as figures."""
