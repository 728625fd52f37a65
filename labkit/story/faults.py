"""What was wrong in a run, and when: what each verb means, and the faults that come of it.

A fault has two beginnings and two ends. Something may be lost from the moment at which its verb
began until the moment at which the one that mends it ended: so it is judged. It is known to be
broken from the end of its verb until the beginning of the one that mends it: so it is drawn.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from labkit.story.event import FaultEvent, VerbEvent
from labkit.story.stretches import Mark, Stretch, in_turn

PROCESS, LINK = "process", "link"


@dataclass(frozen=True)
class Meaning:
    """What a verb on a server means.

    A verb that `breaks` something has taken effect when it ends, and one that mends something when
    it begins: a mark stands there. `makes` is what has become of the process or link when the verb
    is over; `mended_by` names the verbs that make it whole again.
    """

    breaks: str = ""
    makes: str = ""
    mended_by: frozenset[str] = frozenset()
    #: A verb that failed is undone, as if it had never begun; but for one that breaks and mends.
    undone: bool = True


_HEALED = frozenset({"heal", "expire"})

VERBS: Mapping[str, Meaning] = MappingProxyType(
    {
        "stop": Meaning(PROCESS, "stopped", frozenset({"start"})),
        "kill": Meaning(PROCESS, "stopped", frozenset({"start"})),
        "pause": Meaning(PROCESS, "paused", frozenset({"resume", "kill", "stop"})),
        "start": Meaning(makes="running"),
        "resume": Meaning(makes="running"),
        "partition": Meaning(LINK, "cut", _HEALED),
        "slow": Meaning(LINK, "slow", _HEALED),
        "flaky": Meaning(LINK, "flaky", _HEALED),
        # Cuts the link, waits for the session's end, and mends the link whether that came or not.
        "expire": Meaning(LINK, "cut", frozenset({"expire"}), undone=False),
        "heal": Meaning(),
        "leave": Meaning(makes="left"),
    }
)
_NOTHING = Meaning()


@dataclass
class Fault:
    """Something that was wrong with some servers.

    `begin` and `end` are the outermost moments, `took` and `mending` the innermost: when it had
    taken effect, and when its mending began. Infinite is what has not come, or is not known.
    """

    what: str  # the verb, or the kind of a schedule's fault
    targets: frozenset[str]
    cause: int  # the id of the verb or fault: stopping all of an ensemble is one
    begin: float
    took: float = math.inf
    mending: float = math.inf
    end: float = math.inf

    @property
    def meaning(self) -> Meaning:
        return VERBS.get(self.what, _NOTHING)


@dataclass(frozen=True)
class Deed:
    """A verb that was carried out on one server."""

    server: str
    verb: str
    begin: float
    end: float

    @property
    def makes(self) -> str:
        """What has become of the server's process: "" if that is what it was."""
        meaning = VERBS.get(self.verb, _NOTHING)
        return "" if meaning.breaks == LINK else meaning.makes


_SERVER = re.compile(r"zookeeper\d+")


