"""The labels on what a lab makes in an engine, and removal by them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import docker
from docker.errors import APIError, NotFound

from labkit.errors import BackendError, BackendUnavailable
from labkit.servers import owner, registry
from labkit.servers.base import LEFTOVERS, REMOVAL, each
from labkit.servers.docker.engine import connect, explained
from labkit.servers.docker.nested import is_gone

_LAB, _OWNER = "labkit.lab", "labkit.owner"  # its id, and the file that its owner holds

_MISCOUNTED = 1.5  # seconds for which an engine keeps a network that nobody uses: it is no delay


def remove_lab(lab_id: str, engines: Sequence[str] = (), timeout: float = REMOVAL) -> None:
    """Remove the lab's containers, networks and volumes, running or not. Idempotent.

    `engines` are its engines' URLs; of none, the one that `connect` finds. What is on those that
    answer goes, also if others don't; then `BackendUnavailable` is raised. What was on a machine
    that has been taken down has gone with it. For `timeout` see `remove_lab_by`.
    """
    clients: list[docker.DockerClient] = []
    silent: list[BackendUnavailable] = []

    def begin(engine: str | None) -> None:
        try:
            client = connect(engine)
        except BackendUnavailable as error:
            silent.append(error)
        else:
            clients.append(client)
            _remove(client, lab_id)  # now: it takes a while to find out that another is silent

    try:
        with explained():
            each(begin, [of for of in engines or (None,) if of is None or not is_gone(of)])
            remove_lab_by(clients, lab_id, min(timeout, LEFTOVERS) if silent else timeout)
    except BackendError:
        if not silent:  # else its networks are still in use there
            raise
    finally:
        each(docker.DockerClient.close, clients)
    if silent:
        raise silent[0]


def remove_lab_by(
    clients: Sequence[docker.DockerClient], lab_id: str, timeout: float = REMOVAL
) -> None:
    """Look again until nothing is left: a server may be on its way, or the watchdog at work.

    Raises `BackendError` when nothing has gone for `timeout` seconds; a busy engine takes longer
    than that for many containers. A network that nobody uses, and that an engine which has lost
    count of its users keeps until it is restarted, is left to a lab that starts after that.
    """
    before: set[str] = set()
    while True:
        # On all engines at the same time, and a network of several goes with its last user.
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = pool.map(lambda client: _remove(client, lab_id), clients)
            left = [name for names in found for name in names]
        if not left:
            return
        now = time.monotonic()
        if set(left) != before:
            before, moved = set(left), now
        elif now > moved + _MISCOUNTED and all(is_unused(client, lab_id) for client in clients):
            return
        elif now > moved + timeout:
            raise BackendError(
                f"The Docker engine does not remove {', '.join(sorted(set(left)))}. `docker ps "
                f"--all --filter label={_LAB}={lab_id}` shows what is left; restart the engine and "
                "try again."
            )
        time.sleep(0.05)


def is_unused(client: docker.DockerClient, lab_id: str) -> bool:
    """Whether an engine has nothing of the lab but networks without a container."""
    containers, networks, volumes = _found(client.api, {"label": f"{_LAB}={lab_id}"})
    try:
        users = [client.api.inspect_network(name)["Containers"] for _, name in networks]
    except NotFound:  # it has gone meanwhile: look again
        return False
    return not containers and not volumes and not any(users)


def _remove(client: docker.DockerClient, lab_id: str) -> list[str]:
    """Remove as much of a lab as its engine allows; the names of all that was found."""
    found = _found(client.api, {"label": f"{_LAB}={lab_id}"})
    for of_a_kind in found:  # volumes and networks are free when the containers are gone
        each(lambda work: _try(*work), of_a_kind)
    return [name for of_a_kind in found for _, name in of_a_kind]


_Removal: TypeAlias = tuple[Callable[[], object], str]  # removes one thing; its name


def _found(api: docker.APIClient, filters: dict[str, Any]) -> list[list[_Removal]]:
    """What an engine has of a lab: containers, networks, volumes."""
    containers = api.containers(all=True, filters=filters)
    networks, volumes = api.networks(filters=filters), api.volumes(filters)["Volumes"] or []
    return [
        [
            (partial(api.remove_container, c["Id"], v=True, force=True), c["Names"][0])
            for c in containers
        ],
        [(partial(api.remove_network, n["Id"]), n["Name"]) for n in networks],
        [(partial(api.remove_volume, v["Name"]), v["Name"]) for v in volumes],
    ]


def _try(removal: Callable[[], object], _: str) -> None:
    with suppress(APIError):  # somebody else removes it just now: the next look will tell
        removal()


def leftovers(clients: Sequence[docker.DockerClient]) -> list[str]:
    """The labs on the engines whose owner is known to be dead; their ids.

    Several machines and containers may share one engine: of an owner elsewhere nothing is known.
    """
    filters = {"label": _OWNER}
    entries = [
        entry["Labels"]
        for client in clients
        for entry in (
            *client.api.containers(all=True, filters=filters),
            *client.api.networks(filters=filters),
            *(client.api.volumes(filters)["Volumes"] or []),
        )
    ]
    owners = {of[_LAB]: Path(of[_OWNER]) for of in entries if registry.is_lab_id(of.get(_LAB))}
    return [lab for lab, file in owners.items() if lab in unremoved or owner.has_ended(file)]


#: Labs of this process that were closed when no engine answered.
unremoved: set[str] = set()


def forget(lab_id: str) -> None:
    """Nothing of the lab is left on the engine: remove what is left of it here."""
    shutil.rmtree(registry.directory(lab_id), ignore_errors=True)
    registry.disarm(lab_id)  # its owner's file, too
    unremoved.discard(lab_id)


def labels_of(lab_id: str) -> dict[str, str]:
    return {_LAB: lab_id, _OWNER: str(registry.owner_file(lab_id))}
