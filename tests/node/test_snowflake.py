"""IDs: their form, their order, and that none is ever made twice."""

from __future__ import annotations

import itertools
import json
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Tree
from hypothesis import example, given
from hypothesis import strategies as st
from kazoo.client import KazooClient
from probe import QUIET

from labkit.errors import LabError, NoAnswer
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.node.claimant import Held, Refusal, still_claiming
from labkit.node.reservation import CATCH_UP_MS, Ledger, Reservation, ReservationLost
from labkit.node.snowflake import EPOCH_MS, MAX_WORKER, PER_MS, Ids, Snowflake, decode
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

NOW = 1_800_000_000_000  # Unix milliseconds; where the clocks that are set by hand begin


class Clock:
    """A clock that is set by hand; to sleep is to set it forward."""

    def __init__(self, now: int = NOW) -> None:
        self.nanoseconds = now * 1_000_000
        self.slept = 0.0

    def __call__(self) -> int:
        return self.nanoseconds

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.nanoseconds += max(round(seconds * 1e9), 1)

    def step(self, milliseconds: int) -> None:
        self.nanoseconds += milliseconds * 1_000_000

    @property
    def now(self) -> int:
        return self.nanoseconds // 1_000_000


class Shelf:
    """A reservation without a ZooKeeper: a second ahead, until it is somebody else's."""

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        self.start = start
        self.end = end
        self.given_back: int | None = None

    def until(self, now: int) -> int:
        return now + 1000 if self.end is None else self.end

    def extend(self, now: int, timeout: float) -> int:
        if self.end is not None:
            raise ReservationLost
        return now + 1000

    def give_back(self, last: int) -> None:
        self.given_back = last


def make(clock: Clock, shelf: Shelf | None = None, worker: int = 5, after: int = 0) -> Snowflake:
    return Snowflake(worker, shelf or Shelf(), EPOCH_MS, clock, clock.sleep, after)


# --- the form ---------------------------------------------------------------------------------


def test_an_id_tells_its_time_its_worker_and_its_place() -> None:
    clock = Clock()
    first, second = make(clock, worker=MAX_WORKER).ids(2)
    assert (decode(first).timestamp_ms, decode(first).worker) == (NOW, MAX_WORKER)
    assert [decode(first).sequence, decode(second).sequence] == [0, 1]
    assert decode(first).time == datetime.fromtimestamp(NOW / 1000, UTC)
    assert first < 2**63


def test_the_example_that_everybody_knows() -> None:
    """An ID of Twitter's own, from its documentation, and what is known of it."""
    wikipedia = decode(1541815603606036480)
    assert wikipedia.time.isoformat(timespec="milliseconds") == "2022-06-28T16:07:40.105+00:00"
    assert (wikipedia.worker, wikipedia.sequence) == (378, 0)


@given(st.integers(0, 2**41 - 1), st.integers(0, MAX_WORKER), st.integers(0, PER_MS - 1))
def test_decode_takes_apart_what_the_form_puts_together(t: int, worker: int, count: int) -> None:
    said = decode(t << 22 | worker << 12 | count, epoch_ms=7)
    assert (said.timestamp_ms, said.worker, said.sequence) == (t + 7, worker, count)


def test_a_worker_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1023"):
        make(Clock(), worker=MAX_WORKER + 1)


@pytest.mark.parametrize("now", [EPOCH_MS - 1, EPOCH_MS + 2**41])
def test_a_time_that_does_not_fit_is_refused(now: int) -> None:
    with pytest.raises(Refusal, match="clock"):
        make(Clock(now)).next_id()


# --- the clock --------------------------------------------------------------------------------


def test_no_id_is_from_the_future() -> None:
    clock = Clock()
    snowflake = make(clock)
    for count in (1, 10, PER_MS, 100_000):
        for id in snowflake.ids(count):
            assert decode(id).timestamp_ms <= clock.now


