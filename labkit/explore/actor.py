"""One actor: a reader's code with a client of its own, and what it does whenever it is told this.

Ordinary code depends on nothing but what it is told. So its *moments*, at each of which all of its
strands wait, form a tree: from one to the next leads what it is told there. A moment that is known
need not be run again, by whatever order of the other actors the search has come there; only a new
one is, and then this actor alone, from its beginning, if it is not still waiting just there.
"""

from __future__ import annotations

import random
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from greenlet import getcurrent

from labkit.explore.client import TIMEOUT, Client, Handler, Observed, Request, is_close
from labkit.explore.strands import GreenletExit, Strand

_MOST_RUNS = 1500  # actors that wait, for being told something new, before the oldest is given up
_MOST_LEAVINGS = 50  # that the strands of an actor may catch
_UNDYING: list[Any] = []  # kept, since Python would end what nobody holds
_MOST_TURNS = 20_000  # of strands, between two moments


class NotRepeatable(Exception):
    """The code under search did something else when it was told the same."""


class Endless(BaseException):
    """The code under search does not come back. Raised in it, by an alarm."""


class Me:
    """What the code under search is given: its client, its name, and a way to say what it knows."""

    def __init__(self, run: Run, name: str, number: int, life: int) -> None:
        self._run = run
        self.name = name
        self.number = number
        self.life = life  # 0, and one more after each crash

    @property
    def zk(self) -> Client:
        """The connected client."""
        return self._run.client

    @property
    def session(self) -> int:
        """The id of the session that its client has, or had last."""
        return self._run.session

    @property
    def expired(self) -> bool:
        """Whether a session of this client has ended, and its code has been told."""
        return self._run.expired

    def pause(self, label: str, then: str = "") -> None:
        """Something else may happen here: `label` is what the actor does meanwhile.

        Both are said of it: "holds the lock", and `then`, of what follows, "gives the lock back".
        """
        self._run.block(None, label, then=then)

    def knows(self, **facts: Any) -> None:
        """What the actor believes from now on, such as `holds="/lock/a"`; None: no longer."""
        self._run.facts.update(facts)
        self._run.sworn = self._run.session

    def says(self, **news: Any) -> None:
        """What the actor says now, and only now, such as `number=3`: an answer to somebody."""
        self._run.news.update(news)
        self._run.sworn = self._run.session


Body = Callable[[Me], object]


@dataclass(eq=False, slots=True)
class Moment:
    """An actor between two things that it is told: what it has asked, and what it waits for."""

    number: int
    before: Moment | None = None
    told: tuple[Any, ...] = ()
    key: Any = None
    now: float = 0.0
    calls: tuple[Request, ...] = ()  # on their way, in order
    pauses: tuple[tuple[int, str, str], ...] = ()  # strand, label, what follows
    timers: tuple[tuple[int, float, str], ...] = ()  # timer, seconds, label
    waits: str = ""  # what its main strand waits for
    busy: bool = False  # a watch function has not returned
    done: bool = False  # its main strand has ended
    error: str = ""  # by which exception
    remarks: tuple[str, ...] = ()
    asked: int = 0  # requests that it has sent
    sworn: int = 0  # the session in which it has last said what it believes
    facts: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    news: Mapping[str, Any] = field(default_factory=dict)  # what it said on coming here
    next: dict[Any, Moment] = field(default_factory=dict)
    run: Run | None = None

    @property
    def looks(self) -> tuple[Any, ...]:
        """What has to be the same when the same is told again."""
        calls = tuple(_look(call.body) for call in self.calls)
        return calls, self.pauses, len(self.timers), self.done, self.error


class Program:
    """The code of one actor, and all moments of it that are known."""

    def __init__(
        self,
        name: str,
        number: int,
        body: Body,
        observed: Observed,
        timeout: float = TIMEOUT,
        rate: float = 1.0,  # of its clock
    ) -> None:
        self.name = name
        self.number = number
        self.body = body
        self.observed = observed
        self.timeout = timeout
        self.rate = rate
        self.asleep = Moment(0)  # before it begins
        self.moments = 1
        self.ran = 0  # steps that were really run
        self._waiting: deque[Moment] = deque()

    def after(self, moment: Moment, key: Any, told: tuple[Any, ...], now: float) -> Moment:
        """The moment after `told`; `key` is what of it the code can see."""
        known = moment.next.get(key)
        if known is not None:
            return known
        run = moment.run or self._again(moment)
        moment.run = None
        made = self._told(run, told, now)
        made.before, made.told, made.key, made.now = moment, told, key, now
        made.number = self.moments
        self.moments += 1
        moment.next[key] = made
        made.run = run
        self._waiting.append(made)
        if len(self._waiting) > _MOST_RUNS:
            self._give_up(self._waiting.popleft())
        return made

    def close(self) -> None:
        """End all strands."""
        while self._waiting:
            self._give_up(self._waiting.popleft())

    def _told(self, run: Run, told: tuple[Any, ...], now: float) -> Moment:
        self.ran += 1
        return run.tell(told, now)

    def _again(self, moment: Moment) -> Run:
        path: list[Moment] = []
        at: Moment | None = moment
        while at is not None and at.before is not None:
            path.append(at)
            at = at.before
        run = Run(self)
        for wanted in reversed(path):
            got = self._told(run, wanted.told, wanted.now)
            if got.looks != wanted.looks:
                run.close()
                raise NotRepeatable(
                    f"{self.name}'s code did something else when it was told the same again. "
                    "Does it use a global variable, the date, or the order of a set?"
                )
        return run

    def _give_up(self, moment: Moment) -> None:
        run, moment.run = moment.run, None
        if run is not None:
            run.close()


