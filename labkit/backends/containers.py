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

import hashlib
import io
import ipaddress
import itertools
import math
import os
import re
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import psutil
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, NotFound
from docker.types import EndpointConfig, IPAMConfig, IPAMPool, LogConfig
from docker.utils import parse_repository_tag

import labkit
from labkit import zookeeper
from labkit.backends import watchdog
from labkit.backends.base import (
    Endpoint,
    NodeSpec,
    Progress,
    ServerState,
    ZooKeeperSettings,
    cli_words,
    each,
    require_new,
)
from labkit.backends.ports import Ports
from labkit.errors import (
    BackendError,
    BackendUnavailable,
    InvalidTransition,
    PortInUse,
    ServerNotFound,
    UnsupportedFault,
)
from labkit.faults import LinkFault

_LAB, _OWNER, _STARTED, _HOST = (
    f"labkit.{key}" for key in ("lab", "owner", "owner-started", "owner-host")
)
_HTTP_PORT = 80
_CLIENT_PORT = 2181
_LOOPBACK = "127.0.0.1"
_USE_PROCESSES = "or run the servers as processes: Lab(backend='process')."

# A JVM that lives for minutes gains more from a quick start than from a good optimiser.
_JVM_FLAGS = "-XX:TieredStopAtLevel=1 -Xshare:auto -XX:+UseSerialGC -Xmx256m"
_CLI_LOG = re.compile(r"(\[\S+\] |\d{4}-\d\d-\d\d .* - )(INFO|WARN|ERROR)\b.*")

_STATES = {
    "created": ServerState.STOPPED,
    "exited": ServerState.STOPPED,
    "running": ServerState.RUNNING,
    "restarting": ServerState.RUNNING,
    "paused": ServerState.PAUSED,
}


# --- the engine -------------------------------------------------------------------------------


def available() -> str | None:
    """Why no Docker engine can be used, in one line; None if one answers."""
    try:
        _connect().close()
        _published_address()
    except BackendUnavailable as error:
        return str(error)
    return None


def _connect() -> docker.DockerClient:
    """A client of the engine that `DOCKER_HOST` or the current context names."""
    url = urlsplit(_engine_url())
    try:
        if url.scheme == "unix":
            # The SDK would wrap what is wrong three times, and leave its socket open.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(5)
                probe.connect(url.path)
        # The system's ssh, because it knows the user's keys and aliases.
        over_ssh = url.scheme == "ssh"
        client = docker.from_env(timeout=10, max_pool_size=64, use_ssh_client=over_ssh)
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        raise BackendUnavailable(_why_no_engine(error)) from error
    client.api.timeout = 60  # some verbs take their time; a greeting does not
    return client


def _engine_url() -> str:
    url = os.environ.get("DOCKER_HOST") or ContextAPI.kwargs_from_context().get("base_url")
    return url or "unix:///var/run/docker.sock"


def _why_no_engine(error: BaseException) -> str:
    url = _engine_url()
    reason = " ".join(str(error).split())
    if "Permission denied" in reason:
        return (
            f"You may not use the Docker engine at {url}. Join its group with "
            f"`sudo usermod -aG docker $USER` and log in again, {_USE_PROCESSES}"
        )
    if "timed out" in reason.lower():
        return f"The Docker engine at {url} does not answer in time. Restart it, {_USE_PROCESSES}"
    return (
        f"No Docker engine answers at {url} ({_innermost(error)}). Start one (`sudo systemctl "
        f"start docker`, or Docker Desktop), {_USE_PROCESSES}"
    )


