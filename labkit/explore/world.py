"""The world as a value: a tree, and a seat for each actor; what may happen next, and what does.

A step is a reply (the request is carried out then), a notice, a wake-up, a turn of an actor that
pauses, or a fault. The world before a step stays as it was, so a search goes on from any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import GetChildren, GetChildren2, Sync
from kazoo.protocol.states import ZnodeStat

from labkit.explore import expiry
from labkit.explore import line as lines
from labkit.explore.actor import Program
from labkit.explore.client import Observed, Request, Stat, is_close
from labkit.explore.line import Clocked, Line, Reply
from labkit.explore.seat import (
    CRASHES,
    FAULTS,
    LAGS,
    MOVES,
    REPLY_LOST,
    REQUEST_LOST,
    SESSION_ENDS,
    Choice,
    Seat,
)
from labkit.explore.tree import VARYING, WRITES, Tree, Trigger, planted
from labkit.explore.view import View

_SESSIONS = 0x100  # sessions of one actor, before the next one's numbers begin


_PLACES = {name: place for place, name in enumerate(Seat._fields)}


class World:
    """One state. What an invariant looks at: `actors`, `tree`, `owner(path)`, `alive(session)`."""

    __slots__ = ("_views", "faults", "hurries", "last", "now", "orphans", "rules", "seats", "tree")

    def __init__(
        self,
        rules: Rules,
        tree: Tree,
        seats: tuple[Seat, ...],
        faults: int,
        hurries: int,
        now: float = 0.0,
        orphans: tuple[int, ...] = (),
    ) -> None:
        self.rules = rules
        self.tree = tree
        self.seats = seats
        self.faults = faults
        self.hurries = hurries
        self.now = now
        self.orphans = orphans
        self._views: list[View] | None = None
        self.last = -1  # the actor that the last step has told something

    # --- what an invariant looks at -----------------------------------------------------------

    @property
    def actors(self) -> list[View]:
        """The actors, and what is true of them."""
        if self._views is None:
            self._views = [View(self, at) for at in range(len(self.seats))]
        return self._views

    def owner(self, path: str) -> int | None:
        """The session that an ephemeral belongs to, 0 for another znode, None if there is none."""
        znode = self.tree.znodes.get(path)
        return None if znode is None else znode.owner

    def whose(self, session: int) -> str:
        """Which actor has, or had, a session."""
        return self.rules.programs[session // _SESSIONS - 1].name

    def children(self, path: str) -> list[str]:
        """The names of a znode's children, sorted."""
        return sorted(self.tree.children(path))

    def data(self, path: str) -> bytes | None:
        """A znode's data; None if there is none."""
        znode = self.tree.znodes.get(path)
        return None if znode is None else znode.data

    def stat(self, path: str) -> ZnodeStat | None:
        """A znode's stat; None if there is none. Looking at its zxids makes states differ."""
        znode = self.tree.znodes.get(path)
        return None if znode is None else Stat(znode.stat, self.rules.observed)

    def key(self) -> Any:
        """Equal for worlds that go on alike, whatever anybody does."""
        rules = self.rules
        places = rules.places
        key = [self.faults, self.hurries, self.now if rules.clock else 0, self.orphans]
        key.append(rules.tree(self.tree).place)
        for seat in self.seats:
            place = seat.place
            if place < 0:
                place = places.setdefault(seat.key(self.now, rules.seen), len(places))
                if not seat.timers:
                    seat.place = place
            key.append(place)
        return tuple(key)

    # --- what may happen ----------------------------------------------------------------------

    def choices(self) -> list[Choice]:
        """What may happen next: first what happens by itself, then the faults."""
        if self.rules.clocked is not None:
            return expiry.choices(self, _free, Choice)
        found: list[Choice] = []
        faults: list[Choice] = []
        timed: list[tuple[float, int, int]] = []
        waits = fresh = False  # somebody has not come to an end; somebody has not begun
        for at, seat in enumerate(self.seats):
            if self.rules.alike and not seat.begun:
                if fresh:
                    continue  # of actors that are alike, the first begins first
                fresh = True
            if self.rules.rests and seat.moment.done:
                continue
            if seat.options is None:
                seat.options = _free(at, seat), _faults(at, seat, self.rules)
            found += seat.options[0]
            faults += seat.options[1]
            waits = waits or not seat.moment.done or seat.moment.busy
            timed += [(end, at, timer) for timer, end in seat.timers]
        if timed and waits and (self.hurries or not found):  # else time may pass for ever
            _, at, timer = min(timed)
            found.append(Choice(at, "time passes", timer))
        found += [Choice(at, "an old session ends") for at in range(len(self.orphans))]
        return found + faults if self.faults else found

    # --- what does ----------------------------------------------------------------------------

    def after(self, choice: Choice) -> World:
        """The world after this has happened."""
        world = World(
            self.rules,
            self.tree,
            self.seats,
            self.faults - choice.fault,
            self.hurries,
            self.now,
            self.orphans,
        )
        _Step(world).take(choice)
        at = choice.actor
        world.last = -1 if world.seats[at].moment is self.seats[at].moment else at
        return world


