"""A ZooKeeper that is there already: a lab's nodes use it, and the lab leaves it as it was."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from kazoo.exceptions import KazooException, NoAuthError, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import ZnodeStat

from labkit.errors import (
    BackendError,
    ConfigError,
    ForeignZooKeeper,
    InvalidTransition,
    StartTimeout,
)
from labkit.lab.core import Core
from labkit.lab.node import Node
from labkit.lab.zookeeper import ZooKeeperHandle, ZooKeeperServer
from labkit.node.claim import ROOT
from labkit.node.session import Session
from labkit.servers.base import ServerState, each, wait_until
from labkit.servers.zookeeper import words
from labkit.servers.zookeeper.address import Attached
from labkit.story.event import AttachedEvent, owner

T = TypeVar("T")

_SESSION = 10.0  # seconds
_TIMEOUT = 5.0  # seconds for an answer
_CONNECT = 15.0  # seconds
_GRACE = 2.0  # seconds that a node has to end in order


def _refusing(**verbs: str) -> Callable[[type[T]], type[T]]:
    """Have a class refuse verbs with `ForeignZooKeeper`, which names what each would need."""

    def refusal(why: str) -> Callable[..., NoReturn]:
        def refuse(self: object, *_: object, **__: object) -> NoReturn:
            raise ForeignZooKeeper(
                f"{why.format(self)}, and this lab's ZooKeeper is not its own: it was given to it. "
                "The lab can break its nodes and their links. For a ZooKeeper to break, let the "
                "lab start one: Lab(nodes=4)."
            )

        return refuse

    def decorate(cls: type[T]) -> type[T]:
        for verb, why in verbs.items():
            setattr(cls, verb, refusal(why))
        return cls

    return decorate


@_refusing(
    stop="stop {0.name} ends a server",
    kill="kill {0.name} ends a server",
    pause="pause {0.name} freezes a server",
    resume="resume {0.name} wakes a server",
    start="start {0.name} starts a server",
    logs="{0.name}'s log lines are in a server's files",
    transactions="{0.name}'s transaction log is in a server's files",
    backup="a backup of {0.name} is made of a server's files",
)
class AttachedServer(ZooKeeperServer):
    """One server of an ensemble that others run: it can be asked, and not be changed."""

    @property
    def state(self) -> ServerState:
        """Running if it takes connections, else gone: its processes are others' to look at."""
        try:
            socket.create_connection((self.endpoint.host, self.endpoint.port), timeout=1).close()
        except OSError:
            return ServerState.GONE
        return ServerState.RUNNING


