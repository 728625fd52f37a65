"""The events of a run: one type for each kind of thing that a lab does or sees.

Times are seconds on the timeline's clock; a field that ends in `_ms` is in milliseconds. An event
is JSON only in a file (`Timeline.write`, `Timeline.read`) and in a report: `to_json`, `from_json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from labkit.errors import HistoryError
from labkit.servers.links.fault import LinkFault

CLAIMS = "/sequence"
IDS = "/ids"

#: As a target: whichever ZooKeeper server leads when the fault begins.
LEADER = "leader"


def is_zookeeper(target: str) -> bool:
    """Whether a fault's target is a ZooKeeper server and not a node."""
    return target == LEADER or target.startswith("zookeeper")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `subject` is a server's name ("node1", "zookeeper1"), "zookeeper" for the service as a whole,
    or "lab". `t` is in seconds since the timeline began; `Timeline.record` sets it.
    """

    kind: ClassVar[str] = ""  # the name of the type in a file

    subject: str
    t: float = field(default=0.0, kw_only=True)

    def to_json(self) -> str:
        """One line of JSON; fields that have their default are left out."""
        known = {f.name: f.default for f in fields(self) if f.name not in ("subject", "t")}
        data = {k: v for k, v in asdict(self).items() if k in known and v != known[k]}
        return json.dumps({"t": self.t, "kind": self.kind, "subject": self.subject, "data": data})

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields of this type, out of the values that JSON can hold."""
        return {f.name: data[f.name] for f in fields(cls) if f.name in data}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent(Event):
    """A client asked a node, or got an answer, or gave up.

    `path` is /sequence for the node's number and /ids for IDs. `phase` is "invoke" when the client
    asks; then one of "ok" (`number`, its fencing `token`, the lease that is left; of IDs the
    `runs`, first and last of each row without a gap), "fail" (the node refused, with an HTTP
    `status` and a `reason`; or nobody took the request: an `error` and no status) and "unknown" (no
    answer: an `error`). `abandoned` is true if the client gave up of its own will.
    """

    kind = "request"
    phase: Literal["invoke", "ok", "fail", "unknown"]
    id: int  # the same in both events of a request, and in no other event of the lab
    path: str = CLAIMS
    number: int | None = None
    token: int | None = None
    lease_ms: float | None = None
    runs: tuple[tuple[int, int], ...] = ()
    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    error: str | None = None
    abandoned: bool = False

    def unanswered(self, error: str, *, refused: bool) -> RequestEvent:
        """The end of this request without an answer; `refused`: there was no connection."""
        return replace(self, phase="fail" if refused else "unknown", error=error)

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        found = super(RequestEvent, cls).fields_of(data)
        return found | {"runs": tuple((first, last) for first, last in data.get("runs", ()))}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbEvent(Event):
    """Something that was done to a server or to the lab began, or ended: "kill", "scale", ….

    A verb that failed ends with an `error`. `link` is what was done to a link, `nodes` how many of
    them a "scale" wanted, `session` the one that was to "expire".
    """

    kind = "verb"
    verb: str
    phase: Literal["begin", "end"]
    id: int
    error: str | None = None
    link: LinkFault | None = None
    nodes: int | None = None
    session: str | None = None

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        return _with_link(super(VerbEvent, cls).fields_of(data))


