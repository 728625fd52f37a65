"""N sessions claim a number at the same moment: what does it cost, by algorithm?

All sessions live in this process, each a real connection with threads of its own; N claimants
wait at a barrier. Operations are counted where the client sends them. Every algorithm has the same
server, and its turn in every round. The lab's run on the lab's own client; kazoo's recipes, and
what one would write with kazoo, on kazoo's. One is there on both, to tell algorithm from client.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from kazoo.security import OPEN_ACL_UNSAFE

from benchmarks.report import Result, Row, at_least, at_most, rotated, save
from labkit import Lab
from labkit.node.claim import ROOT, Claimer, numbers
from labkit.node.original import Original
from labkit.node.session import Session
from labkit.see import plots

METHOD = (
    "All sessions in one Python process, each with threads of its own, released by one barrier; "
    "one ZooKeeper server; operations counted at the clients; algorithms in turn, medians. Ticket "
    "rank and the sample's algorithm run on the lab's client, the others on kazoo's unless it says "
    "otherwise."
)

_DATA = b'{"owner": "benchmark"}'
_TIMEOUT = 300.0
_QUIET = logging.getLogger("benchmarks.kazoo")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False

_RANK, _RETRY = "ticket rank", "list, create, retry"
_RETRY_OURS = "list, create, retry on the lab's client"


class _Counting(KazooClient):
    """A client that counts what it sends: requests, not pings or handshakes."""

    operations = 0

    def _call(self, request: Any, async_object: Any) -> Any:
        self.operations += 1
        return super()._call(request, async_object)


class _Ours(_Counting, Session):
    """The lab's client."""

    def __init__(self, hosts: str) -> None:
        Session.__init__(self, hosts, 60.0, _QUIET)


class _Kazoos(_Counting):
    """kazoo's own client, as it comes."""

    def __init__(self, hosts: str) -> None:
        super().__init__(hosts, timeout=60.0, logger=_QUIET)

    def connect(self) -> None:
        self._up = self.start_async()

    def wait_connected(self, timeout: float) -> bool:
        return bool(self._up.wait(timeout))


_Client = _Ours | _Kazoos

# An algorithm gets a client that is not connected, connects it, and returns its claim: a function
# that returns the number (None if the algorithm gives none).
_Algorithm = Callable[[Any], Callable[[], int | None]]


def _ticket_rank(session: _Ours) -> Callable[[], int]:
    def lost(_: int) -> None:
        raise ConnectionError("The connection was lost in a benchmark that breaks nothing.")

    session.connect()
    claimer = Claimer(session, _DATA, 1_000_000, lost, time.monotonic)
    return lambda: claimer.claim().number


def _sample(session: _Ours) -> Callable[[], int]:
    source = Original(lambda: session, _DATA)
    source.start()
    return lambda: source.number(_TIMEOUT).number


def _list_create_retry(zk: _Client) -> Callable[[], int]:
    zk.connect()

    def claim() -> int:
        while True:
            number = _lowest_free(zk)
            try:
                zk.create(f"{ROOT}/{number}", _DATA, ephemeral=True)
            except NodeExistsError:
                continue
            return number

    return claim


def _lock_and_list(zk: _Client) -> Callable[[], int]:
    zk.connect()

    def claim() -> int:
        with zk.Lock("/benchmark-lock"):
            number = _lowest_free(zk)
            zk.create(f"{ROOT}/{number}", _DATA, ephemeral=True)
        return number

    return claim


def _semaphore(zk: _Client) -> Callable[[], None]:
    zk.connect()

    def claim() -> None:
        zk.Semaphore("/benchmark-semaphore", max_leases=1023).acquire()

    return claim


def _lowest_free(zk: KazooClient) -> int:
    taken = numbers(zk.get_children(ROOT))
    return next(n for n in range(1, len(taken) + 2) if n not in taken)


_ALGORITHMS: Mapping[str, tuple[type[_Client], _Algorithm]] = {
    _RANK: (_Ours, _ticket_rank),
    "the sample's": (_Ours, _sample),
    _RETRY: (_Kazoos, _list_create_retry),
    _RETRY_OURS: (_Ours, _list_create_retry),
    "Lock, then list": (_Kazoos, _lock_and_list),
    "Semaphore (no number)": (_Kazoos, _semaphore),
}
_CORRECT = (_RANK, _RETRY, _RETRY_OURS, "Lock, then list")
_QUADRATIC = (_RETRY, _RETRY_OURS, "the sample's")
_QUADRATIC_LIMIT = 128


@dataclass(frozen=True)
class Storm:
    """One storm's outcome."""

    operations: float  # a claim
    seconds: float  # until the last one had its number
    distinct: int  # numbers