def _free(at: int, seat: Seat) -> list[Choice]:
    """What may happen to an actor by itself."""
    moment = seat.moment
    if seat.gone:
        return [Choice(at, "restarts")]
    found = [Choice(at, "turn", strand) for strand, *_ in moment.pauses]
    if not seat.connected or (seat.ended and not moment.calls and seat.view is None):
        found.insert(0, Choice(at, "hears"))
    elif moment.calls:
        found.insert(0, Choice(at, "call"))
    if seat.notices and not moment.busy:
        found.append(Choice(at, "notice"))
    if seat.behind:
        found.append(Choice(at, "catches up"))
    return found


def _faults(at: int, seat: Seat, rules: Rules) -> list[Choice]:
    """Which faults may hit an actor. One that has come to its end is left alone."""
    moment = seat.moment
    if seat.gone or (moment.done and not moment.calls) or rules.programs[at].name in rules.spared:
        return []
    kinds: list[str] = []
    if seat.connected and not seat.ended:
        if moment.calls and moment.calls[0].body != "connect":
            kinds += [REQUEST_LOST] if isinstance(moment.calls[0].body, WRITES) else []
            kinds.append(REPLY_LOST)
        else:
            kinds.append(MOVES)
        kinds += [LAGS] if seat.view is None else []
    kinds += [] if seat.ended else [SESSION_ENDS]
    kinds.append(CRASHES)
    heard = "connection" in rules.observed  # then its breaking is news also between two calls
    return [Choice(at, kind) for kind in kinds if kind in rules.faults or (heard and kind == MOVES)]


@dataclass
class Rules:
    """What holds for all worlds of a search."""

    programs: Sequence[Program]
    observed: Observed
    faults: tuple[str, ...] = FAULTS
    alike: bool = False
    spared: frozenset[str] = frozenset()  # the actors that no fault hits
    timeout: float = 10.0  # of a session, in seconds
    clocked: Clocked | None = None  # whether sessions end by time
    rests: bool = False  # an actor whose code has ended stands still
    most: int = 0  # faults
    #: Long keys → short ones; trees by their key; what a call has led to, by all it depends on.
    places: dict[Any, int] = field(default_factory=dict)
    trees: dict[Any, Tree] = field(default_factory=dict)
    answers: dict[Any, tuple[Any, ...]] = field(default_factory=dict)

    def tree(self, tree: Tree) -> Tree:
        """The first one of all trees that nobody can tell apart."""
        if tree.place < 0:
            first = self.trees.setdefault(tree.key(self.seen), tree)
            if first.place < 0:
                first.place = len(self.trees)
            tree.place = first.place
        return tree

    @property
    def clock(self) -> bool:
        """Whether states differ by the time, since somebody has looked at a clock."""
        return "clock" in self.observed

    @property
    def seen(self) -> tuple[str, ...]:
        """By what of znodes states differ, since somebody has looked at it."""
        return tuple(name for name in VARYING if name in self.observed)

    def grown(self, before: Tree, after: Tree, triggers: Sequence[Trigger]) -> Tree:
        """The tree after a change; where zxids but order creations, only these are counted."""
        if "czxid" in self.observed and self.observed.isdisjoint(("mzxid", "pzxid")):
            born = any(kind == "CREATED" for kind, _ in triggers)
            after.zxid = before.zxid + born
        return self.tree(after)

    def close(self) -> None:
        """End what runs."""
        for program in self.programs:
            program.close()