def test_a_batch_takes_the_milliseconds_that_it_needs() -> None:
    clock = Clock()
    ids = make(clock).ids(100_000)
    assert len(ids) == len(set(ids)) == 100_000
    assert clock.slept == pytest.approx((100_000 // PER_MS) / 1000, abs=0.002)


def test_what_a_batch_leaves_is_used() -> None:
    snowflake = make(Clock())
    assert snowflake.next_id() + 1 == snowflake.ids(10)[0]
    assert decode(snowflake.ids(1)[0]).sequence == 11
    assert decode(snowflake.next_id()).sequence == 12


def test_after_a_rest_ids_are_of_the_present() -> None:
    clock = Clock()
    snowflake = make(clock)
    snowflake.next_id()
    clock.step(500)
    assert decode(snowflake.next_id()).timestamp_ms == clock.now


def test_a_clock_that_steps_back_a_little_is_waited_for() -> None:
    clock = Clock()
    snowflake = make(clock)
    last = snowflake.ids(PER_MS)[-1]
    clock.step(-300)
    assert snowflake.next_id(timeout=2.0) > last
    assert clock.slept == pytest.approx(0.301, abs=0.002)


def test_a_clock_that_steps_back_far_is_refused_at_once() -> None:
    clock = Clock()
    snowflake = make(clock)
    last = snowflake.ids(PER_MS)[-1]
    clock.step(-60_000)
    with pytest.raises(Refusal) as caught:
        snowflake.next_id(timeout=2.0)
    assert caught.value.reason == "clock-behind"
    assert clock.slept == 0
    clock.step(60_001)
    assert snowflake.next_id() > last


@given(
    st.lists(
        st.tuples(st.integers(-1500, 1500), st.integers(1, 3 * PER_MS)), min_size=1, max_size=20
    )
)
@example([(0, 1), (11, PER_MS), (-1, 1)])  # a whole millisecond, then back to a part of an older
def test_strictly_increasing_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    snowflake = make(clock)
    made: list[int] = []
    for step, count in steps:
        clock.step(step)
        with suppress(Refusal):
            made += [snowflake.next_id(1.0)] if count % 2 else snowflake.ids(count, 1.0)
    assert all(one < other for one, other in itertools.pairwise(made))


# --- the reservation's bounds -----------------------------------------------------------------


def test_starts_where_the_predecessor_ends() -> None:
    clock = Clock()
    snowflake = make(clock, Shelf(start=NOW + 200))
    assert decode(snowflake.next_id()).timestamp_ms == NOW + 200
    assert clock.slept == pytest.approx(0.2, abs=0.002)


def test_uses_up_what_it_has_and_nothing_beyond() -> None:
    clock = Clock()
    shelf = Shelf(end=NOW + 3)
    snowflake = make(clock, shelf)
    made = snowflake.ids(3 * PER_MS)
    assert {decode(id).timestamp_ms for id in made} == {NOW, NOW + 1, NOW + 2}
    for ask in (snowflake.next_id, lambda: snowflake.ids(1)):
        with pytest.raises(ReservationLost):
            ask()


def test_sealed_it_makes_none() -> None:
    shelf = Shelf()
    snowflake = make(Clock(), shelf)
    snowflake.next_id()
    assert snowflake.quick() is not None
    assert snowflake.seal(1.0, give_back=True) == NOW
    assert shelf.given_back == NOW
    assert snowflake.quick() is None
    with pytest.raises(ReservationLost):
        snowflake.next_id()


def test_threads_share_it() -> None:
    snowflake = Snowflake(5, Shelf(), 0)

    def work(seed: int) -> list[int]:
        rng, made = random.Random(seed), list[int]()
        for _ in range(300):
            made += [snowflake.next_id() for _ in range(50)] + snowflake.ids(rng.randint(1, 200))
        assert all(one < other for one, other in itertools.pairwise(made))
        return made

    with ThreadPoolExecutor(4) as pool:
        made = [id for ids in pool.map(work, range(4)) for id in ids]
    assert len(made) == len(set(made))


# --- the reservation in ZooKeeper -------------------------------------------------------------


@pytest.fixture
def client(tree: Tree) -> Iterator[Callable[[], KazooClient]]:
    clients = []

    def connect(hosts: str | None = None) -> KazooClient:
        zk = KazooClient(hosts or tree.hosts, timeout=10, logger=QUIET)
        clients.append(zk)
        zk.start()
        return zk

    yield connect
    for zk in clients:
        zk.stop()
        zk.close()


def acquire(zk: KazooClient, owner: str, now: int, after: int = 0) -> Reservation:
    return Reservation.acquire(zk, 7, owner, after, now, timeout=2.0)


def written(tree: Tree, worker: int = 7) -> dict[str, Any]:
    data, _ = tree.zk.get(f"{tree.path}/snowflake/{worker}")
    said: dict[str, Any] = json.loads(data)
    return said


def test_it_is_written_before_it_is_used(tree: Tree, client: Callable[..., KazooClient]) -> None:
    reservation = acquire(client(), "a", NOW)
    begin = NOW - CATCH_UP_MS
    assert written(tree) == {"until": NOW + 1000, "by": "a", "from": begin, "gaps": [[0, begin]]}
    assert reservation.until(NOW) == NOW + 1000


def test_it_is_renewed_at_half(tree: Tree, client: Callable[..., KazooClient]) -> None:
    reservation = acquire(client(), "a", NOW)
    assert reservation.until(NOW + 500) == NOW + 1000
    assert written(tree)["until"] == NOW + 1000
    reservation.until(NOW + 501)
    tree.wait(lambda: reservation.until(NOW + 501) == NOW + 2000)
    assert written(tree)["until"] == NOW + 2000


def test_a_clock_that_steps_back_does_not_shrink_it(
    tree: Tree, client: Callable[..., KazooClient]
) -> None:
    reservation = acquire(client(), "a", NOW)
    assert reservation.extend(NOW - 60_000, 2.0) >= NOW + 1000
    assert written(tree)["until"] >= NOW + 1000


def test_a_successor_takes_over_and_the_zombie_learns(
    tree: Tree, client: Callable[..., KazooClient]
) -> None:
    zombie = acquire(client(), "a", NOW)
    heir = acquire(client(), "b", NOW)
    assert heir.start == NOW + 1000
    assert heir.until(NOW) == NOW + 2000
    assert zombie.until(NOW) == NOW + 1000  # what it had stays its own
    with pytest.raises(ReservationLost):
        zombie.extend(NOW + 1000, 2.0)
    assert zombie.until(NOW + 1000) == NOW + 1000
    assert (written(tree)["until"], written(tree)["by"]) == (NOW + 2000, "b")


def test_one_who_gives_back_leaves_nothing_to_wait_for(
    tree: Tree, client: Callable[..., KazooClient]
) -> None:
    zk = client()
    reservation = acquire(zk, "a", NOW)
    reservation.until(NOW + 900)  # a renewal is under way
    reservation.give_back(NOW + 10)
    zk.stop()  # what was sent before is done before
    assert written(tree)["until"] == NOW + 11
    assert acquire(client(), "b", NOW + 11).start == NOW + 11


def test_a_zombie_gives_nothing_back(tree: Tree, client: Callable[..., KazooClient]) -> None:
    zk = client()
    zombie = acquire(zk, "a", NOW)
    acquire(client(), "b", NOW)
    zombie.give_back(NOW)
    zk.stop()
    assert (written(tree)["until"], written(tree)["by"]) == (NOW + 2000, "b")


def test_a_zombie_whose_renewal_was_refused_gives_nothing_back(
    tree: Tree, client: Callable[..., KazooClient]
) -> None:
    zk = client()
    zombie = acquire(zk, "a", NOW)
    acquire(client(), "b", NOW)  # one write, so the version is the one after the zombie's
    zombie.until(NOW + 600)  # a renewal, which is refused
    zombie.give_back(NOW + 600)
    zk.stop()
    assert (written(tree)["until"], written(tree)["by"]) == (NOW + 2000, "b")


def test_who_comes_back_goes_on_after_what_it_used(client: Callable[..., KazooClient]) -> None:
    acquire(client(), "a", NOW)
    assert acquire(client(), "a", NOW, after=NOW + 10).start == NOW + 11


def test_who_never_heard_that_it_has_reserved_goes_on_where_that_begins(
    client: Callable[..., KazooClient],
) -> None:
    acquire(client(), "a", NOW)  # a zombie, which may use these still
    lost = acquire(client(), "b", NOW)
    again = acquire(client(), "b", NOW)  # its reply was lost, so it has used nothing
    assert again.start == lost.start == NOW + 1000


# --- clocks that are far ahead ----------------------------------------------------------------

HOUR = 3_600_000


def test_a_successor_works_in_the_time_that_a_clock_has_jumped_over(
    tree: Tree, client: Callable[..., KazooClient]
) -> None:
    acquire(client(), "ahead", NOW + HOUR)
    heir = acquire(client(), "b", NOW)
    assert heir.start == NOW - CATCH_UP_MS
    assert heir.extend(NOW + 1000, 2.0) == NOW + 2000
    heir.give_back(NOW + 1500)
    another = acquire(client(), "c", NOW + 1501)
    assert another.start == NOW + 1501
    assert written(tree) == {
        "until": NOW + 2501,
        "by": "c",
        "from": NOW + 1501,
        "gaps": [[0, NOW - CATCH_UP_MS]],
        "limit": NOW + HOUR - CATCH_UP_MS,
        "top": NOW + HOUR + 1000,
    }


def test_what_a_clock_ahead_has_taken_stays_taken(client: Callable[..., KazooClient]) -> None:
    ahead = acquire(client(), "ahead", NOW + HOUR)
    ahead.extend(NOW + HOUR + 1000, 2.0)  # it worked for two seconds
    heir = acquire(client(), "b", NOW + HOUR - 5000)
    limit = NOW + HOUR - CATCH_UP_MS
    assert heir.extend(limit - 1, 2.0) == limit
    with pytest.raises(ReservationLost):
        heir.extend(limit, 2.0)
    again = acquire(client(), "b", NOW + HOUR + 500, after=limit - 1)
    assert again.start == NOW + HOUR + 2000
    with pytest.raises(Refusal, match="are taken for another 3.010 s") as caught:
        acquire(client(), "c", limit)
    assert caught.value.reason == "clock-behind"


def test_a_clock_that_jumps_ahead_while_it_holds_leaves_a_gap_too(
    client: Callable[..., KazooClient],
) -> None:
    jumper = acquire(client(), "a", NOW)
    with pytest.raises(ReservationLost):
        jumper.extend(NOW + HOUR, 2.0)
    assert acquire(client(), "a", NOW + HOUR, after=NOW).start == NOW + HOUR - CATCH_UP_MS
    assert acquire(client(), "b", NOW + 5000).start == NOW + 5000 - CATCH_UP_MS


def test_of_many_gaps_the_last_are_kept() -> None:
    ledger = Ledger()
    for hour in range(20):
        ledger = ledger.reserve("x", 0, NOW + hour * HOUR)
    assert len(ledger.gaps) == 8
    assert ledger.reserve("y", 0, NOW + 18 * HOUR + 5000).start < NOW + 19 * HOUR
    assert ledger.reserve("y", 0, NOW + 5000).start > NOW + HOUR  # later, not twice


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 40_000), st.integers(0, 3), st.integers(0, 3000)
        ),
        max_size=15,
    )
)
@example([("a", 30_000, 3, 0), ("b", 100, 3, 0), ("a", 30_100, 0, 0), ("c", 200, 3, 0)])
def test_no_timestamp_is_reserved_for_two(steps: list[tuple[str, int, int, int]]) -> None:
    """Holders with any clocks, who reserve, extend and give back; the znode's data between."""
    data, used = b"", dict[str, int]()
    taken: dict[int, str] = {}  # every timestamp that was ever reserved and not given back
    for owner, now, extensions, spare in steps:
        ledger = Ledger.parse("", data).reserve(owner, used.get(owner, 0), now)
        for ahead in range(extensions + 1):
            ledger = ledger.extend(now + ahead * 700) if ahead else ledger
            mine = range(ledger.start, ledger.until)
            assert {taken.get(t, owner) for t in mine} == {owner}
            assert ledger.until <= (ledger.limit or ledger.until)
        last = max(ledger.start - 1, ledger.until - 1 - spare)
        used[owner] = last
        if spare % 2:  # it stops in order
            for t in range(last + 1, ledger.until):
                taken.pop(t, None)
            ledger = replace(ledger, until=last + 1)
        taken |= dict.fromkeys(range(ledger.start, ledger.until), owner)
        data = ledger.to_bytes()
        assert Ledger.parse("", data) == ledger


