"""`explore`: what a reader calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from labkit.errors import ConfigError
from labkit.explore import ready
from labkit.explore.search import Found, search
from labkit.explore.specification import Specification

_READY: dict[str, Callable[..., Specification]] = {"lock": ready.lock}


def explore(
    code: Any,
    *,
    as_a: str | None = None,
    users: int = 2,
    nodes: int = 2,
    requests: int = 2,
    faults: int = 1,
    seconds: float = 60.0,
) -> Found:
    """The shortest schedule that breaks `code`, or that there is none.

    `code` is a server's class, a function that is a "lock" (`as_a`), or a specification. Raises
    `ConfigError` for anything else.
    """
    return search(specify(code, as_a, users, nodes, requests, faults), seconds)


def specify(
    code: Any, as_a: str | None, users: int, nodes: int, requests: int, faults: int
) -> Specification:
    """The specification that is meant. Raises `ConfigError`."""
    if isinstance(code, Specification):
        return code
    if inspect.isclass(code) and as_a is None:
        return ready.numbers(code, nodes, requests, faults)
    if as_a not in _READY:
        raise ConfigError(f"explore(…, as_a={as_a!r}): choose one of {', '.join(_READY)}.")
    return _READY[as_a](code, users, faults)
