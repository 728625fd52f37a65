"""What a picture of a run shows, as data: lanes with bars, marks and requests. Pure.

The drawing, the words beside it and the data that are saved with it are all made from one scene.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from labkit.story.bars import Bar, Stretch, Terms, Word
from labkit.story.run import Story
from labkit.story.stretches import Mark, natural, silence

_Part = TypeVar("_Part", Bar, Stretch)

MIME = "application/vnd.labkit.picture+json"  # under which a saved picture has its data


OUTCOMES = {
    "ok": "asked: answered",
    "fail": "asked: no number",
    "unknown": "asked: no answer",
}


@dataclass(frozen=True)
class Group:
    """Lanes that stand together. `machine` is "" where there is but one, or none that is known."""

    machine: str
    names: tuple[str, ...]


def by_machine(names: Sequence[str], machines: Mapping[str, str]) -> list[Group]:
    """The names by machine; in a group, and where all are on one machine, in the order given.

    `by_machine(["node1", "node2"], {"node1": "b", "node2": "a"})`
    """
    if len(set(machines.values())) < 2:
        return [Group("", tuple(names))]
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(machines.get(name, ""), []).append(name)
    order = sorted(found, key=lambda machine: (not machine, natural(machine)))
    return [Group(machine, tuple(found[machine])) for machine in order]


def headings(groups: Sequence[Group], letters: float) -> list[str]:
    """What stands beside each group, written upwards: all of it in as few words as have room.

    A lane is so many `letters` high.
    """
    rooms = [int(len(group.names) * letters) for group in groups]
    names = [group.machine for group in groups]
    long = [f"machine {name}" if name else "" for name in names]
    if all(len(text) <= room for text, room in zip(long, rooms, strict=True)):
        return long
    return [
        name if len(name) <= room else f"{name[: max(room - 1, 1)]}…"
        for name, room in zip(names, rooms, strict=True)
    ]


@dataclass(frozen=True)
class Asked:
    """A request, when it was over: "ok", "fail" or "unknown"."""

    t: float
    outcome: str


@dataclass(frozen=True)
class Lane:
    """One server between two moments. Of ZooKeeper's own there are `modes`, of others bars."""

    name: str
    machine: str
    is_server: bool  # one of ZooKeeper's
    bars: list[Bar] = field(default_factory=list)
    modes: list[Stretch] = field(default_factory=list)
    up: list[Stretch] = field(default_factory=list)
    paused: list[Stretch] = field(default_factory=list)
    broken: list[Stretch] = field(default_factory=list)
    quiet: list[Stretch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @cached_property
    def levels(self) -> list[int | None]:
        """For each bar the level on which it stands beside others; None for one in the lane itself.

        Bars of one level do not meet.
        """
        ends: list[float] = []
        found: list[int | None] = []
        for bar in self.bars:
            level = None
            if bar.beside:
                level = next((i for i, end in enumerate(ends) if end <= bar.start), len(ends))
                ends[level : level + 1] = [bar.end]
            found.append(level)
        return found

    @property
    def gaps(self) -> Iterator[Stretch]:
        """From an answer to the next one, where requests in between got none."""
        last, failed = None, False
        for asked in self.asked:
            if asked.outcome != "ok":
                failed = True
                continue
            if failed and last is not None:
                yield Stretch(last, asked.t)
            last, failed = asked.t, False


@dataclass(frozen=True)
class Scene:
    """A run, or a part of it, from `since` to `until`, in seconds since the timeline began."""

    since: float
    until: float
    terms: Terms
    groups: list[Group]
    lanes: list[Lane]  # as they stand, from the top
    outages: list[Stretch] = field(default_factory=list)
    leaderless: list[Stretch] = field(default_factory=list)
    outcomes: Mapping[str, str] = field(default_factory=lambda: OUTCOMES)  # in words, for the key

    @classmethod
    def of(
        cls, spans: Story, since: float, until: float, nodes: Sequence[str] | None = None
    ) -> Scene:
        """What happened to `nodes` (all, if None), and above them to the servers of an ensemble."""
        ensemble = spans.zookeeper
        servers = ensemble.servers if len(ensemble.servers) > 1 else []
        groups = by_machine([*servers, *(spans.nodes if nodes is None else nodes)], spans.machines)
        downs = _within(spans.outages(until), since, until)
        gaps = [
            gap
            for gap in _within(ensemble.leaderless(), since, until)
            if not any(gap.start < down.end and down.start < gap.end for down in downs)
        ]
        lanes = [
            _lane(spans, name, group.machine, name in servers, since, until)
            for group in groups
            for name in group.names
        ]
        return cls(since, max(until, since + 0.1), spans.terms, groups, lanes, downs, gaps)

    def without(self, names: Collection[str]) -> Scene:
        """The same without these lanes."""
        kept = [
            Group(group.machine, tuple(name for name in group.names if name not in names))
            for group in self.groups
        ]
        groups = [group for group in kept if group.names] or [Group("", ())]
        lanes = [lane for lane in self.lanes if lane.name not in names]
        return replace(self, groups=groups, lanes=lanes)

    @property
    def is_ensemble(self) -> bool:
        return any(lane.is_server for lane in self.lanes)

    @property
    def words(self) -> set[Word]:
        """What is said of numbers in it."""
        return {bar.word for lane in self.lanes for bar in lane.bars}

    @property
    def numbers(self) -> list[int]:
        return sorted({bar.number for lane in self.lanes for bar in lane.bars})

    def data(self) -> dict[str, Any]:
        """The same for programs: times in seconds, rounded to milliseconds."""
        return {
            "since": _round(self.since),
            "until": _round(self.until),
            "down": [_ends(down) for down in self.outages],
            "leaderless": [_ends(gap) for gap in self.leaderless],
            "lanes": [
                {
                    "name": lane.name,
                    "machine": lane.machine,
                    "bars": [
                        [*_ends(bar), bar.number, bar.word.value, bar.token] for bar in lane.bars
                    ],
                    "modes": [[*_ends(mode), mode.what] for mode in lane.modes],
                    "broken": [[*_ends(cut), cut.what] for cut in lane.broken],
                    "paused": [_ends(pause) for pause in lane.paused],
                    "marks": [[_round(mark.t), mark.verb] for mark in lane.marks],
                    "asked": [[_round(asked.t), asked.outcome] for asked in lane.asked],
                }
                for lane in self.lanes
            ],
        }

    def says(self) -> str:
        """The same in words: what each node had, and what was done to each server."""
        several = len([group for group in self.groups if group.machine]) > 1
        said = [f"{self.terms.alt} over time."]
        for lane in self.lanes:
            where = f" on machine {lane.machine}" if several and lane.machine else ""
            told = self._modes(lane) if lane.is_server else self._had(lane)
            told += [", ".join(f"{mark.verb} at {mark.t:.1f} s" for mark in lane.marks)]
            said.append(f"{lane.name}{where}: {'; '.join(filter(None, told))}.")
        said += [
            f"{self.absence} from {down.start:.1f} to {down.end:.1f} s." for down in self.outages
        ]
        return " ".join(said)

    def tells(self) -> str:
        """In words who led, and who got answers."""
        leads = sorted(
            (mode.start, lane.name)
            for lane in self.lanes
            for mode in lane.modes
            if mode.what == "leader"
        )
        said = f"Leaders in turn: {', '.join(server for _, server in leads) or 'none'}."
        for lane in self.lanes:
            if not lane.is_server:
                where = f" on machine {lane.machine}" if lane.machine else ""
                gaps = " and ".join(f"{gap.end - gap.start:.2f} s" for gap in lane.gaps)
                without = f", without an answer for {gaps}" if gaps else ""
                answered = sum(asked.outcome == "ok" for asked in lane.asked)
                said += (
                    f" {lane.name}{where}: {answered} of {len(lane.asked)} requests answered"
                    f"{without}."
                )
        return said

    @property
    def absence(self) -> str:
        """What it is called when ZooKeeper serves nobody."""
        return "no majority" if self.is_ensemble else "ZooKeeper down"

    def _modes(self, lane: Lane) -> list[str]:
        modes = (mode for mode in lane.modes if mode.what)
        return [", ".join(f"{m.what} from {m.start:.1f} to {m.end:.1f} s" for m in modes)]

    def _had(self, lane: Lane) -> list[str]:
        had = (
            f"{bar.number} from {bar.start:.1f} to {bar.end:.1f} s{self.terms.how[bar.word]}"
            for bar in lane.bars
        )
        return [", ".join(had) or self.terms.none]


def _lane(
    spans: Story, name: str, machine: str, is_server: bool, since: float, until: float
) -> Lane:
    modes = spans.zookeeper.modes[name] if is_server else []
    return Lane(
        name,
        machine,
        is_server,
        _within(spans.bars(name, until, since), since, until),
        _within(modes, since, until),
        _within(spans.up(name, until), since, until),
        _within(spans.paused(name, until), since, until),
        _within(spans.broken(name, until), since, until),
        [
            replace(quiet, what=silence(quiet.what))
            for quiet in _within(spans.quiet(name, until), since, until)
            if quiet.what
        ],
        [mark for mark in spans.marks(name, until) if mark.t >= since],
        [Asked(asked.done, asked.outcome) for asked in spans.requests(name, until, since)],
    )


def _within(parts: Sequence[_Part], since: float, until: float) -> list[_Part]:
    """What lies between the two moments, cut there."""
    return [
        replace(part, start=max(part.start, since), end=min(part.end, until))
        for part in parts
        if part.end > since and part.start < until
    ]


def _ends(part: Bar | Stretch) -> list[float]:
    return [_round(part.start), _round(part.end)]


def _round(t: float) -> float:
    return round(t, 3)
