"""How much slower than a constant is `GET /sequence`?

A node against a Flask view that returns a constant with the same headers, on the same WSGI server,
each alone in an interpreter of its own, asked by one client on connections that stay open. Short
stretches in turn, as pairs; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from benchmarks import bare
from benchmarks.http_load import Connections
from benchmarks.report import Result, Row, at_least
from labkit import Lab

METHOD = (
    "Node and constant view in an interpreter each, on waitress with the same settings; one client "
    "process, connections kept open; pairs of stretches in turn, median of the pairs' ratios."
)

_AGAINST = "a constant Flask view"


def run(quick: bool) -> Result:
    pairs, seconds = (3, 0.2) if quick else (50, 0.2)
    rows: list[Row] = []
    data: dict[str, Any] = {}
    with (
        Lab(nodes=0, backend="process", record=False) as lab,
        bare.nodes(lab.zookeeper.hosts, 1, next(iter(lab.zk.auth_data))[1]) as [node],
        bare.constant_views(1) as [constant],
    ):
        for count in (1, 16):
            name = f"{count} connection{'s' * (count > 1)}"
            ours, theirs = _compare(node, constant, count, pairs, seconds)
            data[name] = {"node": _columns(ours), "constant": _columns(theirs)}
            rows += _rows(name, ours, theirs)
    return Result(rows, data, METHOD)


@dataclass(frozen=True)
class _Stretch:
    """What one stretch of asking gave. Times in seconds."""

    rate: float  # requests a second
    p99: float
    cpu: float  # the server's processor time a request


def _compare(
    node: bare.BareServer, constant: bare.BareServer, count: int, pairs: int, seconds: float
) -> tuple[list[_Stretch], list[_Stretch]]:
    ours: list[_Stretch] = []
    theirs: list[_Stretch] = []
    with (
        Connections(node.port, "/sequence", count) as to_node,
        Connections(constant.port, "/sequence", count) as to_constant,
    ):
        sides = [(node, to_node, ours), (constant, to_constant, theirs)]
        for _, connections, _ in sides:
            connections.ask(seconds)  # warm-up
        for pair in range(pairs):
            for server, connections, stretches in sides if pair % 2 else reversed(sides):
                before = server.cpu
                load = connections.ask(seconds)
                cpu = (server.cpu - before) / len(load.latencies)
                stretches.append(_Stretch(load.rate, load.p99, cpu))
    return ours, theirs


def _rows(name: str, ours: list[_Stretch], theirs: list[_Stretch]) -> list[Row]:
    pairs = list(zip(ours, theirs, strict=True))
    rate = median(a.rate / b.rate for a, b in pairs)
    return [
        Row(
            f"/sequence, {name}: requests",
            median(a.rate for a in ours),
            "/s",
            median(b.rate for b in theirs),
            _AGAINST,
            [at_least(rate, 0.9, "0.9 ×")],
            rate,
        ),
        Row(
            f"/sequence, {name}: 99th percentile",
            median(a.p99 for a in ours),
            "s",
            median(b.p99 for b in theirs),
            _AGAINST,
            paired=median(b.p99 / a.p99 for a, b in pairs),
        ),
        Row(
            f"/sequence, {name}: processor time of one",
            mean(a.cpu for a in ours),
            "s",
            mean(b.cpu for b in theirs),
            _AGAINST,
        ),
    ]


def _columns(stretches: list[_Stretch]) -> dict[str, list[float]]:
    return {
        "requests a second": [round(stretch.rate, 1) for stretch in stretches],
        "99th percentile in seconds": [round(stretch.p99, 6) for stretch in stretches],
        "processor seconds a request": [round(stretch.cpu, 7) for stretch in stretches],
    }