def is_verb(event: Event) -> bool:
    """Whether somebody did something to a server, or has just done it."""
    return isinstance(event, VerbEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEvent(Event):
    """A fault of a schedule began, or was healed.

    `subject` names all the servers that it concerns, with commas between them; `fault` is its kind
    ("pause", "partition", …).
    """

    kind = "fault"
    fault: str
    phase: Literal["begin", "end"]
    id: int
    link: LinkFault | None = None

    @property
    def targets(self) -> frozenset[str]:
        """The names of the servers."""
        return frozenset(self.subject.split(","))

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        return _with_link(super(FaultEvent, cls).fields_of(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent(Event):
    """The status of a node (GET /status) has changed.

    It was `asked` for it at that second, and at the second `previous_until` its status was the one
    before for the last time (None: this is the first). A node that cannot be reached has an `error`
    and nothing else. `number` is what it would answer now, and `claimed` what it has claimed,
    whether its lease is valid or not; without a number there is a `reason`. `session` is its id in
    ZooKeeper, as "0x…"; `zookeeper` the server that the node is connected to.
    """

    kind = "status"
    reachable: bool = True
    number: int | None = None
    claimed: int | None = None
    reason: str | None = None
    token: int | None = None
    lease_ms: float | None = None
    session: str | None = None
    connection: str | None = None  # kazoo's state
    session_timeout_ms: int | None = None  # as negotiated
    zookeeper: str | None = None
    error: str | None = None
    asked: float | None = None
    previous_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedEvent(Event):
    """The lab uses a ZooKeeper at `hosts` that others run, and can't read its transaction log."""

    kind = "attached"
    hosts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedEvent(Event):
    """A server stands on a machine. A lab on several machines records one for each server."""

    kind = "placed"
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumEvent(Event):
    """A ZooKeeper server's mode ("leader", "follower", "standalone"); None: it serves nobody."""

    kind = "quorum"
    mode: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A claim as a watch saw it: the node that it names, its session, its fencing token."""

    owner: str | None
    session: str | None
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldersEvent(Event):
    """What a watch saw below `root`: the holder of each number, and the tickets, at that zxid.

    It had seen something else at the second `previous_until`, for the last time (None: unknown).
    """

    kind = "holders"
    numbers: Mapping[int, Holder]
    tickets: tuple[str, ...] = ()
    zxid: int
    root: str = CLAIMS
    previous_until: float | None = None

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        found = super(HoldersEvent, cls).fields_of(data)
        numbers = {int(number): Holder(**claim) for number, claim in data["numbers"].items()}
        return found | {"numbers": numbers, "tickets": tuple(data.get("tickets", ()))}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewEvent(Event):
    """A crew begins to work: from now on its workers hold the children of `root`."""

    kind = "crew"
    root: str
    names: tuple[str, ...]

    @classmethod
    def fields_of(cls, data: dict[str, Any]) -> dict[str, Any]:
        return super(CrewEvent, cls).fields_of(data) | {"names": tuple(data["names"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent(Event):
    """The state of the lab's own session, in kazoo's words: "CONNECTED", "SUSPENDED", "LOST"."""

    kind = "session"
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEvent(Event):
    """One change from ZooKeeper's transaction log; the parts of a `multi` share their zxid.

    `op` is "create", "delete", "setData", "createSession", "closeSession", …; `session` is the one
    that made the change, as "0x…"; `value` what a created or set znode holds.
    """

    kind = "transaction"
    zxid: int
    session: str
    op: str
    path: str | None = None
    value: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedEvent(Event):
    """The timeline grew too long, and has dropped `events` from before this moment.

    `kinds` counts them by kind; `zxid` is the newest of the dropped transactions.
    """

    kind = "dropped"
    events: int
    kinds: Mapping[str, int]
    zxid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent(Event):
    """Up to here ZooKeeper's transaction log has been merged in (`lab.history()`)."""

    kind = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionEvent(Event):
    """A reader's prediction (None: there was none) and the truth; what they are, the page says."""

    kind = "prediction"
    question: str
    predicted: Any = None
    truth: Any = None


KINDS: Mapping[str, type[Event]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            RequestEvent,
            VerbEvent,
            FaultEvent,
            StatusEvent,
            AttachedEvent,
            PlacedEvent,
            QuorumEvent,
            HoldersEvent,
            CrewEvent,
            SessionEvent,
            TransactionEvent,
            DroppedEvent,
            HistoryEvent,
            PredictionEvent,
        )
    }
)


def from_json(line: str) -> Event:
    """The event that `to_json` wrote. A field that is not known is left out.

    Raises `HistoryError` for what is no event.
    """
    try:
        record = json.loads(line)
        kind = KINDS[record["kind"]]
        return kind(record["subject"], t=record["t"], **kind.fields_of(record["data"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryError(
            f"This is no event of a timeline ({error!r}): {line[:200]}\n"
            "Timeline.read reads what Timeline.write of the same version of labkit wrote."
        ) from error


def _with_link(found: dict[str, Any]) -> dict[str, Any]:
    link = found.get("link")
    return found if link is None else found | {"link": LinkFault(**link)}


def owner(value: str | None) -> str | None:
    """The node that a claim's data names, or None if it names none."""
    try:
        data = json.loads(value or "")
        return str(data["owner"])
    except (ValueError, KeyError, TypeError):
        return None


_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_TICKET = re.compile(r".*([0-9]{10})", re.DOTALL)


def number_of(name: str) -> int | None:
    """The number that a child of /sequence stands for; None for a ticket, or anything else."""
    return int(name) if _NUMBER.fullmatch(name) else None


def ticket_of(name: str) -> int | None:
    """The place in the queue of a sequential znode, whatever it is called; None for all others."""
    found = None if _NUMBER.fullmatch(name) else _TICKET.fullmatch(name)
    return int(found[1]) if found else None


_ENDING = re.compile(r"(?:.*\D)?(\d+)")


def held_number(name: str) -> int | None:
    """The number that a znode's name ends in: 7 for "7" and for "item-0000000007"."""
    found = _ENDING.fullmatch(name)
    return int(found[1]) if found else None