class Faults:
    """The faults of a run, event by event. `over` are those that have ended."""

    def __init__(self) -> None:
        self._events: list[VerbEvent | FaultEvent] = []
        self.heard: set[str] = set()  # ZooKeeper's servers, by name
        self._forget()

    def _forget(self) -> None:
        self.over: list[Fault] = []
        self.started: dict[str, float] = {}  # when each server was last started or resumed
        self.injected: list[float] = []  # when each fault of a schedule began
        self._marks: dict[str, list[tuple[Mark, float]]] = defaultdict(list)
        self._scheduled: dict[int, Fault] = {}
        # Of each server, what is broken, by the verbs that broke it: one that fails takes back its
        # own share and nobody else's.
        self._broken: dict[tuple[str, str], dict[int, Fault]] = defaultdict(dict)
        self._of: dict[str, list[Fault]] = defaultdict(list)  # of each server, those over
        self._begun: dict[int, VerbEvent] = {}

    @property
    def servers(self) -> set[str]:
        """ZooKeeper's servers; one is there, if none has been heard of."""
        return self.heard or {"zookeeper1"}

    @property
    def version(self) -> int:
        """Another number whenever there is something new."""
        return len(self._events) + len(self.heard)

    def hear(self, subject: str) -> None:
        """Let something have been heard of some servers, by name."""
        names = {name for name in subject.split(",") if _SERVER.fullmatch(name)}
        if not names <= self.heard:
            self.heard |= names
            self._forget()  # what was done to all of ZooKeeper was done to these too
            for event in self._events:
                self._follow(event)

    def add(self, event: VerbEvent | FaultEvent) -> list[Deed]:
        """Let a verb or a schedule's fault have begun or ended; what was carried out by that."""
        self._events.append(event)
        return self._follow(event)

    def _follow(self, event: VerbEvent | FaultEvent) -> list[Deed]:
        if isinstance(event, VerbEvent):
            return self._begin(event) if event.phase == "begin" else self._end(event)
        if event.phase == "begin":
            self.injected.append(event.t)
            self._scheduled[event.id] = Fault(
                event.fault, event.targets, event.id, event.t, took=event.t
            )
        elif fault := self._scheduled.pop(event.id, None):
            self.over.append(replace(fault, targets=event.targets, mending=event.t, end=event.t))
        return []

    def _targets(self, event: VerbEvent) -> set[str]:
        return self.servers if event.subject == "zookeeper" else {event.subject}

    def _mended(self, event: VerbEvent) -> Iterator[tuple[str, str]]:
        """What is broken that the verb mends."""
        servers = self._targets(event)
        for what, server in list(self._broken):
            if event.verb in VERBS[what].mended_by and (
                server in servers or event.subject == "lab"
            ):
                yield what, server

    def _begin(self, event: VerbEvent) -> list[Deed]:
        self._begun[event.id] = event
        for key in self._mended(event):
            for fault in self._broken[key].values():
                fault.mending = min(fault.mending, event.t)
        meaning = VERBS.get(event.verb, _NOTHING)
        if meaning.breaks:
            took = math.inf if meaning.undone else event.t
            for server in self._targets(event):
                fault = Fault(event.verb, frozenset({server}), event.id, event.t, took)
                self._broken[event.verb, server][event.id] = fault
        return []

    def _end(self, event: VerbEvent) -> list[Deed]:
        begin = self._begun.pop(event.id, event).t
        meaning = VERBS.get(event.verb, _NOTHING)
        if event.error is not None and meaning.undone:
            self._undo(event.id, begin)
            return []
        for faults in self._broken.values():
            if event.id in faults:
                faults[event.id].took = min(faults[event.id].took, event.t)
        healed = set()
        for key in self._mended(event):
            self._over(key, begin if event.verb != "expire" else event.t, event.t)
            if VERBS[key[0]].breaks == LINK:
                healed.add(key[1])
        for server in sorted(healed):
            at = event.t if event.verb == "expire" else begin
            self._mark(server, "heal", at, at)
        if event.verb == "heal" or event.subject == "lab":
            return []
        if event.verb in ("start", "resume"):
            self.started[event.subject] = event.t
        at = event.t if meaning.breaks and meaning.undone else begin
        targets = sorted(self._targets(event))
        for server in targets:
            self._mark(server, event.verb, at, begin)
        return [Deed(server, event.verb, begin, event.t) for server in targets]

    def _mark(self, server: str, verb: str, t: float, begin: float) -> None:
        self._marks[server].append((Mark(t, verb), begin))

    def _undo(self, cause: int, begin: float) -> None:
        """Take back what the beginning of a verb has changed that failed."""
        for key, faults in list(self._broken.items()):
            faults.pop(cause, None)
            if not faults:
                del self._broken[key]
            for fault in faults.values():
                if fault.mending == begin:
                    fault.mending = math.inf

    def _over(self, key: tuple[str, str], mending: float, end: float) -> None:
        fault = replace(self._first(key), mending=mending, end=end)
        del self._broken[key]
        self.over.append(fault)
        self._of[key[1]].append(fault)

    def _first(self, key: tuple[str, str]) -> Fault:
        """What is broken, since the first of the verbs that broke it."""
        faults = self._broken[key].values()
        return replace(next(iter(faults)), took=min(fault.took for fault in faults))

    # --- asking ---

    def all(self) -> list[Fault]:
        """Those that are over, and those that are not; in the order in which they began."""
        still = [*self._scheduled.values(), *map(self._first, self._broken)]
        return sorted([*self.over, *still], key=lambda fault: fault.begin)

    @property
    def down(self) -> set[str]:
        """The servers whose process does not run now."""
        return {server for what, server in self._broken if VERBS[what].breaks == PROCESS}

    def of(self, server: str) -> list[Fault]:
        """Those that verbs made of one server, in the order in which they took effect."""
        still = [self._first(key) for key in self._broken if key[1] == server]
        return sorted([*self._of.get(server, ()), *still], key=lambda fault: fault.took)

    def marks(self, server: str) -> list[tuple[Mark, float]]:
        """What was done to one server, where it took effect; and when each had begun."""
        return sorted(self._marks.get(server, ()), key=lambda marked: marked[0].t)

    def stretches(self, server: str, breaks: str, makes: str = "") -> list[Stretch]:
        """When the server's process or link is known to have been broken, and how.

        With `makes`, when it was that.
        """
        return in_turn(
            Stretch(fault.took, fault.mending, "" if makes else fault.meaning.makes)
            for fault in self.of(server)
            if fault.meaning.breaks == breaks
            and makes in ("", fault.meaning.makes)
            and fault.took < fault.mending
        )

    def is_broken(self, server: str) -> bool:
        """Whether the server's link may be broken now."""
        return any(VERBS[what].breaks == LINK and name == server for what, name in self._broken)