def _innermost(error: BaseException) -> str:
    """The system's own words, out of the wrappings of three libraries."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def _explained(server: str | None = None) -> Iterator[None]:
    """Turn the engine's errors into the lab's. `server` is whom a missing container was."""
    try:
        yield
    except APIError as error:
        raise _explain(error, server) from error
    except (DockerException, requests.RequestException) as error:
        raise BackendUnavailable(_why_no_engine(error)) from error


def _explain(error: APIError, server: str | None) -> BackendError:
    said = " ".join(str(error.explanation or error).split())
    who = server or "The engine"
    if isinstance(error, NotFound) and "network" in said:
        return BackendError(
            f"A network of this lab was removed behind its back ({said}). Close the lab and start "
            "another one."
        )
    if isinstance(error, NotFound) and server is not None:
        return ServerNotFound(
            f"{server}'s container was removed behind the lab's back. A node can be replaced "
            "with lab.add_node(); for ZooKeeper, close the lab and start another one."
        )
    if "port is already allocated" in said or "address already in use" in said:
        return PortInUse(
            f"{who} cannot get its port back: {said}. End the program that took it (`docker ps` "
            f"and `ss -ltnp` name it) and start {who} again, or add a new node."
        )
    if "no space left on device" in said.lower():
        return BackendError(
            f"The Docker engine's disk is full: {said}. `docker system df` shows what is on it, "
            "`docker system prune` removes what nobody uses."
        )
    if "non-overlapping" in said or "fully subnetted" in said:
        return BackendError(
            "The Docker engine has no addresses left for another network. `docker network prune` "
            "removes the networks that nobody uses."
        )
    return BackendError(f"{who}: the Docker engine refuses: {said}.")


# --- images -----------------------------------------------------------------------------------


def _zookeeper_image() -> str:
    return os.environ.get("LABKIT_ZOOKEEPER_IMAGE") or "zookeeper:3.9"


def _python_image() -> str:
    return os.environ.get("LABKIT_PYTHON_IMAGE") or "python:3.12-slim"


def missing_images() -> dict[str, str]:
    """The images that the engine would first have to get, and what names others instead.

    Raises `BackendUnavailable` if no engine answers.
    """
    wanted = {_zookeeper_image(): "LABKIT_ZOOKEEPER_IMAGE"}
    if ready := os.environ.get("LABKIT_NODE_IMAGE"):
        wanted[ready] = "LABKIT_NODE_IMAGE"
    else:
        wanted[_python_image()] = "LABKIT_PYTHON_IMAGE"
    client = _connect()
    try:
        return {i: name for i, name in wanted.items() if _inspect_image(client, i) is None}
    finally:
        client.close()


def _inspect_image(client: docker.DockerClient, image: str) -> dict[str, Any] | None:
    """What the engine knows of an image; None if it does not have it."""
    try:
        found: dict[str, Any] = client.api.inspect_image(image)  # type: ignore[no-untyped-call]
    except NotFound:
        return None
    return found


def _pull(client: docker.DockerClient, image: str, variable: str, progress: Progress) -> None:
    """Have the engine get the image, unless it has it."""
    if _inspect_image(client, image) is not None:
        return
    layers: dict[str, tuple[int, int]] = {}
    repository, tag = parse_repository_tag(image)
    try:
        for line in client.api.pull(repository, tag or "latest", stream=True, decode=True):
            if "error" in line:
                raise DockerException(line["error"])
            detail = line.get("progressDetail") or {}
            if detail.get("total"):
                layers[line["id"]] = (detail["current"], detail["total"])
                done, total = map(sum, zip(*layers.values(), strict=True))
                progress(f"pulling {image}", done / total)
    except DockerException as error:
        said = error.explanation if isinstance(error, APIError) else error
        raise BackendUnavailable(
            f"The image {image} is not here and cannot be pulled ({_one_line(said)}). Connect to "
            f"the network, or name an image that is here in {variable}, {_USE_PROCESSES}"
        ) from error


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300].rstrip(".")


def _build_context() -> dict[str, bytes]:
    """The files that a node's image is built from, by their names in the project."""
    root = Path(labkit.__file__).resolve().parent.parent
    names = ["Dockerfile.node", "pyproject.toml", "constraints.txt", "labkit/__init__.py"]
    if missing := [name for name in names if not (root / name).is_file()]:
        raise BackendUnavailable(
            f"The node's image is built from the project's checkout, and {root} has no "
            f"{missing[0]}. Work in the checkout (`pip install -e .`), or name a built image in "
            f"LABKIT_NODE_IMAGE, {_USE_PROCESSES}"
        )
    sources = (path for path in (root / "labkit/node").rglob("*") if path.is_file())
    names += [str(p.relative_to(root)) for p in sources if "__pycache__" not in p.parts]
    return {name: (root / name).read_bytes() for name in sorted(names)}