@pytest.mark.parametrize("data", [b"hello", b"[]", b"{}", b'{"until": "x", "by": "y"}', b"\xff"])
def test_strange_data_is_refused_and_left_as_it_is(
    tree: Tree, client: Callable[..., KazooClient], data: bytes
) -> None:
    tree.zk.create(f"{tree.path}/snowflake/7", data, makepath=True)
    with pytest.raises(Refusal, match="/snowflake/7"):
        acquire(client(), "a", NOW)
    assert tree.zk.get(f"{tree.path}/snowflake/7")[0] == data


@pytest.mark.alone
def test_without_an_answer_it_is_refused_in_time(
    client: Callable[..., KazooClient], forwarder: Forwarder, link: str
) -> None:
    zk = client(link)
    reservation = acquire(zk, "a", NOW)
    forwarder.fault("node", "zookeeper", LinkFault("drop"))
    for attempt in (
        lambda: reservation.extend(NOW + 1000, 0.2),
        lambda: Reservation.acquire(zk, 8, "a", 0, NOW, 0.2),
    ):
        began = time.monotonic()
        with pytest.raises(Refusal) as caught:
            attempt()
        assert caught.value.reason == "reservation"
        assert 0.15 < time.monotonic() - began < 1.0
    forwarder.fault("node", "zookeeper", None)


