"""What both backends need."""

from __future__ import annotations

import threading
import time

import pytest

from labkit.errors import (
    BackendError,
    ConfigError,
    InvalidTransition,
    ServerNotFound,
    UnsupportedFault,
)
from labkit.servers import base
from labkit.servers.base import ServerState, changes, cli_input, each


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("ls /sequence", "ls /sequence"),
        ("create /x 'a b'", 'create /x "a b"'),
        ('create /x "it\'s here"', 'create /x "it\'s here"'),
        ("create /x '{\"a\": 1}'", "create /x '{\"a\": 1}'"),
        ("create /x it\\'s!", "create /x it's!"),
        ("create /x ''", 'create /x ""'),
    ],
)
def test_the_command_line_reads_the_words_of_a_command(command: str, line: str) -> None:
    assert cli_input(command, "") == f"{line}\n"
    assert cli_input(command, "lab:x") == f"addauth digest lab:x\n{line}\n"


@pytest.mark.parametrize("command", ["create /x 'a\nb'", 'create /x "a\'\\"b"'])
def test_what_the_command_line_cannot_read_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match="line break, or with both kinds of quotes"):
        cli_input(command, "")


def test_each_does_it_to_all_at_once() -> None:
    together = threading.Barrier(3, timeout=5)
    each(lambda _: together.wait(), range(3))
    each(lambda _: pytest.fail("there is nobody"), [])


def test_each_raises_the_first_error_when_all_are_done() -> None:
    done = []

    def work(item: int) -> None:
        if item < 2:
            raise ValueError(item)
        time.sleep(0.1)
        done.append(item)

    with pytest.raises(ValueError, match="0"):
        each(work, iter(range(4)))
    assert sorted(done) == [2, 3]


@pytest.mark.parametrize(
    ("verb", "running", "paused", "stopped"),
    [
        ("start", False, "resume it", True),
        ("stop", True, "resume it first, or kill it", False),
        ("kill", True, True, False),
        ("pause", True, False, "only a running server"),
        ("resume", False, True, "start it"),
        ("remove", "stop or kill it", "stop or kill it", True),
    ],
)
def test_a_verb_has_work_or_nothing_to_do_or_a_reason(
    verb: base.Verb, running: bool | str, paused: bool | str, stopped: bool | str
) -> None:
    states = (ServerState.RUNNING, ServerState.PAUSED, ServerState.STOPPED)
    for state, wanted in zip(states, (running, paused, stopped), strict=True):
        if isinstance(wanted, bool):
            assert changes(verb, "node1", state) is wanted
        else:
            with pytest.raises(InvalidTransition, match=f"^node1 is {state}.*{wanted}"):
                changes(verb, "node1", state)


def test_waiting_ends_with_the_condition_or_with_time() -> None:
    looks = iter([0, 0, 1])
    assert base.wait_until(lambda: next(looks), timeout=5, pause=0.001)
    began = time.monotonic()
    assert not base.wait_until(lambda: False, timeout=0.2, pause=0.01, growth=0.5)
    assert 0.2 <= time.monotonic() - began < 2


def test_what_is_not_there_is_refused_by_name() -> None:
    assert base.require_known("node1", {"node1": 1}) == 1
    with pytest.raises(ServerNotFound, match="no server node9 in this lab; it has node1"):
        base.require_known("node9", {"node1": 1})
    base.require_link("zookeeper1", ["zookeeper1"])
    with pytest.raises(UnsupportedFault, match=r"zookeeper1.*not to node2"):
        base.require_link("node2", ["zookeeper1"])
    states = {"zookeeper1": ServerState.STOPPED, "zookeeper2": ServerState.RUNNING}
    assert base.require_running(states, states.__getitem__, "ls /") == "zookeeper2"
    with pytest.raises(BackendError, match=r"none is running.*lab\.zookeeper\.start\(\)"):
        base.require_running(["zookeeper1"], states.__getitem__, "ls /")
