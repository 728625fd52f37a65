"""What the search through every schedule makes of the planted bugs, and of each lease.

    python tests/explore/own_bugs.py [PART OF A NAME…]

Prints two tables; without names it also writes them into docs/every-schedule.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "judge"))

from mutants import MUTANTS, Mutant

NOTE = Path(__file__).parent.parent.parent / "docs" / "every-schedule.md"

_SEARCH = """
import json, sys, time
from dataclasses import replace
from labkit.explore import own
from labkit.explore.search import search

began = time.process_time()
wanted = eval(sys.argv[1], vars(own) | {"replace": replace})
found = search(wanted, float(sys.argv[2]))
said = found.as_json() | {"seconds": time.process_time() - began}
print(json.dumps(said, default=str))
"""


def only(scope: str, *kinds: str) -> str:
    """The same scope with some kinds of faults."""
    return f"replace({scope}, kinds={kinds!r})"


_ENDS = "session ends"
_LATER = "replace(ids(2, 2, 0, 1), hurries=2)"

#: In which scope each bug is looked for.
FOUND = {
    "the ticket is not removed": "node(1, 1, 0)",
    "a number too high is claimed": "node(1, 1, 0)",
    "the token does not grow": only("node(2, 1, 1)", _ENDS),
    "a claim outlives its session": "node(1, 1, 0)",
    "a taken number counts as claimed": only("node(2, 1, 1)", _ENDS),
    "whether a claim was done whose reply was lost is not looked at": "node(1, 1, 1)",
    "neither connection nor session nor lease are looked at before an answer": "node(1, 2, 1)",
    "the thread that claims ends with the session": "node(1, 2, 1)",
    "a lost connection counts as a lost session": "node(1, 2, 1)",
    "there is no lease": "lease(0, ('freezes',), 1)",
    "the lease lasts T, not T/2": "lease(1 / 4, ('goes dark',), 1)",
    "the lease lasts 0.9 T, not T/2": "lease(1 / 4, ('goes dark',), 1)",
    "one write is enough after a lapse": "lease(0, ('freezes',), 1)",
    "the rest of a millisecond begins again": "ids(1, 2, 0)",
    "the worker is not in the ID": "ids(2, 1, 0)",
    "the old number's generator goes on, and no version is compared": _LATER,
    "a reservation of IDs is set without its version": "ids(2, 1, 0, 1)",
    "what another node has reserved is reserved again": "ids(2, 1, 0, 1)",
}

#: Bugs that the search does not find, and why.
OUTSIDE = {
    "the lease counts from the answer, not from the sending": "it takes two faults, and their "
    "schedules are too many",
    "a heartbeat on somebody else's znode counts": "its shortest schedule is too long for a minute",
    "a number too low is claimed": "it costs requests, and breaks no promise",
    "a number is answered from memory after LOST": "who hears that a session has ended has the "
    "next one in the same step",
    "the lease's clock stops while the process does": "the clock is the world's, not the node's",
}


@dataclass(frozen=True)
class Lease:
    """One world for a lease, and the longest one that holds there, in T."""

    what: str
    scope: str
    holds: float
    breaks: float


LEASES = (
    Lease("one server; a process stands still once", "lease(0, ('freezes',), 1)", 1.0, 1.05),
    Lease(
        "three servers, T = 5 ticks; a server is cut off",
        "lease(1 / 10, ('goes dark',), 1)",
        0.8,
        0.85,
    ),
    Lease(
        "three servers, T = 2 ticks; a server is cut off",
        "lease(1 / 4, ('goes dark',), 1)",
        0.75,
        0.8,
    ),
)


def lasting(part: float) -> Mutant:
    """A node whose lease lasts that part of T."""
    return Mutant(f"{part:g} T", (("lease.py", "LEASE = 0.5\n", f"LEASE = {part:g}\n"),))


def explored(mutant: Mutant, scope: str, seconds: float = 600) -> dict[str, Any]:
    """What a search of `labkit.explore.own` with the bug planted finds."""
    with mutant.planted() as directory:
        done = subprocess.run(
            [sys.executable, "-c", _SEARCH, scope, str(seconds)],
            env={"PYTHONPATH": str(directory)},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _bugs(names: Iterable[str]) -> list[str]:
    lines = ["| bug | what goes wrong | steps | states | seconds |", "|---|---|---:|---:|---:|"]
    for mutant in MUTANTS:
        if mutant.name not in FOUND or not _meant(mutant.name, names):
            continue
        said = explored(mutant, FOUND[mutant.name])
        wrong = re.sub(r"the ID \d+", "an ID", said["violation"] or f"not found. {said['note']}")
        lines.append(
            f"| {mutant.name} | {wrong} | {len(said['plan'])} | {said['states']:,} "
            f"| {said['seconds']:.1f} |"
        )
        print(lines[-1], flush=True)
    return lines


def _leases(names: Iterable[str]) -> list[str]:
    lines = ["| where | holds, in all states | breaks | steps |", "|---|---:|---:|---:|"]
    for lease in LEASES:
        if not _meant(lease.what, names):
            continue
        sound, broken = (explored(lasting(p), lease.scope) for p in (lease.holds, lease.breaks))
        states = f"{sound['states']:,}" if sound["complete"] else "not all seen"
        lines.append(
            f"| {lease.what} | {lease.holds:g} T, {states} | {lease.breaks:g} T "
            f"| {len(broken['plan']) or 'not found'} |"
        )
        print(lines[-1], flush=True)
    return lines


def _meant(name: str, names: Iterable[str]) -> bool:
    return not names or any(part in name for part in names)


def main() -> None:
    """Search, print, and write the note."""
    names = sys.argv[1:]
    text = NOTE.read_text() if NOTE.exists() else ""
    for mark, lines in (("leases", _leases(names)), ("bugs", _bugs(names))):
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
        table = "\n".join(lines)
        text = re.sub(pattern, lambda m, t=table: m[1] + t + "\n" + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
    if not names:
        NOTE.write_text(text)


if __name__ == "__main__":
    main()