# --- nodes that contend -----------------------------------------------------------------------


class Rival:
    """Claims to hold numbers that others hold too: the worst that sessions could do to IDs."""

    def __init__(self, zk: KazooClient, seed: int) -> None:
        self.client: KazooClient | None = zk
        self._rng = random.Random(seed)
        self._number = 5

    def start(self) -> None:
        pass

    def wait_connected(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        pass

    def status(self) -> dict[str, Any]:
        return {}

    def peek(self) -> Held | Refusal:
        if self._rng.random() < 0.02:
            self._number = self._rng.choice((5, 6))
        return self.number(0) if self._rng.random() < 0.9 else still_claiming()

    def number(self, timeout: float) -> Held:
        return Held(self._number, self._number, 1.0)


def test_rivals_with_wild_clocks_make_no_id_twice(client: Callable[..., KazooClient]) -> None:
    """Five nodes, two threads each, two numbers between them, and clocks that jump."""
    offsets = [0] * 5
    nodes = [
        Ids(Rival(client(), i), f"n{i}", 0, 0.3, lambda i=i: time.time_ns() + offsets[i])  # type: ignore[misc]
        for i in range(5)
    ]
    refused: Counter[str] = Counter()
    end = time.monotonic() + 2.5

    def work(worker: int) -> list[int]:
        rng, made = random.Random(worker), list[int]()
        which = worker % 5
        while time.monotonic() < end:
            try:
                made += (
                    [nodes[which].next_id()]
                    if rng.random() < 0.7
                    else nodes[which].ids(rng.choice((1, 10, 1000)))
                )
            except Refusal as refusal:
                refused[refusal.reason] += 1
            if rng.random() < 0.01:
                offsets[which] = int(rng.uniform(-3e8, 3e8))
        assert all(one < other for one, other in itertools.pairwise(made))
        return made

    with ThreadPoolExecutor(10) as pool:
        made = [id for ids in pool.map(work, range(10)) for id in ids]
    assert len(made) == len(set(made))
    assert len(made) > 10_000
    assert {decode(id, 0).worker for id in made} == {5, 6}
    assert refused["clock-behind"] > 0


class Steady(Rival):
    """One that holds a single number."""

    def peek(self) -> Held | Refusal:
        return self.number(0)


def _time_ns(offset: int) -> int:
    return time.time_ns() + offset


def test_an_hour_ahead_costs_the_others_nothing(client: Callable[..., KazooClient]) -> None:
    """Holders of one number, one after the other; every third one's clock is an hour ahead."""
    made: list[int] = []
    for turn in range(12):
        offset = 3_600_000_000_000 if turn % 3 == 0 else 0
        ids = Ids(Steady(client(), 1), f"n{turn}", 0, 2.0, partial(_time_ns, offset))
        began = time.monotonic()
        made += ids.ids(5000)
        assert time.monotonic() - began < 2.0
        if turn % 2:
            ids.close()
    assert len(made) == len(set(made))


def test_a_number_beyond_what_ids_can_hold(client: Callable[..., KazooClient]) -> None:
    rival = Rival(client(), 1)
    rival._number = MAX_WORKER + 1
    rival.peek = lambda: rival.number(0)  # type: ignore[method-assign]
    ids = Ids(rival, "n", 0, 0.5)
    with pytest.raises(Refusal) as caught:
        ids.next_id()
    assert caught.value.reason == "worker-out-of-range"


def test_waiting_for_ids_has_its_limits(client: Callable[..., KazooClient]) -> None:
    """Eight may wait; the others are told at once, so that they hold up nothing else."""
    clock = Clock()
    clock.nanoseconds = time.time_ns()
    rival = Rival(client(), 1)
    rival.peek = lambda: rival.number(0)  # type: ignore[method-assign]
    ids = Ids(rival, "n", 0, 1.0, clock)
    ids.ids(PER_MS)
    clock.step(-800)  # and it stands still
    waits: list[float] = []
    lock = threading.Lock()

    def ask(_: int) -> str:
        began = time.monotonic()
        try:
            ids.next_id()
        except Refusal as refusal:
            with lock:
                waits.append(time.monotonic() - began)
            return refusal.reason
        return "answered"

    with ThreadPoolExecutor(16) as pool:
        said = Counter(pool.map(ask, range(16)))
    assert said["answered"] == 0
    assert sum(wait < 0.5 for wait in waits) >= 8
    assert max(waits) < 2.0


# --- nodes under fire -------------------------------------------------------------------------


# Python runs this at its start. It gives the node `nodeN` a clock that a test can step: by the
# N-th of the 64-bit numbers in a file, in nanoseconds.
STEPPED_CLOCK = """
import mmap, os, struct, time

real = time.time_ns
with open(os.environ["CLOCK_STEPS"], "rb") as file:
    steps = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

def stepped():
    at = 8 * int(os.environ.get("NODE_NAME", "node0").removeprefix("node"))
    return real() + struct.unpack_from("q", steps, at)[0]

time.time_ns = stepped
"""


class Steps:
    """How far the nodes' clocks are off, in seconds."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8 * 64))
        self._file = file

    def __setitem__(self, node: str, seconds: float) -> None:
        with self._file.open("r+b") as file:
            file.seek(8 * int(node.removeprefix("node")))
            file.write(struct.pack("q", round(seconds * 1e9)))


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Sets the clocks of nodes that are processes, from the next lab on."""
    (tmp_path / "sitecustomize.py").write_text(STEPPED_CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CLOCK_STEPS", str(tmp_path / "steps"))
    return Steps(tmp_path / "steps")


TIMEOUT = 0.6  # of a session, in seconds


@contextmanager
def trouble(kind: str, lab: Lab, node: Node, steps: Steps, rng: random.Random) -> Iterator[None]:
    """Something that happens to a node, and is over at the end."""
    match kind:
        case "kill" | "stop":
            (node.kill if kind == "kill" else node.stop)()
            yield
            node.start()
        case "pause":
            node.pause()
            yield
            node.resume()
        case "partition":
            lab.partition(node.name)
            yield
            lab.heal(node.name)
        case "clock":
            steps[node.name] = rng.choice((-30.0, -1.5, -0.2, 0.4, 1.2))
            yield
            steps[node.name] = 0.0


def reason(error: LabError) -> str:
    """Why a node made no IDs."""
    return str(error.problem["reason"]) if isinstance(error, NoAnswer) else "unreachable"


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_million_ids_of_nodes_in_trouble_are_all_different(steps: Steps) -> None:
    """Eight nodes, through HTTP, with numbers that change hands and clocks that step."""
    rng = random.Random(8)
    kinds = ["kill", "stop", "pause", "partition", "clock"] * 5
    rng.shuffle(kinds)
    over = threading.Event()
    refused: list[str] = []
    with Lab(
        nodes=8, backend="process", session_timeout=TIMEOUT, request_deadline=0.5, record=False
    ) as lab:

        def ask(node: Node) -> list[int]:
            mine: list[int] = []
            own = random.Random(node.name)
            while not over.is_set():
                try:
                    got = node.ids(own.choice((1, 100, 5000, 20_000)))
                except LabError as error:
                    refused.append(reason(error))
                    over.wait(0.01)
                    continue
                assert got == sorted(got)
                mine += got
            return mine

        def disturb(nodes: list[Node]) -> int:
            """Trouble for one after the other, until there is none left to make."""
            made = 0
            while kinds:
                kind = kinds.pop()
                with trouble(kind, lab, nodes[made % len(nodes)], steps, rng):
                    time.sleep(rng.choice((0.3, 2.5)) * TIMEOUT)
                time.sleep(0.2)
                made += 1
            return made

        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(ask, node) for node in lab.nodes]
            disturbed = [pool.submit(disturb, lab.nodes[at::2]) for at in (0, 1)]
            try:
                assert sum(job.result() for job in disturbed) == 25
                time.sleep(2)  # all are well
            finally:
                over.set()
            made = [job.result() for job in asked]
    ids = [id for mine in made for id in mine]
    assert len(ids) == len(set(ids))
    assert len(ids) > 1_000_000
    holders = Counter(worker for mine in made for worker in {decode(id).worker for id in mine})
    assert sum(count > 1 for count in holders.values()) >= 4, "numbers changed hands"
    assert all(len(mine) > 1000 for mine in made)
    assert {"no-connection", "clock-behind", "unreachable"} <= set(refused)


@pytest.mark.alone
def test_a_stop_lets_the_successor_make_ids_at_once() -> None:
    with Lab(nodes=2, backend="process", session_timeout=2.0, record=False) as lab:
        one, other = lab.nodes
        before = one.ids(10)
        one.stop()
        began = time.monotonic()
        after = other.ids(10)
        assert time.monotonic() - began < 0.5
        assert {decode(id).worker for id in before + after} == {1}
        assert max(before) < min(after)
