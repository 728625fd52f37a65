"""Worker processes, each on a link of its own to ZooKeeper, in the hands of whoever breaks them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import ConfigError, StartTimeout
from labkit.lab.lab import Lab
from labkit.servers.base import each, wait_until
from labkit.servers.helper import LAB_VARIABLE, command
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

_START = 20.0  # seconds in which a worker has to be ready
#: Kinds of requests, by ZooKeeper's numbers: create, delete, setData, multi, create2.
_CHANGES = (1, 2, 5, 14, 15)
_END = 2.0  # seconds for a process to be gone after SIGKILL


@dataclass(frozen=True)
class Fact:
    """What a worker has said; `at` in seconds on the machine's monotonic clock."""

    at: float
    worker: str
    what: str
    session: int | None = None
    more: dict[str, Any] = field(default_factory=dict)


class WorkerProcess:
    """One worker: a process that can be paused, killed, and cut off from ZooKeeper."""

    def __init__(self, team: Team, name: str) -> None:
        self.name = name
        self._team = team
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            command(
                "labkit.judge.recipes.worker",
                *(team.kind, team.target, name, team.link(name), f"{team.timeout:g}"),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, LAB_VARIABLE: team.lab.id},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"labkit-{name}", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Raises `ConfigError` if its class is of no use, `StartTimeout` if it does not come."""
        ready = self._ready.wait(_START)
        for fact in self._team.facts_of(self.name):
            if fact.what in ("unusable", "ended"):
                raise ConfigError(str(fact.more["error"]))
        if not ready or not self.alive:
            raise StartTimeout(
                f"{self.name} was not ready after {_START:g} s: does loading {self._team.target} "
                "wait for something?"
            )

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it where it is; ZooKeeper hears of it by the end of its session."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait(_END)
        self._reader.join(_END)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def finish(self) -> None:
        """Tell it that the time in which things are added is over."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.write("finish\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                with suppress(json.JSONDecodeError):  # a line that a reader's class has printed
                    said = json.loads(line)
                    if isinstance(said, dict) and {"t", "what", "session"} <= said.keys():
                        self._note(said)
        self._ready.set()

    def _note(self, said: dict[str, Any]) -> None:
        at, what, session = said.pop("t"), said.pop("what"), said.pop("session")
        self._team.facts.append(Fact(at, self.name, what, session, said))
        if what in ("ready", "unusable", "ended"):
            self._ready.set()


class Team:
    """The workers of one run, and everything that they have said. A context manager."""

    def __init__(self, lab: Lab, kind: str, target: str, size: int, timeout: float) -> None:
        self.lab = lab
        self.kind = kind
        self.target = target
        self.timeout = timeout
        self.facts: list[Fact] = []
        self.workers: list[WorkerProcess] = []
        self._size = size
        self._forwarder = Forwarder()
        self._count = 0

    def __enter__(self) -> Team:
        self._forwarder.start()
        try:
            self.add().wait_ready()  # one first: what is wrong with the class is wrong with all
            for worker in [self.add() for _ in range(self._size - 1)]:
                worker.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; no process, thread or port is left. Idempotent."""
        each(WorkerProcess.kill, self.workers)
        self._forwarder.close()

    def add(self) -> WorkerProcess:
        """Start another worker."""
        self._count += 1
        worker = WorkerProcess(self, f"worker{self._count}")
        self.workers.append(worker)
        return worker

    @property
    def alive(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.alive]

    def facts_of(self, name: str) -> Iterator[Fact]:
        """What one worker has said so far."""
        return (fact for fact in list(self.facts) if fact.worker == name)

    def busiest(self, what: tuple[str, ...]) -> WorkerProcess | None:
        """The living worker that was the last to say one of these."""
        alive = {worker.name: worker for worker in self.alive}
        for fact in reversed(list(self.facts)):
            if fact.what in what and fact.worker in alive:
                return alive[fact.worker]
        return None

    def link(self, name: str) -> str:
        """The address of ZooKeeper at which a worker has a link of its own."""
        ports = [
            self._forwarder.link(name, server.name, (server.endpoint.host, server.endpoint.port))
            for server in self.lab.zookeeper.servers
        ]
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def fault(self, name: str, fault: LinkFault | None) -> None:
        """Break a worker's link, or with None heal it."""
        for server in self.lab.zookeeper.servers:
            self._forwarder.fault(name, server.name, fault)

    def await_write(self, name: str, timeout: float) -> bool:
        """Wait until a worker sends ZooKeeper something that changes it."""
        written = threading.Event()

        def hear(direction: str, data: bytes) -> None:
            # A packet is its length, the request's number, and the request's kind.
            if direction == "to" and int.from_bytes(data[8:12], "big") in _CHANGES:
                written.set()

        for server in self.lab.zookeeper.servers:
            self._forwarder.overhear(name, server.name, hear)
        try:
            return written.wait(timeout)
        finally:
            for server in self.lab.zookeeper.servers:
                self._forwarder.overhear(name, server.name, None)

    def until(self, since: float, names: set[str], what: tuple[str, ...], timeout: float) -> bool:
        """Wait until each of these workers has said one of `what` after `since`."""

        def heard() -> bool:
            return names <= {f.worker for f in [*self.facts] if f.what in what and f.at >= since}

        return wait_until(heard, timeout, 0.05)
