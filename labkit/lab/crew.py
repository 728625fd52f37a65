"""A crew: workers in threads of this process, each with a session of its own, that can be broken.

What a worker says it has, and what ZooKeeper holds for it, are told apart as they are for nodes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

from labkit.errors import InvalidTransition, ServerNotFound
from labkit.lab.core import Core
from labkit.lab.lossy import LossyClient
from labkit.lab.zookeeper import ZooKeeperHandle
from labkit.servers.base import ServerState, each, wait_until
from labkit.servers.links.forwarder import Forwarder
from labkit.story.event import CrewEvent, Holder, HoldersEvent, StatusEvent, held_number

_STEP = 0.01  # seconds of work between two looks at whether the worker still lives
_LOOK = 0.1  # seconds between two looks at what ZooKeeper holds
_DOUBT = 0.01  # seconds by which a worker's word and the times in ZooKeeper's log may differ
_TIMEOUT = 1.0  # seconds for an answer of ZooKeeper's, and for a thread that is to end


class Killed(BaseException):
    """Ends a worker's thread where it is, as SIGKILL does; no `except Exception` keeps it alive."""


class _Client(LossyClient):
    """The session of a worker. A frozen worker's request waits until the worker runs on."""

    gate: Callable[[], None] = staticmethod(lambda: None)

    def _call(self, request: Any, async_object: Any) -> Any:
        self.gate()
        return super()._call(request, async_object)


class Worker:
    """One worker of a crew, in the hands of whoever breaks it, and of its own job.

    The job asks ZooKeeper through `zk`, says by `with me.has(item)` what it believes to have, and
    spends its time in `me.work(seconds)`.
    """

    def __init__(self, crew: Crew, name: str) -> None:
        self.name = name
        self.error: Exception | None = None  # the error that ended its job, if one did
        self.crew = crew
        self._core = crew.core
        self._runs = threading.Event()  # cleared while it is frozen
        self._ended = threading.Event()
        self._zk: _Client | None = None
        self._thread: threading.Thread | None = None
        self._has: int | None = None

    # --- in the hands of others ---

    @property
    def state(self) -> ServerState:
        """Whether it runs, is paused, or has stopped: killed, or done with its job."""
        if self._thread is None or not self._thread.is_alive() or self._ended.is_set():
            return ServerState.STOPPED
        return ServerState.RUNNING if self._runs.is_set() else ServerState.PAUSED

    @property
    def item(self) -> int | None:
        """The number that it believes to hold; None if it holds nothing."""
        return self._has

    def start(self) -> None:
        """Begin the job, in a new session."""
        if self.state is not ServerState.STOPPED:
            raise InvalidTransition(f"{self.name} is {self.state}; it can be started when stopped.")
        with self._core.verb("start", self.name):
            self.launch()

    def launch(self) -> None:
        """Begin the job, without a word on the timeline."""
        self._leave()  # of the life before
        self.error, self._has = None, None
        self._ended.clear()
        self._runs.set()
        self._zk = self.crew.connect(self.name)
        self._zk.gate = self._pass
        self._zk.add_listener(self._listen)
        self._note()
        self._thread = threading.Thread(
            target=self._work, name=f"labkit-worker-{self.name}", daemon=True
        )
        self._thread.start()

    def kill(self) -> None:
        """End it where it is. ZooKeeper sees its connection break, and its session live on."""
        if self.state is ServerState.STOPPED:
            raise InvalidTransition(f"{self.name} is stopped. Start it: .start()")
        with self._core.verb("kill", self.name):
            self._end()

    def pause(self) -> None:
        """Freeze it: it does nothing, and sends ZooKeeper nothing."""
        if self.state is not ServerState.RUNNING:
            raise InvalidTransition(f"{self.name} is {self.state}; it can be paused when it runs.")
        with self._core.verb("pause", self.name):
            self._runs.clear()
            self.zk.cut()

    def resume(self) -> None:
        """Let it run on. It does not know that it was frozen."""
        if self.state is not ServerState.PAUSED:
            raise InvalidTransition(f"{self.name} is {self.state}; it can be resumed when paused.")
        with self._core.verb("resume", self.name):
            self.zk.heal()
        self._note()
        self._runs.set()

    # --- in the hands of its job ---

    @property
    def zk(self) -> LossyClient:
        """Its connected client, with a session of its own."""
        if self._zk is None:
            raise InvalidTransition(f"{self.name} has not been started. Start it: .start()")
        return self._zk

    @contextmanager
    def has(self, what: str | int) -> Iterator[None]:
        """Say that it has something, for as long as the block lasts: "item-0000000007", or 7."""
        number = held_number(str(what))
        if number is None:
            raise ValueError(f"{what!r} does not end in a number, and so cannot be drawn.")
        self._have(number)
        yield
        self._have(None)

    def work(self, seconds: float) -> None:
        """Be busy for so long, not counting the time in which it is frozen."""
        while seconds > 0:
            self._pass()
            time.sleep(min(_STEP, seconds))
            seconds -= _STEP
        self._pass()

    def die(self) -> None:
        """Crash right here."""
        with self._core.verb("kill", self.name):
            self._ended.set()
            self.zk.crash()
        raise Killed

    # --- inside ---

    def _work(self) -> None:
        try:
            self.crew.job(self)
        except Killed:
            return
        except Exception as error:
            if not self._ended.is_set():
                self.error = error
        finally:
            if not self._ended.is_set():  # its job is done
                self._ended.set()
                self._note(reachable=False)
                self._leave()

    def _pass(self) -> None:
        """Wait while it is frozen. Raises `Killed` when it is dead."""
        while not self._runs.wait(_TIMEOUT) and not self._ended.is_set():
            pass
        if self._ended.is_set() and threading.current_thread() is self._thread:
            raise Killed

    def _end(self) -> None:
        self._ended.set()
        self._runs.set()
        self.zk.crash()  # a thread that waits for a notice is woken by the broken connection

    def dispose(self) -> None:
        """End it, if it still lives, and take its client away."""
        if self._zk is None:
            return
        if not self._ended.is_set():
            self._end()
        if self._thread is not None:
            self._thread.join(_TIMEOUT)
        self._leave()

    def _leave(self) -> None:
        if self._zk is not None:
            with suppress(Exception):  # a client that kazoo cannot stop in time ends with ZooKeeper
                self._zk.stop()
                self._zk.close()

    def _listen(self, state: KazooState | str) -> None:
        if state == KazooState.CONNECTED and not self._ended.is_set():
            self._note()

    def _have(self, number: int | None) -> None:
        self._pass()
        self._has = number
        self._note()

    def _note(self, reachable: bool = True) -> None:
        timeline = self._core.timeline
        session = self.zk.session_id
        timeline.record(
            StatusEvent(
                self.name,
                reachable=reachable,
                number=self._has if reachable else None,
                session=f"0x{session:x}" if session else None,
                previous_until=timeline.now() - _DOUBT,
            )
        )