@_refusing(
    join="join adds a server",
    leave="leave takes a server out of its ensemble",
    stop="stop ends its servers",
    kill="kill ends its servers",
    pause="pause freezes its servers",
    resume="resume wakes its servers",
    start="start starts its servers",
    transactions="Its transaction log is in its servers' files",
    zkcli="zkCli.sh is among its servers' files; try `zkCli.sh -server {0.hosts}` there",
)
class AttachedZooKeeper(ZooKeeperHandle):
    """An ensemble that others run. Its verbs raise `ForeignZooKeeper`.

    A session of its own, from `launch` to `leave`, makes the chroot, and removes what the lab has
    made above its nodes' claims: the chroot and /sequence, where they were not there before, and
    unless somebody else has put something there.
    """

    is_own = False

    def __init__(self, core: Core, attached: Attached) -> None:
        super().__init__(core, {}, lambda _: None)
        self.servers = [
            AttachedServer(core, n, at, alone=False) for n, at in attached.named.items()
        ]
        self.chroot = attached.chroot
        if (tls := attached.tls) is not None:
            self.tls = tls
            self.environment = {"ZOOKEEPER_TLS": "verified" if tls.verify else "unverified"}
            named = {"CA": tls.ca, "CERTIFICATE": tls.certificate, "KEY": tls.key}
            self.files = {f"ZOOKEEPER_{name}": Path(at) for name, at in named.items() if at}
        self._attached = attached
        self._made: list[str] = []  # paths, outside the chroot, the deepest last
        self._zk = Session(
            attached.servers,
            _SESSION,
            logging.getLogger("labkit.kazoo"),
            credential=attached.credential,
            tls=attached.tls,
        )

    @property
    def hosts(self) -> str:
        """The connection string for a client, chroot and all."""
        return self._attached.servers + self.chroot

    @property
    def version(self) -> str:
        """As a server tells it, or "unknown" where it does not."""
        text = next((t for s in self.servers if (t := s.four_letter("srvr"))), "")
        return words.parse_srvr(text).get("Zookeeper version", "unknown").partition("-")[0]

    def launch(self) -> None:
        """Connect, and make the chroot where there is none. Raises `StartTimeout`."""
        try:
            self._zk.start(timeout=_CONNECT)
        except KazooTimeoutError as error:
            raise StartTimeout(
                f"No server of {self._attached.servers} let a client in within {_CONNECT:g} s. Is "
                "that where ZooKeeper listens, and does it want TLS (kazoo={'use_ssl': True, …})?"
            ) from error
        parts = self.chroot.strip("/").split("/") if self.chroot else []
        paths = ["/" + "/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if not self._exists(f"{self.chroot}{ROOT}"):
            self._made = [f"{self.chroot}{ROOT}"]
        missing = [path for path in paths if not self._exists(path)]
        self._made = [*missing, *self._made]
        for path in missing:
            try:
                self._zk.create_async(path).get(timeout=_TIMEOUT)
            except NodeExistsError:
                self._made.remove(path)  # somebody else was faster, so it is theirs
            except NoAuthError as error:
                raise ConfigError(
                    f"ZooKeeper does not let the lab create {path}. Show it who you are: "
                    'kazoo={"auth_data": [("digest", "user:password")]}, or name a path below '
                    "which you may create znodes."
                ) from error
        self._core.timeline.record(AttachedEvent("zookeeper", hosts=self.hosts))

    def wait_serving(self, timeout: float = _CONNECT) -> None:
        """It serves: it has let the lab in."""

    def last_words(self) -> str:
        return ""  # its log is not ours to read

    def ending(self, session: int) -> Callable[[], bool]:
        """Without its log, the end of a session shows only in the number that goes with it."""
        if not self._holds(session):
            raise InvalidTransition(
                "This node holds no number, so nobody could see its session end: ZooKeeper's log "
                "is not the lab's to read. Ask the node for its number first: .sequence()"
            )
        return lambda: not self._holds(session)

    def end_sessions(self, nodes: Sequence[Node]) -> None:
        """Let the nodes that run shut down in order: their numbers are free for others at once."""
        backend = self._core.backend
        assert backend is not None

        def end(node: Node) -> None:
            with suppress(BackendError):
                backend.stop(node.name, _GRACE)

        each(end, nodes)

    def part(self, nodes: Mapping[str, str], timeout: float) -> None:
        """Remove what the lab has made, when its `nodes` (name → URL) have ended, and leave.

        Their numbers go with their sessions, at the latest after `timeout` seconds. What others
        use by now stays.
        """
        with suppress(KazooException, KazooTimeoutError):
            if self._zk.connected and self._made:
                wait_until(lambda: not self._hold_any(nodes), timeout, 0.05)
            while self._made and self._zk.connected:
                with suppress(NoNodeError):
                    self._zk.delete_async(self._made.pop()).get(timeout=_TIMEOUT)
        self._made = []
        with suppress(Exception):  # a client that kazoo cannot stop in time ends with its session
            self._zk.stop()
            self._zk.close()

    def _claims(self) -> Iterator[tuple[bytes, ZnodeStat]]:
        path = f"{self.chroot}{ROOT}"
        with suppress(NoNodeError):
            for name in self._zk.get_children_async(path).get(timeout=_TIMEOUT):
                with suppress(NoNodeError):  # gone since
                    yield self._zk.get_async(f"{path}/{name}").get(timeout=_TIMEOUT)

    def _holds(self, session: int) -> bool:
        return any(stat.ephemeralOwner == session for _, stat in self._claims())

    def _hold_any(self, nodes: Mapping[str, str]) -> bool:
        """Whether one of the nodes, by name and URL, has a number."""
        claims = (json.loads(data) for data, _ in self._claims() if owner(data.decode()) in nodes)
        return any(claim.get("url") == nodes[claim["owner"]] for claim in claims)

    def _exists(self, path: str) -> bool:
        return self._zk.exists_async(path).get(timeout=_TIMEOUT) is not None
