"""Every exercise can be solved, and can be failed."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from labkit.course import exercises
from labkit.course.attempt import judge
from labkit.course.exercises.exercise import Exercise
from labkit.errors import ConfigError, InvalidTransition
from labkit.lab.lab import Lab

ALL = exercises.ALL
WRONG = [(exercise, answer) for exercise in ALL for answer in exercise.wrong]
WRONG_IDS = [f"{exercise.id}-{answer.__name__.lstrip('_')}" for exercise, answer in WRONG]


#: Why answers fail that are right but for a lost reply, a vanished child or an unchecked commit.
REASONS = {
    ("take-stock", "_again"): "3 of 7 were once sold, and 1 are left",
    ("take-stock", "_presuming"): "3 of 7 were once sold, and 7 are left",
    ("left-behind", "_trusting"): "'NoneType' object has no attribute 'ephemeralOwner'",
    ("ghosts", "_trusting"): "'NoneType' object has no attribute 'ephemeralOwner'",
    ("follow", "_in_two_steps"): "the last that was told is 'off': no watch is left",
    ("follow", "_untold"): "the last that was told is nothing: no watch is left",
    ("claim", "_losing"): "It raised `ConnectionLoss`",
    ("claim", "_hopeful"): "It raised `NodeExistsError` (line 4 of the function",
    ("claim", "_stubborn"): "returned 2; 1 was free: look again",
    ("claim", "_permanent"): "that znode is not ephemeral",
    ("claim", "_greedy"): "its session holds 1 and 2",
    ("claim", "_presuming"): "its session holds nothing",
    ("mine", "_by_name"): "the znode is another session's, whatever its data say",
    ("increment", "_refused_is_done"): "one was added twice, so the counter should be 2",
    ("claim-by-ticket", "_losing"): "It raised `ConnectionLoss`",
    ("claim-by-ticket", "_drawing_twice"): "counts twice",
    ("claim-by-ticket", "_beginning_again"): "counts twice",
    ("claim-by-ticket", "_unchecked"): "returned 1, and its session has ticket-ac",
    ("acquire", "_losing"): "It raised `ConnectionLoss`",
    ("acquire", "_presuming"): "0000000f-lock-0000000000 is ahead of it: look again",
    ("acquire", "_herding"): "which is none of its business: watch your predecessor only",
    ("acquire", "_polling"): "let ZooKeeper tell you, by a watch",
    ("acquire", "_permanent"): "if it dies, the lock stays locked",
    ("acquire", "_queueing_twice"): "wait for ever",
    ("acquire", "_watching_nothing"): "waits for ever",
    ("release", "_satisfied"): "the lock is still locked",
    ("take-item", "_simply"): "It raised `ConnectionLoss`",
    ("take-item", "_nervous"): "returned None, and 'bee' is in the queue",
    ("take-item", "_any_of_them"): "returned 'bee', and 'ant' is in the queue",
    ("take-item", "_unchecked"): "both have taken 'ant'",
    ("take-item", "_without_sync"): "'ant' is lost: nobody has it",
    ("take-item", "_littering"): "In the queue is left",
    ("work-one", "_unmarked"): "has no mark: look whose mark it is",
    ("barrier", "_count_then_watch"): "waits for ever",
    ("publish", "_unguarded"): "wrote over what a rival had changed",
    ("publish", "_without_sync"): "it returned False, and the settings are changed",
    ("read-settings", "_once_again"): "no version had all of that",
    ("fenced-write", "_unchecked"): "token 17 wrote over the newer token 18",
    ("reserve", "_unversioned"): "two have reserved the same",
    ("lead", "_unguarded"): "both have led under epoch 5",
    ("lead", "_giving_up"): "returned None, and nobody leads",
    ("lead", "_unaware"): "returned None, and it leads",
    ("work-one", "_unowned"): "session ended while it worked on 'ant'; it returned True",
    ("work-one", "_unchecked_commit"): "session ended while it worked on 'ant'; it returned True",
}


#: How many times the answers have to pass, one round after the other.
ROUNDS = range(int(os.environ.get("LABKIT_ROUNDS", "1")))


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)


@pytest.fixture(autouse=True)
def a_lab_as_before(zookeeper_lab: Lab) -> Iterator[None]:
    """Whatever the reader's code did: no path, thread or link of it is left, and the lab works."""
    before = zookeeper_lab.zk.get_children("/")
    yield
    assert not [t for t in threading.enumerate() if t.name == "labkit-exercise"]
    for cleaning in [t for t in threading.enumerate() if t.name == "labkit-exercise-clean"]:
        cleaning.join(20)
        assert not cleaning.is_alive()
    assert zookeeper_lab.zk.get_children("/") == before


