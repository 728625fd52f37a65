"""The Docker engine: is there one, where is it, and why does it not answer."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
import urllib3
from docker.context import ContextAPI
from docker.credentials.errors import StoreError
from docker.errors import (
    APIError,
    ContextException,
    DockerException,
    NotFound,
    StreamParseError,
)

from labkit.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    PortInUse,
    ServerNotFound,
)
from labkit.servers.proxies import reach_directly

LOOPBACK = "127.0.0.1"

HOST = "host.docker.internal"  # what containers may call the engine's machine

#: What Docker's library raises: its own errors, which have several roots, and its neighbours'.
RAISED = (
    *(DockerException, ContextException, StoreError, StreamParseError),
    *(requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException),
)

USE_PROCESSES = "or run the servers as processes: Lab(backend='process')."


def available() -> str | None:
    """Why no Docker engine can be used, in one line; None if one answers."""
    try:
        connect().close()
        published_address()
    except BackendUnavailable as error:
        return str(error)
    return None


def connect(engine: str | None = None) -> docker.DockerClient:
    """A client of an engine, by its URL; of the one that `DOCKER_HOST` or the current context
    names, if none is given.
    """
    url = urlsplit(engine or current_url())
    reach_directly()
    # The system's ssh, because it knows the user's keys and aliases.
    settings: dict[str, Any] = {
        "timeout": 10,
        "max_pool_size": 64,
        "use_ssh_client": url.scheme == "ssh",
    }
    try:
        if url.scheme == "unix":
            # The SDK would wrap what is wrong three times, and leave its socket open.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(5)
                probe.connect(url.path)
        if engine is None:
            client = docker.from_env(**settings)
        else:
            client = docker.DockerClient(engine, **settings)
    except Exception as error:  # it reads the reader's settings, and fails in its ways over them
        raise BackendUnavailable(_why_no_engine(error, engine)) from error
    client.api.timeout = 60  # some verbs take their time; a greeting does not
    return client


def current_url() -> str:
    url: str | None = os.environ.get("DOCKER_HOST")
    if not url:
        with suppress(Exception):  # a context's file that can't be read raises nothing narrower
            url = ContextAPI.kwargs_from_context().get("base_url")
    return url or "unix:///var/run/docker.sock"


def _why_no_engine(error: BaseException, engine: str | None = None) -> str:
    url = engine or current_url()
    reason = " ".join(str(error).split())
    if "paramiko" in reason:
        return (
            f"Docker's Python library reaches {url} only with a package more: `pip install "
            f"'docker[ssh]'`, {USE_PROCESSES}"
        )
    if "Permission denied" in reason:
        return (
            f"You may not use the Docker engine at {url}. Join its group with "
            f"`sudo usermod -aG docker $USER` and log in again, {USE_PROCESSES}"
        )
    if not _is_of_the_system(error):
        return (
            f"Docker's settings can't be used ({type(error).__name__}: {reason[:200]}). Mend them "
            f"(`config.json` and `contexts` in {_settings()}), {USE_PROCESSES}"
        )
    if "timed out" in reason.lower():
        return f"The Docker engine at {url} does not answer in time. Restart it, {USE_PROCESSES}"
    return (
        f"No Docker engine answers at {url} ({_innermost(error)}). Start one (`sudo systemctl "
        f"start docker`, or Docker Desktop), {USE_PROCESSES}"
    )


def _is_of_the_system(error: BaseException | None) -> bool:
    """Whether the system or the network has failed, and not the reading of Docker's settings."""
    while error is not None:
        if isinstance(error, OSError | APIError | requests.RequestException):
            return True
        error = error.__cause__ or error.__context__
    return False


def _settings() -> str:
    return os.environ.get("DOCKER_CONFIG") or "~/.docker"


def _innermost(error: BaseException) -> str:
    """The system's own words, out of the wrappings of three libraries."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def explained(server: str | None = None) -> Iterator[None]:
    """Turn the engine's errors into the lab's.

    `server` is the server to name when its container is missing.
    """
    try:
        yield
    except APIError as error:
        raise _explain(error, server) from error
    except RAISED as error:
        raise BackendUnavailable(_why_no_engine(error)) from error


@contextmanager
def unless_stopped() -> Iterator[None]:
    try:
        yield
    except APIError as error:  # it may end by itself between a look at it and the signal
        if "is not running" not in str(error.explanation):
            raise


def _explain(error: APIError, server: str | None) -> BackendError:
    said = " ".join(str(error.explanation or error).split())
    who = server or "The engine"
    if isinstance(error, NotFound) and "network" in said:
        return BackendError(
            f"A network of this lab was removed behind its back ({said}). Close the lab and start "
            "another one."
        )
    if isinstance(error, NotFound) and "no such image" in said.lower():
        return BackendError(
            f"The image that the lab was started from is on the Docker engine no longer ({said}). "
            "Close this lab and start another one: it gets or builds the image again. "
            "`labkit doctor` says which images are missing."
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


def is_elsewhere() -> bool:
    """Whether the engine is reached over a network, and is perhaps on another machine."""
    return urlsplit(current_url()).scheme not in ("unix", "npipe")


def published_address() -> str:
    """Where ports are published: loopback, or for a remote engine the address we know it by.

    Raises `BackendUnavailable` for an address that others reach too, unless that is allowed.
    """
    host = urlsplit(current_url()).hostname
    if not is_elsewhere() or host is None:
        return LOOPBACK
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise BackendUnavailable(
            f"The engine's host {host} has no address here ({error}). Put the host's name "
            "or address into DOCKER_HOST instead of an alias."
        ) from error
    if ipaddress.ip_address(address).is_loopback:
        return LOOPBACK
    if os.environ.get("LABKIT_PUBLISH") != "1":
        raise BackendUnavailable(
            f"The Docker engine is on another machine, and a lab would be open to whoever reaches "
            f"{address} (that is where its servers' ports would be published: ZooKeeper without a "
            "password, and every node). If that network is yours alone, set LABKIT_PUBLISH=1; "
            "else use an engine of this machine, which publishes on loopback only, "
            f"{USE_PROCESSES}"
        )
    return address


def address_from_inside(host: str) -> str:
    """A host's address as a container uses it; this machine's is `HOST`.

    Raises `ConfigError` for a host that a container could not reach.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        # Containers mostly have IPv4 and no IPv6.
        address = str(min((at[4][0] for at in found), key=lambda address: ":" in str(address)))
    except OSError as error:
        raise ConfigError(f"ZooKeeper's host {host} has no address here ({error}).") from error
    if not ipaddress.ip_address(address).is_loopback:
        return address  # because a name may be known here and not there
    if is_elsewhere():
        raise ConfigError(
            f"{host} is this machine's loopback address, and the Docker engine is on another one: "
            "its containers can't reach that. Name ZooKeeper by an address that they reach."
        )
    return HOST
