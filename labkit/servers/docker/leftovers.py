"""The labels on what a lab makes in an engine, and removal by them."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import docker
import psutil
from docker.errors import APIError

from labkit.errors import (
    BackendError,
)
from labkit.servers import registry
from labkit.servers.base import (
    each,
)
from labkit.servers.docker.engine import connect, explained

_LAB, _OWNER, _STARTED, _HOST = (
    f"labkit.{key}" for key in ("lab", "owner", "owner-started", "owner-host")
)


def remove_lab(lab_id: str) -> None:
    """Remove the lab's containers, networks and volumes, running or not. Idempotent."""
    with explained():
        client = connect()
        try:
            remove_lab_by(client, lab_id)
        finally:
            client.close()


def remove_lab_by(client: docker.DockerClient, lab_id: str, timeout: float = 20.0) -> None:
    """Look again until nothing is left: a server may be on its way, or the watchdog at work.

    Raises `BackendError` when nothing has gone for `timeout` seconds; a busy engine takes longer
    than that for many containers.
    """
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

    before: set[str] = set()
    while True:
        containers = api.containers(all=True, filters=filters)
        each(container, containers)
        networks, volumes = api.networks(filters=filters), api.volumes(filters)["Volumes"] or []
        each(network, networks)
        each(volume, volumes)
        names = [entry.get("Name") or entry["Names"][0] for entry in (*containers, *networks)]
        if not names and not volumes:
            return
        if set(names) != before:
            before, deadline = set(names), time.monotonic() + timeout
        elif time.monotonic() > deadline:
            raise BackendError(
                f"The Docker engine does not remove {', '.join(names)}. `docker ps --all --filter "
                f"label={_LAB}={lab_id}` shows what is left; restart the engine and try again."
            )


def leftovers() -> list[str]:
    """The labs on the engine whose owner, a process of this machine, is dead; their ids."""
    with explained():
        client = connect()
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
    labels = {lab: of for lab, of in labels.items() if registry.is_lab_id(lab)}
    return [lab for lab, of in labels.items() if lab in unremoved or _owner(lab, of).orphaned]


#: Labs of this process that were closed when no engine answered.
unremoved: set[str] = set()


def forget(lab_id: str) -> None:
    """Nothing of the lab is left on the engine: remove what is left of it here."""
    shutil.rmtree(registry.directory(lab_id), ignore_errors=True)
    registry.disarm(lab_id)
    unremoved.discard(lab_id)


def _owner(lab_id: str, labels: Mapping[str, str]) -> registry.Registration:
    return registry.Registration(
        lab_id, "docker", int(labels[_OWNER]), float(labels[_STARTED]), nodes={}
    )


def labels_of(lab_id: str) -> dict[str, str]:
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
