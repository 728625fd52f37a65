"""How fast are IDs made?

One at a time against the Snowflake package that is used most, on one thread; in batches against
what the format has room for; and over HTTP. The generator is a node's, with timestamps reserved in
a real ZooKeeper.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from snowflake import SnowflakeGenerator  # type: ignore[import-untyped]

from benchmarks import bare
from benchmarks.http_load import Connections
from benchmarks.report import Result, Row, at_least, rotated
from labkit import Lab
from labkit.node.snowflake import PER_MS, Reservation, Snowflake

METHOD = (
    "One thread; stretches in turn, median of the pairs' ratios; timestamps reserved in a real "
    "ZooKeeper; over HTTP with one connection."
)

_CEILING = PER_MS * 1000
_CHUNK = 1000
_BATCH = 100_000


def run(quick: bool) -> Result:
    pairs, seconds = (3, 0.1) if quick else (20, 0.4)
    with Lab(nodes=0, backend="process", record=False) as lab:
        now = time.time_ns() // 1_000_000
        reservation = Reservation.acquire(lab.zk, 1, "benchmark", 0, now, 5.0)
        ours = Snowflake(1, reservation)
        theirs = SnowflakeGenerator(1)
        sides: dict[str, Callable[[float], float]] = {
            "next_id()": lambda limit: _one_at_a_time(ours.next_id, limit),
            "snowflake-id": lambda limit: _one_at_a_time(lambda: next(theirs), limit),
            "batches": lambda limit: _in_batches(ours, limit),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for side in sides.values():
            side(seconds)  # warm-up
        for turn in range(pairs):
            for name in rotated(sides, turn):
                rates[name].append(sides[name](seconds))
        with bare.nodes(lab.zookeeper.hosts, 1) as [server]:
            rates["GET /ids"] = [
                rate * _BATCH
                for rate in _over_http(server.port, f"/ids?count={_BATCH}", pairs, seconds)
            ]
            rates["GET /id"] = _over_http(server.port, "/id", pairs, seconds)
    ratios = [a / b for a, b in zip(rates["next_id()"], rates["snowflake-id"], strict=True)]
    ratio = median(ratios)
    single, batched = median(rates["next_id()"]), median(rates["batches"])
    rows = [
        Row(
            "next_id(), one thread", single, "IDs/s", median(rates["snowflake-id"]), "snowflake-id",
            [at_least(ratio, 1.5, "1.5 ×")], ratio,
        ),
        Row(
            f"batches of {_BATCH:,}", batched, "IDs/s", _CEILING, "the format's ceiling",
            [at_least(batched / _CEILING, 0.95, "0.95 ×")],
        ),
        Row(
            f"GET /ids?count={_BATCH}", median(rates["GET /ids"]), "IDs/s", _CEILING,
            "the format's ceiling",
        ),
        Row("GET /id, 1 connection", median(rates["GET /id"]), "/s"),
    ]  # fmt: skip
    data = {"IDs a second": rates, "median ratio of next_id()": ratio}
    return Result(rows, data, METHOD)


def _one_at_a_time(next_id: Callable[[], int | None], seconds: float) -> float:
    """IDs a second. A generator that has run out for this millisecond returns None."""
    calls = range(_CHUNK)
    made = 0
    last = -1
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        ids = [next_id() for _ in calls]
        fresh = [id for id in ids if id is not None]
        made += len(fresh)
        if fresh:
            assert last < fresh[0]
            last = fresh[-1]
    return made / (now - began)


def _in_batches(generator: Snowflake, seconds: float) -> float:
    made = 0
    batches = []
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        batch = generator.ids(_BATCH)
        made += len(batch)
        batches.append((batch[0], batch[-1]))
    assert all(first[1] < second[0] for first, second in pairwise(batches))
    return made / (now - began)


def _over_http(port: int, path: str, stretches: int, seconds: float) -> list[float]:
    """Answers a second."""
    with Connections(port, path, 1) as connections:
        connections.ask(seconds)  # warm-up
        return [connections.ask(seconds).rate for _ in range(stretches)]
