"""What a backend promises: servers by name, and the verbs on them.

A backend knows *how* servers run (container or process) and nothing about numbers, timelines or
notebooks. It is used by one `Lab` and called from several threads: verbs on different servers may
run at the same time, and an implementation must allow that.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from labkit.errors import (
    BackendError,
    ConfigError,
    InvalidTransition,
    ServerNotFound,
    UnsupportedFault,
)
from labkit.servers.links.fault import LinkFault

T = TypeVar("T")

#: Reports progress on what may last: (what is being done, fraction done or None).
Progress = Callable[[str, float | None], None]

#: Seconds for which nothing goes, until removing is given up: of a lab, for a busy engine is slow;
#: and of what somebody dead has left, or with an engine that is silent, for which nobody waits.
REMOVAL, LEFTOVERS = 20.0, 2.0


class ServerState(StrEnum):
    """What is true of a server right now, asked from the system and never remembered."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"  # may be started again: same name, same URL
    GONE = "gone"  # removed, by the lab or behind its back


Verb = Literal["start", "stop", "kill", "pause", "resume", "remove"]

#: What a verb makes of a server in each state, or why it is refused.
_TRANSITIONS: Mapping[Verb, Mapping[ServerState, ServerState | str]] = {
    "start": {
        ServerState.STOPPED: ServerState.RUNNING,
        ServerState.RUNNING: ServerState.RUNNING,
        ServerState.PAUSED: "is paused, not stopped: resume it instead.",
    },
    "stop": {
        ServerState.RUNNING: ServerState.STOPPED,
        ServerState.STOPPED: ServerState.STOPPED,
        ServerState.PAUSED: "is paused and cannot shut down in order: resume it first, or kill it.",
    },
    "kill": {
        ServerState.RUNNING: ServerState.STOPPED,
        ServerState.PAUSED: ServerState.STOPPED,
        ServerState.STOPPED: ServerState.STOPPED,
    },
    "pause": {
        ServerState.RUNNING: ServerState.PAUSED,
        ServerState.PAUSED: ServerState.PAUSED,
        ServerState.STOPPED: "is stopped; only a running server can be paused.",
    },
    "resume": {
        ServerState.PAUSED: ServerState.RUNNING,
        ServerState.RUNNING: ServerState.RUNNING,
        ServerState.STOPPED: "is stopped, not paused: start it instead.",
    },
    "remove": {
        ServerState.STOPPED: ServerState.GONE,
        ServerState.GONE: ServerState.GONE,
        ServerState.RUNNING: "is running: stop or kill it first.",
        ServerState.PAUSED: "is paused: stop or kill it first.",
    },
}


def changes(verb: Verb, name: str, state: ServerState) -> bool:
    """Whether the verb has anything to do: False if the server is in the wanted state already.

    Raises `InvalidTransition` where the verb makes no sense.
    """
    after = _TRANSITIONS[verb][state]
    if isinstance(after, ServerState):
        return after is not state
    raise InvalidTransition(f"{name} {after}")


