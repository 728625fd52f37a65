"""Whatever a reader's code does, its verdict comes in time, and the lab goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from kazoo.client import KazooClient

from labkit.course import exercises
from labkit.course.attempt import Verdict, judge
from labkit.course.exercises.exercise import Exercise
from labkit.errors import InvalidTransition
from labkit.lab.lab import Lab

CLAIM = exercises.find("claim")
DEADLINE = 0.4  # seconds
AT_ONCE = 4  # checks: most of them wait

Answer = Callable[..., Any]


def client(args: tuple[Any, ...]) -> KazooClient | None:
    """The client that an answer is given, if it is given one."""
    return next((arg for arg in args if isinstance(arg, KazooClient)), None)


def blocks_in_a_callback(*args: Any) -> None:
    def block(event: Any) -> None:
        threading.Event().wait()

    if (zk := client(args)) is not None:
        zk.get_children("/", watch=block)
        zk.create("/mine", ephemeral=True)
    threading.Event().wait()


def swallows_everything(*args: Any) -> None:
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


def holds_the_lock(*args: Any) -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")  # in C, for years


def recurses(*args: Any) -> Any:
    return recurses(*args)


def exits(*args: Any) -> None:
    sys.exit(1)


def prints_a_million_lines(*args: Any) -> None:
    for number in range(1_000_000):
        print(number)


class Broken(Exception):
    def __repr__(self) -> str:
        raise self

    __str__ = __repr__


def returns_what_cannot_be_shown(*args: Any) -> Any:
    return Broken()


def raises_what_cannot_be_shown(*args: Any) -> Any:
    raise Broken


def deletes_everything(*args: Any) -> None:
    if (zk := client(args)) is not None:
        for name in zk.get_children("/"):
            zk.delete(f"/{name}", recursive=True)
    raise LookupError("all is gone")


def yields(*args: Any) -> Iterator[int]:
    yield 1


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


def lies(*args: Any) -> int:
    return Liar(0)


def ends_the_process(*args: Any) -> None:
    os._exit(0)


def starts_another_process(*args: Any) -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)  # labkit-hostile"])


HOSTILE: list[Answer] = [
    blocks_in_a_callback,
    swallows_everything,
    holds_the_lock,
    recurses,
    exits,
    prints_a_million_lines,
    returns_what_cannot_be_shown,
    raises_what_cannot_be_shown,
    deletes_everything,
    yields,
    lies,
    ends_the_process,
    starts_another_process,
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=1, backend="process", record=False) as lab:
        lab.node(1).sequence()
        yield lab
        wait_until_cleaned(lab)


def wait_until_cleaned(lab: Lab) -> None:
    """What a check that was killed has left is removed in the background."""
    lab.wait_until(
        lambda: not [t for t in threading.enumerate() if t.name == "labkit-exercise-clean"],
        timeout=20,
    )


@pytest.fixture(autouse=True)
def the_lab_goes_on(lab: Lab) -> Iterator[None]:
    """After all of it: the same znodes, no process, and an answer that is right passes."""
    before = lab.zk.get_children("/")
    yield
    lab.wait_until(lambda: lab.zk.get_children("/") == before, timeout=10)
    assert lab.node(1).sequence() == 1
    assert judge(lab, CLAIM, CLAIM.answer).outcome == "passed"
    lab.wait_until(lambda: lab.zk.get_children("/") == before, timeout=10)
    lab.wait_until(
        lambda: not [pid for pid in psutil.pids() if "labkit-hostile" in command_line(pid)],
        timeout=10,
    )


def command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # it has just ended
        return ""


def timed(lab: Lab, exercise: Exercise, answer: Answer) -> tuple[Verdict, float]:
    began = time.monotonic()
    verdict = judge(lab, exercise, answer, deadline=DEADLINE)
    return verdict, time.monotonic() - began


def all_at_it(lab: Lab, answer: Answer) -> None:
    """Hand the answer in to all exercises."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda exercise: timed(lab, exercise, answer), exercises.ALL))
    for exercise, (verdict, seconds) in zip(exercises.ALL, results, strict=True):
        if seconds >= DEADLINE + 1:  # by the machine's load, maybe: alone it has to be in time
            verdict, seconds = timed(lab, exercise, answer)
        assert seconds < DEADLINE + 1, f"{exercise.id} took {seconds:.2f} s"
        assert verdict.outcome == "failed", f"{exercise.id}: {verdict!r}"
        assert len(verdict.message) > 20
        assert "The check could not go on" not in verdict.message or answer is deletes_everything


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer.__name__)
def test_a_verdict_comes_in_time(lab: Lab, answer: Answer) -> None:
    all_at_it(lab, answer)