class _Completions:
    """kazoo's queue of what follows a reply."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()

    def put(self, function: Callable[[], object]) -> None:
        self.waiting.append(function)


class Run:
    """An actor that runs: its strands, its client, its clock, its chance."""

    #: Seconds that code may run without asking anything, where an alarm is set up for that.
    patience = 0.0

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name = program.name
        self.facts: dict[str, Any] = {}
        self.news: dict[str, Any] = {}
        self.chance = random.Random()
        self.calls: list[Request] = []
        self.remarks: list[str] = []
        self.error = ""
        self.session = 0
        self.sworn = 0
        self.expired = False
        self.client: Client
        self._now = 0.0
        self._strands: list[Strand] = []
        self._main: Strand | None = None
        self._timers = 0
        self._seconds: dict[int, float] = {}
        self._allowed = False
        self._ending = False
        self._leaving = 0
        self._completions = _Completions()
        self._handler = Handler(self._completions)
        self._hub = getcurrent()

    # --- what strands ask of their actor ------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether something else of this actor may run while one of its strands does not."""
        busy = sum(not strand.dead and not strand.ours for strand in self._strands)
        return busy > 1 or self.client.watching or bool(self._handler.notices)

    def clock(self) -> float:
        """The time, in seconds since the beginning."""
        self.program.observed.add("clock")
        return self._now * self.program.rate

    def spawn(self, function: Callable[[], object], name: str, ours: bool = False) -> Strand:
        """Begin a strand."""
        strand = Strand(self, lambda: self._guarded(function, strand), name)
        strand.ours = ours
        self._strands.append(strand)
        return strand

    def block(
        self,
        ready: Callable[[], bool] | None,
        label: str,
        timeout: float | None = None,
        then: str = "",
    ) -> bool:
        """Wait until `ready`, at most `timeout` seconds; whether it was. None: until it's told."""
        strand = getcurrent()
        if not isinstance(strand, Strand) or self._ending:
            self._leave()
        if ready is not None and timeout is not None and timeout <= 0 and not ready():
            return False
        strand.ready, strand.label, strand.then = ready, label, then
        strand.over, strand.timer = False, None
        if timeout is not None and timeout < 1e8:
            self._timers += 1
            strand.timer = self._timers
            self._seconds[self._timers] = timeout / self.program.rate
        self._hub.switch()
        if self._ending:
            self._leave()
        strand.ready, strand.timer = None, None
        return not strand.over

    def _leave(self) -> NoReturn:
        """End a strand; one that catches whatever would end it stays where it is, for ever."""
        self._leaving += 1
        if self._leaving > _MOST_LEAVINGS:
            _UNDYING.append(getcurrent())
            self._hub.switch()
        raise GreenletExit

    def _guarded(self, function: Callable[[], object], strand: Strand) -> None:
        try:
            function()
        except GreenletExit:
            pass
        except BaseException as error:  # whatever a reader's code raises ends its strand only
            said = describe(error)
            if strand is self._main:
                self.error = said
            elif not self._ending:
                self.remarks.append(f"{strand.name} {said}")
            if isinstance(error, Endless):
                self.error = said

    # --- what is told -------------------------------------------------------------------------

    def tell(self, told: tuple[Any, ...], now: float) -> Moment:
        """Go on until all strands wait again."""
        self._now = now
        self.remarks = []
        self.news = {}
        self._hub = getcurrent()
        if told[0] in ("begin", "expired"):
            self.session = told[1]
            self.expired |= told[0] == "expired"
        match told:
            case ("begin", session, life):
                self._begin(session, life)
            case ("reply", number, value, error):
                self.calls = [c for c in self.calls if c.number != number]
                self._connection(lambda: self.client.reply(number, value, error))
            case ("connected", number, session):
                self.calls = [c for c in self.calls if c.number != number]
                self._connection(lambda: self._connected(number, session))
            case ("lost", comes_back):
                self.calls = []
                self._connection(lambda: self._lost(comes_back))
            case ("back",):
                self._connection(self.client.back)
            case ("expired", session):
                self.calls = []
                self._connection(lambda: self.client.expired(session))
            case ("notice", kind, path, numbers):
                self._allowed = True
                self._connection(lambda: self.client.notice(kind, path, numbers))
            case ("go", place):
                self._strands[place].ready = lambda: True
            case ("over", timer):
                for strand in self._strands:
                    if strand.timer == timer:
                        strand.over, strand.ready = True, lambda: True
        if self.patience:
            signal.setitimer(signal.ITIMER_REAL, self.patience, self.patience / 4)
        try:
            self._turn()
        finally:
            if self.patience:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return self._moment()

    def _begin(self, session: int, life: int) -> None:
        program = self.program
        self.chance.seed(f"{program.number} {life}")
        me = Me(self, program.name, program.number, life)

        def main() -> None:
            self._handler.calm = True
            self.client = Client(self.calls_out, self._handler, program.timeout, program.observed)
            self.client.begin(session)
            program.body(me)

        self._main = self.spawn(main, "its code")
        self.spawn(self._complete, "kazoo", ours=True)
        self.spawn(self._call_back, "its watch function", ours=True)

    def calls_out(self, request: Request) -> None:
        """A request goes on its way."""
        self.calls.append(request)

    def _connected(self, number: int, session: int) -> None:
        self.session = session
        self.client.begin(session)
        self.client.reply(number, True, None)

    def _lost(self, comes_back: bool) -> None:
        self.client.lost()
        if comes_back:
            self.client.back()

    def _connection(self, function: Callable[[], object]) -> None:
        self.spawn(function, "its listener", ours=True)

    def _complete(self) -> None:
        waiting = self._completions.waiting
        while True:
            self.block(lambda: bool(waiting), "")
            waiting.popleft()()

    def _call_back(self) -> None:
        notices = self._handler.notices
        while True:
            self.block(lambda: self._allowed and bool(notices), "")
            while notices:
                try:
                    notices.popleft()()
                except GreenletExit:
                    raise
                except Exception as error:
                    self.remarks.append(f"its watch function {describe(error)}")
            self._allowed = False

    def _turn(self) -> None:
        """Run what can run: first what kazoo's own threads do, then the code's, in their order."""
        for _ in range(_MOST_TURNS):
            for strand in sorted(self._strands, key=lambda s: not s.ours):
                if not strand.dead and strand.ready is not None and strand.ready():
                    strand.parent = self._hub
                    strand.switch()
                    break
            else:
                break
        else:
            self.error = "goes round in circles and asks nothing"
        self._strands = [s for s in self._strands if not (s.dead and s.ours)]

    def _moment(self) -> Moment:
        live = [(at, s) for at, s in enumerate(self._strands) if not s.dead]
        pauses = [(at, s.label, s.then) for at, s in live if s.ready is None]
        timers = [(s.timer, self._seconds[s.timer], s.label) for _, s in live if s.timer]
        main = self._main
        return Moment(
            number=0,
            calls=tuple(self.calls),
            pauses=tuple(pauses),
            timers=tuple(timers),
            waits="" if main is None or main.dead else main.label,
            busy=bool(self._handler.notices) or self._allowed,
            done=main is not None and main.dead,
            error=self.error,
            remarks=tuple(self.remarks),
            asked=self.client.sent,
            sworn=self.sworn,
            news=self.news,
            facts=MappingProxyType({k: v for k, v in self.facts.items() if v is not None}),
        )

    def close(self) -> None:
        """End all strands."""
        self._ending = True
        self._hub = getcurrent()
        for strand in self._strands:
            for _ in range(3):  # code that catches everything is asked again
                if strand and not strand.dead and strand not in _UNDYING:
                    strand.parent = self._hub
                    strand.throw(GreenletExit)


def _look(body: Any) -> Any:
    """A request, but for the address of its watch function."""
    return body._replace(watcher=True) if getattr(body, "watcher", None) else body


def describe(error: BaseException) -> str:
    """Such as "raises NoNodeError in line 12"."""
    if isinstance(error, Endless):
        return f"does not come back{_line(error)}"
    try:
        said = str(error)
    except Exception:  # its own, which may do anything
        said = ""
    what = f"raises {type(error).__name__}" + (f" ({said})" if said and len(said) < 90 else "")
    return what + _line(error)


def _line(error: BaseException) -> str:
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "kazoo" not in frame.filename and "explore" not in frame.filename.split("/")[-2:-1]
    ]
    others = tuple(f"{place}/lib" for place in (sys.prefix, sys.base_prefix))
    own = [frame for frame in own if not frame.filename.startswith(others)]
    return f" in line {own[-1].lineno}" if own else ""


__all__ = ["Body", "Endless", "Me", "Moment", "NotRepeatable", "Program", "is_close"]
