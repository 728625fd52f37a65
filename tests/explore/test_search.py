"""Every schedule is seen, the shortest wrong one is found, and what is right is not blamed."""

import json

import pytest

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.climbs.suspended_means_stop import SuspendedMeansStop
from labkit.course.exercises import locks
from labkit.explore import explore
from labkit.explore.ready import lock
from labkit.explore.search import Search


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
