"""Every schedule is seen, the shortest wrong one is found, and what is right is not blamed."""

import json
from typing import Any

import pytest

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.climbs.reads_prove_nothing import ReadsProveNothing
from labkit.course.climbs.suspended_means_stop import SuspendedMeansStop
from labkit.course.exercises import doubts, locks, queues
from labkit.errors import ConfigError
from labkit.explore import explore
from labkit.explore.ready import lock
from labkit.explore.search import Search
from labkit.explore.world import World


def test_the_reference_answer_is_right_in_all_states() -> None:
    found = explore(locks.acquire, as_a="lock", users=2, faults=1)
    assert found.violation is None, str(found)
    assert found.complete
    assert found.states > 1000


@pytest.mark.parametrize(
    ("answer", "steps"),
    [("_losing", 4), ("_presuming", 4), ("_permanent", 4), ("_queueing_twice", 7)],
)
def test_a_wrong_lock_has_a_shortest_schedule(answer: str, steps: int) -> None:
    found = explore(getattr(locks, answer), as_a="lock", users=2, faults=1)
    assert found.violation is not None
    assert "for ever" in found.violation
    assert len(found.schedule) == steps


def test_no_fault_is_needed_to_wait_for_a_znode_that_has_gone() -> None:
    found = explore(locks._watching_nothing, as_a="lock", users=2, faults=0)
    assert found.violation == "user2 waits for ever: nothing can happen any more"
    assert found.schedule[-1]["told"] == "NoNodeError"


def test_a_server_that_remembers_its_number_answers_one_that_nobody_holds() -> None:
    found = explore(ListCreateRetry, nodes=2, requests=2, faults=1)
    assert found.violation == "node1 answers 1, which nobody holds"
    assert len(found.schedule) == 6
    assert found.schedule[4]["kind"] == "session ends"
    assert found.schedule[4]["actors"][0]["differs"] == ["answered"]


def test_a_number_whose_reply_was_lost_is_held_for_ever() -> None:
    found = explore(SuspendedMeansStop)
    assert found.violation == "node1 answers 2, and holds 1 too, which nobody is given"
    assert len(found.schedule) == 8
    assert [step["kind"] for step in found.schedule if step["fault"]] == ["reply lost"]
    right = explore(ReadsProveNothing)  # gives back what it may have got
    assert right.violation is None, str(right)
    assert right.complete


def test_a_server_that_asks_is_right_with_one_fault() -> None:
    found = explore(SuspendedMeansStop, nodes=2, requests=1, faults=1)
    assert found.violation is None, str(found)
    assert found.complete


def test_a_schedule_and_a_graph_are_plain_data() -> None:
    found = explore(locks._losing, as_a="lock", users=2, faults=1)
    assert json.loads(json.dumps(found.as_json()))["schedule"] == found.schedule
    puzzle = Search(lock(locks._losing)).graph(300)
    assert puzzle["par"] == len(found.schedule)
    assert json.loads(json.dumps(puzzle)) == puzzle


def _adds(zk: Any, path: str) -> None:
    number, _ = zk.get(path)
    zk.set(path, str(int(number) + 1).encode())


def _adds_by_kazoo(zk: Any, path: str) -> None:
    counter = zk.Counter(path)
    counter += 1


def _takes_by_kazoo(zk: Any, path: str) -> str | None:
    item = zk.Queue(path).get()
    return item.decode() if item is not None else None


def _locks_by_kazoo(zk: Any, path: str) -> str:
    lock = zk.Lock(path)
    lock.acquire()
    return f"{path}/{lock.node}"


@pytest.mark.parametrize(
    ("code", "kind", "faults", "wrong"),
    [
        (doubts.increment, "counter", 1, None),
        (_adds, "counter", 0, "2 have added one, and the number is '1'"),
        (_adds_by_kazoo, "counter", 0, None),
        (_adds_by_kazoo, "counter", 1, "only 2 have added one, and the number is 3"),
        (queues.take_item, "queue", 1, None),
        (_takes_by_kazoo, "queue", 1, "second is lost: nobody has it, and it is not in the queue"),
        (_locks_by_kazoo, "lock", 0, None),
    ],
)
def test_what_code_is_explored_as(code: Any, kind: str, faults: int, wrong: str | None) -> None:
    found = explore(code, as_a=kind, faults=faults)
    assert found.violation == wrong, str(found)
    assert found.complete is (wrong is None)


def test_a_readers_own_invariant() -> None:
    def put(zk: Any) -> None:
        zk.set("/light", b"red")

    def look(zk: Any) -> str:
        return str(zk.get("/light")[0].decode())

    def never_red(world: World) -> str | None:
        seen = world.actors[1].believes("returned")
        return "the second has seen red" if seen == "red" else None

    found = explore({"first": put, "second": look}, invariant=never_red, tree={"/light": b"green"})
    assert found.violation == "the second has seen red"
    assert [step["actor"] for step in found.schedule] == ["first", "second"]


def test_what_is_not_known_is_told() -> None:
    with pytest.raises(ConfigError, match="choose one of lock, queue, counter, election"):
        explore(_adds, as_a="barrier")


@pytest.mark.parametrize("server", [SuspendedMeansStop, ReadsProveNothing])
def test_a_follower_that_lags_answers_a_session_that_has_ended(server: type) -> None:
    found = explore(server, nodes=2, requests=2, faults=2)
    assert found.violation == "node1 answers 1, which nobody holds"
    assert [step["kind"] for step in found.schedule if step["fault"]] == ["lags", "session ends"]
    assert len(found.schedule) == 8