def defined(source: str, name: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def test_there_are_some_on_every_page() -> None:
    assert len(ALL) >= 24
    for page in (*(f"{number:02}" for number in range(14)), "09b"):
        assert 1 <= sum(exercise.page == page for exercise in ALL) <= 3
    assert [exercise.page for exercise in ALL] == sorted(exercise.page for exercise in ALL)
    assert len({exercise.id for exercise in ALL}) == len(ALL)


@each()
def test_it_is_complete(exercise: Exercise) -> None:
    assert re.search(r"\w[.?!]$", exercise.heading), "one mark at its end"
    assert len(exercise.question) > 60
    assert 2 <= len(exercise.hints) <= 3
    assert exercise.wrong
    assert all(answer.__doc__ for answer in exercise.wrong)
    assert exercise.stub == f"def {exercise.signature}:\n    ..."


@each()
def test_a_question_says_what_to_do_when_the_connection_is_lost(exercise: Exercise) -> None:
    source = exercise.solution
    if "(zk," in exercise.signature and exercise.page > "00":
        assert "ConnectionLoss" in exercise.question
    if "ConnectionLoss" in source:
        assert "you need not expect" not in exercise.question
    if "client_id" in source:
        assert "`zk.client_id[0]`" in exercise.question


def test_every_reason_is_that_of_a_wrong_answer() -> None:
    assert set(REASONS) <= {(exercise.id, answer.__name__) for exercise, answer in WRONG}


@each()
@pytest.mark.parametrize("turn", ROUNDS)
def test_the_answer_passes(zookeeper_lab: Lab, exercise: Exercise, turn: int) -> None:
    verdict = judge(zookeeper_lab, exercise, exercise.answer)
    assert verdict.outcome == "passed", repr(verdict)


@pytest.mark.long
@each()
def test_the_solution_that_is_shown_passes(zookeeper_lab: Lab, exercise: Exercise) -> None:
    assert exercise.solution.count("->") == 0, "no annotations"
    assert max(map(len, exercise.solution.splitlines())) <= 100
    verdict = judge(zookeeper_lab, exercise, defined(exercise.solution, exercise.name))
    assert verdict.outcome == "passed", repr(verdict)


def test_the_gate_of_the_page_is_an_answer_too(zookeeper_lab: Lab) -> None:
    def enter(zk: KazooClient, root: str, size: int) -> None:
        gate = threading.Event()
        zk.create(f"{root}/you", ephemeral=True)
        if len(zk.get_children(root)) >= size:
            zk.ensure_path(f"{root}/ready")
        while not zk.exists(f"{root}/ready", watch=lambda event: gate.set()):
            gate.wait()
            gate.clear()

    verdict = judge(zookeeper_lab, exercises.find("barrier"), enter)
    assert verdict.outcome == "passed", repr(verdict)


def test_a_write_before_the_read_is_as_good_as_a_sync(zookeeper_lab: Lab) -> None:
    def read_latest(zk: KazooClient, path: str) -> str:
        zk.create(f"{path}-mine", ephemeral=True)
        data, _ = zk.get(path)
        return str(data.decode())

    verdict = judge(zookeeper_lab, exercises.find("read-latest"), read_latest)
    assert verdict.outcome == "passed", repr(verdict)


@pytest.mark.long
@pytest.mark.parametrize(("exercise", "answer"), WRONG, ids=WRONG_IDS)
def test_a_wrong_answer_fails(
    zookeeper_lab: Lab, exercise: Exercise, answer: Callable[..., Any]
) -> None:
    verdict = judge(zookeeper_lab, exercise, answer)
    assert verdict.outcome == "failed"
    assert len(verdict.message) > 20
    assert REASONS.get((exercise.id, answer.__name__), "").lower() in verdict.message.lower()
    mistakes = [moment.bad for moment in verdict.moments].count(True)
    assert mistakes == 1 or verdict.schedule, "the mistake is shown"
    assert repr(verdict).count("\n→") == 1


@each()
def test_a_stub_is_no_attempt(zookeeper_lab: Lab, exercise: Exercise) -> None:
    verdict = judge(zookeeper_lab, exercise, defined(exercise.stub, exercise.name))
    assert verdict.outcome == "not attempted"
    assert verdict.chart is None


@pytest.mark.long
@each()
def test_an_endless_loop_fails_in_time(zookeeper_lab: Lab, exercise: Exercise) -> None:
    def forever(*args: Any) -> None:
        while True:
            pass

    began = time.monotonic()
    verdict = judge(zookeeper_lab, exercise, forever, deadline=0.4)
    assert time.monotonic() - began < 6  # seconds, on a busy machine
    assert verdict.outcome == "failed"
    assert "had not returned after 0.4 s" in verdict.message


@each()
def test_an_exception_is_told(zookeeper_lab: Lab, exercise: Exercise) -> None:
    def broken(*args: Any) -> Any:
        return len(args) // 0

    verdict = judge(zookeeper_lab, exercise, broken, deadline=4)
    assert verdict.outcome == "failed"
    if "should raise" not in verdict.message and exercise.id != "work-one":
        assert "ZeroDivisionError" in verdict.message
        assert "return len(args) // 0" in verdict.message, "with the line it came from"


# --- whatever a reader writes -----------------------------------------------------------------


CLAIM = exercises.find("claim")
LOWEST = exercises.find("lowest-free")


@pytest.mark.parametrize(
    "body",
    [
        "...",
        "pass",
        "return",
        "return None",
        "raise NotImplementedError",
        "'''Not yet.'''",
        "raise NotImplementedError('not yet')",
        "return ...",
    ],
)
def test_blank_bodies_are_no_attempt(zookeeper_lab: Lab, body: str) -> None:
    function = defined(f"def lowest_free(children):\n    {body}", "lowest_free")
    assert judge(zookeeper_lab, LOWEST, function).outcome == "not attempted"


@pytest.mark.parametrize("body", ["return children", "return 1", "x = 1", "return len(children)"])
def test_other_bodies_are_attempts(zookeeper_lab: Lab, body: str) -> None:
    function = defined(f"def lowest_free(children):\n    {body}", "lowest_free")
    assert judge(zookeeper_lab, LOWEST, function).outcome == "failed"


@pytest.mark.parametrize("answer", ["2", None, 2.5, True, [1]])
def test_a_wrong_type_is_told(zookeeper_lab: Lab, answer: Any) -> None:
    verdict = judge(zookeeper_lab, LOWEST, lambda children: answer)
    assert verdict.outcome == "failed"
    assert "an int is asked for" in verdict.message


def test_other_parameters_are_told(zookeeper_lab: Lab) -> None:
    def claim(zk: Any) -> int:
        return 1

    verdict = judge(zookeeper_lab, CLAIM, claim)
    assert verdict.outcome == "failed"
    assert "claim(zk, root)" in verdict.message


@pytest.mark.parametrize("thing", [3, None, len, "claim"])
def test_what_is_no_function_is_told(zookeeper_lab: Lab, thing: Any) -> None:
    verdict = judge(zookeeper_lab, CLAIM, thing)
    assert verdict.outcome == "failed"
    assert "check(claim)" in verdict.message


def test_an_answer_to_another_exercise_is_told(zookeeper_lab: Lab) -> None:
    verdict = judge(zookeeper_lab, CLAIM, LOWEST.answer)
    assert verdict.outcome == "not attempted"
    assert LOWEST.title in verdict.message


def test_a_loop_that_catches_everything_is_ended(zookeeper_lab: Lab) -> None:
    def claim(zk: Any, root: str) -> int:
        while True:
            try:
                zk.get_children(root)
            except Exception:
                continue

    verdict = judge(zookeeper_lab, CLAIM, claim, deadline=0.5)
    assert "had not returned after 0.5 s" in verdict.message


def test_a_wait_for_a_notice_that_never_comes_is_ended(zookeeper_lab: Lab) -> None:
    def claim(zk: Any, root: str) -> int:
        told = threading.Event()
        zk.get(root, watch=lambda event: told.set())
        told.wait()
        return 1

    verdict = judge(zookeeper_lab, CLAIM, claim, deadline=0.5)
    assert "waits for ever: nothing can happen any more" in verdict.message


def test_an_endless_watch_function_is_ended(zookeeper_lab: Lab) -> None:
    def follow(zk: Any, path: str, tell: Any) -> None:
        def look(event: Any = None) -> None:
            while event is not None:
                pass
            tell(zk.get(path, watch=look)[0].decode())

        look()

    verdict = judge(zookeeper_lab, exercises.find("follow"), follow, deadline=3)
    assert verdict.outcome == "failed"


def test_an_error_in_a_watch_function_is_told(zookeeper_lab: Lab) -> None:
    def follow(zk: Any, path: str, tell: Any) -> None:
        data, _ = zk.get(path, watch=lambda event: 1 // 0)
        tell(data.decode())

    verdict = judge(zookeeper_lab, exercises.find("follow"), follow, deadline=4)
    assert verdict.outcome == "failed"
    assert "ZeroDivisionError" in verdict.message


def test_a_flood_of_exits_is_told(zookeeper_lab: Lab) -> None:
    def lowest_free(children: list[str]) -> int:
        raise SystemExit(1)

    assert "SystemExit" in judge(zookeeper_lab, LOWEST, lowest_free).message


def test_an_unknown_exercise_is_named(zookeeper_lab: Lab) -> None:
    with pytest.raises(ConfigError, match="lowest-free"):
        exercises.find("lowest-fee")


def test_a_stopped_zookeeper_is_told_and_a_closed_lab_is_started_again() -> None:
    lab = Lab(nodes=0, backend="process", record=False).start()
    try:
        lab.zookeeper.stop()
        with pytest.raises(InvalidTransition, match=r"lab\.zookeeper\.start\(\)"):
            judge(lab, CLAIM, CLAIM.answer)
        lab.zookeeper.start()
        lab.wait_until(lambda: lab.zk.connected)
        assert judge(lab, CLAIM, CLAIM.answer).outcome == "passed"
        lab.close()  # as a page's last cell does
        assert judge(lab, CLAIM, CLAIM.answer).outcome == "passed"
    finally:
        lab.close()


# --- an ensemble ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble() -> Iterator[Lab]:
    with Lab(nodes=0, ensemble=3, backend="process", record=False) as lab:
        yield lab


def test_a_follower_that_is_behind(ensemble: Lab) -> None:
    exercise = exercises.find("read-latest")
    verdict = judge(ensemble, exercise, exercise.answer)
    assert verdict.outcome == "passed", repr(verdict)
    for wrong in exercise.wrong:
        ensemble.wait_until(lambda: len(ensemble.zookeeper.followers) == 2)
        verdict = judge(ensemble, exercise, wrong)
        assert verdict.outcome == "failed"
        assert "It returned 'old'; 'new' is right" in verdict.message


def test_a_follower_that_knows_too_little_of_a_write(ensemble: Lab) -> None:
    exercise = exercises.find("read-since")
    for answer, outcome in ((exercise.answer, "passed"), *((w, "failed") for w in exercise.wrong)):
        ensemble.wait_until(lambda: len(ensemble.zookeeper.followers) == 2)
        verdict = judge(ensemble, exercise, answer)
        assert verdict.outcome == outcome, repr(verdict)


@pytest.mark.long
@pytest.mark.parametrize("name", ["claim", "claim-by-ticket", "acquire", "release", "work-one"])
@pytest.mark.parametrize("turn", ROUNDS)
def test_answers_pass_on_an_ensemble(ensemble: Lab, name: str, turn: int) -> None:
    exercise = exercises.find(name)
    ensemble.wait_until(lambda: len(ensemble.zookeeper.followers) == 2)
    verdict = judge(ensemble, exercise, exercise.answer)
    assert verdict.outcome == "passed", repr(verdict)


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.usefixtures("docker_images")
def test_answers_right_and_wrong_in_docker() -> None:
    with Lab(nodes=0, ensemble=3, backend="docker", record=False) as lab:
        for name in ("claim", "read-latest", "release", "acquire"):
            exercise = exercises.find(name)
            for answer, outcome in ((exercise.answer, "passed"), (exercise.wrong[0], "failed")):
                lab.wait_until(lambda: len(lab.zookeeper.followers) == 2, timeout=20)
                verdict = judge(lab, exercise, answer)
                assert verdict.outcome == outcome, repr(verdict)
