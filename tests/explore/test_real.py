"""A schedule that breaks the model breaks a real ZooKeeper, by that one's own log."""

from collections.abc import Iterator

import pytest

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.climbs.reads_prove_nothing import ReadsProveNothing
from labkit.course.climbs.sample import Sample
from labkit.course.climbs.suspended_means_stop import SuspendedMeansStop
from labkit.course.exercises import locks
from labkit.explore import Specification, explore
from labkit.explore.ready import lock, numbers
from labkit.explore.real import repeat
from labkit.lab.lab import Lab

WRONG = [
    *(lock(getattr(locks, name)) for name in ("_losing", "_queueing_twice", "_watching_nothing")),
    numbers(ListCreateRetry),
    numbers(Sample),
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
