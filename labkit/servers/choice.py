"""Which backend a lab gets: the one asked for, or the best that works here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from labkit.errors import BackendUnavailable, ConfigError
from labkit.servers import reaper
from labkit.servers.base import Backend, Progress

NAMES = ("docker", "swarm", "process")


class Choice(NamedTuple):
    """A prepared backend, and why an engine was passed over in one line ("" if none was)."""

    backend: Backend
    note: str


def asked_for(name: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The name of the backend that is asked for, if there is one: `name`, or LABKIT_BACKEND.

    Raises `ConfigError` if there is no such backend.
    """
    name = name or environ.get("LABKIT_BACKEND") or None
    if name not in (None, *NAMES):
        raise ConfigError(f"There is no backend {name!r}. Choose one of: {', '.join(NAMES)}.")
    return name


def choose(
    name: str | None,
    progress: Progress,
    environ: Mapping[str, str],
    engines: Sequence[str] = (),
) -> Choice:
    """A prepared backend: the one asked for, else Docker if an engine answers, else processes.

    `name`, or else LABKIT_BACKEND, decides; a Swarm if `engines`, or else LABKIT_ENGINES, name its
    machines. If none does, a Docker engine that cannot get its images, or would publish a lab to
    other machines, is passed over. Labs whose owners have died are removed first.
    """
    name = asked_for(name, environ)
    reaper.remove_leftovers()
    if name == "swarm" or (name is None and (engines or environ.get("LABKIT_ENGINES"))):
        from labkit.servers.docker.swarm import SwarmBackend

        swarm = SwarmBackend(_new_id(), engines)
        return Choice(_prepare(swarm, progress), swarm.note)
    note = ""
    if name != "process":
        from labkit.servers.docker import backend, engine

        reason = engine.available()
        if reason is None:
            try:
                return Choice(_prepare(backend.DockerBackend(_new_id()), progress), "")
            except BackendUnavailable as error:
                if name == "docker":
                    raise
                note = _passed_over(str(error))
        elif name == "docker":
            raise BackendUnavailable(reason)
        elif engine.is_elsewhere():  # somebody has named it, and expects it to be used
            note = _passed_over(reason)
    from labkit.servers.process.backend import ProcessBackend

    return Choice(_prepare(ProcessBackend(_new_id()), progress), note)


def _passed_over(reason: str) -> str:
    why = reason.partition(" (")[0].rstrip(".")  # the rest is for who asks for it
    return f"{why}, so servers run as processes. `labkit doctor` says more."


def _prepare(backend: Backend, progress: Progress) -> Backend:
    try:
        backend.prepare(progress)
    except BaseException:
        backend.destroy()
        raise
    return backend


def _new_id() -> str:
    return secrets.token_hex(4)
