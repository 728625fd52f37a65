"""A recipe under fire: its workers, faults drawn from a seed, and a verdict."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, get_args

from labkit.errors import ConfigError
from labkit.judge.recipes.team import Fact, Team, WorkerProcess
from labkit.judge.recipes.verdicts import JUDGES, History, Logged, Violation
from labkit.judge.recipes.worker import Unusable, named
from labkit.lab.lab import Lab
from labkit.progressbar import progress_bar
from labkit.servers.base import Progress
from labkit.servers.links.fault import LinkFault

Fault = Literal["pause", "kill", "partition", "lost-reply", "restart-zookeeper"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
KINDS = tuple(JUDGES)

TIMEOUT = 1.0  # seconds: the workers' session timeout
_WARM_UP = 1.0  # seconds before the first fault
_HEALED = 12.0  # seconds in which everybody has to get on when nothing is broken any more
_SLOW = 0.04  # seconds by which replies are held back when one is to be lost
_WRITES = 3.0  # seconds in which a worker writes something
_LOOK = 0.5  # seconds for the workers' last lines to arrive
#: The last words of a worker that is worth hitting: it holds something, or waits for a reply.
_BUSY = ("in", "write", "got", "adding", "put")


@dataclass(frozen=True)
class Broken:
    """A fault of a run, and the worker that it hit; "" if it hit ZooKeeper."""

    kind: str
    worker: str
    begin: float
    end: float


@dataclass(frozen=True, repr=False)
class Judgement:
    """The outcome of a run. `untested` names what the run did not try, and so does not vouch for.

    All times are in seconds on the clock of the facts; `began` is when the run did.
    """

    kind: str
    target: str
    seed: int
    faults: tuple[Broken, ...]
    violations: tuple[Violation, ...]
    untested: tuple[str, ...]
    figures: dict[str, Any]
    backend: str
    zookeeper: str
    began: float
    facts: tuple[Fact, ...]

    @property
    def ok(self) -> bool:
        return not self.violations and not self.untested

    def to_json(self) -> dict[str, Any]:
        """What `labkit judge --json` prints."""
        return {
            "ok": self.ok,
            "kind": self.kind,
            "target": self.target,
            "seed": self.seed,
            "backend": self.backend,
            "zookeeper": self.zookeeper,
            "kazoo": version("kazoo"),
            "faults": [fault.kind for fault in self.faults],
            "violations": [
                {
                    "rule": one.rule,
                    "at": round(one.at - self.began, 2),
                    "worker": one.worker,
                    "message": one.message,
                }
                for one in self.violations
            ],
            "untested": list(self.untested),
            "figures": self.figures,
        }

    def __str__(self) -> str:
        figures = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in self.figures.items())
        counts = ", ".join(
            f"{n} × {fault}" for fault, n in Counter(f.kind for f in self.faults).items()
        )
        verdict = [
            f"✗ {one.rule}, at {one.at - self.began:.1f} s: {one.message}"
            for one in self.violations
        ]
        verdict += [f"- not tested: {why}" for why in self.untested]
        return "\n".join(
            [
                f"{self.kind} {self.target}: kazoo {version('kazoo')}, ZooKeeper {self.zookeeper}, "
                f"backend {self.backend}, seed {self.seed}",
                f"Faults: {counts}. Seen: {figures}.",
                *(verdict or ["✓ holds"]),
            ]
        )

    __repr__ = __str__


def judge(
    kind: str,
    target: str,
    *,
    seed: int = 1,
    seconds: float = 20.0,
    workers: int = 5,
    faults: Sequence[str] = FAULTS,
    ensemble: int = 1,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Judgement:
    """Let worker processes use a recipe for so many seconds while they are broken; judge it.

    `target` is `MODULE:CLASS` or `FILE.py:CLASS` with the verbs of kazoo's recipe of that kind:
    lock, election, queue or counter. A method `token()` of a lock or an election is the fencing
    token that goes with each write. The same seed draws the same faults.

    Raises `ConfigError` for a kind, a class or a fault that there is not.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no judge for a {kind}. There are: {', '.join(KINDS)}.")
    if unknown := sorted(set(faults) - set(FAULTS)) or ([] if faults else ["of that name"]):
        known = ", ".join(FAULTS)
        raise ConfigError(f"There is no fault {', '.join(unknown)}. There are: {known}.")
    try:
        named(target)
    except Unusable as error:
        raise ConfigError(str(error)) from None
    lab = Lab(0, ensemble=ensemble, backend=backend, session_timeout=TIMEOUT, record=False)
    with progress_bar("judge") as report:
        shown = progress or report
        with lab.start(shown), Team(lab, kind, target, workers, TIMEOUT) as team:
            return _TeamRun(team, seed, seconds, [f for f in FAULTS if f in faults], shown).judge()


