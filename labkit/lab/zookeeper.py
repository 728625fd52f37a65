"""The lab's ZooKeeper: one server or an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from labkit.errors import (
    ServerNotFound,
    StartTimeout,
)
from labkit.lab.core import Core
from labkit.lab.node import START_TIMEOUT, Server
from labkit.servers.base import (
    Endpoint,
    each,
)
from labkit.servers.zookeeper import txnlog, words
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
        """ "standalone", "leader" or "follower"; None when it serves nobody."""
        return words.parse_srvr(self.four_letter("srvr")).get("Mode")

    @property
    def zxid(self) -> int | None:
        """The last transaction that it has seen."""
        zxid = words.parse_srvr(self.four_letter("srvr")).get("Zxid")
        return int(zxid, 16) if zxid else None

    def transactions(self) -> list[Transaction]:
        """What this one server has on its disk: agreed by a majority, or only proposed to it."""
        return txnlog.parse_transaction_logs(self._core.running.transaction_logs(self.name))

    def _answers(self) -> bool:
        # A server of an ensemble serves only with a quorum; alone it is up when it speaks at all.
        if self._alone:
            return self.mode is not None
        return self.four_letter("ruok") == "imok"

    def __repr__(self) -> str:
        return f"<{self.name} {self.known_state} {self.endpoint}>"


class ZooKeeperHandle:
    """The lab's ZooKeeper: one server or an ensemble. The verbs act on all of it."""

    def __init__(self, core: Core, endpoints: Mapping[str, Endpoint]) -> None:
        self._core = core
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
        """What a client shows to change what nobody else may: "user:password"."""
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
        if not 1 <= number <= self.size:
            raise ServerNotFound(f"There are ZooKeeper servers 1 to {self.size}, not {number}.")
        return self.servers[number - 1]

    @property
    def leader(self) -> ZooKeeperServer | None:
        """The server that leads now (the only one, if standalone); None without a quorum."""
        modes = ("leader", "standalone")
        return next((server for server in self.servers if server.mode in modes), None)

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
            self.on_each(lambda server: server.launch())
            self.on_each(lambda server: server.wait_ready())
            self.wait_serving()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

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

    def wait_serving(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until every server serves: alone, as leader, or as follower."""
        deadline = time.monotonic() + timeout
        while not all(server.mode for server in self.servers):
            if time.monotonic() > deadline:
                idle = next((s for s in self.servers if not s.mode), self.servers[0])
                raise StartTimeout(f"{idle.name} serves nobody after {timeout:g} s.", idle.logs(20))
            time.sleep(0.02)

    def __repr__(self) -> str:
        return f"<ZooKeeper {self.version}: {', '.join(map(repr, self.servers))}>"
