"""What ZooKeeper says of claims: numbers and tickets, from creation to end.

The transaction log is exact about order, so it is read in the order of its zxids. Where it has not
been read, the watch speaks, which is late and may have missed something.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import TypeVar

from labkit.story.bars import Span
from labkit.story.event import (
    CLAIMS,
    Event,
    HoldersEvent,
    TransactionEvent,
    held_number,
    number_of,
    owner,
    ticket_of,
)
from labkit.story.requests import Requests

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
G = TypeVar("G")

_LAG = 0.15  # seconds by which a watch may be late that does not say when it looked before


@dataclass(eq=False)
class Znode:
    """A number or a ticket from creation to end, in seconds; `born`, `died`: which changes.

    `lag` is how late its creation may have been seen. It was `gone` when the watch saw it so, and
    the log does not reach as far; that may have been seen late by `gone_lag`.
    """

    name: str  # its path
    zxid: int
    session: str
    owner: str | None
    order: int  # a number's value, or a ticket's place in the queue
    begin: float
    event: Event  # that tells of its creation
    born: int
    end: float = math.inf
    died: int | None = None
    is_ticket: bool = False
    is_ephemeral: bool = True
    ticket: Znode | None = None
    lag: float = 0.0
    gone: float = math.inf
    gone_lag: float = 0.0

    @property
    def over(self) -> float:
        """When it ended, by the log or else by the watch."""
        return min(self.end, max(self.gone, self.begin))

    def span(self) -> Span:
        """The same, with what is doubtful about its beginning and end."""
        before = self.end if self.end <= self.gone else max(self.gone - self.gone_lag, self.begin)
        return Span(
            self.owner,
            self.order,
            self.zxid,
            self.begin - self.lag,
            self.begin,
            before,
            self.over,
            self.session if self.is_ephemeral else None,
            watched=self.lag > 0,
        )


class Tenures:
    """The lives of one number's znode, of which at most one exists at a time.

    They are in the order of their creation. Clocks may differ a little, so that two seem to meet.
    Those that are wanted are found without a look at all the others.
    """

    def __init__(self, znodes: Sequence[Znode] = ()) -> None:
        self._znodes = znodes
        self._ended = list(accumulate((znode.end for znode in znodes), max))
        begun = accumulate((znode.begin for znode in reversed(znodes)), min)
        self._begin = list(begun)[::-1]  # of this one or one created later

    def during(self, since: float, until: float) -> Iterator[Znode]:
        """Those that existed at some moment between the two, the newest first."""
        for index in reversed(range(bisect_right(self._begin, until))):
            if self._ended[index] < since:
                return
            znode = self._znodes[index]
            if znode.begin <= until and since <= znode.end:
                yield znode


class _Shelf:
    """The znodes that pictures show: by the owner that each names, and those that name none."""

    def __init__(self) -> None:
        self.named: dict[str, list[Znode]] = defaultdict(list)
        self.nameless: list[Znode] = []

    def put(self, znode: Znode) -> None:
        (self.nameless if znode.owner is None else self.named[znode.owner]).append(znode)

    def of(self, node: str) -> list[Znode]:
        named = self.named.get(node, [])
        nameless = [znode for znode in self.nameless if znode.owner == node]
        return sorted([*named, *nameless], key=_zxid) if nameless else named

    def __iter__(self) -> Iterator[Znode]:
        return chain(self.nameless, *self.named.values())


class Claims:
    """Numbers and tickets, event by event. `read` comes before every question."""

    def __init__(self, requests: Requests, tolerance: float) -> None:
        self._requests = requests
        self._tolerance = tolerance
        self.root = CLAIMS  # what pictures show is below this znode
        self._since = -math.inf  # and was made after this moment
        self.owners: dict[str, str] = {}  # of sessions: the nodes' names
        self.sessions_of: dict[str, set[str]] = defaultdict(set)
        self.queue: tuple[str, ...] = ()  # the tickets that the watch saw last
        self._log: list[TransactionEvent] = []
        self._watch: list[HoldersEvent] = []  # what it saw that the log does not tell
        self._newest = -1  # zxid in the log
        self._is_sorted = True
        self._news = 0  # grows whenever there is something new
        self._read_at = -1, 0
        self._restart()

    def _restart(self) -> None:
        self._done = 0  # how many transactions have been read
        self.times: list[float] = []  # of each change; one zxid is one change
        self.numbers: list[Znode] = []  # below /sequence, in the order of their creation
        self.tickets: list[Znode] = []
        self.sessions: dict[str, int] = {}  # the change that created each
        self.closed: dict[str, float] = {}  # when each ended
        self.by_token: dict[int, Znode] = {}
        self._alive: dict[str, Znode] = {}
        self._logged = _Shelf()
        self._unwatch()

    def _unwatch(self) -> None:
        for znode in self._alive.values():
            znode.gone = math.inf
        self._watched = 0  # how many of the watch's events have been read
        self._seen = _Shelf()
        self._seen_now: dict[int, Znode] = {}  # those of them that are there, by number

    # --- events ---

    def change(self, event: TransactionEvent) -> None:
        """Let one part of a change stand in ZooKeeper's log."""
        read = self._log[self._done - 1].zxid if self._done else -1
        if event.zxid < self._newest or event.zxid == read:
            self._is_sorted = False
        self._newest = max(self._newest, event.zxid)
        self._log.append(event)
        self._news += 1

    def see(self, event: HoldersEvent) -> None:
        """Let the watch have seen who holds what."""
        if event.root == self.root:
            self.queue = event.tickets
            if event.zxid > self._newest:
                self._watch.append(event)
                self._news += 1

    def belong(self, session: str, node: str) -> None:
        """Let a node have been heard to have a session."""
        before = self.owners.get(session)
        if before != node:
            self.sessions_of[before or ""].discard(session)
            self.sessions_of[node].add(session)
            self.owners[session] = node
            self._news += 1

    def move(self, root: str, t: float) -> None:
        """From now on pictures are about what is held below another znode."""
        self.root, self._since, self.queue = root, t, ()
        self._watch.clear()
        self._news += 1
        self._restart()

    # --- reading ---

    @property
    def version(self) -> tuple[int, int]:
        """Something else whenever the answer to a question may be another."""
        return self._news, len(self._requests.over) if self._logged.nameless else 0

    @property
    def is_stale(self) -> bool:
        """Whether there is something to read."""
        return self._read_at[0] != self._news or (
            bool(self._logged.nameless) and self._read_at != self.version
        )

    def read(self) -> None:
        """Read what has been added."""
        if not self._is_sorted:
            self._log.sort(key=lambda event: event.zxid)
            self._is_sorted = True
            self._restart()
        if self._done < len(self._log):
            for _, parts in groupby(self._log[self._done :], lambda event: event.zxid):
                self._follow(list(parts))
            self._done = len(self._log)
            known = [event for event in self._watch if event.zxid > self._newest]
            if self._watched or len(known) < len(self._watch):
                self._watch = known
                self._unwatch()
        for event in self._watch[self._watched :]:
            self._look(event)
        self._watched = len(self._watch)
        self._name_owners()
        self._read_at = self.version

    def _follow(self, parts: Sequence[TransactionEvent]) -> None:
        """One change: nobody ever sees a multi half done."""
        index, t = len(self.times), parts[0].t
        self.times.append(max(t, self.times[-1]) if self.times else t)
        ended: list[Znode] = []
        created: list[Znode] = []
        for event in parts:
            op, path, session = event.op, event.path or "", event.session
            if op == "createSession":
                self.sessions[session] = index
            elif op == "closeSession":
                self.closed[session] = t
                mine = (n for n, z in self._alive.items() if z.session == session)
                gone = [name for name in mine if self._alive[name].is_ephemeral]
                ended += [self._alive.pop(name) for name in gone]
            elif op == "delete" and path in self._alive:
                ended.append(self._alive.pop(path))
            elif op == "create" and (znode := self._born(event, path, index)):
                self._alive[path] = znode
                created.append(znode)
        for znode in ended:
            znode.end, znode.died = t, index
        # Made and deleted in one transaction is never there: no one can have seen it.
        ended = [znode for znode in ended if znode.born != index]
        for znode in (znode for znode in created if znode.died != index):
            parent = znode.name.rpartition("/")[0]
            if parent == self.root and not znode.is_ticket and znode.begin >= self._since:
                self._logged.put(znode)
            if znode.is_ticket:
                self.tickets.append(znode)
            elif znode.name.startswith(f"{CLAIMS}/"):
                znode.ticket = _ticket_of(znode, ended, self._alive)
                self.numbers.append(znode)
                self.by_token[znode.zxid] = znode

    def _born(self, event: TransactionEvent, path: str, index: int) -> Znode | None:
        """A number below /sequence, or a ticket: any sequential ephemeral there. Or a crew's."""
        parent, _, name = path.rpartition("/")
        order, is_ticket = None, False
        if path.startswith(f"{CLAIMS}/"):
            order = number_of(path.removeprefix(f"{CLAIMS}/"))
            if order is None and event.ephemeral:
                order, is_ticket = ticket_of(name), True
        elif parent == self.root:
            order = held_number(name)
        if order is None:
            return None
        return Znode(
            *(path, event.zxid, event.session, owner(event.value), order, event.t, event, index),
            is_ticket=is_ticket,
            is_ephemeral=event.ephemeral,
        )

    def _look(self, event: HoldersEvent) -> None:
        """What the watch saw that the log does not tell."""
        since = event.t - _LAG if event.previous_until is None else event.previous_until
        held = {znode.order: znode for znode in self._held()}
        for number, znode in held.items():
            holder = event.numbers.get(number)
            if holder is None or holder.token != znode.zxid:
                znode.gone, znode.gone_lag = event.t, event.t - since
                self._seen_now.pop(number, None)
        for number, holder in event.numbers.items():
            if number in held and held[number].zxid == holder.token:
                continue
            path, session, t = f"{self.root}/{number}", holder.session or "", event.t
            first = (path, holder.token, session, holder.owner, number, t, event, len(self.times))
            self._seen_now[number] = Znode(*first, lag=t - since)
            self._seen.put(self._seen_now[number])

    def _name_owners(self) -> None:
        """Find the owners of claims that name none, of sessions that no node was heard to have.

        A node may claim, answer and die between two questions about its session. Then the claim
        belongs to the node that answered its number most often while it was held.
        """
        for znode in chain(self._logged.nameless, self._seen.nameless):
            heard = znode.is_ephemeral or self.root == CLAIMS
            znode.owner = self.owners.get(znode.session) if heard else None
        unknown = {znode.order for znode in self._logged.nameless if znode.owner is None}
        if not unknown or self.root != CLAIMS:
            return
        wanted = (znode for znode in self.numbers if znode.order in unknown)
        for znodes in grouped(wanted, lambda znode: znode.order, list).values():
            for before, znode, after in zip(
                [None, *znodes], znodes, [*znodes[1:], None], strict=False
            ):
                if znode.owner is None:
                    counts = self._answerers(znode, (before, after))
                    znode.owner = max(counts, key=counts.__getitem__, default=None)

    def _answerers(self, znode: Znode, beside: Iterable[Znode | None]) -> Counter[str]:
        """How often each node answered by a claim, and not by its own just before or after it."""
        own = [x for x in beside if x is not None and x.owner is not None]
        slack = self._tolerance
        return Counter(
            request.node
            for request in self._requests.answers(
                znode.order, znode.begin - slack, znode.end + slack
            )
            if (request.token not in self.by_token or request.token == znode.zxid)
            and not any(
                x.owner == request.node
                and x.begin - slack <= request.done
                and request.invoke <= x.end + slack
                for x in own
            )
        )

    # --- pictures ---

    def _held(self) -> list[Znode]:
        """What is held now, as far as pictures show it."""
        shown = [z for z in self._alive.values() if z.name.startswith(f"{self.root}/")]
        alive = [z for z in shown if not z.is_ticket and z.begin >= self._since]
        return [z for z in alive if z.gone == math.inf] + list(self._seen_now.values())

    def held(self) -> list[Znode]:
        """What is held now, by number."""
        return sorted(self._held(), key=lambda znode: znode.order)

    def shown(self) -> list[Znode]:
        """All that were ever held, in the order of their creation."""
        return sorted(chain(self._logged, self._seen), key=_zxid)

    def of(self, node: str) -> list[Znode]:
        """Those of one node, in the order of their creation."""
        logged, seen = self._logged.of(node), self._seen.of(node)
        return sorted([*logged, *seen], key=_zxid) if seen else logged

    def shown_owners(self) -> set[str]:
        """The owners of all that were ever held."""
        nameless = chain(self._logged.nameless, self._seen.nameless)
        found = {znode.owner for znode in nameless if znode.owner is not None}
        return found | self._logged.named.keys() | self._seen.named.keys()


def grouped(items: Iterable[T], key: Callable[[T], K], made: Callable[[list[T]], G]) -> dict[K, G]:
    """Items by a key of theirs, each group as `made` of it."""
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return {name: made(group) for name, group in groups.items()}


def _zxid(znode: Znode) -> int:
    return znode.zxid


def _ticket_of(claim: Znode, ended: list[Znode], alive: Mapping[str, Znode]) -> Znode | None:
    """The ticket a claim was made with: deleted with it, or else the session's oldest."""
    for group in (ended, alive.values()):
        own = [znode for znode in group if znode.is_ticket and znode.session == claim.session]
        if own:
            return min(own, key=lambda ticket: ticket.born)
    return None
