"""A schedule that breaks the model breaks a real ZooKeeper, by that one's own log."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss
from kazoo.protocol.states import KeeperState

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.climbs.reads_prove_nothing import ReadsProveNothing
from labkit.course.climbs.sample import Sample
from labkit.course.climbs.suspended_means_stop import SuspendedMeansStop
from labkit.course.exercises import locks
from labkit.explore import Specification, explore
from labkit.explore.ready import lock, numbers
from labkit.explore.real import repeat
from labkit.explore.seat import CRASHES
from labkit.lab.lab import Lab

WRONG = [
    *(lock(getattr(locks, name)) for name in ("_losing", "_queueing_twice", "_watching_nothing")),
    numbers(ListCreateRetry),
    numbers(Sample),
    numbers(SuspendedMeansStop),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=0, backend="process", record=False) as lab:
        yield lab


@pytest.mark.slow
@pytest.mark.parametrize("wanted", WRONG, ids=lambda wanted: wanted.name)
def test_a_schedule_is_confirmed(lab: Lab, wanted: Specification) -> None:
    before = lab.zk.get_children("/")
    found = explore(wanted)
    again = found.on(lab)
    assert again.confirmed, again
    assert str(found.violation) in again.sentence
    assert lab.zk.get_children("/") == before


@pytest.mark.slow
def test_it_is_also_where_a_client_notices_late(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    notice = KazooClient._session_callback

    def late(self: KazooClient, state: str) -> None:
        if state == KeeperState.CONNECTING:
            time.sleep(0.1)
        notice(self, state)

    monkeypatch.setattr(KazooClient, "_session_callback", late)
    again = explore(numbers(SuspendedMeansStop)).on(lab)
    assert again.confirmed, again


@pytest.mark.slow
def test_what_is_right_on_the_real_one_is_not_confirmed(lab: Lab) -> None:
    found = explore(locks._losing, as_a="lock")
    again = repeat(found, lock(locks.acquire), lab)  # the same schedule, of code that is right
    assert not again.confirmed
    assert "Not confirmed" in again.sentence


@pytest.mark.slow
@pytest.mark.parametrize("server", [ReadsProveNothing, SuspendedMeansStop])
def test_a_follower_that_lags_is_cut_off(server: type) -> None:
    found = explore(server, faults=2)
    with Lab(nodes=0, ensemble=3, backend="process", record=False) as lab:
        again = found.on(lab)
        assert again.confirmed, again
        lab.wait_until(lambda: len(lab.zookeeper.followers) == 2, timeout=20)


@pytest.mark.slow
def test_a_single_server_cannot_lag(lab: Lab) -> None:
    assert "ensemble=3" in str(explore(ReadsProveNothing, faults=2).on(lab))


@pytest.mark.slow
def test_an_actor_that_crashes_begins_anew(lab: Lab) -> None:
    found = explore(replace(lock(locks._permanent), kinds=(CRASHES,)))
    kinds = [step["kind"] for step in found.schedule]
    assert {"crashes", "restarts", "an old session ends"} <= set(kinds)
    again = found.on(lab)
    assert again.confirmed, again


@pytest.mark.slow
def test_whoever_asks_for_its_session_after_a_loss_has_it(lab: Lab) -> None:
    """The connection is back at once for code that never looks at its state, here and there."""

    def queues_again(zk: Any, root: str) -> str:
        name = f"{root}/{zk.client_id[0]}-"
        try:
            path = zk.create(name, ephemeral=True, sequence=True)
        except ConnectionLoss:
            path = zk.create(f"{root}/{zk.client_id[0]}-", ephemeral=True, sequence=True)
        while (first := min(zk.get_children(root), key=lambda n: n[-10:])) != path[len(root) + 1 :]:
            gone = threading.Event()
            if zk.exists(f"{root}/{first}", watch=lambda event, gone=gone: gone.set()):
                gone.wait()
        return str(path)

    found = explore(queues_again, as_a="lock")
    assert "for ever" in str(found.violation)
    again = found.on(lab)
    assert again.confirmed, again
