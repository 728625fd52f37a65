"""The ladder: twelve trials of one server, from easy to cruel, judged by ZooKeeper's own log.

A rung is green when its promise held and was really tested; a rung that could not test it says so
and is not green. A climb ends at the first rung that is not green, unless it is to go on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import ConfigError
from labkit.judge.rungs import RUNGS
from labkit.judge.rungs.trial import Claim, Finding, Red, Rung, Trial
from labkit.progressbar import progress_bar
from labkit.servers.base import Progress
from labkit.story.event import Event

TOP = len(RUNGS)
_LOOK = 0.1  # seconds between two reports of progress
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
    """A climb and how far it came. `goal` is the rung that was to be reached."""

    name: str
    seed: int
    goal: int
    steps: tuple[Step, ...]

    @property
    def reached(self) -> int:
        """The last rung of an unbroken green row from 1; 0 if the first was not green."""
        return next((s.rung.number - 1 for s in self.steps if not s.ok), len(self.steps))

    @property
    def ok(self) -> bool:
        return self.reached >= self.goal

    @property
    def first_red(self) -> Step | None:
        """The first rung that was not green."""
        return next((step for step in self.steps if not step.ok), None)

    @property
    def where(self) -> str:
        """On what it ran, in a few words."""
        last = self.steps[-1]
        return f"ZooKeeper {last.zookeeper}, backend {last.backend}"

    @property
    def summary(self) -> str:
        """One sentence: how far, and why not further."""
        red = self.first_red
        if red is None:
            top = "the top" if self.goal == TOP else f"rung {self.goal}, as far as it was to go"
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
            "rungs": [step.to_json() for step in self.steps],
        }

    def __repr__(self) -> str:
        lines = [
            f"{'✓' if s.ok else '✗'} {s.rung.number:>2} {s.rung.name}, {s.seconds:.1f} s: "
            f"{s.verdict} {told(s.figures)}".rstrip()
            for s in self.steps
        ]
        return "\n".join([*lines, self.summary, f"To repeat it: seed {self.seed}."])


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
    every: bool = False,
    seed: int = 1,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Climb:
    """Climb from rung 1 to `rung` (the top, if None), until the first rung that is not green.

    `claim` is a class, a file's path or `path:Class`, or the name of an algorithm, as for `Lab`;
    with `every`, all rungs are tried. An interrupt ends it within two seconds, and leaves nothing.
    Raises `ConfigError` for a rung that there is not, and whatever keeps a lab from starting.
    """
    goal = TOP if rung is None else rung
    if not 1 <= goal <= TOP:
        raise ConfigError(f"There are rungs 1 to {TOP}, and not {goal}.")
    steps: list[Step] = []
    with progress_bar("ladder") as report:

        def told(what: str, fraction: float | None) -> None:
            (progress or report)(what, len(steps) / goal)

        for number in range(1, goal + 1):
            steps.append(attempt(number, claim, seed=seed, backend=backend, progress=told))
            if not (steps[-1].ok or every):
                break
    return Climb(named(claim), seed, goal, tuple(steps))


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
    """Try one rung alone.

    The trial runs in a thread of its own, so that an interrupt need not wait for it.
    """
    one = RUNGS[rung - 1]
    trial = Trial(claim, seed, rung, backend)
    outcome: list[BaseException | None] = []
    over = threading.Event()  # an interrupted join() takes the thread for ended, also while it runs

    def work() -> None:
        try:
            one.trial(trial)
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)
        finally:
            over.set()

    thread = threading.Thread(target=work, name="labkit-ladder", daemon=True)
    began = time.monotonic()
    thread.start()
    try:
        while not over.wait(_LOOK):
            progress(f"{rung} {one.name}: {trial.doing}", None)
    except BaseException:
        trial.cancel()
        over.wait(_LEAVE)
        raise
    thread.join()
    error = outcome[0]
    if error is not None and not isinstance(error, Red):
        raise error
    finding = error.finding if error is not None else None
    return Step(
        one,
        time.monotonic() - began,
        finding,
        tuple(trial.untested),
        trial.figures,
        *trial.where,
        trial.events,
    )
