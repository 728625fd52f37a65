"""The rows of a picture in groups, one a machine, where a lab has several. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.story.stretches import natural


@dataclass(frozen=True)
class Group:
    """Rows that stand together. `machine` is "" where there is but one, or none that is known."""

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


def headings(groups: Sequence[Group], row: float, letter: float) -> list[str]:
    """What stands beside each group, written upwards: all of it in as few words as have room.

    A `row` is so high, and a `letter` so wide.
    """
    rooms = [int(len(group.names) * row / letter) for group in groups]
    names = [group.machine for group in groups]
    long = [f"machine {name}" if name else "" for name in names]
    if all(len(text) <= room for text, room in zip(long, rooms, strict=True)):
        return long
    return [
        name if len(name) <= room else f"{name[: max(room - 1, 1)]}…"
        for name, room in zip(names, rooms, strict=True)
    ]
