"""Servers as containers on several machines: the Docker backend over the engines of a Swarm.

The containers are plain ones, so every verb works on them; the Swarm gives the networks that span
the machines. Servers are placed in turn: each ZooKeeper server on a machine of its own, as long as
there are enough. Images are got, or built, once, and handed to every engine.

No port is published: servers are reached through a tunnel from loopback ports of this machine.

Environment: `LABKIT_ENGINES`, the machines' engines, separated by commas (`ssh://host`, the name of
a Docker context, `unix:///path`); and that of the Docker backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import docker
from docker.errors import APIError

from labkit.errors import ConfigError
from labkit.servers import memory, registry
from labkit.servers.base import Endpoint, Progress, ZooKeeperSettings, each
from labkit.servers.docker.backend import HTTP_PORT, DockerBackend
from labkit.servers.docker.engine import HOST, LOOPBACK, address_from_inside, explained
from labkit.servers.docker.engines import HOW, Engine, join, named, source
from labkit.servers.docker.images import hand_over
from labkit.servers.docker.networks import Overlays
from labkit.servers.docker.server import DockerServer
from labkit.servers.docker.tunnel import Tunnel
from labkit.servers.zookeeper.config import CLIENT_PORT

_TIMEOUT = 75.0  # seconds for a Swarm to free an address, or to bring a network to a machine
_NOT_YET = (
    *("deadline exceeded", "already in use", "could not allocate", "attaching to network"),
    "not found",  # a network that is only now brought to the machine
)


class SwarmBackend(DockerBackend):
    """Runs servers as containers of several engines; see `Backend` for what the verbs promise."""

    name = "swarm"

    def __init__(self, lab_id: str, engines: Sequence[str] = ()) -> None:
        super().__init__(lab_id)
        self._wanted = engines
        self._at: list[Engine] = []  # the Swarm's manager first
        self._drained: set[str] = set()
        #: Which machines of the Swarm are not used; "" if all are.
        self.note = ""
        self._tunnel = Tunnel(lab_id, lambda: registry.directory(lab_id) / "tunnel.log")
        self._networks = Overlays(
            lambda: [engine.client.api for engine in self._at], self._called, self._labels
        )

    def prepare(self, progress: Progress) -> None:
        progress("asking the machines' engines", None)
        urls = named(self._wanted)
        self._at, unused = join(urls)
        self.machines = [engine.name for engine in self._at]
        if unused:
            self.note = (
                f"The Swarm has machines that the lab does not use: {', '.join(unused)}. {HOW}"
            )
        self._engines = [engine.client for engine in self._at]
        self._address = LOOPBACK
        self._remove_leftovers()
        builder = source(self._at)
        try:
            with explained():
                self._get_images(builder, progress)
                self._node_image = builder.api.inspect_image(self._node_image)["Id"]
                images = self._zookeeper_image["Id"], self._node_image
                each(lambda engine: hand_over(builder, engine, images, progress), self._engines)
        finally:
            builder.close()
        registry.arm(self.lab_id, self.name, urls)

    def _free_memory(self) -> int:
        far = [engine for engine in self._at if not engine.url.startswith("unix:")]
        total = sum(int(engine.client.api.info()["MemTotal"]) for engine in far)
        return total + (memory.free() if len(far) < len(self._at) else 0)

    # --- machines -----------------------------------------------------------------------------

    def machine_of(self, name: str) -> str:
        return self._engine_of(self._server(name)).name

    def _engine_of(self, server: DockerServer) -> Engine:
        return next(engine for engine in self._at if engine.client.api is server.api)

    def drain(self, machine: str, drained: bool) -> None:
        with self._lock:
            others = self._drained - {machine}
            if drained and set(self.machines) <= others | {machine}:
                raise ConfigError(f"No machine but {machine} takes new servers.")
            self._drained = others | {machine} if drained else others

    def _place(self, name: str) -> docker.APIClient:
        """Where the fewest servers of its kind are."""
        api = self._api  # raises if there is none
        with self._lock:
            kind = name.rstrip("0123456789")
            alike = [s.api for n, s in self._servers.items() if n.rstrip("0123456789") == kind]
            free = (engine for engine in self._at if engine.name not in self._drained)
            apis = [engine.client.api for engine in free]
            return min(apis, key=alike.count, default=api)

    # --- creating -----------------------------------------------------------------------------

    def create_zookeeper(
        self, names: Sequence[str], settings: ZooKeeperSettings
    ) -> dict[str, Endpoint]:
        endpoints = super().create_zookeeper(names, settings)
        self._start_relays()
        return endpoints

    def create_member(self, name: str, observer: bool = False) -> Endpoint:
        endpoint = super().create_member(name, observer)
        relay, network = self._called("relay"), self._called(f"link-{name}")
        for engine in self._at:
            connect = engine.client.api.connect_container_to_network
            _in_time(partial(connect, relay, network))
        return endpoint

    def attach(self, servers: Mapping[str, Endpoint], chroot: str) -> None:
        for at in servers.values():
            if address_from_inside(at.host) == HOST:
                raise ConfigError(
                    f"{at.host} is this machine's loopback address, which no other machine "
                    "reaches. Name ZooKeeper by an address that all of them reach."
                )
        super().attach(servers, chroot)
        self._start_relays()

    def _start_relays(self) -> None:
        with explained():
            each(self._start_relay, [engine.client.api for engine in self._at])

    def _start_relay(self, api: docker.APIClient) -> None:
        """A container that idles: the tunnel runs a program in it.

        It is on all networks: with its last container a network would leave a machine, and those
        that come back would get in each other's way.
        """
        front, relay = self._called("front"), self._called("relay")
        api.create_container(
            self._node_image,
            ["python", "-c", "import signal; signal.pause()"],
            name=relay,
            labels=self._labels,
            healthcheck={"test": ["NONE"]},
            host_config=api.create_host_config(
                network_mode=front,
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                restart_policy={"Name": "always"},  # its machine may go down, and come back
            ),
        )
        for name in self._zookeepers:
            api.connect_container_to_network(relay, self._called(f"link-{name}"))
        _in_time(lambda: api.start(relay))

    def _published(self, server: DockerServer, port: int) -> dict[int | str, Any]:
        return {}

    def _connect_link(self, server: DockerServer, target: str) -> None:
        _in_time(partial(super()._connect_link, server, target))

    # --- verbs --------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        def start(server: DockerServer) -> None:
            _in_time(lambda: server.api.start(server.container))
            port = CLIENT_PORT if name in self._zookeepers else HTTP_PORT
            to = f"{server.address(self._called('front'))}:{port}"
            self._tunnel.open(
                server.endpoint.port, self._engine_of(server).url, self._called("relay"), to
            )

        self._change("start", name, start)

    def stop(self, name: str, grace: float = 5.0) -> None:
        super().stop(name, grace)
        self._tunnel.shut(self._server(name).endpoint.port)

    def kill(self, name: str) -> None:
        super().kill(name)
        self._tunnel.shut(self._server(name).endpoint.port)

    def destroy(self) -> None:
        self._tunnel.close()
        super().destroy()


def _in_time(work: Callable[[], object]) -> None:
    """Do it, again and again while the Swarm is not ready for it, or has not cleaned up yet."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            work()
            return
        except APIError as error:
            said = str(error.explanation).lower()
            if time.monotonic() > deadline or not any(words in said for words in _NOT_YET):
                raise
        time.sleep(0.2)
