"""The judge of recipes: what is wrong is caught, and told by its cause; what is right holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import ConfigError
from labkit.judge.recipes import under_fire
from labkit.judge.recipes.team import Fact
from labkit.judge.recipes.under_fire import Judgement, judge
from labkit.judge.recipes.verdicts import History, Logged, counted, guarded, queued
from labkit.servers.zookeeper.txnlog import Transaction

WRONG = Path(__file__).parent / "wrong.py"


def tried(kind: str, target: str, *faults: str, seconds: float = 4.0) -> Judgement:
    return judge(
        kind, target, seconds=seconds, workers=3, faults=faults or ["kill"], backend="process"
    )


@pytest.mark.parametrize(
    ("kind", "cls", "rule"),
    [
        ("lock", "NoLock", "exclusion"),
        ("lock", "OldToken", "exclusion"),
        ("queue", "ForgetfulQueue", "lost"),
        ("queue", "NeverDone", "progress"),
        ("counter", "BlindCounter", "lost"),
    ],
)
def test_a_planted_bug_is_caught(kind: str, cls: str, rule: str) -> None:
    faults = ["pause"] if cls == "OldToken" else ["kill"]
    result = tried(kind, f"{WRONG}:{cls}", *faults, seconds=10.0 if cls == "OldToken" else 4.0)
    assert not result.ok, str(result)
    assert rule in {violation.rule for violation in result.violations}, str(result)


@pytest.mark.parametrize(
    ("kind", "target", "fault"),
    [
        ("lock", "labkit.judge.recipes.fenced:FencedLock", "pause"),
        ("election", "labkit.judge.recipes.fenced:FencedElection", "partition"),
        ("counter", "kazoo.recipe.counter:Counter", "kill"),
        ("queue", "kazoo.recipe.queue:LockingQueue", "kill"),
    ],
)
def test_what_is_right_holds(kind: str, target: str, fault: str) -> None:
    result = tried(kind, target, fault)
    assert result.ok, str(result)


@pytest.mark.docker
@pytest.mark.usefixtures("docker_images")
def test_a_zookeeper_in_containers_and_an_ensemble() -> None:
    target = f"{WRONG}:NoLock"
    result = judge("lock", target, seconds=4, faults=["kill"], ensemble=3, backend="docker")
    assert "exclusion" in {violation.rule for violation in result.violations}, str(result)
    assert result.backend == "docker"


@pytest.mark.parametrize(
    ("kind", "target", "said"),
    [
        ("semaphore", "kazoo.recipe.lock:Lock", "There is no judge for a semaphore"),
        ("lock", "kazoo.recipe.lock", "kazoo.recipe.lock names no class"),
        ("lock", "kazoo.recipe.lock:Nothing", "kazoo.recipe.lock has no class Nothing."),
        ("lock", "no_such_module:Lock", "no_such_module cannot be loaded"),
        ("lock", "missing.py:Lock", "there is no such file"),
        ("queue", "kazoo.recipe.lock:Lock", "Lock has no method put, which a queue needs."),
    ],
)
def test_what_cannot_be_judged(kind: str, target: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(kind, target, backend="process")
    assert said in str(caught.value)


@pytest.mark.parametrize("target", ["kazoo.recipe.lock", "no_such_module:Lock", "missing.py:Lock"])
def test_nothing_starts_for_a_class_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(under_fire, "Lab", None)
    with pytest.raises(ConfigError):
        judge("lock", target)


@pytest.mark.parametrize("faults", [["flood"], []])
def test_a_fault_that_is_not_there(faults: list[str]) -> None:
    with pytest.raises(ConfigError, match="There are: pause, kill"):
        judge("lock", "kazoo.recipe.lock:Lock", faults=faults)


def test_the_command_line_prints_what_programs_read() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "labkit.cli", "judge", "lock", f"{WRONG}:NoLock", "--json"),
            *("--seconds", "3", "--faults", "kill", "--workers", "2", "--backend", "process"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] is False
    assert said["seed"] == 1
    assert said["violations"][0]["rule"] == "exclusion"


# --- the rules alone --------------------------------------------------------------------------


def history(*facts: Fact, log: tuple[Logged, ...] = (), alive: str = "") -> History:
    return History(facts, log, healed=100.0, alive=frozenset(alive.split()))


def entry(at: float, op: str, session: int, path: str = "", data: bytes | None = None) -> Logged:
    return Logged(at, Transaction(1, at, session, 1, op, path, data))


def test_a_late_write_is_told_with_the_end_of_its_session() -> None:
    facts = [
        Fact(1.0, "a", "in", 1, {"token": None}),
        Fact(3.0, "b", "in", 2, {"token": None}),
        Fact(3.1, "b", "write", 2, {"token": None}),
        Fact(3.5, "a", "write", 3, {"token": None}),  # it has a new session by now
    ]
    (found,) = guarded(history(*facts, log=(entry(2.5, "closeSession", 1),)))
    assert found.message == (
        "a wrote after b, which had come after it, had written: ZooKeeper had ended its session "
        "1.00 s before."
    )
    (found,) = guarded(history(*facts))
    assert "its session had not ended" in found.message


def test_a_late_write_with_a_token_is_refused() -> None:
    run = history(
        Fact(1.0, "a", "in", 1, {"token": 4}),
        Fact(3.0, "b", "in", 2, {"token": 5}),
        Fact(3.1, "b", "write", 2, {"token": 5}),
        Fact(3.5, "a", "write", 1, {"token": 4}),
    )
    assert list(guarded(run)) == []
    assert run.figures["refused"] == 1


def test_a_worker_that_never_gets_on_is_named() -> None:
    (found,) = guarded(history(Fact(101.0, "a", "in", 1), alive="a b"))
    assert (found.rule, found.worker) == ("progress", "b")


def test_an_item_that_was_removed_unseen_names_the_session_that_did_it() -> None:
    put, create = Fact(1.0, "a", "put", 1, {"item": "a-1"}), entry(1, "create", 1, "/q/1", b"a-1")
    removed = entry(2, "delete", 2, "/q/1")
    (found,) = queued(history(put, Fact(1.5, "b", "failed", 2), log=(create, removed)))
    assert found.rule == "lost"
    assert "b removed it from ZooKeeper, and its get() never returned it" in found.message


def test_an_increment_too_many_names_the_call_that_wrote_twice() -> None:
    facts = [
        Fact(1.0, "a", "adding", 1),
        Fact(1.5, "a", "added", 1),
        Fact(2.0, "a", "value", 1, {"value": 2}),
    ]
    log = (entry(1.1, "setData", 1, "/c"), entry(1.4, "setData", 1, "/c"))
    (found,) = counted(history(*facts, log=log))
    assert found.rule == "doubled"
    assert found.message.endswith("in one call, a wrote 2 times.")
    (lost,) = counted(history(*facts[:2], Fact(2.0, "a", "value", 1, {"value": 0})))
    assert lost.rule == "lost"
