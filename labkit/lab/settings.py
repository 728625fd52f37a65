"""What a lab is made with, checked before anything starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from labkit.errors import ConfigError
from labkit.lab.core import Backup, require_between
from labkit.lab.nodes import MAX_NODES
from labkit.lab.own_server import claim_environment
from labkit.servers.base import Backend, ZooKeeperSettings
from labkit.servers.choice import asked_for
from labkit.servers.zookeeper.address import Attached

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Settings:
    """The settings of a `Lab`, which says what each of them means. Raises `ConfigError`."""

    nodes: int = 4
    _: KW_ONLY
    ensemble: int = 1
    zoo_cfg: Mapping[str, str | Path] | None = None
    backup: Backup | None = None
    backend: str | Backend | None = None
    engines: Sequence[str] = ()
    session_timeout: float = 5.0
    request_deadline: float = 2.0
    max_number: int = 1023
    claim: str | Path | type = "lowest-free"
    env: Mapping[str, str] | None = None
    record: bool = True
    private: bool = False
    zookeeper: str | None = None
    kazoo: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_between("nodes", self.nodes, 0, MAX_NODES)
        require_between("ensemble", self.ensemble, 1, 5)
        require_between(
            "session_timeout", self.session_timeout, 0.4, 600
        )  # ZooKeeper's bounds here
        require_between("request_deadline", self.request_deadline, 0.01, 600)
        require_between("max_number", self.max_number, 1, 2**31 - 1)
        if isinstance(self.backend, str):
            asked_for(self.backend)
        for what, value, kind, wanted in (
            ("backend", self.backend, str | None, "a name such as 'process'"),
            ("engines", self.engines, list | tuple, "a list of URLs"),
            ("zoo_cfg", self.zoo_cfg, Mapping | None, "a dict of lines of zoo.cfg"),
            ("env", self.env, Mapping | None, "a dict of environment variables"),
            ("kazoo", self.kazoo, Mapping | None, "a dict of a kazoo client's settings"),
            ("zookeeper", self.zookeeper, str | None, "a text such as 'zk1:2181,zk2:2181'"),
        ):
            if not isinstance(value, kind) and not hasattr(value, "prepare"):
                raise ConfigError(f"{what} is {value!r}; it must be {wanted}.")

    def attached(self) -> Attached | None:
        """The ensemble of others, if one is named. Raises `ConfigError`."""
        if self.zookeeper is None:
            return None
        own = {"ensemble": self.ensemble != 1, "zoo_cfg": self.zoo_cfg, "private": self.private}
        if given := [name for name, value in (own | {"backup": self.backup}).items() if value]:
            raise ConfigError(
                f"{given[0]} is for a ZooKeeper that the lab starts, and "
                f"zookeeper={self.zookeeper!r} names one that is there already. Leave one of the "
                "two out."
            )
        return Attached.read(self.zookeeper, self.kazoo or {})

    def environment(self) -> dict[str, str]:
        """The variables that every node is given. Raises `ConfigError`."""
        return {
            "REQUEST_DEADLINE_MS": str(round(self.request_deadline * 1000)),
            "MAX_NUMBER": str(self.max_number),
            **claim_environment(self.claim),
            **(self.env or {}),
        }

    def of_zookeeper(self, superuser: str) -> ZooKeeperSettings:
        """What ZooKeeper's servers begin with; `superuser` may change the ensemble."""
        data = self.backup.data if self.backup is not None else None
        return ZooKeeperSettings(extra=self.zoo_cfg or {}, superuser=superuser, backup=data)


def taking(
    make: Callable[P, S],
) -> Callable[[Callable[[Any, S], R]], Callable[Concatenate[Any, P], R]]:
    """Give a method the parameters of `make`, and pass it the object that `make` returns."""

    def decorate(method: Callable[[Any, S], R]) -> Callable[Concatenate[Any, P], R]:
        def called(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, make(*args, **kwargs))

        update_wrapper(called, method)
        own, taken = inspect.signature(method), inspect.signature(make)
        first, *_ = own.parameters.values()
        shown = own.replace(parameters=[first, *taken.parameters.values()])
        called.__signature__ = shown  # type: ignore[attr-defined]  # what Jupyter shows
        return called

    return decorate
