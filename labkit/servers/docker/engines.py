"""The engines of a lab on several machines: which they are, and that they are one Swarm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import docker
from docker.context import ContextAPI

from labkit.errors import BackendError, BackendUnavailable, ConfigError
from labkit.servers.docker.engine import connect, current_url, explained
from labkit.servers.docker.nested import Machines

VARIABLE = "LABKIT_ENGINES"

HOW = (
    f"Name each machine's engine: {VARIABLE}=ssh://one,ssh://two (or a Docker context, or "
    "unix:///path); or make machines here with `labkit machines up`."
)


@dataclass(frozen=True)
class Engine:
    """One machine's engine: the machine's name, the URL, and a client."""

    name: str
    url: str
    client: docker.DockerClient


def named(engines: Sequence[str] = ()) -> list[str]:
    """The URLs of the engines to use: those given, those of the environment, or machines here.

    If there are none of these, the engine of this machine. Raises `ConfigError` for a name that
    is neither a URL nor a Docker context.
    """
    names = engines or [name for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if not names:
        return [machine.url for machine in Machines().all()] or [current_url()]
    return list(dict.fromkeys(_url(name.strip()) for name in names))


def _url(name: str) -> str:
    found: dict[str, Any] = {"base_url": name}
    if "://" not in name:
        found = {**ContextAPI.kwargs_from_context(name)}
        if not found:
            raise ConfigError(f"There is no Docker context {name!r}. {HOW}")
    url: str = found["base_url"]
    if urlsplit(url).scheme not in ("unix", "ssh", "tcp") or "tls" in found:
        raise ConfigError(f"The engine {name} is reached by {url}. Name it by ssh:// instead.")
    return url


def join(urls: Sequence[str]) -> tuple[list[Engine], list[str]]:
    """Clients of engines that are one Swarm, a manager first; and its machines without an engine.

    Raises `BackendUnavailable` if one does not answer, or is not in the Swarm of the others.
    """
    clients = []
    try:
        for url in urls:
            clients.append(connect(url))
        with explained():
            return _one_swarm(urls, clients)
    except BaseException:
        for client in clients:
            client.close()
        raise


def _one_swarm(
    urls: Sequence[str], clients: Sequence[docker.DockerClient]
) -> tuple[list[Engine], list[str]]:
    told = [client.api.info() for client in clients]
    engines = {
        info["Swarm"].get("NodeID") or url: Engine(info["Name"], url, client)
        for url, client, info in zip(urls, clients, told, strict=True)
    }
    managers = [info["Swarm"]["NodeID"] for info in told if info["Swarm"]["ControlAvailable"]]
    if not managers:
        raise BackendUnavailable(
            f"No engine among {', '.join(urls)} is the manager of a Swarm. `docker swarm init` "
            f"makes one of it. {HOW}"
        )
    manager = engines.pop(managers[0])
    members = {node["ID"]: node["Description"]["Hostname"] for node in manager.client.api.nodes()}
    if strangers := [engine.name for node, engine in engines.items() if node not in members]:
        raise BackendUnavailable(
            f"{', '.join(strangers)} is not in the Swarm of {manager.name}. `docker swarm "
            f"join-token worker`, there, prints the command for it. {HOW}"
        )
    used = [manager, *engines.values()]
    return used, sorted(set(members.values()) - {engine.name for engine in used})


def source(engines: Sequence[Engine]) -> docker.DockerClient:
    """The engine that gets or builds images: this machine's, if one answers."""
    with suppress(BackendError):
        return connect()
    return connect(engines[0].url)