def test_the_lab_is_out_of_reach(lab: Lab) -> None:
    for act in (lab.zookeeper.kill, lab.close, lab.start, Lab(nodes=0).start):
        all_at_it(lab, lambda *args, act=act: act())
    told = repr(judge(lab, CLAIM, lambda zk, root: lab.node(1).kill()))
    assert "from which the lab cannot be changed" in told


@pytest.mark.alone
def test_the_notebooks_own_client_is_out_of_reach(lab: Lab) -> None:
    zk = lab.zk
    verdict, seconds = timed(lab, CLAIM, lambda _, root: zk.get_children("/"))
    assert "Use the `zk` that your function is given" in verdict.message
    assert seconds < 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its Popen
@pytest.mark.parametrize("name", ["lowest-free", "claim", "follow", "acquire"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_zookeeper_is_gone(name: str, number: int) -> None:
    with Lab(nodes=0, backend="process", record=False) as lab:
        (java,) = (
            child
            for child in psutil.Process().children(recursive=True)
            if "java" in child.name() and child.environ().get("LABKIT_LAB") == lab.id
        )

        def answer(*args: Any) -> Any:
            os.kill(java.pid, number)
            time.sleep(0.1)
            zk = client(args)
            return zk.get_children("/") if zk is not None else None

        verdict, seconds = timed(lab, exercises.find(name), answer)
        assert seconds < DEADLINE + 1
        assert verdict.outcome == "failed"
        assert "lab.zookeeper.start()" in verdict.message or number == signal.SIGSTOP
        if number == signal.SIGSTOP:
            lab.zookeeper.resume()
        else:
            java.wait()
            with pytest.raises(InvalidTransition, match=r"lab\.zookeeper\.start\(\)"):
                judge(lab, CLAIM, CLAIM.answer)
            lab.zookeeper.start()
        assert judge(lab, CLAIM, CLAIM.answer).outcome == "passed"
        wait_until_cleaned(lab)


def test_what_is_printed_is_shown_up_to_a_limit(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatty(zk: Any, root: str) -> int:
        print("I am in", root)
        for number in range(1_000_000):
            print(number)
        return 0

    judge(lab, CLAIM, chatty)
    shown = capsys.readouterr().out
    assert shown.startswith("I am in /claim\n0\n1\n")
    assert shown.endswith("and more, which is not shown.\n")
    assert len(shown) < 25_000


def test_what_a_check_changes_stays_in_the_check(lab: Lab) -> None:
    seen: list[str] = []

    def claim(zk: Any, root: str) -> int:
        seen.append(root)
        answer: int = CLAIM.answer(zk, root)
        return answer

    assert judge(lab, CLAIM, claim).outcome == "passed"
    assert seen == []


def test_an_interrupted_check_ends_at_once(lab: Lab) -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        judge(lab, CLAIM, swallows_everything)
    assert time.monotonic() - began < 1.5
    before = threading.active_count()
    lab.wait_until(lambda: threading.active_count() <= before)


def test_the_steps_before_an_end_that_never_comes_are_shown(lab: Lab) -> None:
    def claim(zk: Any, root: str) -> None:
        zk.get_children(root)
        holds_the_lock()

    verdict, _ = timed(lab, CLAIM, claim)
    (step,) = verdict.schedule
    assert "lists the children of /claim" in step["sentence"]
    assert step["sentence"].endswith("it then still has not returned")
    assert f"had not returned after {DEADLINE} s" in verdict.message