def begin(rules: Rules, znodes: Sequence[tuple[str, bytes]], faults: int, hurries: int) -> World:
    """The first world: everybody stands at the first thing that their code asks for."""
    seats = []
    for at, program in enumerate(rules.programs):
        session = (at + 1) * _SESSIONS
        line = Line(due=rules.clocked.report) if rules.clocked else None
        seats.append(Seat(program.asleep, session, line=line))
    rules.most = faults
    world = World(rules, planted(znodes), tuple(seats), faults, hurries)
    step = _Step(world)
    for at, seat in enumerate(seats):
        step.tell(at, ("begin", seat.session, 0), ("begin", seat.session, 0))
        step.put(at, begun=False)
    world.last = next((at for at, seat in enumerate(world.seats) if seat.moment.news), -1)
    return world


class _Step:
    """Carries one step out, on a world that is still its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rules = world.rules

    def take(self, choice: Choice) -> None:
        at, kind, detail = choice
        seat = self.world.seats[at] if at < len(self.world.seats) else None
        match kind:
            case "call":
                self._answer(at, lost=False)
            case "reply lost":
                self._answer(at, lost=True)
            case "request lost" | "moves":
                self._lose(at)
            case "turn":
                self.tell(at, ("go", detail), ("go", detail))
            case "time passes":
                assert seat is not None
                self.world.now = max(self.world.now, dict(seat.timers)[detail])
                self.world.hurries -= self.world.hurries > 0
                self.tell(at, ("over", detail), ("over", detail))
            case "notice":
                assert seat is not None
                notice = ("notice", *seat.notices[0])
                self.tell(at, notice, notice, notices=seat.notices[1:])
            case "hears":
                self._hear(at)
            case "session ends":
                assert seat is not None
                self.world.now += self.rules.timeout
                self._end(seat.session)
                self.put(at, ended=True)
            case "an old session ends":
                session = self.world.orphans[at]
                self.world.orphans = tuple(s for s in self.world.orphans if s != session)
                self._end(session)
            case "lags":
                self.put(at, view=self.world.tree)
            case "catches up":
                self._catch_up(at, 1)
            case "crashes":
                self._crash(at)
            case "restarts":
                self._restart(at)
            case _:
                assert seat is not None
                assert seat.line is not None
                self._clocked(at, seat, seat.line, choice)

    def _clocked(self, at: int, seat: Seat, line: Line, choice: Choice) -> None:
        """A step that there is only where sessions end by time."""
        match choice.kind:
            case "time goes by":
                self.world.now = expiry.following(self.world)
            case "reports":
                heard = self.world.now if line.unreported else line.heard
                due = line.due + self._report
                self.put(at, line=line._replace(heard=heard, unreported=False, due=due))
            case "begins to end":
                self.put(at, line=line._replace(ending=1))
            case "expires":
                self._end(seat.session)
                self.put(at, ended=True)
            case lines.GOES_DARK:
                self.put(at, line=line._replace(dark=True))
            case lines.FREEZES:
                if choice.detail:
                    self._answer(at, lost=False, kept=True)
                line = self.world.seats[at].line or line
                self.put(at, line=line._replace(frozen=True))
            case "wakes":
                self.put(at, line=line._replace(frozen=False, kept=None))
                if line.kept is not None:
                    self.tell(at, line.kept.key, line.kept.told, **line.kept.changes)

    @property
    def _report(self) -> float:
        return self.rules.clocked.report if self.rules.clocked else 0.0

    # --- an actor is told something -----------------------------------------------------------

    def put(self, at: int, **changes: Any) -> None:
        seats = self.world.seats
        fields = list(seats[at])
        for name, value in changes.items():
            fields[_PLACES[name]] = value
        self.world.seats = (*seats[:at], Seat._make(fields), *seats[at + 1 :])

    def tell(self, at: int, key: Any, told: tuple[Any, ...], **changes: Any) -> None:
        """Let an actor go on with what it is told."""
        world, seat = self.world, self.world.seats[at]
        if self.rules.clock:
            key = key, world.now
        moment = self.rules.programs[at].after(seat.moment, key, told, world.now)
        timers: tuple[tuple[int, float], ...] = ()
        if moment.timers:
            ends = dict(seat.timers)
            timers = tuple((t, ends.get(t, world.now + s)) for t, s, _ in moment.timers)
        self.put(at, moment=moment, begun=True, timers=timers, **changes)

    # --- requests -----------------------------------------------------------------------------

    def _answer(self, at: int, lost: bool, kept: bool = False) -> None:
        world, seat = self.world, self.world.seats[at]
        request = seat.moment.calls[0]
        body = request.body
        if body == "connect":
            session = self._new_session(at)
            told = ("connected", request.number, session)
            self.tell(at, told, told)
            return
        reads = not isinstance(body, (*WRITES, Sync)) and not is_close(body)
        if seat.ended and not (reads and seat.view):  # a follower that lags does not know yet
            self._hear(at)
            return
        if is_close(body):
            self._end(seat.session)
            self.put(at, ended=True, watching=(), notices=())
        elif isinstance(body, (*WRITES, Sync)) and not lost:
            self._catch_up(at)  # but who goes on with another server may find that this one lags
        if seat.line is not None:
            self.put(at, line=seat.line.touched(world.now, self._report))
        tree, triggers, key, told = self._carried_out(at, request)
        if triggers or tree is not self.rules.tree(world.tree):
            world.tree = tree
            self._fire(triggers)
        if lost:
            self._lose(at)
            return
        changes: dict[str, Any] = {}
        if told[-1] is None and getattr(body, "watcher", None):
            kind = "child" if isinstance(body, GetChildren | GetChildren2) else "data"
            changes = {"watching": (*world.seats[at].watching, (kind, body.path, request.number))}
        if kept:
            line = world.seats[at].line
            assert line is not None
            self.put(at, line=line._replace(kept=Reply(key, told, changes)))
            return
        self.tell(at, key, told, **changes)

    def _carried_out(self, at: int, request: Request) -> tuple[Any, ...]:
        """The tree after a request, what it triggers, and the reply: as seen, and as told."""
        rules, seat, body = self.rules, self.world.seats[at], request.body
        before = rules.tree(self.world.tree)
        shows = seat.view and rules.tree(seat.view).place
        where = before.place, shows, at, seat.moment.number, seat.session
        known = rules.answers.get(where)
        if known is not None:
            return known
        after, value, error = before, None, None
        triggers: list[Trigger] = []
        try:
            if isinstance(body, WRITES):
                after, value, triggers = before.change(body, seat.session)
            elif not is_close(body):
                value = (seat.view or before).read(body)
        except KazooException as refused:
            error = refused
            if isinstance(body, WRITES):
                after = Tree(before.znodes, before.zxid + 1)
        key = "reply", request.number, _seen(value, rules.observed), type(error).__name__
        told = "reply", request.number, shown(value, rules.observed), error
        answer = rules.grown(before, after, triggers), tuple(triggers), key, told
        rules.answers[where] = answer
        return answer

    def _lose(self, at: int) -> None:
        """The connection breaks; unless the code looks at its state, it is back at once."""
        self._forget(at)
        back = "connection" not in self.rules.observed
        late = {} if back else {"view": None, "behind": ()}
        self.tell(at, ("lost", back), ("lost", back), connected=back, **late)

    def _hear(self, at: int) -> None:
        """The connection is back: with the session, or with a new one."""
        self.put(at, connected=True)
        if not self.world.seats[at].ended:
            self.tell(at, ("back",), ("back",))
            return
        self._forget(at)
        session = self._new_session(at)
        self.tell(at, ("expired", session), ("expired", session))

    def _forget(self, at: int) -> None:
        """Whoever watches is told that the connection is gone."""
        seat = self.world.seats[at]
        numbers = tuple(number for _, _, number in seat.watching)
        gone: tuple[Any, ...] = (("NONE", None, numbers),) if numbers else ()
        self.put(at, watching=(), notices=seat.notices + gone)

    def _new_session(self, at: int) -> int:
        session = self.world.seats[at].session + 1
        world = self.world
        world.tree = self.rules.grown(world.tree, Tree(world.tree.znodes, world.tree.zxid + 1), ())
        self.put(at, session=session, ended=False, view=None, behind=())
        if line := world.seats[at].line:
            line = line._replace(heard=world.now, unreported=False, ending=0)
            self.put(at, line=line)
        return session

    # --- ZooKeeper ----------------------------------------------------------------------------

    def _end(self, session: int) -> None:
        tree, triggers = self.world.tree.end(session)
        self.world.tree = self.rules.grown(self.world.tree, tree, triggers)
        self._fire(triggers, without=session)

    def _fire(self, triggers: Sequence[Trigger], without: int = 0) -> None:
        """Send each watcher its notice; a follower that lags does so when it is there."""
        for at, seat in enumerate(self.world.seats):
            if seat.view is not None:
                change = (self.world.tree, tuple(triggers))
                self.put(at, behind=(*seat.behind, change))
            elif seat.watching and not seat.ended and seat.session != without:
                self._notify(at, triggers)

    def _notify(self, at: int, triggers: Sequence[Trigger]) -> None:
        seat = self.world.seats[at]
        watching, notices = seat.watching, seat.notices
        for kind, path in triggers:
            hit = ("child",) if kind == "CHILD" else ("data", "child")[: 1 + (kind == "DELETED")]
            called = [w for w in watching if w[1] == path and w[0] in hit]
            if called:
                watching = tuple(w for w in watching if w not in called)
                called.sort(key=lambda w: w[0] == "child")
                notices = (*notices, (kind, path, tuple(w[2] for w in called)))
        if watching is not seat.watching:
            self.put(at, watching=watching, notices=notices)

    def _catch_up(self, at: int, most: int | None = None) -> None:
        """The follower applies what it has missed; when that is all, it lags no longer."""
        seat = self.world.seats[at]
        if seat.view is None:
            return
        now, later = seat.behind[:most], seat.behind[most:] if most else ()
        for tree, triggers in now:
            self.put(at, view=tree)
            self._notify(at, triggers)
        self.put(at, behind=later)
        if not later:
            self.put(at, view=None)

    def _crash(self, at: int) -> None:
        seat = self.world.seats[at]
        if not seat.ended:
            self.world.orphans = (*self.world.orphans, seat.session)
        past = (*seat.past, seat.moment.facts) if seat.moment.facts else seat.past
        self.put(at, past=past)
        self.put(at, gone=True, watching=(), notices=(), timers=(), view=None, behind=())

    def _restart(self, at: int) -> None:
        seat = self.world.seats[at]
        session = self._new_session(at)
        life = seat.life + 1
        self.put(at, gone=False, life=life, moment=self.rules.programs[at].asleep, connected=True)
        self.tell(at, ("begin", session, life), ("begin", session, life))


def _seen(value: Any, observed: Observed) -> Any:
    """What of a reply the code can see, as far as it has ever looked: hashable."""
    if isinstance(value, ZnodeStat):
        return tuple((n, v) for n, v in zip(value._fields, value, strict=True) if n in observed)
    if isinstance(value, list | tuple):
        return tuple(_seen(part, observed) for part in value)
    if isinstance(value, Exception):
        return type(value).__name__
    return value if isinstance(value, str | bytes | bool | int | None) else repr(value)


def shown(value: Any, observed: Observed) -> Any:
    """A reply as the code is given it: lists are its own, stats know who looks."""
    if isinstance(value, ZnodeStat):
        return Stat(value, observed)
    if isinstance(value, list):
        return [shown(part, observed) for part in value]
    if type(value) is tuple:
        return tuple(shown(part, observed) for part in value)
    return value
