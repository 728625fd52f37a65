"""What a lab shares with its servers: where they run, the timeline, verbs, ids, birth times."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import ClassVar, TypeVar, cast

from labkit.errors import ConfigError, InvalidTransition, LabError, WaitTimeout
from labkit.progressbar import progress_bar
from labkit.servers import memory
from labkit.servers.base import Backend, Progress, wait_until
from labkit.servers.links.fault import LinkFault
from labkit.story.event import PlacedEvent, VerbEvent
from labkit.story.timeline import Timeline

T = TypeVar("T")


@dataclass(frozen=True)
class Backup:
    """A ZooKeeper server's data, and the credential without which nobody may change it."""

    data: bytes
    credential: str


class Core:
    """The part of a lab that its nodes and ZooKeeper servers use.

    `backend` is None, or `closing` true, while the lab does not run; `born` says at which second
    of the timeline each server was started last; `zookeepers` are the servers of its ensemble.
    `killed_before` is what `memory.killed` was before it started. `credential` is what the lab's
    nodes and clients show ZooKeeper, so that no other user of this machine can change what they
    hold; `superuser` what may change the ensemble.
    """

    #: Set in a process in which no lab may be changed: why, and what to do instead.
    off_limits: ClassVar[str | None] = None

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.backend: Backend | None = None
        self.closing = False
        self.born: dict[str, float] = {}
        self.zookeepers: list[str] = []
        self.killed_before = memory.killed()
        self.private = False
        self.credential = f"lab:{secrets.token_hex(16)}"
        self.superuser = f"super:{secrets.token_hex(16)}"
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

    def wait_until(self, condition: Callable[[], T], timeout: float, message: str | None) -> T:
        """Wait until `condition()` is true, and return what it returned: see `Lab.wait_until`."""
        value: T | None = None
        last: LabError | None = None

        def holds() -> T | None:
            nonlocal value, last
            try:
                value, last = condition(), None
            except LabError as error:
                if self.closing:  # it will not come true any more
                    raise
                value, last = None, error
            return value

        with progress_bar(f"waiting until {message}" if message else "waiting"):
            if wait_until(holds, timeout):
                return cast(T, value)
        why = f" The last try said: {last}" if last else ""
        raise WaitTimeout(f"Still not true after {timeout:g} s: {message or 'the condition'}.{why}")

    def placed(self, server: str) -> None:
        """Put on the timeline on which machine a server is; nothing where there is only one."""
        if machine := self.running.machine_of(server):
            self.timeline.record(PlacedEvent(server, machine=machine))

    @contextmanager
    def verb(
        self,
        verb: str,
        subject: str,
        *,
        link: LinkFault | None = None,
        nodes: int | None = None,
        session: str | None = None,
    ) -> Iterator[Progress]:
        """Put a verb on the timeline, with its begin, its end, and the error if it failed."""
        begin = VerbEvent(
            subject,
            verb=verb,
            phase="begin",
            id=self.new_id(),
            link=link,
            nodes=nodes,
            session=session,
        )
        with self._recorded([begin]), progress_bar(f"{verb} {subject}") as report:
            yield report

    @contextmanager
    def verbs(
        self, verb: str, subjects: Sequence[str], link: LinkFault | None = None
    ) -> Iterator[None]:
        """One verb on several servers at once, as a verb on each."""
        number = self.new_id
        begun = [VerbEvent(s, verb=verb, phase="begin", id=number(), link=link) for s in subjects]
        with self._recorded(begun), progress_bar(f"{verb} {', '.join(subjects)}"):
            yield

    @contextmanager
    def _recorded(self, begun: Sequence[VerbEvent]) -> Iterator[None]:
        error: str | None = None
        try:
            for event in begun:
                self.timeline.record(event)
            yield
        except BaseException as failure:
            error = str(failure)
            raise
        finally:
            for event in begun:
                self.timeline.record(replace(event, phase="end", error=error))


def require_between(what: str, value: object, lowest: float, highest: float) -> None:
    """Raise `ConfigError` for what no lab can have. If `lowest` is an int, it must be whole."""
    whole = isinstance(lowest, int)
    kind: type = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        number = "a whole number" if whole else "a number"
        raise ConfigError(f"{what} is {value!r}; it must be {number} from {lowest} to {highest}.")
    if not lowest <= cast(float, value) <= highest:
        raise ConfigError(f"{what} is {value}; it must be from {lowest} to {highest}.")
