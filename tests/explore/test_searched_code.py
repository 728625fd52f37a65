"""Whatever the code under search does, there is a verdict or a sentence within its time."""

import itertools
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from labkit.explore import explore

SECONDS = 4.0
_counter = itertools.count()


def loops(zk: Any, root: str) -> str:
    while True:
        pass


def swallows(zk: Any, root: str) -> str:
    while True:
        try:
            zk.exists(root)
        except BaseException:
            continue


def loops_and_swallows(zk: Any, root: str) -> str:
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def stays_in_c(zk: Any, root: str) -> str:
    re.match(r"(a+)+$", "a" * 60 + "b")
    return root


_real_sleep = time.sleep


def sleeps_for_real(zk: Any, root: str, sleep: Callable[[float], None] = time.sleep) -> str:
    sleep(600)
    return root


def opens_a_socket(zk: Any, root: str) -> str:
    socket.create_connection(("127.0.0.1", 1))
    return root


def changes_the_ensemble(zk: Any, root: str) -> str:
    zk.reconfig(joining=None, leaving="1", new_members=None)
    return root


def shows_a_credential(zk: Any, root: str) -> str:
    zk.add_auth("digest", "ann:secret")
    return root


def recurses(zk: Any, root: str) -> str:
    return recurses(zk, root)


def exits(zk: Any, root: str) -> str:
    sys.exit(3)


def ends_the_process(zk: Any, root: str) -> str:
    os._exit(3)


def starts_a_process(zk: Any, root: str) -> str:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
    return root


def counts_globally(zk: Any, root: str) -> str:
    return str(zk.create(f"{root}/{next(_counter)}", ephemeral=True))


class Broken(Exception):
    def __str__(self) -> str:
        raise self


def raises_what_cannot_be_shown(zk: Any, root: str) -> str:
    raise Broken


def waits_for_nobody(zk: Any, root: str) -> str:
    threading.Event().wait()
    return root


def takes_a_lock_twice(zk: Any, root: str) -> str:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return root


HOSTILE: list[tuple[Callable[..., str], str]] = [
    (loops, "does not come back"),
    (swallows, "not all were seen"),
    (loops_and_swallows, "does not come back, and catches"),
    (stays_in_c, "does not come back"),
    (sleeps_for_real, "does not come back"),
    (opens_a_socket, "opens a connection of its own"),
    (changes_the_ensemble, "the model of ZooKeeper does not have: Reconfig"),
    (shows_a_credential, "the model of ZooKeeper does not have: Auth"),
    (recurses, "RecursionError"),
    (exits, "SystemExit"),
    (ends_the_process, "ended its whole process"),
    (starts_a_process, "does not come back"),
    (counts_globally, "something else"),
    (raises_what_cannot_be_shown, "Broken"),
    (waits_for_nobody, "for ever"),
    (takes_a_lock_twice, "for ever"),
]


@pytest.mark.parametrize(("code", "said"), HOSTILE, ids=[code.__name__ for code, _ in HOSTILE])
def test_there_is_a_sentence_in_time(code: Callable[..., str], said: str) -> None:
    began = time.monotonic()
    found = explore(code, as_a="lock", seconds=SECONDS)
    assert time.monotonic() - began < SECONDS + 1
    assert said in str(found) + found.note
    assert not found.complete


def test_what_a_search_changes_stays_in_it() -> None:
    before = next(_counter)
    explore(counts_globally, as_a="lock", seconds=SECONDS)
    assert next(_counter) == before + 1
    assert time.sleep is _real_sleep


def chance(zk: Any, root: str) -> str:
    time.sleep(random.random())
    name = f"{root}/{uuid.uuid4().hex}-{random.randint(0, 9)}-{os.urandom(2).hex()}"
    if threading.Lock().acquire(timeout=1):
        zk.create(name, ephemeral=True)
    return root


def test_chance_is_the_same_each_time() -> None:
    first, second = (explore(chance, as_a="lock", seconds=20) for _ in range(2))
    assert first.schedule == second.schedule
    assert first.violation is not None
