"""Servers as local processes: ZooKeeper in Java, nodes in Python, every link through a forwarder.

Needs an installed ZooKeeper and no privileges. Servers live in sessions of their own, so that
interrupting a notebook's cell does not touch them.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil

from labkit.errors import BackendError, PortInUse, UnsupportedFault
from labkit.servers import memory, reaper, registry, system
from labkit.servers.base import (
    Endpoint,
    NodeSpec,
    OneMachine,
    Progress,
    ServerState,
    Verb,
    ZooKeeperSettings,
    changes,
    cli_input,
    require_known,
    require_link,
    require_may_change,
    require_new,
    require_running,
    wait_until,
)
from labkit.servers.helper import ENDED, LAB_VARIABLE, Answer, Helper, HelperError
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.remote import RemoteForwarder
from labkit.servers.ports import Ports, is_free
from labkit.servers.system import MEGABYTE, explained, raise_file_limit
from labkit.servers.zookeeper import config, install
from labkit.servers.zookeeper.words import cli_answer

_LOOPBACK = "127.0.0.1"

# What a server costs, measured: a node shares with the others what their parent has loaded.
_NODE_MEMORY = 17 * MEGABYTE
_ZOOKEEPER_MEMORY = 150 * MEGABYTE
_OTHER_FILES = 200  # that a notebook's kernel has open, or ZooKeeper's Java

_OF_JAVA = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")

_LOOK = 0.002  # seconds between two looks at a fact that the system announces to nobody


@dataclass
class _ProcessServer:
    """One server: how to launch it, and the process it last was."""

    name: str
    endpoint: Endpoint
    log: Path
    launch: Callable[[], psutil.Process | None]
    process: psutil.Process | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def state(self) -> ServerState:
        if self.process is None:
            return ServerState.STOPPED
        try:
            status = self.process.status() if self.process.is_running() else psutil.STATUS_DEAD
        except psutil.NoSuchProcess:
            status = psutil.STATUS_DEAD
        if status in (psutil.STATUS_DEAD, psutil.STATUS_ZOMBIE):
            return ServerState.STOPPED
        return ServerState.PAUSED if status == psutil.STATUS_STOPPED else ServerState.RUNNING


class ProcessBackend(OneMachine):
    """Runs servers as processes of this machine; see `Backend` for what the verbs promise."""

    name = "process"

    def __init__(self, lab_id: str) -> None:
        self.lab_id = lab_id
        self._directory = registry.directory(lab_id)
        self._servers: dict[str, _ProcessServer] = {}
        self._zookeepers: dict[str, Endpoint] = {}
        self._chroot = ""  # of an ensemble that is not ours
        self._settings = ZooKeeperSettings()
        self._members: dict[str, config.Peer] = {}  # of an ensemble that may change
        self._forwarder = RemoteForwarder(lab_id, self._directory / "links.log")
        self._zygote = _Zygote(lab_id, self._directory)
        self._ports = Ports()
        self._installation: install.Installation | None = None

    @explained()
    def prepare(self, progress: Progress) -> None:
        progress("finding ZooKeeper", None)
        raise_file_limit()
        self._installation = install.find_installation()
        registry.arm(self.lab_id, self.name)
        self._forwarder.start()
        self._zygote.launch()  # loads what nodes need while ZooKeeper starts

    def require_room(self, nodes: int, zookeepers: int = 0) -> None:
        what = f"{nodes} nodes" if nodes != 1 else "one node more"
        all_zookeepers = zookeepers + len(self._zookeepers)
        all_nodes = nodes + len(self._servers.keys() - self._zookeepers.keys())
        # A link listens, and has two ends; whoever asks has a connection or two to every node.
        links = 3 * all_zookeepers * (all_nodes + 2 * all_zookeepers)
        system.require_files(max(links, 3 * all_nodes) + _OTHER_FILES, what)
        needed = nodes * _NODE_MEMORY + zookeepers * _ZOOKEEPER_MEMORY
        memory.require(needed, what, memory.free())

    @property
    def zookeeper_version(self) -> str:
        return self._installed.version

    @property
    def _installed(self) -> install.Installation:
        if self._installation is None:
            raise BackendError("This backend has not been prepared; call prepare() first.")
        return self._installation

    # --- creating -----------------------------------------------------------------------------

    @explained()
    def create_zookeeper(
        self, names: Sequence[str], settings: ZooKeeperSettings
    ) -> dict[str, Endpoint]:
        system.require_space()
        self._settings = settings
        clients = {name: Endpoint(_LOOPBACK, self._ports.reserve()) for name in names}
        peers: dict[str, list[config.Peer]] = {}
        if len(names) > 1 and settings.may_change:
            self._members = {name: self._member(name, at) for name, at in clients.items()}
            peers = {name: list(self._members.values()) for name in names}
        elif len(names) > 1:
            peers = self._peers(names)
        for name, endpoint in clients.items():
            self._servers[name] = self._create_server(name, endpoint, peers.get(name, ()))
        self._zookeepers.update(clients)
        return clients

    def attach(self, servers: Mapping[str, Endpoint], chroot: str) -> None:
        self._zookeepers, self._chroot = dict(servers), chroot

    def _create_server(
        self, name: str, endpoint: Endpoint, peers: Sequence[config.Peer]
    ) -> _ProcessServer:
        home = self._directory / name
        (home / "data").mkdir(parents=True)
        (home / "data" / "myid").write_text(f"{config.server_id(name)}\n")
        (home / config.FILES).mkdir(mode=0o700)
        for copy, content in self._settings.files().items():
            (home / config.FILES / copy).write_bytes(content)
        if self._settings.backup is not None:
            with tarfile.open(fileobj=io.BytesIO(self._settings.backup)) as tar:
                tar.extractall(home / "data", filter="data")
        config.write_logging_configuration(home)
        written = config.zoo_cfg(endpoint.port, self._settings, peers)
        (home / "zoo.cfg").write_text(written)
        launch = partial(
            self._launch_java, self._installed.server_command("./zoo.cfg"), home / "log"
        )
        return _ProcessServer(name, endpoint, home / "log", launch)

    def _member(self, name: str, at: Endpoint, observer: bool = False) -> config.Peer:
        """A server of an ensemble that may change: all know it by one address, and no link."""
        quorum, election = self._ports.reserve(), self._ports.reserve()
        number = config.server_id(name)
        return config.Peer(number, _LOOPBACK, quorum, election, str(at), observer)

    @explained()
    def create_member(self, name: str, observer: bool = False) -> Endpoint:
        require_new(name, self._servers)
        require_may_change(self._settings, list(self._members))
        system.require_space()
        endpoint = Endpoint(_LOOPBACK, self._ports.reserve())
        nodes = [known for known in self._servers if known not in self._zookeepers]
        try:
            self._members[name] = self._member(name, endpoint, observer)
            self._servers[name] = self._create_server(name, endpoint, list(self._members.values()))
            self._zookeepers[name] = endpoint
            for node in nodes:  # for nodes that come to know of it
                self._forwarder.link(node, name, (endpoint.host, endpoint.port))
        except BaseException:
            self._forget(name, endpoint)
            raise
        return endpoint

    def membership(self, name: str) -> str:
        require_known(name, self._members)
        return f"server.{self._members[name].server_id}={self._members[name]}"

    def backup(self, name: str) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(self._server(name).log.parent / "data" / "version-2", "version-2")
        return packed.getvalue()

    def _peers(self, names: Sequence[str]) -> dict[str, list[config.Peer]]:
        """For each server of an ensemble, all of them as it reaches them: the others by links."""
        own = {
            name: config.Peer(number, _LOOPBACK, self._ports.reserve(), self._ports.reserve())
            for number, name in enumerate(names, start=1)
        }
        seen = {name: dict(own) for name in names}
        for source, target in itertools.permutations(names, 2):
            peer = own[target]
            # A follower that finds its leader not listening yet starts a new election. A refusal
            # would have made it try again, but behind a link it has connected already.
            quorum = self._forwarder.link(
                source, target, (_LOOPBACK, peer.quorum_port), channel="quorum", retry=2.0
            )
            election = self._forwarder.link(
                source, target, (_LOOPBACK, peer.election_port), channel="election"
            )
            seen[source][target] = replace(peer, quorum_port=quorum, election_port=election)
        for source, target in itertools.permutations(names, 2):
            announced, linked = own[source].election_port, seen[target][source].election_port
            self._forwarder.translate(
                source, target, "election", f"{_LOOPBACK}:{announced}", f"{_LOOPBACK}:{linked}"
            )
        return {name: list(peers.values()) for name, peers in seen.items()}

    @explained()
    def create_node(self, spec: NodeSpec) -> Endpoint:
        require_new(spec.name, self._servers)
        system.require_space()
        endpoint = Endpoint(_LOOPBACK, self._ports.reserve(spec.port))
        try:
            links = [
                self._forwarder.link(spec.name, name, (zk.host, zk.port))
                for name, zk in self._zookeepers.items()
            ]
            environ = {
                "NODE_NAME": spec.name,
                **spec.env,
                **{variable: str(path) for variable, path in spec.files.items()},
                "ZOOKEEPER_HOSTS": ",".join(f"{_LOOPBACK}:{at}" for at in links) + self._chroot,
                "HOST": endpoint.host,
                "PORT": str(endpoint.port),
                "NODE_URL": f"http://{endpoint}",
            }
            log = self._directory / f"{spec.name}.log"
            self._servers[spec.name] = _ProcessServer(
                spec.name, endpoint, log, lambda: self._zygote.fork(log, environ)
            )
        except BaseException:
            self._forget(spec.name, endpoint)
            raise
        return endpoint

    def _forget(self, name: str, endpoint: Endpoint) -> None:
        """Give back what a server that will not run again has: its port, its links, its name."""
        self._servers.pop(name, None)
        if self._zookeepers.pop(name, None):
            shutil.rmtree(self._directory / name, ignore_errors=True)
        if member := self._members.pop(name, None):
            self._ports.release(member.quorum_port)
            self._ports.release(member.election_port)
        self._ports.release(endpoint.port)
        self._forwarder.unlink(name)

    # --- verbs --------------------------------------------------------------------------------

    @explained()
    def start(self, name: str) -> None:
        with self._changing("start", name) as server:
            if server is not None:
                system.require_space()
                _require_free(server)
                server.process = server.launch()

    def stop(self, name: str, grace: float = 5.0) -> None:
        with self._changing("stop", name) as server:
            if server is not None:
                self._signal(server, signal.SIGTERM)
                if not self._wait_dead(server, grace):
                    self._signal(server, signal.SIGKILL)
                    self._wait_dead(server, 5)

    def kill(self, name: str) -> None:
        with self._changing("kill", name) as server:
            if server is not None:
                self._signal(server, signal.SIGKILL)
                self._wait_dead(server, 5)

    def pause(self, name: str) -> None:
        with self._changing("pause", name) as server:
            if server is not None:
                self._signal(server, signal.SIGSTOP)
                wait_until(lambda: server.state() is not ServerState.RUNNING, 2, _LOOK)

    def resume(self, name: str) -> None:
        with self._changing("resume", name) as server:
            if server is not None:
                self._signal(server, signal.SIGCONT)
                wait_until(lambda: server.state() is not ServerState.PAUSED, 2, _LOOK)

    def remove(self, name: str) -> None:
        with self._changing("remove", name) as server:
            if server is not None:
                self._forget(name, server.endpoint)
                with suppress(FileNotFoundError):
                    server.log.unlink()

    # --- looking ------------------------------------------------------------------------------

    def state(self, name: str) -> ServerState:
        server = self._servers.get(name)
        return ServerState.GONE if server is None else server.state()

    def logs(self, name: str, tail: int = 50) -> str:
        try:
            lines = self._server(name).log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-tail:])

    @explained()
    def zkcli(self, command: str, credential: str = "", timeout: float = 30.0) -> str:
        told = cli_input(command, credential)
        system.require_space()
        name = require_running(self._zookeepers, self.state, command)
        hosts = ",".join(map(str, self._zookeepers.values()))
        home = self._directory / name
        argv = self._installed.cli_command(hosts)
        try:
            done = subprocess.run(
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                input=told,
                timeout=timeout,
                env=self._environ(),
                cwd=home,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise BackendError(
                f"zkCli.sh {command!r} gave no answer in {timeout:g} s. Has ZooKeeper a quorum?"
            ) from None
        return cli_answer(command, done.stdout, done.returncode)

    def transaction_logs(self, name: str) -> list[bytes]:
        server = self._server(name)
        files = (server.log.parent / "data" / "version-2").glob("log.*")
        return [path.read_bytes() for path in sorted(files, key=lambda p: int(p.suffix[1:], 16))]

    # --- links --------------------------------------------------------------------------------

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        self._server(source)
        require_link(target, self._zookeepers)
        if source in self._members and fault is not None:
            raise UnsupportedFault(
                "The servers of an ensemble that may change reach each other without a link that "
                f"could be cut, so {source} can't be cut off. Kill or pause it instead, or use "
                "Docker: Lab(backend='docker')."
            )
        if source != target and source not in self._members:
            self._forwarder.fault(source, target, fault)

    # --- the end ------------------------------------------------------------------------------

    def halt(self) -> None:
        self._zygote.close()
        for server in list(self._servers.values()):
            if server.state() is not ServerState.STOPPED:
                self._signal(server, signal.SIGKILL)

    def destroy(self) -> None:
        self.halt()
        for server in list(self._servers.values()):
            self._wait_dead(server, 5)
        reaper.kill_processes(self.lab_id)  # processes that an interrupted start has left
        self._servers.clear()
        self._zookeepers.clear()
        self._members.clear()
        self._forwarder.close()
        self._ports.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        registry.disarm(self.lab_id)

    # --- inside -------------------------------------------------------------------------------

    def _server(self, name: str) -> _ProcessServer:
        return require_known(name, self._servers)

    @contextmanager
    def _changing(self, verb: Verb, name: str) -> Iterator[_ProcessServer | None]:
        """The server while nobody else changes it; None if the verb has nothing to do."""
        server = self._server(name)
        with server.lock:
            yield server if changes(verb, name, server.state()) else None

    def _environ(self) -> dict[str, str]:
        # In some locales Java cannot name every file. Where this one is missing, nothing changes.
        locale = {"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {}
        # Java prints a line about these variables into its output; an agent may print anything.
        inherited = {name: text for name, text in os.environ.items() if name not in _OF_JAVA}
        return {**inherited, **locale, LAB_VARIABLE: self.lab_id}

    def _launch_java(self, command: list[str], log: Path) -> psutil.Process:
        with open(log, "ab") as output:
            return psutil.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=self._environ(),
                start_new_session=True,
            )

    @staticmethod
    def _signal(server: _ProcessServer, number: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            assert server.process is not None
            server.process.send_signal(number)

    @staticmethod
    def _wait_dead(server: _ProcessServer, timeout: float) -> bool:
        if isinstance(server.process, psutil.Popen):
            with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                server.process.wait(timeout)  # our own child: reap it
        dead = wait_until(lambda: server.state() is ServerState.STOPPED, timeout, _LOOK)
        if dead:  # a dead process may still have a thread that holds a socket
            wait_until(lambda: is_free(server.endpoint.port), 1, _LOOK)
        return dead


def _require_free(server: _ProcessServer) -> None:
    if not wait_until(lambda: is_free(server.endpoint.port), 1, _LOOK):  # it may just have crashed
        raise PortInUse(
            f"Port {server.endpoint.port}, which belongs to {server.name}, is in use by another "
            f"program. End that one (`lsof -i :{server.endpoint.port}` names it) and start "
            f"{server.name} again, or add a new node."
        )


class _Zygote:
    """The process that forks this lab's nodes, launched again if it has died."""

    def __init__(self, lab_id: str, directory: Path) -> None:
        self._helper = Helper("labkit.servers.process.zygote", lab_id, directory / "zygote.log")
        self.launch = self._helper.launch
        self.close = self._helper.close  # its nodes are the backend's to end

    def fork(self, log: Path, environ: dict[str, str]) -> psutil.Process | None:
        """Start a node; its process, or None if it has ended already (its log says why)."""
        for _ in range(2):
            birth: Answer = Answer()
            try:
                self._helper.order(birth, {"log": str(log), "environ": environ}, again=True)
                return _process(birth.result())
            except HelperError as error:
                if error.kind != ENDED:
                    raise BackendError(f"The system starts no more processes: {error}.") from error
            except BaseException:
                birth.add_done_callback(_undo)
                raise
        raise BackendError(
            "The process that starts nodes ended twice. Its last log lines:\n"
            + self._helper.last_words()
        )


def _process(pid: int) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def _undo(birth: Answer) -> None:
    """Kill the node of an order that was interrupted."""
    if birth.exception() is None and (node := _process(birth.result())) is not None:
        with suppress(psutil.NoSuchProcess):
            node.kill()
