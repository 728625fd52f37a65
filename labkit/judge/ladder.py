"""The ladder: twelve trials of one server, from easy to cruel, judged by ZooKeeper's own log.

A rung is green when its promise held and was really tested; a rung that could not test it says so
and is not green. A climb ends at the first rung that is not green, unless it is to go on. Before it
begins, the server's schedules are searched on a model, which does not change how the climb ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from labkit.errors import ConfigError, LabError
from labkit.explore.verb import Explored, explore
from labkit.judge.rungs import RUNGS
from labkit.judge.rungs.trial import Claim, Finding, Red, Rung, Trial
from labkit.lab.own_server import ALGORITHMS
from labkit.progressbar import progress_bar
from labkit.servers.base import Progress, each
from labkit.story.event import Event

TOP = len(RUNGS)
_ROOM = 5  # labs, about, that trials side by side may have
_BUSY = 2  # the same on a machine that has other work for all its cores
_LOOK = 0.1  # seconds between two reports of progress
SEARCH = 5.0  # seconds for the search before a climb
_LEAVE = 5.0  # seconds for an interrupted trial to leave


@dataclass(frozen=True)
class Step:
    """One rung of a climb: what came of it. `untested` says what of its promise was left open."""

    rung: Rung
    seconds: float
    finding: Finding | None
    untested: tuple[str, ...]
    figures: dict[str, Any]
    backend: str
    zookeeper: str  # its version
    events: tuple[Event, ...] = field(default=(), repr=False)  # where something was found

    @property
    def ok(self) -> bool:
        """The promise held, and was tested."""
        return self.finding is None and not self.untested

    @property
    def verdict(self) -> str:
        if self.finding is not None:
            return self.finding.message
        return f"not tested: {'; '.join(self.untested)}" if self.untested else "holds"

    def to_json(self) -> dict[str, Any]:
        """What `labkit ladder --json` prints of it."""
        untested = {"untested": list(self.untested)} if self.untested else {}
        return {
            "rung": self.rung.number,
            "name": self.rung.name,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "violation": None if self.finding is None else self.finding.message,
            "figures": {**self.figures, **untested},
        }


@dataclass(frozen=True, repr=False)
class Climb:
    """A climb and how far it came. `goal` is the rung that was to be reached.

    `searched` is what the search before it found; None if there was none.
    """

    name: str
    seed: int
    goal: int
    steps: tuple[Step, ...]
    searched: Explored | None = None

    @property
    def reached(self) -> int:
        """The last rung of an unbroken green row; 0 if the first was not green."""
        green = list(takewhile(lambda step: step.ok, self.steps))
        return green[-1].rung.number if green else 0

    @property
    def ok(self) -> bool:
        return self.reached >= self.goal

    @property
    def first_red(self) -> Step | None:
        """The first rung that was not green."""
        return next((step for step in self.steps if not step.ok), None)

    @property
    def where(self) -> str:
        """The backend and the versions that the climb ran on, in a few words."""
        last = self.steps[-1]
        return f"ZooKeeper {last.zookeeper}, backend {last.backend}"

    @property
    def summary(self) -> str:
        """One sentence: how far, and why not further."""
        red = self.first_red
        if red is None:
            top = "the top" if self.goal == TOP else f"rung {self.goal}, as far as it was to go"
            if len(self.steps) < self.goal:
                tried = ", ".join(str(step.rung.number) for step in self.steps)
                return f"{self.name} holds on rung{'s'[: len(self.steps) - 1]} {tried}."
            return f"{self.name} stands on {top}."
        return (
            f"{self.name} falls on rung {red.rung.number}, {red.rung.name}: {red.verdict} "
            f"Page {red.rung.page} explains it."
        )

    def to_json(self) -> dict[str, Any]:
        """What `labkit ladder --json` prints."""
        return {
            "ok": self.ok,
            "reached": self.reached,
            "seed": self.seed,
            "backend": self.steps[-1].backend,
            "zookeeper": self.steps[-1].zookeeper,
            "explore": None if self.searched is None else _told(self.searched),
            "rungs": [step.to_json() for step in self.steps],
        }

    def __repr__(self) -> str:
        lines = [
            f"{'✓' if s.ok else '✗'} {s.rung.number:>2} {s.rung.name}, {s.seconds:.1f} s: "
            f"{s.verdict} {told(s.figures)}".rstrip()
            for s in self.steps
        ]
        first = [] if self.searched is None else [str(self.searched)]
        return "\n".join([*first, *lines, self.summary, f"To repeat it: seed {self.seed}."])


def _told(found: Explored) -> dict[str, Any]:
    """What a search found, in a few plain words and figures."""
    return {
        "violation": found.violation,
        "schedule": [step["sentence"] for step in found.schedule],
        "states": found.states,
        "complete": found.complete,
        "scope": found.scope,
        "seconds": round(found.seconds, 1),
    }


def told(figures: dict[str, Any]) -> str:
    """Figures as a table shows them: "servers 16, all claimed 240 ms"."""
    units = {"ms": " ms", "s": " s"}

    def one(name: str, value: object) -> str:
        *words, last = name.split("_")
        unit = units.get(last, "")
        return f"{' '.join(words if unit else [*words, last])} {value}{unit}"

    return ", ".join(one(name, value) for name, value in figures.items())


def climb(
    claim: Claim,
    *,
    rung: int | None = None,
    only: Collection[int] = (),
    every: bool = False,
    seed: int = 1,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Climb:
    """Climb from rung 1 to `rung` (the top, if None), until the first rung that is not green.

    With `only`, it is put on these rungs alone. A class with a `__climbed__` is told how it went.

    `claim` is a class, a file's path or `path:Class`, or the name of an algorithm, as for `Lab`;
    with `every`, all rungs are tried. Trials go on side by side, each in labs of its own, but for
    those that measure; what has begun above the rung that is not green is ended and not told. An
    interrupt ends it within two seconds, and leaves nothing. A class's or a file's schedules are
    searched before, for at most five seconds.
    Raises `ConfigError` for a rung that there is not, and whatever keeps a lab from starting.
    """
    goal = max(only, default=TOP if rung is None else rung)
    if not 1 <= min(only, default=goal) <= goal <= TOP:
        raise ConfigError(f"There are rungs 1 to {TOP}, and not {goal}.")
    wanted = [one for one in RUNGS[:goal] if not only or one.number in only]
    with progress_bar("ladder") as report:
        searched = None if only else search(claim, progress or report)
        rungs = sorted(wanted, key=lambda one: (one.measures, one.number > 4, -one.seconds))
        side = SideBySide([Attempt(one, Trial(claim, seed, one.number, backend)) for one in rungs])
        steps = side.run(every, progress or report)
    done = Climb(named(claim), seed, goal, tuple(steps), searched)
    if (tell := getattr(claim, "__climbed__", None)) is not None:
        tell([step.rung.number for step in steps if step.ok])
    return done


def search(claim: Claim, progress: Progress) -> Explored | None:
    """Which schedule of two nodes, two requests each and one fault breaks a server, if one does.

    None for what cannot be searched: the trials say what is wrong with it.
    """
    if claim in ALGORITHMS:
        return None
    try:
        return explore(claim, seconds=SEARCH, progress=progress, show=lambda text: None)
    except LabError:
        return None


def named(claim: Claim) -> str:
    """What a claim is called in a sentence."""
    return claim.__name__ if isinstance(claim, type) else str(claim)


def attempt(
    rung: int,
    claim: Claim,
    *,
    seed: int = 1,
    backend: str | None = None,
    progress: Progress = lambda what, fraction: None,
) -> Step:
    """Try one rung alone."""
    one = RUNGS[rung - 1]
    side = SideBySide([Attempt(one, Trial(claim, seed, rung, backend))])
    return side.run(False, progress)[0]


class Attempt:
    """One rung's trial, in a thread of its own, so that an interrupt need not wait for it."""

    def __init__(self, rung: Rung, trial: Trial) -> None:
        self.rung = rung
        self.trial = trial
        self.error: BaseException | None = None
        # An interrupted join() takes the thread for ended, also while it runs.
        self.over = threading.Event()
        self._began = self._seconds = 0.0

    def start(self) -> None:
        self._began = time.monotonic()
        threading.Thread(target=self._work, name="labkit-ladder", daemon=True).start()

    def _work(self) -> None:
        try:
            self.rung.trial(self.trial)
        except BaseException as error:
            self.error = error
        finally:
            self._seconds = time.monotonic() - self._began
            self.over.set()

    @property
    def ok(self) -> bool:
        """It is over, and is green."""
        return self.over.is_set() and self.error is None and not self.trial.untested

    @property
    def broke(self) -> bool:
        """Something else than a finding has ended it."""
        return self.error is not None and not isinstance(self.error, Red)

    def step(self) -> Step:
        """The outcome. Raises an error that is no finding, if one has ended the trial."""
        if self.error is not None and not isinstance(self.error, Red):
            raise self.error
        return Step(
            self.rung,
            self._seconds,
            self.error.finding if self.error is not None else None,
            tuple(self.trial.untested),
            self.trial.figures,
            *self.trial.where,
            self.trial.events,
        )