class _TeamRun:
    """A run: faults one after the other, then a time in which nothing is broken."""

    def __init__(
        self, team: Team, seed: int, seconds: float, faults: Sequence[Fault], shown: Progress
    ) -> None:
        self._team = team
        self._rng = random.Random(f"{seed}:{team.kind}")
        self._seed = seed
        self._seconds = seconds
        self._kinds = faults
        self._progress = shown
        self._done: list[Broken] = []
        self._began = time.monotonic()

    def judge(self) -> Judgement:
        end = self._began + self._seconds
        time.sleep(_WARM_UP)
        row: list[Fault] = []
        while time.monotonic() < end:
            row = row or self._rng.sample(self._kinds, len(self._kinds))
            fault = row.pop()
            self._progress(fault, (time.monotonic() - self._began) / self._seconds)
            begin = time.monotonic()
            worker = self._inject(fault)
            self._done.append(Broken(fault, worker, begin, time.monotonic()))
            time.sleep(self._rng.uniform(0.2, 0.8))
        self._progress("nothing is broken any more", None)
        return self._verdict(self._recover())

    def _inject(self, fault: Fault) -> str:
        """Break something, and mend it; the worker that was hit."""
        long = self._rng.uniform(1.5, 2.2) * TIMEOUT
        busy, index = self._rng.random() < 0.7, self._rng.randrange(1_000)
        if fault == "restart-zookeeper":
            self._team.lab.zookeeper.kill()
            time.sleep(long / 2)
            self._team.lab.zookeeper.start()
            return ""
        victim = self._victim(busy, index)
        if victim is None:
            return ""
        act: dict[str, Callable[[WorkerProcess, float], None]] = {
            "pause": self._pause,
            "kill": self._kill,
            "partition": self._partition,
            "lost-reply": self._lose_reply,
        }
        act[fault](victim, long)
        return victim.name

    def _victim(self, busy: bool, index: int) -> WorkerProcess | None:
        alive = self._team.alive
        chosen = self._team.busiest(_BUSY) if busy else None
        return chosen or (alive[index % len(alive)] if alive else None)

    def _pause(self, victim: WorkerProcess, seconds: float) -> None:
        victim.pause()
        time.sleep(seconds)
        victim.resume()

    def _kill(self, victim: WorkerProcess, _: float) -> None:
        victim.kill()
        self._team.add()

    def _partition(self, victim: WorkerProcess, seconds: float) -> None:
        self._team.fault(victim.name, LinkFault("drop"))
        time.sleep(seconds)
        self._team.fault(victim.name, None)

    def _lose_reply(self, victim: WorkerProcess, _: float) -> None:
        """Its next write is done, and its connection breaks before it hears of that."""
        slow = LinkFault("slow", direction="from", delay=_SLOW)
        self._team.fault(victim.name, slow)
        self._team.await_write(victim.name, _WRITES)
        time.sleep(_SLOW / 2)
        self._team.fault(victim.name, LinkFault("refuse"))
        time.sleep(0.02)
        self._team.fault(victim.name, None)

    def _recover(self) -> float:
        """Wait until everybody gets on again, or has had time enough; when that began."""
        healed = time.monotonic()
        for worker in self._team.alive:
            worker.finish()
        names = {worker.name for worker in self._team.alive}
        sign = {"counter": ("value",), "queue": ("finished",)}.get(self._team.kind, ("in",))
        self._team.until(healed, names, sign, _HEALED)
        time.sleep(_LOOK)
        return healed

    def _verdict(self, healed: float) -> Judgement:
        lab = self._team.lab
        alive = frozenset(worker.name for worker in self._team.alive)
        wall = time.time() - time.monotonic()
        log = [Logged(t.time - wall, t) for t in lab.zookeeper.transactions()]
        history = History(tuple(self._team.facts), log, healed, alive)
        violations = [*JUDGES[self._team.kind](history), *self._ended(history)]
        counts = Counter(fact.what for fact in history.facts)
        worked = counts["write"] + counts["worked"] + counts["added"]
        untested = [
            f"no {kind}" for kind in self._kinds if kind not in {fault.kind for fault in self._done}
        ]
        if not worked:
            untested.append("no worker ever got what it asked for")
        return Judgement(
            self._team.kind,
            self._team.target,
            self._seed,
            tuple(self._done),
            tuple(violations),
            tuple(untested),
            {**history.figures, "errors_told": counts["failed"]},
            lab.backend,
            lab.zookeeper.version,
            self._began,
            tuple(history.facts),
        )

    def _ended(self, history: History) -> Sequence[Violation]:
        """Workers that an error which is not kazoo's has ended."""
        return [
            Violation("error", f.at, f.worker, f"{f.worker} was ended by {f.more['error']}.")
            for f in history.facts
            if f.what == "ended"
        ]
