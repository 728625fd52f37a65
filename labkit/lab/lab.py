"""What a reader holds: a lab, its nodes, its ZooKeeper, and the verbs on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

from kazoo.client import KazooClient

from labkit.errors import (
    InvalidTransition,
    LabError,
    NoAnswer,
    NodeUnreachable,
)
from labkit.lab import machine
from labkit.lab.attached import AttachedZooKeeper
from labkit.lab.clients import Clients
from labkit.lab.core import Core, require_between
from labkit.lab.crew import Crew, Worker
from labkit.lab.display import Table
from labkit.lab.lab_client import LabClient
from labkit.lab.links import LinkVerbs, node_name, session_of
from labkit.lab.lossy import LossyClient, LossyClients
from labkit.lab.machine import Machine
from labkit.lab.node import Node, Server
from labkit.lab.nodes import MAX_NODES, Nodes, NodeSettings
from labkit.lab.recorder import Recorder
from labkit.lab.settings import Settings, taking
from labkit.lab.tap import Tap
from labkit.lab.znode_tree import Tree, look
from labkit.lab.zookeeper import ZooKeeperHandle, ZooKeeperServer
from labkit.node.claim import ROOT
from labkit.servers.base import (
    Backend,
    Progress,
    ServerState,
    each,
)
from labkit.servers.choice import choose
from labkit.servers.proxies import reach_directly
from labkit.story.event import HistoryEvent
from labkit.story.timeline import Timeline

T = TypeVar("T")

_open: set[Lab] = set()
_alone = threading.RLock()  # held by a lab that is to be the only one, while it starts


class Lab(LinkVerbs):
    """A ZooKeeper and some nodes, to run and to break: `with Lab(4) as lab: lab.node(2).kill()`.

    `nodes` servers on `backend` ("docker", "swarm", "process", or None to choose), with a session
    timeout of `session_timeout` and an HTTP deadline of `request_deadline` seconds. `engines` names
    the machines of a Swarm by their engines, as LABKIT_ENGINES does. `ensemble` is the number of
    ZooKeeper servers, `zoo_cfg` further lines of their `zoo.cfg` (a `Path` is a file that each is
    given a copy of), `backup` what they begin with, from `ZooKeeperServer.backup`; `claim` the
    algorithm: "lowest-free", "original" for the one with bugs, or a server of your own (see
    `labkit.node.custom`), as a class or as the file that has it, "my_server.py:MyServer".
    `max_number` is the largest number; `env` further environment variables of the nodes. In a
    `private` lab other users of ZooKeeper can't even read its numbers.

    `zookeeper` names an ensemble that others run, "zk1:2181,zk2:2181/some/chroot", and `kazoo` how
    a kazoo client gets in: `auth_data`, `use_ssl`, `ca`, `certfile`, `keyfile`, `verify_certs`. See
    `labkit.lab.attached` for what is different then.
    """

    @taking(Settings)
    def __init__(self, settings: Settings) -> None:
        super().__init__(Core())
        self._settings = settings
        self.session_timeout = settings.session_timeout  # may be changed, for nodes made from then
        self.request_deadline = settings.request_deadline
        self._env = settings.environment()
        self._attached = settings.attached()
        self._core.private = settings.private
        if (given := settings.backup or self._attached) is not None:
            self._core.credential = given.credential
        self._recorder: Recorder | None = None
        self._nodes = Nodes(self._core)
        self._life = threading.RLock()  # held while the lab is started or closed
        self._starting = False
        self._is_only = False
        self._started = False
        #: The reason why it runs as processes though an engine answers; "" if there is none.
        self.note = ""
        self._zookeeper: ZooKeeperHandle | None = None
        self._zk: LabClient | None = None
        self._clients = LossyClients()
        self._crew: Crew | None = None

    # --- life ---------------------------------------------------------------------------------

    @classmethod
    @taking(Settings)
    def only(cls, settings: Settings) -> Lab:
        """Start a lab as this process's only one, closing those it has open: for a page's first
        cell, which a reader may run twice. The settings are `Lab`'s.
        """
        lab = cls(**vars(settings))
        lab._is_only = True
        return lab.start()

    @staticmethod
    def all_open() -> list[Lab]:
        """This process's labs that have been started and not closed."""
        return list(_open)

    def start(self, progress: Progress | None = None) -> Lab:
        """Start ZooKeeper, then the nodes; returns when all of them answer and are connected.

        A start that fails leaves nothing behind.
        """
        if not self._is_only:
            return self._start_once(progress)
        with _alone:
            for lab in self.all_open():
                if lab is not self:
                    lab.close()
            return self._start_once(progress)

    def _start_once(self, progress: Progress | None) -> Lab:
        self._core.require_reach()
        with self._life:
            if self._core.closing:  # a close was interrupted
                self.close()
            if self._core.backend is not None:
                return self
            if self._started:  # another ZooKeeper will count its transactions from 1 again
                self._core.timeline = Timeline()
            self._started = True
            _open.add(self)
            try:
                with self._core.verb("start", "lab") as report:
                    self._starting = True
                    try:
                        self._start(progress or report)
                    finally:
                        self._starting = False
            except BaseException as error:
                elsewhere = self._core.closing
                self.close()
                if elsewhere and isinstance(error, Exception):
                    raise InvalidTransition("This lab was closed while it started.") from error
                raise
            return self

    def _start(self, progress: Progress) -> None:
        wanted = self._settings
        reach_directly()  # before anything that inherits it is started
        if isinstance(wanted.backend, str) or wanted.backend is None:
            choice = choose(wanted.backend, progress, os.environ, wanted.engines)
            self._core.backend, self.note = choice
        else:
            self._core.backend = wanted.backend
            self._core.backend.prepare(progress)
        self._core.backend.require_room(wanted.nodes, 0 if self._attached else wanted.ensemble)
        self._zookeeper = self._create_zookeeper(self._core.backend, progress)
        self._zookeeper.launch()
        settings = self._node_settings()
        created = [self._nodes.create(settings) for _ in range(wanted.nodes)]
        progress("starting nodes", None)
        each(Node.launch, created)
        self._zookeeper.wait_serving()
        self._zk = LabClient(self._zookeeper, self._core).enter()
        if created and self._env["CLAIM"] != "original":  # the sample has to make it by itself
            self._zk.ensure_path(ROOT)  # before another user of this machine can
        each(Node.wait_connected, created)
        self._nodes.register()
        if wanted.record:
            self._recorder = Recorder(
                self.timeline,
                lambda: self._nodes.urls().items(),
                self._zk,
                servers=self._electing,
            )
            self._recorder.start()

    def _create_zookeeper(self, backend: Backend, progress: Progress) -> ZooKeeperHandle:
        if self._attached is not None:
            progress("connecting to ZooKeeper", None)
            backend.attach(self._attached.named, self._attached.chroot)
            return AttachedZooKeeper(self._core, self._attached)
        progress("starting ZooKeeper", None)
        names = [f"zookeeper{i}" for i in range(1, self._settings.ensemble + 1)]
        endpoints = backend.create_zookeeper(
            names, self._settings.of_zookeeper(self._core.superuser)
        )
        self._core.zookeepers = names
        for name in names:
            self._core.placed(name)
        return ZooKeeperHandle(self._core, endpoints, self._changed)

    def close(self) -> None:
        """Remove every server and all that they left. Idempotent; again, if it was interrupted."""
        self._core.require_reach()
        backend = self._core.backend
        self._core.closing = backend is not None  # whoever starts it is told
        if backend is not None and self._starting:
            backend.halt()
        with self._life, ExitStack() as steps:  # the last one first, whatever happens in one
            self._core.closing = self._core.backend is not None
            steps.callback(self._destroy)
            steps.callback(self._disconnect)
            steps.callback(self._stop_recording)

    def _stop_recording(self) -> None:
        if self._recorder is not None:
            self._recorder.stop()
            self._recorder = None

    def _disconnect(self) -> None:
        zk, self._zk = self._zk, None
        if zk is not None:
            # What kazoo cannot end in time ends with ZooKeeper, a moment later.
            with suppress(Exception):
                zk.stop()
                zk.close()
        if self._crew is not None:
            self._crew.close()
            self._crew = None
        self._clients.close()

    def _destroy(self) -> None:
        backend, zookeeper, urls = self._core.backend, self._zookeeper, self._nodes.urls()
        if backend is not None:
            try:
                if zookeeper is not None:
                    zookeeper.end_sessions(self.nodes)
                backend.destroy()
            except LabError:  # the watchdog goes on with it
                self._forget()
                raise
        if zookeeper is not None:
            zookeeper.part(urls, self.session_timeout + 2)
        self._forget()

    def _forget(self) -> None:
        self._core.backend, self._core.closing = None, False
        _open.discard(self)
        self._nodes.forget()
        self._core.born.clear()

    def __enter__(self) -> Lab:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- looking ------------------------------------------------------------------------------

    @property
    def timeline(self) -> Timeline:
        """Everything that has happened to this lab since its last start, as events."""
        return self._core.timeline

    @property
    def id(self) -> str:
        """What `labkit ps` calls it."""
        return self._core.running.lab_id

    @property
    def backend(self) -> str:
        """ "docker", "swarm" or "process": where the servers run."""
        return self._core.running.name

    @property
    def nodes(self) -> list[Node]:
        """The nodes, in the order of their names."""
        return self._nodes.all()

    def node(self, which: int | str | Node) -> Node:
        """A node by its number in the lab (`1`) or its name (`"node1"`); a node is itself."""
        return self._nodes.find(node_name(which))

    @property
    def machines(self) -> list[Machine]:
        """The machines that the servers run on; none if all of them are on this one."""
        names = self._core.running.machines
        return [Machine(self._core, name, self._servers, self.add_node) for name in names]

    def machine(self, name: str) -> Machine:
        """One of the machines. Raises `ServerNotFound`."""
        return machine.find(self.machines, name)

    def machine_of(self, server: Server) -> Machine:
        """The machine that a server is on. Raises `ServerNotFound` if there is but this one."""
        return self.machine(self._core.running.machine_of(server.name))

    def _servers(self) -> list[Server]:
        return [*self.zookeeper.servers, *self.nodes] if self.zookeeper.is_own else [*self.nodes]

    @property
    def zookeeper(self) -> ZooKeeperHandle:
        """The lab's ZooKeeper."""
        self._core.running  # noqa: B018 — raises the message that helps
        assert self._zookeeper is not None
        return self._zookeeper

    @property
    def zk(self) -> KazooClient:
        """A connected client of the lab's own, which no fault on a link touches."""
        self._core.running  # noqa: B018
        assert self._zk is not None
        return self._zk

    def client(
        self,
        name: str = "you",
        session_timeout: float = 10.0,
        server: ZooKeeperServer | None = None,
    ) -> LossyClient:
        """A connected client of yours, over a link of its own that can lose an answer.

        The lab closes it. `session_timeout` is in seconds. Of an ensemble it connects to any
        server, or only to the one given.
        """
        return self._clients.connect(
            name, self.zookeeper, session_timeout, self.timeline.now, server
        )

    def clients(self, nodes: Sequence[Node] | None = None) -> Clients:
        """Clients that ask all the time: `with lab.clients(): lab.node(1).kill()`.

        They ask `nodes`, or all that the lab has, those that come later too.
        """
        return Clients(self._core, lambda: self.nodes, nodes, self.request_deadline)

    def tap(self, name: str = "tap") -> Tap:
        """A link to ZooKeeper on which every byte is kept; any client can be connected over it."""
        return self._clients.tap(name, self.zookeeper)

    def crew(
        self,
        job: Callable[[Worker], object],
        names: str | Sequence[str],
        root: str,
        session_timeout: float = 2.0,
    ) -> Crew:
        """Workers that do a job, to be killed and paused: `lab.crew(work, "ann bob", "/lock")`.

        Each runs `job(worker)` in a thread of its own. What a worker holds are the ephemeral
        children of `root` in its session. A lab has one crew; another one ends the one before.
        """
        if self._crew is not None:
            self._crew.close()
        names = names.split() if isinstance(names, str) else names
        self._crew = Crew(
            self._core,
            self.zookeeper,
            self._clients.forwarder,
            job,
            names,
            root,
            session_timeout,
            partial(self.crew, job, names, root, session_timeout),
        )
        return self._crew.start()

    @property
    def workers(self) -> list[Worker]:
        """The workers of the lab's crew."""
        return [] if self._crew is None else list(self._crew.workers)

    def history(self) -> Timeline:
        """`timeline`, complete up to this moment.

        ZooKeeper's transaction log is merged in, and every node that answers has been asked once
        more: without that, the last fraction of a second would be missing.
        """
        if self._recorder is not None:
            self._recorder.catch_up(lambda name: self.node(name).known_state == ServerState.RUNNING)
        if self.zookeeper.is_own:
            transactions = self.zookeeper.transactions()
            assert self._zk is not None
            self.timeline.correct(self._zk.skew(transactions))
            self.timeline.merge_transactions(transactions)
        self.timeline.record(HistoryEvent("lab"))
        return self.timeline

    def tree(self, path: str = "/") -> Tree:
        """The znodes below `path`; ephemerals are marked with the session that owns them.

        Raises `BackendError` when ZooKeeper does not answer.
        """
        lines = look(self.zk, path)
        running = (node for node in self.nodes if node.known_state == ServerState.RUNNING)
        sessions = {session_of(node): node.name for node in running}
        return Tree(lines, sessions, {node.url: node.link for node in self.nodes})

    def zkcli(self, command: str) -> str:
        """What ZooKeeper's own command line prints for a command such as `ls /sequence`."""
        return self.zookeeper.zkcli(command)

    def wait_until(
        self, condition: Callable[[], T], timeout: float = 5.0, message: str | None = None
    ) -> T:
        """Wait until `condition()` is true, and return what it returned.

        A condition that raises `LabError` is not true yet, unless the lab is being closed. Raises
        `WaitTimeout` after `timeout` seconds.
        """
        return self._core.wait_until(condition, timeout, message)

    # --- verbs --------------------------------------------------------------------------------

    def add_node(self, *, env: Mapping[str, str] | None = None) -> Node:
        """Start one more node; `env` are environment variables of its own."""
        return self._nodes.add(1, self._node_settings(env))[0]

    def scale(self, count: int) -> None:
        """Have `count` nodes alive: kill the longest-lived ones, or start new ones.

        New nodes ask for their number at once, so that a dead one's number passes on.
        """
        require_between("nodes", count, 0, MAX_NODES)
        with self._core.verb("scale", "lab", nodes=count):
            alive = self.alive
            each(Node.kill, alive[: max(len(alive) - count, 0)])
            self._nodes.bury()
            for node in self._nodes.add(max(count - len(alive), 0), self._node_settings()):
                # The starting order decides who gets which number, as a reader expects.
                with suppress(NoAnswer, NodeUnreachable):
                    node.sequence()

    @property
    def alive(self) -> list[Node]:
        """The nodes that run or are paused, the longest-lived first."""
        return self._nodes.alive()

    # --- inside -------------------------------------------------------------------------------

    def new_id(self) -> int:
        """An id that no other event of this lab has."""
        return self._core.new_id()

    def _node_settings(self, own: Mapping[str, str] | None = None) -> NodeSettings:
        """The variables of a new node: the lab's, those of its ZooKeeper, and its own."""
        env = {
            "SESSION_TIMEOUT_MS": str(round(self.session_timeout * 1000)),
            "ZOOKEEPER_AUTH": self._core.credential,
            "ZOOKEEPER_PRIVATE": "1" if self._core.private else "",
            **self.zookeeper.environment,
            **self._env,
            **(own or {}),
        }
        return NodeSettings(env, self.zookeeper.files, self.request_deadline)

    def _changed(self, hosts: str) -> None:
        """Let the lab's own client know where ZooKeeper's servers are now."""
        if self._zk is not None:
            self._zk.set_hosts(hosts)

    def _electing(self) -> list[tuple[str, str, int]]:
        """The servers whose modes are of interest: one alone has nothing to elect."""
        zookeeper = self._zookeeper  # also while the lab is being closed: nobody has stopped it yet
        servers = zookeeper.servers if zookeeper and zookeeper.is_own else []
        addresses = [(s.name, s.endpoint.host, s.endpoint.port) for s in servers]
        return addresses if len(addresses) > 1 else []

    # --- display ------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Where it runs, and on which ZooKeeper, in a few words."""
        if self._core.backend is None:
            return "Lab, not running"
        names = {"docker": "in Docker", "swarm": "on a Swarm", "process": "as local processes"}
        where = names[self.backend]
        return f"Lab {where}, ZooKeeper {self._zookeeper.version if self._zookeeper else ''}"

    def _table(self) -> Table:
        zookeeper = self._zookeeper.servers if self._zookeeper is not None else []
        backend = self._core.backend
        return Table(self.title, self.note, [*zookeeper, *self.nodes] if backend else [], backend)

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()