@dataclass(frozen=True)
class Endpoint:
    """Where the lab (not the nodes) reaches a server. Stays the same over a server's restarts."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host  # IPv6
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class NodeSpec:
    """One node to create. The backend adds ZOOKEEPER_HOSTS, PORT and NODE_URL to `env`.

    `files` are of this machine, by the variables that tell the node where it has them.
    """

    name: str
    port: int | None = None  # the host port wanted; None or taken: any free one
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ZooKeeperSettings:
    """Settings that every ZooKeeper server of a lab shares. Times in milliseconds.

    `extra` are further lines of `zoo.cfg`. A `Path` in it is a file of this machine: each server
    gets a copy, and its line names the copy. `superuser`, "user:password", may do everything.
    `backup` is what a server's `Backend.backup` gave: each server begins with it.
    """

    tick_time: int = 200
    min_session_timeout: int = 400
    max_session_timeout: int = 600_000
    extra: Mapping[str, str | Path] = field(default_factory=dict)
    superuser: str = ""
    backup: bytes | None = None

    @property
    def may_change(self) -> bool:
        """Whether servers may join and leave the running ensemble."""
        return self.extra.get("reconfigEnabled") == "true"

    def files(self) -> dict[str, bytes]:
        """What the paths in `extra` hold, by the copies' names.

        Raises `ConfigError` for a file that can't be read, and for a line that a server of a lab
        can't have.
        """
        for name, value in self.extra.items():
            if name in _ONLY_THE_LAB or name.startswith("server."):
                raise ConfigError(f"zoo_cfg can't set {name}: where servers are, the lab decides.")
            if not isinstance(value, Path) and re.search(r"\s", f"{name}{value}"):
                raise ConfigError(
                    f"zoo_cfg can't set {name}={value!r}: the official image takes no blank in it."
                )
        paths = {name: value for name, value in self.extra.items() if isinstance(value, Path)}
        try:
            return {name: path.read_bytes() for name, path in paths.items()}
        except OSError as error:
            raise ConfigError(
                f"zoo_cfg names a file that can't be read: {error.filename}: {error.strerror}."
            ) from error


_ONLY_THE_LAB = ("dataDir", "dataLogDir", "clientPort", "clientPortAddress")


class Backend(Protocol):
    """Where a lab's servers run.

    Verbs are idempotent where the state already is what they ask for (`stop` on a stopped server
    does nothing) and otherwise raise `InvalidTransition`; an unknown name raises `ServerNotFound`.
    Times are in seconds.
    """

    #: "docker", "swarm" or "process"
    name: str
    #: unique on this machine; every process, container, network and directory carries it
    lab_id: str

    def prepare(self, progress: Progress) -> None:
        """Get ready to create servers: find ZooKeeper, build images, arm the watchdog.

        Raises `BackendUnavailable` with the command that fixes it.
        """

    def require_room(self, nodes: int, zookeepers: int = 0) -> None:
        """Raise `ConfigError` if the machine has no room for so many servers more."""

    @property
    def zookeeper_version(self) -> str:
        """Such as "3.8.0"; known after `prepare`."""

    def create_zookeeper(
        self, names: Sequence[str], settings: ZooKeeperSettings
    ) -> dict[str, Endpoint]:
        """Create an ensemble (or, with one name, a standalone server); nothing runs yet."""

    def attach(self, servers: Mapping[str, Endpoint], chroot: str) -> None:
        """Have nodes talk to servers that others run, below `chroot`, instead of to the lab's own.

        Raises `ConfigError` for an address that nodes could not reach.
        """

    def create_member(self, name: str, observer: bool = False) -> Endpoint:
        """Create one more server, which will join the running ensemble; it does not run yet.

        One that fails, or is interrupted, leaves nothing. Raises `ConfigError` if the ensemble was
        not made to change.
        """

    def membership(self, name: str) -> str:
        """A ZooKeeper server as the ensemble's configuration names it: "server.4=…"."""

    def backup(self, name: str) -> bytes:
        """A tar of a ZooKeeper server's snapshots and transaction logs."""

    def create_node(self, spec: NodeSpec) -> Endpoint:
        """Create a node that will talk to the lab's ZooKeeper; it does not run yet.

        One that fails, or is interrupted, leaves nothing. Raises `ConfigError` for a name that
        another server has.
        """

    def start(self, name: str) -> None:
        """Run a created or stopped server. Returns when it is launched, not when it is ready."""

    def stop(self, name: str, grace: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after `grace`. Returns when it is dead."""

    def kill(self, name: str) -> None:
        """SIGKILL, paused or not. Returns when it is dead."""

    def pause(self, name: str) -> None:
        """Freeze it as it is: its sockets stay open and nothing answers."""

    def resume(self, name: str) -> None:
        """Let a paused server run on."""

    def remove(self, name: str) -> None:
        """Forget a server that does not run any more, and what it left on disk.

        Its port, its links and its address are free again.
        """

    def state(self, name: str) -> ServerState:
        """What is true of the server right now."""

    def logs(self, name: str, tail: int = 50) -> str:
        """Its last `tail` log lines, over all its runs."""

    def zkcli(self, command: str, credential: str = "", timeout: float = 30.0) -> str:
        """Run one command of the official command line (`ls /sequence`); its output, as printed.

        With a `credential`, "user:password", it may change what is that user's alone.

        What it says about the command (`Node does not exist: /x`) is output. Raises `ConfigError`
        if the command can't be passed on, `BackendError` if ZooKeeper gives no answer within
        `timeout` or the command line itself breaks.
        """

    def transaction_logs(self, name: str) -> list[bytes]:
        """The bytes of a ZooKeeper server's transaction log files, oldest first."""

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        """Break (None: heal) the link from server `source` to ZooKeeper server `target`.

        Raises `UnsupportedFault` where this backend cannot do that.
        """

    @property
    def machines(self) -> Sequence[str]:
        """The names of the machines that servers run on; none if that is this one alone."""

    def machine_of(self, name: str) -> str:
        """The machine that a server is on; "" if that is this one."""

    def drain(self, machine: str, drained: bool) -> None:
        """Place no new server on a machine, or place them there again.

        Raises `ConfigError` if no other machine would take them.
        """

    def halt(self) -> None:
        """Let what other threads start here fail soon. `destroy` comes next, and waits for them."""

    def destroy(self) -> None:
        """Remove everything this lab ever created. Idempotent, also after a failed start."""


class OneMachine:
    """The answers of a backend whose servers are all on this machine."""

    machines: Sequence[str] = ()

    def machine_of(self, name: str) -> str:
        return ""

    def drain(self, machine: str, drained: bool) -> None:
        raise ConfigError("All servers of this lab are on one machine.")


def each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do it to all of them at once; the first error is raised when all are done."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        for done in [pool.submit(work, item) for item in items]:
            done.result()


def wait_until(
    condition: Callable[[], object], timeout: float, pause: float = 0.01, growth: float = 0.0
) -> bool:
    """Poll until `condition()` is true; False if it takes longer than `timeout` seconds.

    `pause` seconds lie between two looks, or `growth` times those that have passed already, if
    that is more.
    """
    began = time.monotonic()
    while not condition():
        passed = time.monotonic() - began
        if passed > timeout:
            return False
        time.sleep(max(pause, growth * passed))
    return True


def require_new(name: str, servers: Iterable[str]) -> None:
    """Raise `ConfigError` if one of the lab's servers is called that."""
    if name in servers:
        raise ConfigError(f"There is a server {name} in this lab already. Give the new one a name.")


def require_may_change(settings: ZooKeeperSettings, members: Sequence[str]) -> None:
    """Raise `ConfigError` unless servers may join and leave this ensemble."""
    if not settings.may_change or len(members) < 2:
        raise ConfigError(
            "No server can join or leave this ensemble while it runs. Make one that can change: "
            'Lab(ensemble=3, zoo_cfg={"reconfigEnabled": "true"})'
        )


def require_known(name: str, servers: Mapping[str, T]) -> T:
    """The lab's server of that name. Raises `ServerNotFound` if there is none."""
    if name not in servers:
        known = ", ".join(servers) or "none"
        raise ServerNotFound(f"There is no server {name} in this lab; it has {known}.")
    return servers[name]


def require_link(target: str, zookeepers: Iterable[str]) -> None:
    """Raise `UnsupportedFault` unless links lead to `target`."""
    if target not in zookeepers:
        raise UnsupportedFault(
            f"Links lead to ZooKeeper servers ({', '.join(zookeepers)}), not to {target}."
        )


def require_running(
    zookeepers: Iterable[str], state: Callable[[str], ServerState], command: str
) -> str:
    """The first ZooKeeper server that runs, for a `zkcli` command; `BackendError` without one."""
    for name in zookeepers:
        if state(name) is ServerState.RUNNING:
            return name
    raise BackendError(
        f"zkCli.sh {command!r} needs a ZooKeeper server, and none is running. Start it with "
        "lab.zookeeper.start(), or resume it if it is paused; lab.zookeeper.server(1).logs() says "
        "why one has ended by itself."
    )


def cli_input(command: str, credential: str) -> str:
    """The lines for the official command line to read: a command, which is cut into words as a
    shell would. Its arguments could not hold a credential: every user of a machine sees them.
    """
    try:
        words = map(_cli_word, shlex.split(command))
        lines = [f"addauth digest {credential}"] if credential else []
        return "\n".join([*lines, " ".join(words), ""])
    except ValueError as error:
        raise ConfigError(
            f"zkCli.sh cannot be given {command!r}: {str(error).lower()}. Put text with spaces "
            'or an apostrophe between double quotes, as in: create /path "it\'s here".'
        ) from error


def _cli_word(word: str) -> str:
    if "\n" in word or ('"' in word and "'" in word):
        raise ValueError("It takes no text with a line break, or with both kinds of quotes")
    if word and not re.search(r"\s", word) and word[0] not in "'\"":
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'
