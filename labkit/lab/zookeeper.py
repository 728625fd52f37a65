"""The lab's ZooKeeper: one server or an ensemble."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NewConfigNoQuorumError,
    ReconfigInProcessError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from labkit.errors import (
    BackendError,
    ServerNotFound,
)
from labkit.lab.core import Backup, Core
from labkit.lab.node import START_TIMEOUT, Node, Server
from labkit.node.tls import Tls
from labkit.servers.base import (
    Endpoint,
    ServerState,
    each,
    wait_until,
)
from labkit.servers.zookeeper import txnlog, words
from labkit.servers.zookeeper.config import server_id
from labkit.servers.zookeeper.txnlog import Transaction


class ZooKeeperServer(Server):
    """One ZooKeeper server. Got from `lab.zookeeper.server(…)`."""

    def __init__(self, core: Core, name: str, endpoint: Endpoint, *, alone: bool) -> None:
        super().__init__(core, name, endpoint)
        self._alone = alone

    def four_letter(self, word: str) -> str:
        """Its answer to a four-letter word such as `srvr`; empty when it does not answer."""
        return words.four_letter(self.endpoint.host, self.endpoint.port, word)

    @property
    def mode(self) -> str | None:
        """ "standalone", "leader", "follower" or "observer"; None when it serves nobody."""
        return words.parse_srvr(self.four_letter("srvr")).get("Mode")

    @property
    def zxid(self) -> int | None:
        """The last transaction that it has seen."""
        zxid = words.parse_srvr(self.four_letter("srvr")).get("Zxid")
        return int(zxid, 16) if zxid else None

    def transactions(self) -> list[Transaction]:
        """What this one server has on its disk: agreed by a majority, or only proposed to it."""
        return txnlog.parse_transaction_logs(self._core.running.transaction_logs(self.name))

    def mntr(self) -> dict[str, str]:
        """Its figures, as the four-letter word `mntr` lists them; empty if it does not answer."""
        lines = (line.split("\t", 1) for line in self.four_letter("mntr").splitlines())
        return {line[0]: line[1] for line in lines if len(line) == 2}

    def backup(self) -> Backup:
        """Its snapshots and its log: `Lab(backup=…)` begins with them."""
        return Backup(self._core.running.backup(self.name), self._core.credential)

    def _answers(self) -> bool:
        # A server of an ensemble serves only with a quorum; alone it is up when it speaks at all.
        if self._alone:
            return self.mode is not None
        return self.four_letter("ruok") == "imok"

    def __repr__(self) -> str:
        return f"<{self.name} {self.known_state} {self.endpoint}>"


class ZooKeeperHandle:
    """The lab's ZooKeeper: one server or an ensemble. The verbs act on all of it."""

    #: Whether the lab has made it, and so may break it and read its log.
    is_own = True
    #: Below which path the lab's clients work; "" for all.
    chroot = ""
    #: How clients connect; None is in clear.
    tls: Tls | None = None
    #: Further variables of a node's environment, and files that variables name.
    environment: Mapping[str, str] = MappingProxyType({})
    files: Mapping[str, Path] = MappingProxyType({})

    def __init__(
        self, core: Core, endpoints: Mapping[str, Endpoint], changed: Callable[[str], object]
    ) -> None:
        self._core = core
        self._changed = changed  # is told `hosts` when a server has joined or left
        self._last = len(endpoints)  # number of the server that came last
        self.servers = [
            ZooKeeperServer(core, name, at, alone=len(endpoints) == 1)
            for name, at in endpoints.items()
        ]

    @property
    def size(self) -> int:
        return len(self.servers)

    @property
    def hosts(self) -> str:
        """The connection string for a client outside the lab's links."""
        return ",".join(str(server.endpoint) for server in self.servers)

    @property
    def credential(self) -> str:
        """The credential that a client needs to change the nodes' znodes: "user:password"."""
        return self._core.credential

    @property
    def private(self) -> bool:
        """Whether nobody else may read what the lab's nodes hold."""
        return self._core.private

    @property
    def version(self) -> str:
        return self._core.running.zookeeper_version

    def server(self, number: int) -> ZooKeeperServer:
        """Server `number`, counted from 1."""
        for server in self.servers:
            if server_id(server.name) == number:
                return server
        known = ", ".join(str(server_id(server.name)) for server in self.servers)
        raise ServerNotFound(f"There is no ZooKeeper server {number}; there are {known}.")

    @property
    def leader(self) -> ZooKeeperServer | None:
        """The server that leads now (the only one, if standalone); None without a quorum."""
        modes = ("leader", "standalone")
        return next((server for server in self.servers if server.mode in modes), None)

    def join(self, *, observer: bool = False) -> ZooKeeperServer:
        """Start one more server and make it a member, while the others serve.

        An `observer` answers clients and has no vote. Nodes that run do not learn of a new member;
        those that are created afterwards do. Raises `ConfigError` if the ensemble was not made to
        change; one that can't join leaves nothing.
        """
        name = f"zookeeper{self._last + 1}"
        backend = self._core.running
        with self._core.verb("join", name):
            backend.require_room(0, 1)
            endpoint = backend.create_member(name, observer)
            self._core.placed(name)
            self._last += 1
            server = ZooKeeperServer(self._core, name, endpoint, alone=False)
            try:
                server.launch()
                server.wait_ready()
                self._reconfigure(self.servers, joining=backend.membership(name))
                self._wait_mode(server)
            except BaseException:
                self._remove(server)
                raise
            self.servers = [*self.servers, server]
            self._changed(self.hosts)
        return server

    def leave(self, server: ZooKeeperServer) -> None:
        """Take a server out of the ensemble, while the others serve; then end and remove it."""
        backend = self._core.running
        with self._core.verb("leave", server.name):
            backend.membership(server.name)  # raises for one that is not there, or can't leave
            others = [other for other in self.servers if other is not server]
            self._reconfigure(others, leaving=str(server_id(server.name)))
            self.servers = others
            self._changed(self.hosts)
            self._remove(server)

    def _remove(self, server: ZooKeeperServer) -> None:
        backend = self._core.running
        if backend.state(server.name) is ServerState.PAUSED:
            backend.kill(server.name)
        backend.stop(server.name)
        backend.remove(server.name)

    def _reconfigure(
        self,
        through: list[ZooKeeperServer],
        joining: str | None = None,
        leaving: str | None = None,
        timeout: float = START_TIMEOUT,
    ) -> None:
        """Change the membership. Repeated, it changes nothing more: a lost answer does no harm."""
        refusals = (
            NewConfigNoQuorumError,  # the new one is not up to date yet
            ReconfigInProcessError,
            ConnectionLoss,  # a leader that leaves hangs up
            ConnectionClosedError,
            SessionExpiredError,
        )
        client = KazooClient(
            ",".join(str(server.endpoint) for server in through),
            auth_data=[("digest", self._core.superuser)],
            logger=logging.getLogger("labkit.kazoo"),
        )
        deadline = time.monotonic() + timeout
        try:
            client.start(timeout=timeout)
            while True:
                try:
                    client.reconfig(joining, leaving, None)
                    return
                except refusals as error:
                    if time.monotonic() > deadline:
                        raise BackendError(
                            f"The ensemble did not change within {timeout:g} s: "
                            f"{type(error).__name__}. Has it a majority? lab.zookeeper shows it."
                        ) from error
                time.sleep(0.05)
        except KazooTimeoutError as error:
            raise BackendError(
                f"No server let a client in within {timeout:g} s, so the ensemble can't change. "
                "Start its servers: lab.zookeeper.start()"
            ) from error
        finally:
            with suppress(Exception):  # it ends with its process at the latest
                client.stop()
                client.close()

    @property
    def followers(self) -> list[ZooKeeperServer]:
        return [server for server in self.servers if server.mode == "follower"]

    def stop(self) -> None:
        """Shut every server down in order."""
        with self._core.verb("stop", "zookeeper"):
            self.on_each(lambda server: self._core.running.stop(server.name))

    def kill(self) -> None:
        """End every server without warning."""
        with self._core.verb("kill", "zookeeper"):
            self.on_each(lambda server: self._core.running.kill(server.name))

    def pause(self) -> None:
        """Freeze every server."""
        with self._core.verb("pause", "zookeeper"):
            self.on_each(lambda server: self._core.running.pause(server.name))

    def resume(self) -> None:
        """Let every server run on."""
        with self._core.verb("resume", "zookeeper"):
            self.on_each(lambda server: self._core.running.resume(server.name))

    def start(self) -> None:
        """Start every server on the data it had. Returns when the service answers."""
        with self._core.verb("start", "zookeeper"):
            self.launch()
            self.wait_serving()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def zkcli(self, command: str) -> str:
        """What ZooKeeper's own command line prints for a command."""
        return self._core.running.zkcli(command, self._core.credential)

    def end_sessions(self, nodes: Sequence[Node]) -> None:
        """Before the `nodes` end: all sessions end with the servers."""

    def part(self, nodes: Mapping[str, str], timeout: float) -> None:
        """Called when all nodes (name → URL) have ended. Their znodes are gone: nothing to do."""

    def four_letter(self, word: str) -> str:
        """The first answer to a four-letter word such as `cons`; empty if no server answers."""
        return next((text for s in self.servers if (text := s.four_letter(word))), "")

    def sessions(self) -> dict[str, int]:
        """The live sessions that have a connection: id ("0x…") → negotiated timeout in ms."""
        found: dict[str, int] = {}
        for server in self.servers:
            for line in server.four_letter("cons").splitlines():
                fields = dict(f.split("=", 1) for f in line.strip(" )").split(",") if "=" in f)
                if "sid" in fields and "to" in fields:
                    found[fields["sid"]] = int(fields["to"])
        return found

    def transactions(self) -> list[Transaction]:
        """Everything that ZooKeeper ever changed, exactly, in its own order.

        Read from all servers' transaction logs: one of an ensemble's may have a hole, or a
        proposal at its end that the others never accepted.
        """
        best = self.leader or max(self.servers, key=lambda server: server.zxid or 0)
        servers = sorted(self.servers, key=lambda server: server is not best)
        files = (self._core.running.transaction_logs(server.name) for server in servers)
        return txnlog.agreed_transactions(files)

    def on_each(self, verb: Callable[[ZooKeeperServer], None]) -> None:
        """Do it to every server, all at once."""
        each(verb, self.servers)

    def _wait_mode(self, server: ZooKeeperServer, timeout: float = START_TIMEOUT) -> None:
        if not wait_until(lambda: server.mode, timeout):
            raise server.not_started(f"{server.name} serves nobody after {timeout:g} s.")

    def launch(self) -> None:
        """Run every server, without a word on the timeline, and without waiting."""
        self.on_each(lambda server: server.launch())

    def last_words(self) -> str:
        """The last log lines of the first server, for the error of a client that can't connect."""
        return self.servers[0].logs(20)

    def ending(self, session: int) -> Callable[[], bool]:
        """What tells whether ZooKeeper has ended a session.

        Raises `InvalidTransition` if nobody would see that.
        """
        return lambda: any(
            t.op == "closeSession" and t.session == session for t in self.transactions()
        )

    def wait_serving(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until every server serves: alone, as leader, or as follower."""
        self.on_each(lambda server: server.wait_ready())
        deadline = time.monotonic() + timeout
        for server in self.servers:
            self._wait_mode(server, max(deadline - time.monotonic(), 0))

    def __repr__(self) -> str:
        return f"<ZooKeeper {self.version}: {', '.join(map(repr, self.servers))}>"