def run(quick: bool) -> Result:
    sizes = [1, 4, 16] if quick else [2**k for k in range(10)]
    storms: dict[str, dict[int, list[Storm]]] = {name: {} for name in _ALGORITHMS}
    with Lab(nodes=0, backend="process", record=False) as lab:
        lab.zk.ensure_path(ROOT)
        lab.zk.set_acls(ROOT, OPEN_ACL_UNSAFE)  # the clients are none of the lab's
        for name in _ALGORITHMS:
            _storm(lab, name, 8)  # the server's code gets warm
        for size in sizes:
            names = [n for n in _ALGORITHMS if size <= _QUADRATIC_LIMIT or n not in _QUADRATIC]
            for turn in range(1 if quick or size > 128 else 3):
                for name in rotated(names, turn):
                    rounds = storms[name].setdefault(size, [])
                    rounds.append(_storm(lab, name, size))
    operations = _curves(storms, lambda storm: storm.operations)
    seconds = _curves(storms, lambda storm: storm.seconds)
    data = {
        "operations a claim": operations,
        "seconds until all have a number": seconds,
        "distinct numbers": _curves(storms, lambda storm: storm.distinct),
    }
    return Result(_rows(operations, seconds, data["distinct numbers"]), data, METHOD)


def _rows(
    operations: dict[str, dict[int, float]],
    seconds: dict[str, dict[int, float]],
    distinct: dict[str, dict[int, float]],
) -> list[Row]:
    size = max(operations[_RETRY])
    largest = max(operations[_RANK])
    ours = operations[_RANK]
    faster = seconds[_RETRY][size] / seconds[_RANK][size]
    full = size == 128
    until = f"{size} nodes claim at once: until all have a number"
    rows = [
        Row(
            f"{size} nodes claim at once: operations a claim",
            ours[size],
            "operations",
            operations[_RETRY][size],
            _RETRY,
            [at_most(ours[size], 4, "4")],
        ),
        Row(
            until,
            seconds[_RANK][size],
            "s",
            seconds[_RETRY][size],
            _RETRY,
            [at_least(faster, 10, "10 ×")] if full else (),
        ),
    ]
    for name in _ALGORITHMS:
        if name not in (_RANK, _RETRY):
            count = round(distinct[name][size])
            wrong = f" (only {count} numbers for {size})" if 0 < count < size else ""
            rows.append(
                Row(until, seconds[_RANK][size], "s", seconds[name][size], f"{name}{wrong}")
            )
    rows.append(
        Row(
            f"{largest} nodes claim at once: operations a claim",
            ours[largest],
            "operations",
            operations["Lock, then list"][largest],
            "Lock, then list",
            [at_most(ours[largest], 4, "4")],
        )
    )
    return rows


def draw(data: dict[str, Any], directory: Path) -> None:
    for key, name in (
        ("operations a claim", "bench-storm.svg"),
        ("seconds until all have a number", "bench-storm-seconds.svg"),
    ):
        save(plots.storm(data[key], measure=key), directory / name)


def _curves(
    storms: dict[str, dict[int, list[Storm]]], measure: Callable[[Storm], float]
) -> dict[str, dict[int, float]]:
    return {
        name: {size: median(map(measure, rounds)) for size, rounds in by_size.items()}
        for name, by_size in storms.items()
    }


def _storm(lab: Lab, name: str, size: int) -> Storm:
    client, algorithm = _ALGORITHMS[name]
    sessions = [client(lab.zookeeper.hosts) for _ in range(size)]
    claims = [algorithm(session) for session in sessions]
    if not all(session.wait_connected(_TIMEOUT) for session in sessions):
        raise TimeoutError(f"Not all of {size} sessions could connect.")
    before = sum(session.operations for session in sessions)
    barrier = threading.Barrier(size)
    times: list[tuple[float, float]] = []

    def claimant(claim: Callable[[], int | None]) -> int | None:
        barrier.wait()
        began = time.perf_counter()
        number = claim()
        times.append((began, time.perf_counter()))
        return number

    with ThreadPoolExecutor(max_workers=size) as pool:
        got = list(pool.map(claimant, claims, timeout=_TIMEOUT))
    operations = sum(session.operations for session in sessions) - before
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(_close, sessions))
    if name in _CORRECT and sorted(n or 0 for n in got) != list(range(1, size + 1)):
        raise AssertionError(f"{name}: {size} claimants got {sorted(n or 0 for n in got)}.")
    seconds = max(end for _, end in times) - min(begin for begin, _ in times)
    return Storm(operations / size, seconds, len(set(got) - {None}))


def _close(client: _Client) -> None:
    client.stop()  # takes its znodes along
    client.close()
