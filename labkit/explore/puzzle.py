"""The states of a small search and what leads from one to another, as plain data: a puzzle."""

from __future__ import annotations

from typing import Any

from labkit.errors import LabError
from labkit.explore.actor import describe
from labkit.explore.fork import Child, Fork
from labkit.explore.search import Search
from labkit.explore.verb import specify

_DEADLINE = 60.0  # seconds


def puzzle(
    code: Any,
    *,
    most: int,
    as_a: str | None = None,
    users: int = 2,
    nodes: int = 2,
    requests: int = 1,
    faults: int = 1,
) -> dict[str, Any]:
    """The first `most` states of what `explore` would search: see `Search.graph`.

    Raises `ConfigError` for code that `explore` does not take, `LabError` if the code fails.
    """
    wanted = specify(code, as_a, users, nodes, requests, faults)
    graph: dict[str, Any] = {}
    failed = "did not come back"

    def work(child: Child) -> None:
        try:
            child.send("graph", Search(wanted).graph(most))
        except Exception as error:
            child.send("failed", describe(error))

    def take(what: str, value: Any) -> None:
        nonlocal failed
        if what == "graph":
            graph.update(value)
        elif what == "failed":
            failed = value

    Fork(work, _DEADLINE).listen(take)
    if not graph:
        raise LabError(f"{wanted.name} {failed}.")
    return graph
