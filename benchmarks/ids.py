"""How fast are IDs made?

One at a time and in batches against what the format has room for; over HTTP; and the processor time
of one against the Snowflake package that is used most. The generator is a node's, with timestamps
reserved in a real ZooKeeper.

No generator can make more than 4,096 IDs a millisecond, so on a quick core both sides of a race
would only wait for the clock. Their processor time is therefore measured with a clock that goes a
millisecond forward in 4,000 readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count, pairwise
from statistics import median
from unittest import mock

from snowflake import SnowflakeGenerator  # type: ignore[import-untyped]

from benchmarks import bare
from benchmarks.http_load import Connections
from benchmarks.report import Result, Row, at_least, rotated
from labkit import Lab
from labkit.node.reservation import Reservation
from labkit.node.snowflake import PER_MS, Snowflake

METHOD = (
    "One thread; stretches in turn, median of the pairs' ratios; timestamps reserved in a real "
    "ZooKeeper; processor time with a clock that does not limit; over HTTP with one connection."
)

_CEILING = PER_MS * 1000
_CHUNK = 1000
_BATCH = 100_000
_READINGS = 4000  # of the clock that does not limit, in one of its milliseconds


def run(quick: bool) -> Result:
    pairs, seconds = (3, 0.1) if quick else (20, 0.4)
    with Lab(nodes=0, backend="process", record=False) as lab:
        ours = Snowflake(1, _reservation(lab, 1))
        rates: dict[str, list[float]] = {
            "next_id()": _stretches(lambda: _one_at_a_time(ours.next_id, seconds), pairs),
            "batches": _stretches(lambda: _in_batches(ours, seconds), pairs),
        }
        times = _processor_times(lab, pairs, 20_000 if quick else 400_000)
        [(_, credential)] = lab.zk.auth_data
        with bare.nodes(lab.zookeeper.hosts, 1, credential) as [server]:
            rates["GET /ids"] = [
                rate * _BATCH
                for rate in _over_http(server.port, f"/ids?count={_BATCH}", pairs, seconds)
            ]
            rates["GET /id"] = _over_http(server.port, "/id", pairs, seconds)
    ratio = median(b / a for a, b in zip(times["next_id()"], times["snowflake-id"], strict=True))
    rows = [
        Row(
            "next_id(): processor time of one",
            median(times["next_id()"]),
            "s",
            median(times["snowflake-id"]),
            "snowflake-id",
            [at_least(ratio, 1.5, "1.5 ×")],
            ratio,
        ),
        _against_ceiling("next_id(), one thread", rates["next_id()"]),
        _against_ceiling(f"batches of {_BATCH:,}", rates["batches"]),
        Row(
            f"GET /ids?count={_BATCH}",
            median(rates["GET /ids"]),
            "IDs/s",
            _CEILING,
            "the format's ceiling",
        ),
        Row("GET /id, 1 connection", median(rates["GET /id"]), "/s"),
    ]
    data = {"IDs a second": rates, "processor seconds an ID": times}
    return Result(rows, data | {"median ratio of next_id()": ratio}, METHOD)


def _against_ceiling(what: str, rates: list[float]) -> Row:
    rate = median(rates)
    bar = at_least(rate / _CEILING, 0.95, "0.95 ×")
    return Row(what, rate, "IDs/s", _CEILING, "the format's ceiling", [bar])


def _reservation(lab: Lab, worker: int) -> Reservation:
    now = time.time_ns() // 1_000_000
    return Reservation.acquire(lab.zk, worker, "benchmark", 0, now, 5.0)


def _stretches(measure: Callable[[], float], number: int) -> list[float]:
    measure()  # warm-up
    return [measure() for _ in range(number)]


def _processor_times(lab: Lab, pairs: int, ids: int) -> dict[str, list[float]]:
    """Processor seconds of one ID, of both sides in turn, with a clock that does not limit.

    Counting is as cheap as reading the system's clock, and costs both sides the same.
    """
    nanoseconds = count(time.time_ns(), 1_000_000 // _READINGS).__next__
    seconds = count(1.0, 0.001 / _READINGS).__next__  # small, so that a float can count it
    with mock.patch("snowflake.snowflake.time", seconds):
        theirs = SnowflakeGenerator(1)
        sides: dict[str, Callable[[], int | None]] = {
            "next_id()": Snowflake(2, _reservation(lab, 2), clock=nanoseconds).next_id,
            "snowflake-id": theirs.__next__,
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(pairs + 1):
            for name in rotated(sides, turn):
                times[name].append(_processor_time(sides[name], ids))
    return {name: measured[1:] for name, measured in times.items()}  # the first were warm-up


def _processor_time(next_id: Callable[[], int | None], ids: int) -> float:
    began = time.process_time()
    made = [next_id() for _ in range(ids)]
    took = time.process_time() - began
    assert all(id is not None for id in made)
    assert len(set(made)) == ids
    return took / ids


def _one_at_a_time(next_id: Callable[[], int], seconds: float) -> float:
    """IDs a second."""
    calls = range(_CHUNK)
    made = 0
    last = -1
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        ids = [next_id() for _ in calls]
        made += _CHUNK
        assert last < ids[0]
        last = ids[-1]
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