def _node_image(client: docker.DockerClient, progress: Progress) -> str:
    """The image of a node as its source is now; built if the engine does not have it."""
    if ready := os.environ.get("LABKIT_NODE_IMAGE"):
        _pull(client, ready, "LABKIT_NODE_IMAGE", progress)
        return ready
    context = _build_context()
    digest = hashlib.sha256(_python_image().encode())
    for name, content in context.items():
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    image = f"sequencenode:{digest.hexdigest()[:12]}"
    if _inspect_image(client, image) is not None:
        return image
    _pull(client, _python_image(), "LABKIT_PYTHON_IMAGE", progress)
    _build(client, image, context, progress)
    return image


def _build(
    client: docker.DockerClient, image: str, context: Mapping[str, bytes], progress: Progress
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in context.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    step = "its first step"
    printed: list[str] = []
    try:
        for line in client.api.build(
            fileobj=archive, custom_context=True, dockerfile="Dockerfile.node", target="prod",
            tag=image, buildargs={"PYTHON_IMAGE": _python_image()}, rm=True, forcerm=True,
            decode=True,
        ):  # fmt: skip
            if "error" in line:
                raise DockerException(line["error"])
            text = line.get("stream", "").strip()
            if match := re.match(r"Step (\d+)/(\d+) : (\S+)", text):
                step = f"step {match[1]}, {match[3]}"
                progress("building the node's image", int(match[1]) / int(match[2]))
            elif text:
                printed.append(text)
    except DockerException as error:
        said = error.explanation if isinstance(error, APIError) else error
        last = next((line for line in reversed(printed) if "ERROR" in line), "")
        raise BackendUnavailable(
            f"The node's image cannot be built: {step} failed ({_one_line(last or said)}). The "
            "first build needs the network; `docker build -f Dockerfile.node .` shows all of it. "
            f"Try again, {_USE_PROCESSES}"
        ) from error


def _version(image: Mapping[str, Any], name: str) -> str:
    """ZooKeeper's version: the official image's PATH leads into a directory named after it."""
    environment = " ".join(image.get("Config", {}).get("Env") or [])
    match = re.search(r"apache-zookeeper-(\d+\.\d+\.\d+)", environment)
    match = match or re.search(r":(\d+\.\d+(?:\.\d+)?)$", name)
    return match[1] if match else "unknown"


# --- what a lab leaves on an engine -----------------------------------------------------------


def remove_lab(lab_id: str) -> None:
    """Remove the lab's containers, networks and volumes, running or not. Idempotent."""
    with _explained():
        client = _connect()
        try:
            _remove_lab(client, lab_id)
        finally:
            client.close()


def _remove_lab(client: docker.DockerClient, lab_id: str, timeout: float = 20.0) -> None:
    """Look again until nothing is left: a server may be on its way, or the watchdog at work."""
    api, filters = client.api, {"label": f"{_LAB}={lab_id}"}

    def container(entry: Mapping[str, Any]) -> None:
        with suppress(APIError):  # somebody else removes it just now: the next look will tell
            api.remove_container(entry["Id"], v=True, force=True)

    def network(entry: Mapping[str, Any]) -> None:
        with suppress(APIError):
            api.remove_network(entry["Id"])

    def volume(entry: Mapping[str, Any]) -> None:
        with suppress(APIError):
            api.remove_volume(entry["Name"])

    deadline = time.monotonic() + timeout
    while True:
        containers = api.containers(all=True, filters=filters)
        each(container, containers)
        networks, volumes = api.networks(filters=filters), api.volumes(filters)["Volumes"] or []
        each(network, networks)
        each(volume, volumes)
        if not containers and not networks and not volumes:
            return
        if time.monotonic() > deadline:
            names = [entry.get("Name") or entry["Names"][0] for entry in (*containers, *networks)]
            raise BackendError(
                f"The Docker engine does not remove {', '.join(names)}. `docker ps --all --filter "
                f"label={_LAB}={lab_id}` shows what is left; restart the engine and try again."
            )


def leftovers() -> list[str]:
    """The labs on the engine whose owner, a process of this machine, is dead; their ids."""
    with _explained():
        client = _connect()
        try:
            filters = {"label": f"{_HOST}={_this_host()}"}
            entries = [
                *client.api.containers(all=True, filters=filters),
                *client.api.networks(filters=filters),
                *(client.api.volumes(filters)["Volumes"] or []),
            ]
        finally:
            client.close()
    labels = {entry["Labels"].get(_LAB): entry["Labels"] for entry in entries}
    labels = {lab: of for lab, of in labels.items() if watchdog.is_lab_id(lab)}
    return [lab for lab, of in labels.items() if lab in _unremoved or _owner(lab, of).orphaned]


#: Labs of this process that were closed when no engine answered.
_unremoved: set[str] = set()


def _forget(lab_id: str) -> None:
    """Nothing of the lab is left on the engine: remove what is left of it here."""
    shutil.rmtree(watchdog.directory(lab_id), ignore_errors=True)
    watchdog.disarm(lab_id)
    _unremoved.discard(lab_id)


def _owner(lab_id: str, labels: Mapping[str, str]) -> watchdog.Registration:
    return watchdog.Registration(
        lab_id, "docker", int(labels[_OWNER]), float(labels[_STARTED]), nodes={}
    )


def _labels(lab_id: str) -> dict[str, str]:
    me = psutil.Process()
    return {
        _LAB: lab_id,
        _OWNER: str(me.pid),
        _STARTED: repr(me.create_time()),
        _HOST: _this_host(),
    }


def _this_host() -> str:
    """Where a process id means a process: several machines may share one engine."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space}".strip()


# --- the backend ------------------------------------------------------------------------------


@dataclass
class _Server:
    name: str
    container: str  # its name; that of a ZooKeeper server's volume too
    number: int  # from 0, in the lab; its address on every network follows from it
    endpoint: Endpoint
    lock: threading.RLock = field(default_factory=threading.RLock)


class DockerBackend:
    """Runs servers as containers; see `Backend` for what the verbs promise."""

    name = "docker"

    def __init__(self, lab_id: str) -> None:
        self.lab_id = lab_id
        self._engine: docker.DockerClient | None = None
        self._labels = _labels(lab_id)
        self._ports = Ports(watchdog.home() / "ports")
        self._servers: dict[str, _Server] = {}
        self._zookeepers: list[str] = []
        self._subnets: dict[str, ipaddress.IPv4Network] = {}  # by ZooKeeper server
        self._lock = threading.Lock()
        self._zookeeper_image: dict[str, Any] = {}
        self._node_image = ""
        self._address = _LOOPBACK

    def prepare(self, progress: Progress) -> None:
        progress("asking the Docker engine", None)
        self._engine = _connect()
        self._address = _published_address()
        for lab_id in leftovers():
            remove_lab(lab_id)
            _forget(lab_id)
        with _explained():
            _pull(self._engine, _zookeeper_image(), "LABKIT_ZOOKEEPER_IMAGE", progress)
            self._zookeeper_image = _inspect_image(self._engine, _zookeeper_image()) or {}
            self._node_image = _node_image(self._engine, progress)
        watchdog.arm(self.lab_id, self.name)

    @property
    def zookeeper_version(self) -> str:
        return _version(self._zookeeper_image, _zookeeper_image())

    @property
    def _api(self) -> docker.APIClient:
        if self._engine is None:
            raise BackendError("This backend has not been prepared; call prepare() first.")
        return self._engine.api

    # --- creating -----------------------------------------------------------------------------

    def create_zookeeper(
        self, names: Sequence[str], settings: ZooKeeperSettings
    ) -> dict[str, Endpoint]:
        with _explained():
            self._create_networks(names)
            for name in names:
                self._new_server(name, None)
            self._zookeepers = list(names)
            each(lambda name: self._create_server(self._servers[name], settings), names)
        return {name: self._servers[name].endpoint for name in names}

    def _new_server(self, name: str, port: int | None) -> _Server:
        with self._lock:
            taken = {server.number for server in self._servers.values()}
            number = next(n for n in itertools.count() if n not in taken)
            # Whether the port is free on another machine cannot be asked beforehand.
            port = self._ports.reserve(port if self._address == _LOOPBACK else None)
            endpoint = Endpoint(self._address, port)
            server = self._servers[name] = _Server(name, self._called(name), number, endpoint)
        return server

    def _create_server(self, server: _Server, settings: ZooKeeperSettings) -> None:
        self._api.create_volume(server.container, labels=self._labels)
        environment = {
            "JVMFLAGS": _JVM_FLAGS,
            "ZOO_MY_ID": str(server.number + 1),
            "ZOO_DATA_DIR": "/data",
            "ZOO_DATA_LOG_DIR": "/data",
            "ZOO_TICK_TIME": str(settings.tick_time),
            "ZOO_INIT_LIMIT": "50",
            "ZOO_SYNC_LIMIT": "10",
            "ZOO_MAX_CLIENT_CNXNS": "0",  # the default refuses one host's 61st client
            "ZOO_4LW_COMMANDS_WHITELIST": "*",
            "ZOO_ADMINSERVER_ENABLED": "false",
            "ZOO_CFG_EXTRA": (
                f"minSessionTimeout={settings.min_session_timeout} "
                f"maxSessionTimeout={settings.max_session_timeout} "
                "preAllocSize=1024"  # KiB: the log is read whole; by default it is 64 MiB of zeros
            ),
        }
        if len(self._zookeepers) > 1:
            # Addresses and no names: a server tells the others its own, and it has several.
            environment["ZOO_SERVERS"] = " ".join(
                f"server.{number}={self._address_of(name)}:2888:3888;{_CLIENT_PORT}"
                for number, name in enumerate(self._zookeepers, start=1)
            )
        # Volumes that the image declares and nobody needs would be made without a label.
        declared = self._zookeeper_image["Config"].get("Volumes") or {}
        self._create_container(
            server,
            _zookeeper_image(),
            _CLIENT_PORT,
            environment,
            aliases=[server.name],
            user="zookeeper",
            binds={server.container: {"bind": "/data", "mode": "rw"}},
            tmpfs={path: "mode=1777" for path in declared if path != "/data"},
        )

    def create_node(self, spec: NodeSpec) -> Endpoint:
        require_new(spec.name, self._servers)
        server = self._new_server(spec.name, spec.port)
        try:
            self._create_node(server, spec)
        except BaseException:
            # It may be on the engine, unless that is what failed; the lab's end finds it there.
            with suppress(BackendError, DockerException, requests.RequestException):
                self._api.remove_container(server.container, v=True, force=True)
            self._forget(server)
            raise
        return server.endpoint

    def _create_node(self, server: _Server, spec: NodeSpec) -> None:
        environment = {
            "NODE_NAME": spec.name,
            **spec.env,
            # Addresses, because a name would lead around a link that is cut: over the front.
            "ZOOKEEPER_HOSTS": ",".join(
                f"{self._address_of(name)}:{_CLIENT_PORT}" for name in self._zookeepers
            ),
            "PORT": str(_HTTP_PORT),
            "NODE_URL": f"http://{server.endpoint}",
        }
        with _explained():
            self._create_container(
                server,
                self._node_image,
                _HTTP_PORT,
                environment,
                aliases=[spec.name, "node"],  # as with compose, `http://node/` is all of them
                read_only=True,
                tmpfs={"/tmp": ""},
            )

    def _forget(self, server: _Server) -> None:
        """Give back what a server that will not run again has: its port, its number, its name."""
        self._ports.release(server.endpoint.port)
        with self._lock:
            self._servers.pop(server.name, None)

    def _create_container(
        self,
        server: _Server,
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
        self._api.create_container(
            image,
            name=server.container,
            hostname=server.name,
            user=user,
            environment=environment,
            labels=self._labels,
            ports=[port],
            healthcheck={"test": ["NONE"]},  # the lab asks by itself, and more often
            networking_config={
                "EndpointsConfig": {front: EndpointConfig(self._api.api_version, aliases=aliases)}
            },
            host_config=self._api.create_host_config(
                network_mode=front,
                port_bindings={port: (server.endpoint.host, server.endpoint.port)},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                # Whatever the engine's default is, these logs can be read back.
                log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "20m"}),
                **host,
            ),
        )
        for name in self._zookeepers:
            self._connect_link(server, name)

    def _called(self, what: str) -> str:
        return f"labkit-{self.lab_id}-{what}"

    # --- networks -----------------------------------------------------------------------------
    #
    # All servers are on the front network, where their ports are published, and on one network
    # for each ZooKeeper server: whoever is taken off that one cannot reach the server any more.
    # An engine publishes ports on the network whose name comes first in the alphabet, and would
    # publish them anew if that changed: "front" < "link-…".

    def _create_networks(self, zookeepers: Sequence[str], tries: int = 20) -> None:
        """Create the networks; those of links with subnets that allow fixed addresses.

        Only the engine knows which addresses are free on its machine, so it chooses a pool, which
        we divide. Another lab may be given the same one at the same moment; then we ask again.
        """
        self._create_network("front")
        for attempt in range(1, tries + 1):
            subnets = self._free_pool().subnets((len(zookeepers) - 1).bit_length())
            made = []
            try:
                for name, subnet in zip(zookeepers, subnets, strict=False):
                    made.append(self._create_network(f"link-{name}", subnet))
                    self._subnets[name] = subnet
                return
            except APIError as error:
                for network in made:
                    self._api.remove_network(network)
                if "overlaps" not in str(error) or attempt == tries:
                    raise

    def _create_network(self, what: str, subnet: ipaddress.IPv4Network | None = None) -> str:
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]) if subnet else None
        name = self._called(what)
        self._api.create_network(name, driver="bridge", ipam=ipam, labels=self._labels)
        return name

    def _free_pool(self) -> ipaddress.IPv4Network:
        probe = self._create_network("probe")
        try:
            pools = self._api.inspect_network(probe)["IPAM"]["Config"]
        finally:
            self._api.remove_network(probe)
        networks = (ipaddress.ip_network(pool["Subnet"]) for pool in pools)
        return next(net for net in networks if isinstance(net, ipaddress.IPv4Network))

    def _address_of(self, name: str, seen_by: str | None = None) -> str:
        """A server's address on a ZooKeeper server's network (its own, if that is not given)."""
        subnet = self._subnets[seen_by or name]
        number = self._server(name).number + 2  # 0 is the network itself, 1 the gateway
        if number >= subnet.num_addresses - 1:
            raise BackendError(
                f"The network {subnet} has no address for another server. Use a new lab, or give "
                "the engine larger pools (`default-address-pools` in its daemon.json)."
            )
        return str(subnet[number])

    def _connect_link(self, server: _Server, target: str) -> None:
        self._api.connect_container_to_network(
            server.container,
            self._called(f"link-{target}"),
            ipv4_address=self._address_of(server.name, target),
        )

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        self._server(source)
        if target not in self._zookeepers:
            raise UnsupportedFault(
                f"Links lead to ZooKeeper servers ({', '.join(self._zookeepers)}), not to {target}."
            )
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
            details = self._api.inspect_container(server.container)
            whole = network in details["NetworkSettings"]["Networks"]
            if fault is None and not whole:
                self._connect_link(server, target)
            elif fault is not None and whole:
                self._api.disconnect_container_from_network(server.container, network)

    # --- verbs --------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        with self._locked(name) as server:
            match self._require(server):
                case ServerState.PAUSED:
                    raise InvalidTransition(f"{name} is paused, not stopped: resume it instead.")
                case ServerState.STOPPED:
                    self._api.start(server.container)

    def stop(self, name: str, grace: float = 5.0) -> None:
        with self._locked(name) as server:
            match self._require(server):
                case ServerState.PAUSED:
                    raise InvalidTransition(
                        f"{name} is paused and cannot shut down in order: resume it first, or "
                        "kill it."
                    )
                case ServerState.RUNNING:
                    self._api.stop(server.container, timeout=math.ceil(grace))

    def kill(self, name: str) -> None:
        with self._locked(name) as server:
            if self._require(server) is not ServerState.STOPPED:
                with _unless_stopped():
                    self._api.kill(server.container, signal="SIGKILL")
                self._api.wait(server.container)

    def pause(self, name: str) -> None:
        with self._locked(name) as server:
            match self._require(server):
                case ServerState.STOPPED:
                    raise InvalidTransition(
                        f"{name} is stopped; only a running server can be paused."
                    )
                case ServerState.RUNNING:
                    self._api.pause(server.container)

    def resume(self, name: str) -> None:
        with self._locked(name) as server:
            match self._require(server):
                case ServerState.STOPPED:
                    raise InvalidTransition(f"{name} is stopped, not paused: start it instead.")
                case ServerState.PAUSED:
                    self._api.unpause(server.container)

    def remove(self, name: str) -> None:
        with self._locked(name) as server:
            state = self._state(server)
            if state in (ServerState.RUNNING, ServerState.PAUSED):
                raise InvalidTransition(f"{name} is {state}: stop or kill it first.")
            with suppress(NotFound):
                self._api.remove_container(server.container, v=True)
            with suppress(NotFound):
                self._api.remove_volume(server.container)
            self._forget(server)

    # --- looking ------------------------------------------------------------------------------

    def state(self, name: str) -> ServerState:
        server = self._servers.get(name)
        if server is None:
            return ServerState.GONE
        with _explained(name):
            return self._state(server)

    def logs(self, name: str, tail: int = 50) -> str:
        with self._reading(name) as server:
            printed: bytes = self._api.logs(server.container, tail=tail)
        return printed.decode(errors="replace").rstrip("\n")

    def zkcli(self, command: str, timeout: float = 30.0) -> str:
        words = cli_words(command)
        running = (n for n in self._zookeepers if self.state(n) is ServerState.RUNNING)
        name = next(running, None)
        if name is None:
            raise BackendError(
                f"zkCli.sh {command!r} needs a ZooKeeper server, and none is running. Start one "
                "with lab.zookeeper.start()."
            )
        hosts = ",".join(f"{zk}:{_CLIENT_PORT}" for zk in self._zookeepers)
        argv = ["timeout", f"{timeout:g}", "zkCli.sh", "-server", hosts, *words]
        with self._reading(name) as server:
            job = self._api.exec_create(server.container, argv, user="zookeeper")
            # One after the other, because both at once tear each other's lines.
            streams: tuple[bytes | None, bytes | None] = self._api.exec_start(job["Id"], demux=True)
            code = self._api.exec_inspect(job["Id"])["ExitCode"]
        if code == 124:  # timeout(1)
            raise BackendError(
                f"zkCli.sh {command!r} gave no answer in {timeout:g} s. Has ZooKeeper a quorum?"
            )
        printed = b"".join(filter(None, streams)).decode(errors="replace")
        lines = zookeeper.tidy_cli_output(printed).splitlines()
        return "\n".join(line for line in lines if not _CLI_LOG.fullmatch(line))

    def transaction_logs(self, name: str) -> list[bytes]:
        with self._reading(name) as server:
            try:
                chunks, _ = self._api.get_archive(server.container, "/data/version-2")
            except NotFound as error:
                if "No such container" in str(error.explanation):
                    raise
                return []  # it has never run
            archive = io.BytesIO(b"".join(chunks))
        files: dict[int, bytes] = {}
        with tarfile.open(fileobj=archive) as tar:
            for member in tar:
                name, _, zxid = Path(member.name).name.partition(".")
                content = tar.extractfile(member) if name == "log" else None
                if content is not None:
                    files[int(zxid, 16)] = content.read()
        return [files[zxid] for zxid in sorted(files)]

    # --- the end ------------------------------------------------------------------------------

    def destroy(self) -> None:
        try:
            if self._engine is not None:
                with _explained():
                    _remove_lab(self._engine, self.lab_id)
                self._engine.close()
        except BackendUnavailable:
            # The watchdog stays: it tries when this process ends, and the next lab before that.
            _unremoved.add(self.lab_id)
            raise
        finally:
            self._servers.clear()
            self._zookeepers.clear()
            self._ports.close()
        _forget(self.lab_id)

    # --- inside -------------------------------------------------------------------------------

    def _server(self, name: str) -> _Server:
        try:
            return self._servers[name]
        except KeyError:
            known = ", ".join(self._servers) or "none"
            raise ServerNotFound(
                f"There is no server {name} in this lab; it has {known}."
            ) from None

    @contextmanager
    def _reading(self, name: str) -> Iterator[_Server]:
        with _explained(name):
            yield self._server(name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[_Server]:
        server = self._server(name)
        with server.lock, _explained(name):
            yield server

    def _state(self, server: _Server) -> ServerState:
        try:
            status = self._api.inspect_container(server.container)["State"]["Status"]
        except NotFound:
            return ServerState.GONE
        return _STATES.get(status, ServerState.GONE)

    def _require(self, server: _Server) -> ServerState:
        """The server's state, or `ServerNotFound` if its container is gone."""
        status = self._api.inspect_container(server.container)["State"]["Status"]
        return _STATES.get(status, ServerState.STOPPED)


@contextmanager
def _unless_stopped() -> Iterator[None]:
    """It may end by itself between a look at it and the signal."""
    try:
        yield
    except APIError as error:
        if "is not running" not in str(error.explanation):
            raise


def is_elsewhere() -> bool:
    """Whether the engine is reached over a network, and is perhaps on another machine."""
    return urlsplit(_engine_url()).scheme not in ("unix", "npipe")


def _published_address() -> str:
    """Where ports are published: loopback, or for a remote engine the address we know it by.

    Raises `BackendUnavailable` for an address that others reach too, unless that is allowed.
    """
    host = urlsplit(_engine_url()).hostname
    if not is_elsewhere() or host is None:
        return _LOOPBACK
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise BackendUnavailable(
            f"The engine's host {host} has no address here ({error}). Put the host's name "
            "or address into DOCKER_HOST instead of an alias."
        ) from error
    if ipaddress.ip_address(address).is_loopback:
        return _LOOPBACK
    if os.environ.get("LABKIT_PUBLISH") != "1":
        raise BackendUnavailable(
            f"The Docker engine is on another machine, and a lab would be open to whoever reaches "
            f"{address} (that is where its servers' ports would be published: ZooKeeper without a "
            "password, and every node). If that network is yours alone, set LABKIT_PUBLISH=1; "
            "else use an engine of this machine, which publishes on loopback only, "
            f"{_USE_PROCESSES}"
        )
    return address