class Crew:
    """Some workers that do the same job. Got from `lab.crew(…)`; the lab ends it.

    `root` is the znode whose children say what belongs to whom: an ephemeral child that ends in a
    number is held by the worker in whose session it is.
    """

    def __init__(
        self,
        core: Core,
        zookeeper: ZooKeeperHandle,
        forwarder: Forwarder,
        job: Callable[[Worker], object],
        names: Sequence[str],
        root: str,
        timeout: float,
        again: Callable[[], Crew],
    ) -> None:
        self.core = core
        self.again = again  # starts another one like it
        self.job = job
        self.root = root
        self.workers = [Worker(self, name) for name in names]
        self._zookeeper = zookeeper
        self._forwarder = forwarder
        self._timeout = timeout
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="labkit-crew", daemon=True)
        self._eyes = self.connect("labkit-crew")

    def __getitem__(self, name: str) -> Worker:
        """A worker by name."""
        for worker in self.workers:
            if worker.name == name:
                return worker
        known = ", ".join(worker.name for worker in self.workers)
        raise ServerNotFound(f"There is no {name} in this crew; it has {known}.")

    def start(self) -> Crew:
        """Let all workers begin, each as soon as the one before has a session."""
        names = tuple(worker.name for worker in self.workers)
        self.core.timeline.record(CrewEvent("lab", root=self.root, names=names))
        self._eyes.ensure_path(self.root)
        self._watcher.start()
        for worker in self.workers:
            worker.launch()
        return self

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until nobody works any more. Raises the error that has ended a job, if one did."""

        def busy() -> list[str]:
            return [w.name for w in self.workers if w.state is not ServerState.STOPPED]

        if not wait_until(lambda: not busy(), timeout) and (still := busy()):
            raise InvalidTransition(
                f"Still at work after {timeout:g} s: {', '.join(still)}. A paused worker wants "
                "resume(); one whose job never ends wants kill()."
            )
        for worker in self.workers:
            if worker.error is not None:
                raise worker.error

    def close(self) -> None:
        """End all workers; no thread of theirs is left. Idempotent."""
        self._over.set()
        each(Worker.dispose, self.workers)
        if self._watcher.is_alive():
            self._watcher.join()
        with suppress(Exception):
            self._eyes.stop()
            self._eyes.close()

    def connect(self, name: str) -> _Client:
        """A connected client over a link of its own."""
        client = _Client(name, self._zookeeper, self._forwarder, self._timeout)
        client.heal()  # a worker that was killed has left its link broken
        client.start(timeout=15)
        return client

    def _watch(self) -> None:
        """Write down what ZooKeeper holds, whenever that has changed."""
        before: HoldersEvent | None = None
        looked: float | None = None
        while not self._over.wait(_LOOK):
            with suppress(KazooException, KazooTimeoutError):
                began = self.core.timeline.now()
                now = self._held()
                if now != before:
                    self.core.timeline.record(replace(now, previous_until=looked))
                    before = now
                looked = began

    def _held(self) -> HoldersEvent:
        try:
            names, stat = self._eyes.get_children_async(self.root, include_data=True).get(
                timeout=_TIMEOUT
            )
        except NoNodeError:
            return HoldersEvent("zookeeper", root=self.root, numbers={}, zxid=0)
        numbers: dict[int, Holder] = {}
        for name in names:
            child = self._eyes.exists_async(f"{self.root}/{name}").get(timeout=_TIMEOUT)
            number = held_number(name)
            if child is not None and child.ephemeralOwner and number is not None:
                session = f"0x{child.ephemeralOwner:x}"
                numbers[number] = Holder(None, session, child.czxid)
        return HoldersEvent("zookeeper", root=self.root, numbers=numbers, zxid=stat.pzxid)
