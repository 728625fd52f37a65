"""The names a notebook imports.

Loaded lazily, so that `import labkit` costs nothing and a node never imports matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.course.predict import predict
    from labkit.course.spot import spot
    from labkit.course.staged import on_machines
    from labkit.course.task import exercise, progress
    from labkit.errors import LabError
    from labkit.judge.chaos import chaos
    from labkit.judge.rules import check
    from labkit.lab.clients import clients
    from labkit.lab.lab import Lab
    from labkit.node.custom import Unavailable
    from labkit.see.controls import controls
    from labkit.see.curves import latency, seen, storm, times_to_free
    from labkit.see.ladder import ladder
    from labkit.see.plots import assignment, numbers, quorum
    from labkit.see.recipes import under_fire
    from labkit.see.replay import replay
    from labkit.see.shares import shares
    from labkit.see.states import states
    from labkit.see.verdict import verdict
    from labkit.story.facts import silences
    from labkit.story.timeline import Timeline

__all__ = [
    "Lab",
    "LabError",
    "Timeline",
    "Unavailable",
    "assignment",
    "chaos",
    "check",
    "clients",
    "controls",
    "exercise",
    "ladder",
    "latency",
    "numbers",
    "on_machines",
    "predict",
    "progress",
    "quorum",
    "replay",
    "seen",
    "shares",
    "silences",
    "spot",
    "states",
    "storm",
    "times_to_free",
    "under_fire",
    "verdict",
]

_HOMES = {
    "Lab": "lab.lab",
    "LabError": "errors",
    "Timeline": "story.timeline",
    "Unavailable": "node.custom",
    "chaos": "judge.chaos",
    "check": "judge.rules",
    "clients": "lab.clients",
    "controls": "see.controls",
    "exercise": "course.task",
    "ladder": "see.ladder",
    "latency": "see.curves",
    "on_machines": "course.staged",
    "predict": "course.predict",
    "progress": "course.task",
    "replay": "see.replay",
    "seen": "see.curves",
    "shares": "see.shares",
    "silences": "story.facts",
    "spot": "course.spot",
    "states": "see.states",
    "storm": "see.curves",
    "times_to_free": "see.curves",
    "under_fire": "see.recipes",
    "verdict": "see.verdict",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    return getattr(import_module(f"labkit.{_HOMES.get(name, 'see.plots')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
