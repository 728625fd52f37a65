"""Every schedule of a specification, the shortest one that breaks it first.

Breadth first over worlds (see `world`), each of which is gone on from once. When the code turns out
to look at something that was left out of the states (a zxid, the clock), the search begins anew.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from labkit.explore.actor import NotRepeatable, Program
from labkit.explore.client import Observed
from labkit.explore.says import short, state, step
from labkit.explore.seat import Choice
from labkit.explore.specification import Specification, names
from labkit.explore.strands import virtual
from labkit.explore.world import Rules, World, begin

_EVERY = 512  # states, between two reports of progress


@dataclass
class Found:
    """What a search found. `schedule` is a list of steps, each a plain dictionary (see `says`)."""

    name: str
    violation: str | None
    schedule: list[dict[str, Any]] = field(default_factory=list)
    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    complete: bool = False
    scope: str = ""
    note: str = ""  # why it is not complete, if it could not go on
    plan: list[tuple[int, str, int]] = field(default_factory=list)  # the choices, to repeat it
    observed: list[str] = field(default_factory=list)  # what the code has looked at: `Observed`

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {field.name: getattr(self, field.name) for field in fields(Found)}

    def __str__(self) -> str:
        if self.violation is None:
            return f"{self.name}: {self.seen}"
        if not self.schedule:
            return f"{self.violation}. {self.note}".rstrip()
        steps = f"{len(self.schedule)} step{'s' * (len(self.schedule) > 1)}"
        lines = [f"{self.name}: {self.violation}, after {steps}:"]
        lines += [f"{s['step']:4}  {short(s['sentence'])}" for s in self.schedule]
        return "\n".join([*lines, self.seen])

    @property
    def seen(self) -> str:
        """How much was searched, and whether that is all."""
        if self.violation is not None:
            seen = f"No schedule is shorter; the search has seen {self.states:,} states"
        elif self.complete:
            seen = f"all {self.states:,} states are right"
        else:
            seen = f"nothing found in {self.states:,} states; not all were seen"
        return f"{seen}. Scope: {self.scope}." + (self.note and f" {self.note}")


class Search:
    """One search, which can be asked for its worlds afterwards."""

    def __init__(self, wanted: Specification) -> None:
        self.wanted = wanted
        self.observed = Observed()
        self.rules = self._rules()
        self.taken = 0  # steps
        self.states = 0

    def _rules(self) -> Rules:
        wanted = self.wanted
        rate = wanted.clocked.rate if wanted.clocked else 1.0
        programs = [
            Program(name, at, body, self.observed, wanted.timeout, rate)
            for at, (name, body) in enumerate(wanted.bodies.items())
        ]
        kinds, alike, spared = wanted.kinds, wanted.alike, wanted.spared
        clocked, rests, timeout = wanted.clocked, wanted.rests, wanted.timeout
        return Rules(programs, self.observed, kinds, alike, spared, timeout, clocked, rests)

    def first(self) -> World:
        """The world in which everybody stands at the beginning."""
        wanted = self.wanted
        return begin(self.rules, wanted.znodes, wanted.faults, wanted.hurries)

    def judge(self, world: World, choices: list[Choice]) -> str | None:
        """What is wrong with a world, in one sentence."""
        for seat, program in zip(world.seats, self.rules.programs, strict=True):
            error = seat.moment.error
            if error and not any(name in error for name in self.wanted.raises):
                return f"{program.name} {error}"
        wrong = self.wanted.invariant(world)
        if wrong is None and (not choices or choices[0].fault):
            wrong = self.wanted.final(world)
        return wrong

    def run(self, seconds: float, progress: Callable[[int], None] = lambda states: None) -> Found:
        """Search for so many seconds at most."""
        began = time.perf_counter()
        found = Found(self.wanted.name, None, scope=self.wanted.scope)
        with virtual(*self._names()), _few_collections():
            try:
                while not self._once(found, began + seconds, progress):
                    self.rules.close()
                    self.rules = self._rules()
            except NotRepeatable as error:
                found.note = str(error)
            if found.violation:
                found.schedule = self.steps([Choice(*choice) for choice in found.plan])
        found.states, found.steps = self.states, self.taken
        found.observed = sorted(self.observed)
        found.seconds = time.perf_counter() - began
        return found

    def _names(self) -> Iterator[dict[str, Any]]:
        for body in self.wanted.bodies.values():
            yield from names(body)

    def _once(self, found: Found, until: float, progress: Callable[[int], None]) -> bool:
        """Search; False if the code has looked at something that the states lack."""
        observed = len(self.observed)
        first = self.first()
        if len(self.observed) > observed:
            return False
        came: list[tuple[int, Choice | None]] = [(-1, None)]  # from which state, by which choice
        seen = {first.key()}
        queue = deque([(0, first, first.choices())])
        self.states = 1
        judge = self.judge
        if wrong := judge(first, queue[0][2]):
            found.violation = wrong
            return True
        while queue:
            at, world, choices = queue.popleft()
            if at % _EVERY == 0:
                progress(self.states)
            if time.perf_counter() > until:
                found.note = "Time is up."
                return True
            for choice in choices:
                after = world.after(choice)
                self.taken += 1
                key = after.key()
                new = key not in seen
                if not new and (after.last < 0 or not after.seats[after.last].moment.news):
                    continue  # what an actor says may be wrong in this step, and right in another
                seen.add(key)
                came.append((at, choice))
                self.states += new
                next_choices = after.choices()
                wrong = judge(after, next_choices)
                if len(self.observed) > observed:
                    return False
                if wrong:
                    found.violation = wrong
                    found.plan = _way(came, len(came) - 1)
                    return True
                if new:
                    queue.append((len(came) - 1, after, next_choices))
        found.complete = True
        return True

    def steps(self, plan: list[Choice]) -> list[dict[str, Any]]:
        """A schedule, step by step."""
        world = self.first()
        told = []
        for number, choice in enumerate(plan, 1):
            after = world.after(choice)
            told.append(step(number, self.wanted, world, choice, after))
            world = after
        return told

    def graph(self, most: int) -> dict[str, Any]:
        """The first states, at most so many, and what leads from one to another: for a puzzle.

        {"start": 0, "par": 7, "complete": false, "states": [{"tree": …, "actors": …, "wrong": null,
        "choices": [{"actor": …, "kind": …, "fault": …, "sentence": …, "to": 1 or null}]}]}. A
        choice leads to null if that state is left out; `par` is the number of steps to the nearest
        wrong state, None if there is none among them.
        """
        found = Found(self.wanted.name, None)
        with virtual(*self._names()):
            while not self._once(found, time.perf_counter() + 60, lambda states: None):
                self.rules.close()
                self.rules = self._rules()
            first = self.first()
            places = {first.key(): 0}
            worlds, depths = [first], [0]
            states: list[dict[str, Any]] = []
            par: int | None = None
            for world in worlds:
                at = len(states)
                choices = world.choices()
                wrong = self.judge(world, choices)
                if wrong:
                    par = depths[at] if par is None else par
                    choices = []
                shown = [self._shown(world, c, places, worlds, depths, most) for c in choices]
                states.append({**state(self.wanted, world), "wrong": wrong, "choices": shown})
        whole = all(c["to"] is not None for s in states for c in s["choices"])
        return {"start": 0, "par": par, "complete": whole, "states": states}

    def _shown(
        self,
        world: World,
        choice: Choice,
        places: dict[Any, int],
        worlds: list[World],
        depths: list[int],
        most: int,
    ) -> dict[str, Any]:
        after = world.after(choice)
        key = after.key()
        if key not in places and len(worlds) < most:
            places[key] = len(worlds)
            depths.append(depths[places[world.key()]] + 1)
            worlds.append(after)
        said = step(0, self.wanted, world, choice, after)
        kept = ("actor", "kind", "fault", "sentence", "call", "told")
        return {**{k: said[k] for k in kept}, "to": places.get(key)}

    def close(self) -> None:
        """End what runs."""
        self.rules.close()


@contextmanager
def _few_collections() -> Iterator[None]:
    """Let Python look for garbage seldom: a search keeps nearly all that it makes."""
    usual = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _way(came: list[tuple[int, Choice | None]], at: int) -> list[tuple[int, str, int]]:
    """The choices that lead to a state."""
    plan: list[tuple[int, str, int]] = []
    while at > 0:
        at, choice = came[at]
        assert choice is not None
        plan.append((choice.actor, choice.kind, choice.detail))
    return plan[::-1]


def search(
    wanted: Specification,
    seconds: float = 60.0,
    progress: Callable[[int], None] = lambda states: None,
) -> Found:
    """The shortest schedule that breaks a specification, or that there is none."""
    looking = Search(wanted)
    try:
        return looking.run(seconds, progress)
    finally:
        looking.close()
