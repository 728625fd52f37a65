"""Servers as Docker containers: ZooKeeper's official image, and an image of the node built here.

Everything is made through the Docker SDK, so a remote engine works as well (`DOCKER_HOST`, or the
command line's current context). Everything carries the lab's id and its owner as labels.

A link is a network: every server is on the front network, where its port is published, and on one
for each ZooKeeper server that it talks to. To cut a link is to take the container off that network;
its URL stays. Addresses are fixed, so a healed link is the same link: connections that both ends
kept go on.

Environment: `LABKIT_ZOOKEEPER_IMAGE` (`zookeeper:3.9`), `LABKIT_PYTHON_IMAGE` (what the node's
image is built on, `python:3.12-slim`), `LABKIT_NODE_IMAGE` (use this one instead of building),
`LABKIT_PUBLISH=1` (an engine on another machine may publish the servers' ports there).
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import NotFound
from docker.types import EndpointConfig, LogConfig

from labkit.errors import (
    BackendError,
    BackendUnavailable,
    UnsupportedFault,
)
from labkit.servers import memory, registry, system
from labkit.servers.base import (
    LEFTOVERS,
    Endpoint,
    NodeSpec,
    OneMachine,
    Progress,
    ServerState,
    Verb,
    ZooKeeperSettings,
    changes,
    cli_input,
    each,
    require_known,
    require_link,
    require_may_change,
    require_new,
    require_running,
)
from labkit.servers.docker.engine import (
    HOST,
    LOOPBACK,
    RAISED,
    address_from_inside,
    connect,
    explained,
    is_elsewhere,
    published_address,
)
from labkit.servers.docker.images import (
    inspect_image,
    node_image,
    pull,
    version_of,
    zookeeper_image,
)
from labkit.servers.docker.inside import archive, run_zkcli
from labkit.servers.docker.leftovers import (
    forget,
    labels_of,
    leftovers,
    remove_lab_by,
    unremoved,
)
from labkit.servers.docker.networks import Networks
from labkit.servers.docker.server import DockerServer
from labkit.servers.links.fault import LinkFault
from labkit.servers.ports import Ports
from labkit.servers.zookeeper import config
from labkit.servers.zookeeper.config import CLIENT_PORT
from labkit.servers.zookeeper.words import cli_answer

HTTP_PORT = 80
_FILES = "/files"  # in a node

# What a container costs, measured.
_NODE_MEMORY = 60 * system.MEGABYTE
_ZOOKEEPER_MEMORY = 200 * system.MEGABYTE


class DockerBackend(OneMachine):
    """Runs servers as containers; see `Backend` for what the verbs promise."""

    name = "docker"

    def __init__(self, lab_id: str) -> None:
        self.lab_id = lab_id
        self._engines: list[docker.DockerClient] = []  # the first one makes networks
        self._labels = labels_of(lab_id)
        self._ports = Ports()
        self._servers: dict[str, DockerServer] = {}
        self._zookeepers: list[str] = []
        self._foreign = ""  # the connection string of an ensemble that is not ours
        self._networks: Networks = Networks(lambda: self._api, self._called, self._labels)
        self._settings = ZooKeeperSettings()
        self._observers: set[str] = set()
        self._lock = threading.Lock()
        self._zookeeper_image: dict[str, Any] = {}
        self._node_image = ""
        self._address = LOOPBACK

    def prepare(self, progress: Progress) -> None:
        progress("asking the Docker engine", None)
        self._engines = [connect()]
        self._address = published_address()
        self._remove_leftovers()
        with explained():
            self._get_images(self._engines[0], progress)
        registry.arm(self.lab_id, self.name)

    def _remove_leftovers(self) -> None:
        with explained():
            for lab_id in leftovers(self._engines):
                with suppress(BackendError):  # a leftover that the engine keeps does no harm
                    remove_lab_by(self._engines, lab_id, LEFTOVERS)
                    forget(lab_id)

    def _get_images(self, engine: docker.DockerClient, progress: Progress) -> None:
        pull(engine, zookeeper_image(), "LABKIT_ZOOKEEPER_IMAGE", progress)
        self._zookeeper_image = inspect_image(engine, zookeeper_image()) or {}
        self._node_image = node_image(engine, progress)

    def require_room(self, nodes: int, zookeepers: int = 0) -> None:
        what = f"{nodes} nodes" if nodes != 1 else "one node more"
        needed = nodes * _NODE_MEMORY + zookeepers * _ZOOKEEPER_MEMORY
        with explained():
            memory.require(needed, what, self._free_memory())

    def _free_memory(self) -> int:
        total: int = self._api.info()["MemTotal"]
        if is_elsewhere():
            return total
        return min(total, memory.free())  # a virtual machine's engine has a part of ours

    @property
    def zookeeper_version(self) -> str:
        return version_of(self._zookeeper_image, zookeeper_image())

    @property
    def _api(self) -> docker.APIClient:
        if not self._engines:
            raise BackendError("This backend has not been prepared; call prepare() first.")
        return self._engines[0].api

    def _place(self, name: str) -> docker.APIClient:
        """The engine that a new server of that name is to run on."""
        return self._api

    # --- creating -----------------------------------------------------------------------------

    def create_zookeeper(
        self, names: Sequence[str], settings: ZooKeeperSettings
    ) -> dict[str, Endpoint]:
        self._settings = settings
        settings.files()  # raises what is wrong with them, before anything is made
        with explained():
            self._networks.create_front()
            self._networks.create_links(names)
            for name in names:
                self._new_server(name, None)
            self._zookeepers = list(names)
            each(lambda name: self._create_server(self._servers[name]), names)
        return {name: self._servers[name].endpoint for name in names}

    def attach(self, servers: Mapping[str, Endpoint], chroot: str) -> None:
        reached = (Endpoint(address_from_inside(at.host), at.port) for at in servers.values())
        self._foreign = ",".join(map(str, reached)) + chroot
        with explained():
            self._networks.create_front()

    def create_member(self, name: str, observer: bool = False) -> Endpoint:
        require_new(name, self._servers)
        require_may_change(self._settings, self._zookeepers)
        before = list(self._servers.values())
        server = self._new_server(name, None)
        try:
            with explained():
                self._networks.create_links([name])
                self._observers |= {name} if observer else set()
                self._zookeepers = [*self._zookeepers, name]
                self._create_server(server)
                for other in before:
                    self._connect_link(other, name)
        except BaseException:
            self._abandon(server)
            raise
        return server.endpoint

    def membership(self, name: str) -> str:
        require_known(name, dict.fromkeys(self._zookeepers))
        require_may_change(self._settings, self._zookeepers)
        return f"server.{config.server_id(name)}={self._peer(name)}"

    def _peer(self, name: str) -> config.Peer:
        # Addresses and no names: a server tells the others its own, and it has several.
        number, address = config.server_id(name), self._address_of(name)
        observer = name in self._observers
        return config.Peer(number, address, 2888, 3888, str(CLIENT_PORT), observer)

    def _new_server(self, name: str, port: int | None) -> DockerServer:
        api = self._place(name)
        with self._lock:
            taken = {server.number for server in self._servers.values()}
            number = next(n for n in itertools.count() if n not in taken)
            # Whether the port is free on another machine cannot be asked beforehand.
            port = self._ports.reserve(port if self._address == LOOPBACK else None)
            endpoint = Endpoint(self._address, port)
            server = DockerServer(name, self._called(name), number, endpoint, api)
            self._servers[name] = server
        return server

    def _create_server(self, server: DockerServer) -> None:
        server.api.create_volume(server.container, labels=self._labels)
        peers = [self._peer(name) for name in self._zookeepers]
        number = config.server_id(server.name)
        environment = config.environment(self._settings, number, peers)
        # Volumes that the image declares and nobody needs would be made without a label.
        declared = self._zookeeper_image["Config"].get("Volumes") or {}
        self._create_container(
            server,
            self._zookeeper_image["Id"],
            CLIENT_PORT,
            environment,
            aliases=[server.name],
            user="zookeeper",
            binds={server.container: {"bind": "/data", "mode": "rw"}},
            tmpfs={path: "mode=1777" for path in declared if path != "/data"},
        )
        if files := self._settings.files():
            server.api.put_archive(server.container, "/", archive(config.CONTAINER_FILES, files))
        if self._settings.backup is not None:
            server.api.put_archive(server.container, "/data", self._settings.backup)

    def create_node(self, spec: NodeSpec) -> Endpoint:
        require_new(spec.name, self._servers)
        server = self._new_server(spec.name, spec.port)
        try:
            self._create_node(server, spec)
        except BaseException:
            self._abandon(server)
            raise
        return server.endpoint

    def _abandon(self, server: DockerServer) -> None:
        """Remove a server whose creation failed, also from the engine if it still answers."""
        with suppress(BackendError, *RAISED):
            server.api.remove_container(server.container, v=True, force=True)
        self._forget(server)

    def _create_node(self, server: DockerServer, spec: NodeSpec) -> None:
        # Addresses, because a name would lead around a link that is cut: over the front.
        links = (f"{self._address_of(name)}:{CLIENT_PORT}" for name in self._zookeepers)
        environment = {
            "NODE_NAME": spec.name,
            **spec.env,
            **{variable: f"{_FILES}/{variable}" for variable in spec.files},
            "ZOOKEEPER_HOSTS": self._foreign or ",".join(links),
            "PORT": str(HTTP_PORT),
            "NODE_URL": f"http://{server.endpoint}",
        }
        with explained():
            self._create_container(
                server,
                self._node_image,
                HTTP_PORT,
                environment,
                aliases=[spec.name, "node"],  # as with compose, `http://node/` is all of them
                read_only=True,
                tmpfs={"/tmp": ""},
                **self._files_of(server, spec),
            )
            if spec.files:
                files = {variable: path.read_bytes() for variable, path in spec.files.items()}
                server.api.put_archive(server.container, _FILES, archive(".", files))

    def _files_of(self, server: DockerServer, spec: NodeSpec) -> dict[str, Any]:
        """What a node needs to have files, and to reach this machine."""
        settings: dict[str, Any] = {"extra_hosts": {HOST: "host-gateway"}} if self._foreign else {}
        if spec.files:  # in a volume, because nothing else of it can be written to
            server.api.create_volume(server.container, labels=self._labels)
            settings["binds"] = {server.container: {"bind": _FILES, "mode": "rw"}}
        return settings

    def _forget(self, server: DockerServer) -> None:
        """Give back what a server that will not run again has: its port, its number, its name."""
        if server.name in self._zookeepers:
            self._zookeepers = [name for name in self._zookeepers if name != server.name]
            self._observers.discard(server.name)
            self._networks.remove_link(server.name)
        self._ports.release(server.endpoint.port)
        with self._lock:
            self._servers.pop(server.name, None)

    def _create_container(
        self,
        server: DockerServer,
        image: str,
        port: int,
        environment: dict[str, str],
        *,
        aliases: list[str],
        user: str | None = None,
        **host: Any,
    ) -> None:
        """Create a container on its networks, with one port published and no privileges."""
        front = self._called("front")
        server.api.create_container(
            image,
            name=server.container,
            hostname=server.name,
            user=user,
            environment=environment,
            labels=self._labels,
            ports=[port],
            healthcheck={"test": ["NONE"]},  # the lab asks by itself, and more often
            networking_config={
                "EndpointsConfig": {front: EndpointConfig(server.api.api_version, aliases=aliases)}
            },
            host_config=server.api.create_host_config(
                network_mode=front,
                port_bindings=self._published(server, port),
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                # Whatever the engine's default is, these logs can be read back.
                log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "20m"}),
                **host,
            ),
        )
        for name in self._zookeepers:
            self._connect_link(server, name)

    def _published(self, server: DockerServer, port: int) -> dict[int | str, Any]:
        """Where a port of a server's container is to be had on its engine's machine."""
        return {port: (server.endpoint.host, server.endpoint.port)}

    def _called(self, what: str) -> str:
        return f"labkit-{self.lab_id}-{what}"

    # --- links --------------------------------------------------------------------------------

    def _address_of(self, name: str, seen_by: str | None = None) -> str:
        """A server's address on a ZooKeeper server's network (its own, if that is not given)."""
        return self._networks.address(self._server(name).number, seen_by or name)

    def _connect_link(self, server: DockerServer, target: str) -> None:
        server.api.connect_container_to_network(
            server.container,
            self._called(f"link-{target}"),
            ipv4_address=self._address_of(server.name, target),
        )

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        self._server(source)
        if self._foreign:
            raise UnsupportedFault(
                f"{source} reaches a ZooKeeper that is not the lab's by the network that its port "
                "is published on, so Docker can't cut that link. Processes have links that can be "
                "cut: Lab(backend='process')."
            )
        require_link(target, self._zookeepers)
        if fault is not None and (fault.kind, fault.direction) != ("drop", "both"):
            raise UnsupportedFault(
                "In Docker a link can only be cut silently and in both directions (kind 'drop', "
                f"direction 'both'), not {fault.kind!r} in direction {fault.direction!r}. The "
                "process backend can do that: Lab(backend='process')."
            )
        if source == target:
            return
        network = self._called(f"link-{target}")
        with self._locked(source) as server:
            details = server.api.inspect_container(server.container)
            whole = network in details["NetworkSettings"]["Networks"]
            if fault is None and not whole:
                self._connect_link(server, target)
            elif fault is not None and whole:
                server.api.disconnect_container_from_network(server.container, network)

    # --- verbs --------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self._change("start", name, lambda server: server.api.start(server.container))

    def stop(self, name: str, grace: float = 5.0) -> None:
        self._change(
            "stop",
            name,
            lambda server: server.api.stop(server.container, timeout=math.ceil(grace)),
        )

    def kill(self, name: str) -> None:
        self._change("kill", name, DockerServer.kill)

    def pause(self, name: str) -> None:
        self._change("pause", name, DockerServer.pause)

    def resume(self, name: str) -> None:
        self._change("resume", name, lambda server: server.api.unpause(server.container))

    def remove(self, name: str) -> None:
        with self._locked(name) as server:
            changes("remove", name, self._state(server))
            with suppress(NotFound):
                server.api.remove_container(server.container, v=True)
            with suppress(NotFound):
                server.api.remove_volume(server.container)
            self._forget(server)

    # --- looking ------------------------------------------------------------------------------

    def state(self, name: str) -> ServerState:
        server = self._servers.get(name)
        if server is None:
            return ServerState.GONE
        with explained(name):
            return self._state(server)

    def logs(self, name: str, tail: int = 50) -> str:
        with self._reading(name) as server:
            printed: bytes = server.api.logs(server.container, tail=tail)
        return printed.decode(errors="replace").rstrip("\n")

    def zkcli(self, command: str, credential: str = "", timeout: float = 30.0) -> str:
        told = cli_input(command, credential)
        name = require_running(self._zookeepers, self.state, command)
        hosts = ",".join(f"{zk}:{CLIENT_PORT}" for zk in self._zookeepers)
        with self._reading(name) as server:
            printed, code = run_zkcli(server.api, server.container, hosts, told, command, timeout)
        return cli_answer(command, printed, code)

    def backup(self, name: str) -> bytes:
        with self._reading(name) as server:
            return server.data()

    def transaction_logs(self, name: str) -> list[bytes]:
        with self._reading(name) as server:
            return server.transaction_logs()

    # --- the end ------------------------------------------------------------------------------

    def halt(self) -> None:
        pass  # an engine that has been told to start something can't be told to hurry

    def destroy(self) -> None:
        try:
            if self._engines:
                with explained():
                    remove_lab_by(self._engines, self.lab_id)
        except BackendUnavailable:
            # The watchdog stays: it tries when this process ends, and the next lab before that.
            unremoved.add(self.lab_id)
            raise
        finally:
            each(docker.DockerClient.close, self._engines)
            self._servers.clear()
            self._zookeepers.clear()
            self._ports.close()
        forget(self.lab_id)

    # --- inside -------------------------------------------------------------------------------

    def _server(self, name: str) -> DockerServer:
        return require_known(name, self._servers)

    @contextmanager
    def _reading(self, name: str) -> Iterator[DockerServer]:
        with explained(name):
            yield self._server(name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[DockerServer]:
        server = self._server(name)
        with server.lock, explained(name):
            yield server

    def _change(self, verb: Verb, name: str, work: Callable[[DockerServer], object]) -> None:
        """Do it while nobody else changes the server, unless there is nothing to do.

        Raises `ServerNotFound` if its container is gone.
        """
        with self._locked(name) as server:
            if changes(verb, name, server.state):
                work(server)

    def _state(self, server: DockerServer) -> ServerState:
        try:
            return server.state
        except NotFound:
            return ServerState.GONE
