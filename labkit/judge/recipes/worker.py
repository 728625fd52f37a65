"""A worker: a process that uses a recipe in a session of its own, and says what it does.

    python -m labkit.judge.recipes.worker KIND MODULE:CLASS|FILE.py:CLASS NAME HOSTS TIMEOUT

It prints one JSON object a line, with `t` on the machine's monotonic clock, and the id of its
session. A line "finish" on its input ends the phase in which things are added; the end of its
input ends the worker. It uses a recipe as kazoo's documentation says: it listens to the state of
its connection, and tries again what has raised an error of kazoo's.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

ROOT = "/judge"  # the path that a recipe is given
VERBS = {
    "lock": ("acquire", "release"),
    "election": ("run",),
    "queue": ("put", "get"),
    "counter": ("__add__",),
}

_STEP = 0.02  # seconds that a write takes to its resource, after a look at the connection
_HOLD = 0.1  # seconds for which a lock is held, or a leader acts
_REST = 0.1  # seconds after an error
_ITEM = 0.04  # seconds that an item takes
_PAUSE = 0.2  # seconds between two increments: few workers write at the same time
_EMPTY = 0.3  # seconds that a queue may wait for an item
_ERRORS = (KazooException, KazooTimeoutError)


class Unusable(Exception):
    """The class cannot be had, or lacks a verb."""


def named(target: str) -> tuple[str, str]:
    """The place and the class that a target names. Nothing of it runs.

    Raises `Unusable` if it names none, or if there is no such file or module.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise Unusable(f"{target} names no class: say MODULE:CLASS or FILE.py:CLASS.")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise Unusable(f"{place} cannot be loaded: there is no such file.")
    elif not _is_there(place.partition(".")[0]):
        raise Unusable(f"{place} cannot be loaded: there is no such module.")
    return place, name


def _is_there(module: str) -> bool:
    """Whether there is such a module: installed in whatever way, or in this directory."""
    with suppress(ValueError):  # of a module that came from nowhere, such as __main__
        if importlib.util.find_spec(module) is not None:
            return True
    return PathFinder.find_spec(module, [os.getcwd()]) is not None


def load(kind: str, target: str) -> type:
    """The class that a target names. Raises `Unusable`, which says what is wrong."""
    place, name = named(target)
    try:
        module = _module(place)
    except (Exception, SystemExit) as error:
        raise Unusable(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise Unusable(f"{place} has no class {name}.")
    missing = [verb for verb in VERBS[kind] if not callable(getattr(found, verb, None))]
    if missing:
        raise Unusable(f"{name} has no method {missing[0]}, which a {kind} needs.")
    return found


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    if not Path(place).is_file():
        raise FileNotFoundError("there is no such file")
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Worker:
    """What the jobs below have in their hands."""

    def __init__(self, name: str, zk: KazooClient) -> None:
        self.name = name
        self.zk = zk
        self.finishing = threading.Event()
        self.connected = True
        self._output = threading.Lock()

    def listen(self, state: str) -> None:
        """Told by kazoo of each change."""
        self.connected = str(state) == "CONNECTED"

    def say(self, what: str, **more: Any) -> None:
        """Tell what has happened, now."""
        identity = self.zk.client_id
        fact = {"t": time.monotonic(), "what": what, "session": identity and identity[0], **more}
        with self._output:
            print(f"\n{json.dumps(fact)}", flush=True)  # others may leave a line unfinished

    def attempt(self, verb: Callable[[], Any]) -> Any:
        """Call until kazoo raises no error. Each error is reported as a fact."""
        while True:
            try:
                return verb()
            except _ERRORS as error:
                self.failed(error)

    def failed(self, error: Exception) -> None:
        self.say("failed", error=type(error).__name__)
        time.sleep(_REST)

    def use(self, thing: Any) -> None:
        """Write to the guarded resource for a while, unless the connection is seen to be lost."""
        token = getattr(thing, "token", None)
        number = token() if callable(token) else None
        self.say("in", token=number)
        until = time.monotonic() + _HOLD
        while self.connected and time.monotonic() < until:
            time.sleep(_STEP)  # the write is on its way, and cannot be called back
            self.say("write", token=number)
        self.say("out")


def lock(me: Worker, cls: Any) -> None:
    """Acquire, write, release."""
    thing = cls(me.zk, ROOT, me.name)
    while True:
        if me.attempt(thing.acquire) is not False:
            me.use(thing)
            me.attempt(thing.release)


def election(me: Worker, cls: Any) -> None:
    """Lead, and write meanwhile."""
    thing = cls(me.zk, ROOT, me.name)
    while True:
        me.attempt(lambda: thing.run(me.use, thing))


def queue(me: Worker, cls: Any) -> None:
    """Put an item, get one, and consume it if there is a verb for that."""
    thing = cls(me.zk, ROOT)
    waits = "timeout" in inspect.signature(thing.get).parameters
    count = 0
    while True:
        if not me.finishing.is_set():
            count += 1
            _put(me, thing, f"{me.name}-{count}")
        try:
            found = thing.get(timeout=_EMPTY) if waits else thing.get()
            if found is None:
                if me.finishing.is_set():
                    me.say("finished")
                time.sleep(_STEP)
                continue
            item = found.decode()
            me.say("got", item=item)
            time.sleep(_ITEM)
            me.say("worked", item=item)
            if hasattr(thing, "consume"):
                thing.consume()
        except _ERRORS as error:
            me.failed(error)


def _put(me: Worker, thing: Any, item: str) -> None:
    try:
        thing.put(item.encode())
    except _ERRORS as error:
        me.failed(error)  # it may be in the queue or not, and its producer knows that
    else:
        me.say("put", item=item)


def counter(me: Worker, cls: Any) -> None:
    """Add one, again and again; at the end, report the counter's value."""
    thing = cls(me.zk, ROOT)
    while not me.finishing.is_set():
        me.say("adding")
        try:
            thing += 1
        except _ERRORS as error:
            me.failed(error)
        else:
            me.say("added")
        time.sleep(_PAUSE)
    me.say("value", value=me.attempt(lambda: thing.value))
    threading.Event().wait()


JOBS = {"lock": lock, "election": election, "queue": queue, "counter": counter}


def _obey(me: Worker) -> None:
    for line in sys.stdin:
        if line.strip() == "finish":
            me.finishing.set()
    os._exit(0)


def main(kind: str, target: str, name: str, hosts: str, timeout: str) -> None:
    """Work until the end of the input."""
    zk = KazooClient(
        hosts, timeout=float(timeout), connection_retry=KazooRetry(max_tries=-1, max_delay=0.5)
    )
    me = Worker(name, zk)
    sys.path.insert(0, os.getcwd())
    try:
        cls = load(kind, target)
        zk.add_listener(me.listen)
        zk.start(timeout=15)
    except (Unusable, KazooTimeoutError) as error:
        me.say("unusable", error=str(error))
        return
    threading.Thread(target=_obey, args=[me], daemon=True).start()
    me.say("ready")
    try:
        JOBS[kind](me, cls)
    except BaseException as error:
        me.say("ended", error=f"{type(error).__name__}: {error}")
        os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
