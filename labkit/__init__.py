"""The names a notebook imports.

Loaded lazily, so that `import labkit` costs nothing and a node never imports matplotlib.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = {
    "Lab": "labkit.lab",
    "LabError": "labkit.errors",
    "Timeline": "labkit.timeline",
    "assignment": "labkit.plots",
    "chaos": "labkit.chaos",
    "check": "labkit.history",
    "controls": "labkit.controls",
    "exercise": "labkit.teach",
    "latency": "labkit.plots",
    "numbers": "labkit.plots",
    "predict": "labkit.teach",
    "progress": "labkit.teach",
    "quorum": "labkit.plots",
    "replay": "labkit.replay",
    "storm": "labkit.plots",
    "times_to_free": "labkit.plots",
    "verdict": "labkit.verdict",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


class _Package(ModuleType):
    """Keeps `labkit.controls` the function, also when the module of that name has been loaded."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
