"""Threads, clocks and chance as the code under search has them: nothing happens by itself.

A *strand* is a thread of an actor, run as a greenlet: it goes on only when the search says so.
`virtual` puts dispatchers in the place of Python's own `time`, `threading`, `queue`, `random`,
`uuid` and sockets. In a strand they are the actor's own; everywhere else they are what they were.
"""

from __future__ import annotations

import os
import queue
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from greenlet import GreenletExit, getcurrent, greenlet
from kazoo.retry import KazooRetry


class Actor(Protocol):
    """What a strand needs of the actor that it belongs to."""

    name: str
    chance: random.Random

    @property
    def crowded(self) -> bool:
        """Whether anything else of this actor may run while this strand does not."""

    def clock(self) -> float: ...
    def spawn(self, function: Callable[[], object], name: str) -> Strand: ...
    def block(
        self,
        ready: Callable[[], bool] | None,
        label: str,
        timeout: float | None = None,
        then: str = "",
    ) -> bool:
        """Wait, at most `timeout` seconds; False if they are over. `ready` None: for a turn."""


class Strand(greenlet):
    """One thread of an actor: what it waits for, and since which timer."""

    def __init__(self, actor: Actor, function: Callable[[], object], name: str) -> None:
        super().__init__(function)
        self.actor = actor
        self.name = name
        self.label = "begins"
        self.then = ""  # what follows its pause
        self.ready: Callable[[], bool] | None = lambda: True
        self.timer: int | None = None
        self.over = False  # its time is over
        self.ours = False  # it runs kazoo's part, not the code under search


class ForeignCall(Exception):
    """The code under search reaches for something that is outside of its world."""


def here() -> Actor | None:
    """The actor whose code runs, if any."""
    current = getcurrent()
    return current.actor if isinstance(current, Strand) else None


class Lock:
    """A `threading.Lock` of an actor; `again`: its owner may take it again."""

    def __init__(self, actor: Actor, again: bool = False) -> None:
        self._actor = actor
        self._again = again
        self._owner: Any = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        mine = self._again and self._owner is getcurrent()
        if self._depth and not mine:
            patience = None if timeout is None or timeout < 0 else timeout
            free = blocking and self._actor.block(
                lambda: not self._depth, "waits for a lock of its own", patience
            )
            if not free:
                return False
        self._owner = getcurrent()
        self._depth += 1
        return True

    def release(self) -> None:
        if not self._depth:
            raise RuntimeError("release unlocked lock")
        self._depth -= 1

    def locked(self) -> bool:
        return bool(self._depth)

    def _is_owned(self) -> bool:  # Condition asks
        return bool(self._depth) and self._owner is getcurrent()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(real: Callable[[], Any], again: bool) -> Callable[[], Any]:
    def make() -> Any:
        actor = here()
        return Lock(actor, again) if actor else real()

    return make


class _Events:
    """`threading.Event`'s methods for those events that an actor has made."""

    def __init__(self, event: Any) -> None:
        self._init, self._set = event.__init__, event.set
        self._clear, self._is_set, self._wait = event.clear, event.is_set, event.wait

    def methods(self) -> dict[str, Callable[..., Any]]:
        def __init__(event: Any) -> None:
            event.actor = here()
            event.told = event.calm = False
            if getattr(event, "actor", None) is None:
                self._init(event)

        def set(event: Any) -> None:
            event.told = True
            if getattr(event, "actor", None) is None:
                self._set(event)

        def clear(event: Any) -> None:
            if getattr(event, "actor", None) is None:
                self._clear(event)
            elif not event.calm:
                _pause(event.actor, "is about to clear its event", "clears its event")
            event.told = False

        def is_set(event: Any) -> bool:
            if getattr(event, "actor", None) is None:
                return bool(self._is_set(event))
            if not event.calm:
                _pause(event.actor, "is about to look at its event", "looks at its event")
            return bool(event.told)

        def wait(event: Any, timeout: float | None = None) -> bool:
            if getattr(event, "actor", None) is None:
                return bool(self._wait(event, timeout))
            waits = event.actor.block
            return bool(event.told or waits(lambda: event.told, "waits for its event", timeout))

        return {f.__name__: f for f in (__init__, set, clear, is_set, wait)}


def _pause(actor: Actor, label: str, then: str) -> None:
    """Let something else of the same actor run here, if there is anything."""
    if actor.crowded and here() is actor:
        actor.block(None, label, then=then)


def _start(real: Callable[..., Any]) -> Callable[[Any], None]:
    def start(thread: Any) -> None:
        actor = here()
        if actor is None:
            real(thread)
        else:
            thread.strand = actor.spawn(thread.run, thread.name)

    return start


def _join(real: Callable[..., Any]) -> Callable[..., None]:
    def join(thread: Any, timeout: float | None = None) -> None:
        strand = getattr(thread, "strand", None)
        if strand is None:
            real(thread, timeout)
            return
        strand.actor.block(lambda: strand.dead, "waits for its thread", timeout)

    return join


