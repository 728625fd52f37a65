"""An experiment on three machines, or the run of it that came with the course."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import BackendUnavailable, ConfigError
from labkit.lab.lab import Lab
from labkit.story.event import Event, from_json

#: A directory in which to keep runs, for the course's author.
VARIABLE = "LABKIT_KEEP_RUNS"

_COUNT = 3
_HOW = (
    "`labkit machines up` makes three of one, where there is a Docker engine; then run the page "
    "again"
)

#: The runs that came with the course.
HOME = Path(__file__).parent / "runs"


@dataclass(frozen=True)
class StagedRun:
    """What came of an experiment: what it returned, and its timeline."""

    told: dict[str, Any]
    history: list[Event]
    where: str

    def __repr__(self) -> str:
        return self.where

    def write(self, path: Path) -> None:
        """Write it as compressed JSON lines, what was told first."""
        about = {"told": self.told, "where": self.where}
        lines = [json.dumps(about), *(event.to_json() for event in self.history)]
        path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))

    @classmethod
    def read(cls, path: Path) -> StagedRun:
        """What `write` wrote."""
        first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        about = json.loads(first)
        return cls(about["told"], [from_json(line) for line in lines], about["where"])


def on_machines(experiment: Callable[[Lab], dict[str, Any]], **settings: Any) -> StagedRun:
    """Run an experiment in a lab on three machines: `on_machines(power_cut, nodes=6, ensemble=3)`.

    The machines are those of `LABKIT_ENGINES`, or those that `labkit machines up` has made. The
    lab is made with `settings`, and closed afterwards; what the experiment returns is in `told`.
    Without machines, it is the saved run of the experiment of that name, with servers of the same
    class, and says so. Raises `ConfigError` if there is none either.
    """
    name = "-".join([experiment.__name__, *_class(settings.get("claim"))])
    why = ""
    try:
        if machines := _machines():
            return _staged(experiment, name, machines, settings)
    except BackendUnavailable as error:
        why = f" ({error})"
    path = HOME / f"{name}.jsonl.gz"
    if not path.exists():
        raise ConfigError(f"There are no three machines{why}, and no saved run {name}. {_HOW}.")
    run = StagedRun.read(path)
    return StagedRun(
        run.told, run.history, f"{run.where}; here are no three machines{why}. {_HOW}."
    )


def _class(claim: object) -> list[str]:
    return [claim.__name__] if isinstance(claim, type) else []


def _machines() -> list[str]:
    """The engines of the machines that are here, if there are enough."""
    from labkit.servers.docker.engines import named

    found = named()
    return found if len(found) >= _COUNT else []


def _staged(
    experiment: Callable[[Lab], dict[str, Any]],
    name: str,
    machines: list[str],
    settings: dict[str, Any],
) -> StagedRun:
    with Lab(engines=machines, **settings) as lab:
        told = experiment(lab)
        names = ", ".join(machine.name for machine in lab.machines)
        where = f"Run on machines {names}, with ZooKeeper {lab.zookeeper.version}"
        run = StagedRun(told, list(lab.history()), where)
    if kept := os.environ.get(VARIABLE):
        saved = f"Saved run of {time.strftime('%-d %B %Y')}, on machines {names}"
        StagedRun(told, run.history, saved).write(Path(kept) / f"{name}.jsonl.gz")
    return run