def united(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time, in stretches that do not meet, in order."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            begin, end = found[-1][0], max(found[-1][1], end)
            found.pop()
        found.append((begin, end))
    return found


def outages(faults: Faults, connected: Iterable[float]) -> list[Stretch]:
    """When fewer than a majority of ZooKeeper's servers ran.

    A client that is `connected` while ZooKeeper starts knows sooner than the verb that it serves.
    """
    servers = faults.servers
    downs = [
        fault
        for server in servers
        for fault in faults.of(server)
        if fault.meaning.breaks == PROCESS and fault.took < fault.end
    ]
    steps: dict[float, int] = defaultdict(int)
    for server in servers:
        mine = [(fault.took, fault.end) for fault in downs if server in fault.targets]
        for begin, end in united(mine):
            steps[begin] += 1
            steps[end] -= 1
    found: list[Stretch] = []
    down, since = 0, math.inf
    for t in sorted(steps):
        down += steps[t]
        if 2 * (len(servers) - down) > len(servers):
            if since < t:
                found.append(Stretch(since, t))
            since = math.inf
        else:
            since = min(since, t)
    if since < math.inf:
        found.append(Stretch(since, math.inf))
    times = sorted(connected)
    return [part for stretch in found for part in _known_sooner(stretch, downs, times)]


def _known_sooner(
    outage: Stretch, downs: Iterable[Fault], connected: list[float]
) -> Iterator[Stretch]:
    """An outage without the time after which somebody was connected while it was being mended."""
    for fault in sorted(downs, key=lambda fault: fault.mending):
        begin, end = max(fault.mending, outage.start), min(fault.end, outage.end)
        index = bisect_left(connected, begin)
        if index < len(connected) and connected[index] < end:
            yield Stretch(outage.start, connected[index])
            if end < outage.end:
                yield from _known_sooner(Stretch(end, outage.end), downs, connected)
            return
    yield outage