class SideBySide:
    """Attempts, some of them at a time: most of a trial is waiting. Those that measure are alone.

    They begin in the order given.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self._waiting = list(attempts)
        self._running: list[Attempt] = []
        self._over: list[Attempt] = []
        is_busy = os.getloadavg()[0] > (os.cpu_count() or 1) + 1
        self.room = _BUSY if is_busy else _ROOM

    def run(self, every: bool, progress: Progress) -> list[Step]:
        """The steps up to the lowest rung that is not green, or of all rungs, in their order.

        What is above a rung that is not green is cancelled, unless `every` rung is wanted.
        """
        total = len(self._waiting)
        try:
            while self._waiting or self._running:
                self._begin()
                self._running[0].over.wait(_LOOK)
                self._collect()
                if not every or any(one.broke for one in self._over):
                    self._leave_out_what_is_above()
                if self._running:
                    one = min(self._running, key=lambda attempt: attempt.rung.number)
                    what = f"{one.rung.number} {one.rung.name}: {one.trial.doing}"
                    progress(what, len(self._over) / total)
        except BaseException:
            self._cancel(self._running)
            raise
        return [one.step() for one in sorted(self._over, key=lambda one: one.rung.number)]

    def _begin(self) -> None:
        while self._waiting:
            new = self._waiting[0].rung
            taken = sum(one.rung.labs for one in self._running)
            alone = new.measures or any(one.rung.measures for one in self._running)
            if self._running and (alone or taken + new.labs > self.room):
                return
            self._running.append(self._waiting.pop(0))
            self._running[-1].start()

    def _collect(self) -> None:
        self._over += [one for one in self._running if one.over.is_set()]
        self._running = [one for one in self._running if one not in self._over]

    def _leave_out_what_is_above(self) -> None:
        lowest = min((one.rung.number for one in self._over if not one.ok), default=TOP)
        self._waiting, above = _split(self._waiting, lowest)
        self._running, above = _split(self._running, lowest)
        self._cancel(above)
        self._over, _ = _split(self._over, lowest)

    @staticmethod
    def _cancel(attempts: Sequence[Attempt]) -> None:
        each(lambda one: one.trial.cancel(), attempts)
        end = time.monotonic() + _LEAVE
        for one in attempts:
            one.over.wait(max(0.0, end - time.monotonic()))


def _split(attempts: Sequence[Attempt], rung: int) -> tuple[list[Attempt], list[Attempt]]:
    """The attempts up to a rung, and those above it."""
    upto = [one for one in attempts if one.rung.number <= rung]
    return upto, [one for one in attempts if one not in upto]
