"""What a lab shares with its servers: where they run, the timeline, verbs, ids, birth times."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from labkit.errors import InvalidTransition
from labkit.lab.timeline import Timeline
from labkit.progressbar import progress_bar
from labkit.servers.base import Backend, Progress


class Core:
    """The part of a lab that its nodes and ZooKeeper servers use.

    `backend` is None, or `closing` true, while the lab does not run; `born` says at which second
    of the timeline each server was started last.
    """

    #: Set in a process in which no lab may be changed: why, and what to do instead.
    off_limits: ClassVar[str | None] = None

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.backend: Backend | None = None
        self.closing = False
        self.born: dict[str, float] = {}
        self._ids = itertools.count(1)

    @property
    def running(self) -> Backend:
        """The backend of a lab that runs. Raises `InvalidTransition` for one that does not."""
        self.require_reach()
        if self.backend is None or self.closing:
            raise InvalidTransition(
                "This lab is not running. Start it with lab.start(), or make a new one: "
                "lab = Lab(nodes=4).start()"
            )
        return self.backend

    def require_reach(self) -> None:
        """Raise `InvalidTransition` in a process in which no lab may be changed."""
        if self.off_limits is not None:
            raise InvalidTransition(self.off_limits)

    def new_id(self) -> int:
        """An id that no other event of this lab has."""
        return next(self._ids)

    @contextmanager
    def verb(self, verb: str, subject: str, **detail: Any) -> Iterator[Progress]:
        """Put a verb on the timeline, with its begin, its end, and the error if it failed."""
        number = self.new_id()
        self.timeline.record("verb", subject, verb=verb, phase="begin", id=number, **detail)
        try:
            with progress_bar(f"{verb} {subject}") as report:
                yield report
        except BaseException as error:
            self.timeline.record(
                "verb", subject, verb=verb, phase="end", id=number, error=str(error), **detail
            )
            raise
        self.timeline.record("verb", subject, verb=verb, phase="end", id=number, **detail)