def _is_alive(real: Callable[..., Any]) -> Callable[[Any], bool]:
    def is_alive(thread: Any) -> bool:
        strand = getattr(thread, "strand", None)
        return bool(real(thread)) if strand is None else not strand.dead

    return is_alive


def _clock(real: Callable[[], Any], unit: float, zero: float) -> Callable[[], Any]:
    def now() -> Any:
        actor = here()
        return real() if actor is None else type(real())((zero + actor.clock()) * unit)

    return now


def _sleep(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        actor = here()
        if actor is None:
            real(seconds)
        else:
            actor.block(lambda: False, "sleeps", max(0.0, seconds))

    return sleep


def _chance(real: Any) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        actor = here()
        drawn = real if actor is None else getattr(actor.chance, real.__name__)
        return drawn(*args, **kwargs)

    return draw


def _urandom(size: int) -> bytes:
    actor = here()
    return _REAL_URANDOM(size) if actor is None else actor.chance.randbytes(size)


def _uuid(real: Callable[[], uuid.UUID]) -> Callable[..., uuid.UUID]:
    def make(*args: Any) -> uuid.UUID:
        actor = here()
        if actor is None:
            return real(*args)
        return uuid.UUID(int=actor.chance.getrandbits(128), version=4)

    return make


class _Socket(socket.socket):
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if here() is not None:
            refuse_socket()
        return super().__new__(cls, *args, **kwargs)


def refuse_socket() -> NoReturn:
    """Say that there is no network but ZooKeeper's."""
    raise ForeignCall("opens a connection of its own; in a search there is only the `zk` it gets")


_REAL_URANDOM = os.urandom
_DRAWS = ("random", "randint", "randrange", "uniform", "choice", "choices", "shuffle", "sample")
_MORE_DRAWS = ("getrandbits", "randbytes", "gauss", "expovariate", "triangular", "betavariate")


def _replacements() -> list[tuple[Any, str, Any]]:
    """(module or class, name, what takes its place)."""
    simple = vars(queue)["_PySimpleQueue"]
    made: list[tuple[Any, str, Any]] = [
        (time, "sleep", _sleep(time.sleep)),
        (threading, "Lock", _lock(threading.Lock, again=False)),
        (threading, "RLock", _lock(threading.RLock, again=True)),
        (threading, "_allocate_lock", _lock(vars(threading)["_allocate_lock"], again=False)),
        (threading.Thread, "start", _start(threading.Thread.start)),
        (threading.Thread, "join", _join(threading.Thread.join)),
        (threading.Thread, "is_alive", _is_alive(threading.Thread.is_alive)),
        (queue, "SimpleQueue", lambda real=queue.SimpleQueue: simple() if here() else real()),
        (uuid, "uuid4", _uuid(uuid.uuid4)),
        (uuid, "uuid1", _uuid(uuid.uuid1)),
        (os, "urandom", _urandom),
        (socket, "socket", _Socket),
    ]
    zero = 1_700_000_000.0  # a day, for who asks for the date
    for name, unit, begins in (
        ("monotonic", 1, 1000.0),
        ("perf_counter", 1, 1000.0),
        ("time", 1, zero),
        ("monotonic_ns", 1e9, 1000.0),
        ("time_ns", 1e9, zero),
    ):
        made.append((time, name, _clock(getattr(time, name), unit, begins)))
    made += [(random, name, _chance(getattr(random, name))) for name in _DRAWS + _MORE_DRAWS]
    made += [(threading.Event, name, f) for name, f in _Events(threading.Event).methods().items()]
    return made


_depth = 0


@contextmanager
def virtual(*names: dict[str, Any]) -> Iterator[None]:
    """Dispatchers in the place of Python's own; also where they are among these names."""
    global _depth
    if _depth:
        yield
        return
    put: list[tuple[Any, str, Any]] = []
    swaps: dict[int, Any] = {}
    for owner, name, new in _replacements():
        old = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
        put.append((owner, name, old))
        if not isinstance(owner, type):
            swaps[id(old)] = new
        setattr(owner, name, new)
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    for place in (*_reached(), *names):
        for name, old in list(place.items()):
            if id(old) in swaps and swaps[id(old)] is not old:
                swapped.append((place, name, old))
                place[name] = swaps[id(old)]
    defaults = KazooRetry.__init__.__defaults__
    KazooRetry.__init__.__defaults__ = tuple(swaps.get(id(d), d) for d in defaults or ())
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        KazooRetry.__init__.__defaults__ = defaults
        for place, name, old in swapped:
            place[name] = old
        for owner, name, old in reversed(put):
            setattr(owner, name, old)


def _reached() -> Iterator[dict[str, Any]]:
    """The names of modules that may have imported one that is replaced."""
    own = ("queue", "uuid", "random", "threading", "secrets")
    of = ("kazoo.", "labkit.node.", "labkit.course.")
    for name, module in list(sys.modules.items()):
        if name in own or name.startswith(of):
            yield vars(module)


__all__ = ["Actor", "ForeignCall", "GreenletExit", "Lock", "Strand", "here", "virtual"]
