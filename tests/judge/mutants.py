"""Planted bugs: what `labkit chaos` has to catch, and what it cannot.

    python tests/judge/mutants.py [NAME…] [--seeds 1,2,3,4,5] [--seconds 30]

Runs chaos on each mutant until a seed catches it, and prints a table. A mutant is a copy of the
package in which some text of `labkit/node` is replaced: the product has no door for bugs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent.parent / "labkit"


@dataclass(frozen=True)
class Mutant:
    """A bug. In `changes`, the file of the node, a text in it, and what stands there instead."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    missed_because: str = ""  # why chaos cannot be expected to catch it

    @contextmanager
    def planted(self) -> Iterator[Path]:
        """A directory whose `labkit` has the bug. Raises ValueError if a text is not there once."""
        with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
            copy = Path(directory) / "labkit"
            shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
            for file, old, new in self.changes:
                path = copy / "node" / file
                source = path.read_text()
                if source.count(old) != 1:
                    raise ValueError(f"{self.name}: {file} has {source.count(old)} times {old!r}")
                path.write_text(source.replace(old, new))
            yield Path(directory)

    def chaos(self, seed: int, seconds: float, *options: str) -> dict[str, Any]:
        """What `labkit chaos --json` says of it."""
        return self._said(
            [
                *("-m", "labkit.cli", "chaos", "--json", "--backend=process"),
                *(f"--seed={seed}", f"--seconds={seconds:g}", "--nodes=8", *options),
            ],
            seconds + 90,
        )

    def attempt(self, rung: int, seed: int) -> dict[str, Any]:
        """What one rung of the ladder says of it, as in `labkit ladder --json`."""
        return self._said(["-c", _ATTEMPT, str(rung), str(seed)], 180)

    def _said(self, command: list[str], timeout: float) -> dict[str, Any]:
        with self.planted() as directory:
            done = subprocess.run(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": str(directory)},
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        try:
            said: dict[str, Any] = json.loads(done.stdout)
        except ValueError:  # it did not even start
            return {"violations": [], "error": done.stderr.strip().splitlines()[-1]}
        return said


_ATTEMPT = """
import json, sys
from labkit.judge.ladder import attempt

rung, seed = map(int, sys.argv[1:])
step = attempt(rung, "lowest-free", seed=seed, backend="process")
print(json.dumps(step.to_json()))
"""

MUTANTS = (
    # --- claim ---
    Mutant(
        "the ticket is not removed",
        (("claim.py", '        transaction.delete(f"{ROOT}/{ticket}")\n', ""),),
    ),
    Mutant(
        "a number too high is claimed",
        (("claim.py", "    for _ in range(rank + 1):\n", "    for _ in range(rank + 2):\n"),),
    ),
    Mutant(
        "a number too low is claimed",
        (("claim.py", "    for _ in range(rank + 1):\n", "    for _ in range(max(rank, 1)):\n"),),
        missed_because="unique and dense all the same, but dear; the ladder's rung 11",
    ),
    Mutant(
        "the token does not grow",
        (("claim.py", "return Claim(number, stat.czxid,", "return Claim(number, number,"),),
    ),
    Mutant(
        "a claim outlives its session",
        (
            (
                "claim.py",
                "transaction.create(path, self._data, ephemeral=True)",
                "transaction.create(path, self._data)",
            ),
            ("claim.py", "if stat.ephemeralOwner != attempt.session:", "if False:"),
        ),
    ),
    Mutant(
        "a taken number counts as claimed",
        (
            (
                "claim.py",
                "            return None  # somebody's number, or somebody deleted our ticket\n",
                "            return self._as_claim(attempt, number, seen.get()[1], sent)\n",
            ),
            ("claim.py", "if stat.ephemeralOwner != attempt.session:", "if False:"),
        ),
        missed_because="no two claimants have one target; tests/node/test_claim.py",
    ),
    Mutant(
        "whether a claim was done whose reply was lost is not looked at",
        (
            (
                "claim.py",
                "            found = self._find(attempt, numbers(children))\n",
                "            found = None\n",
            ),
        ),
        missed_because="it wastes a number, which breaks no rule of chaos; the ladder's rung 8",
    ),
    # --- holder ---
    Mutant(
        "a number is answered from memory after LOST",
        (
            (
                "holder.py",
                '        if self._connection != "CONNECTED":\n            return session_lost()',
                '        if hold is not None and self._connection == "LOST":\n'
                "            return Held(hold.claim.number, hold.claim.token, 1.0)\n"
                '        if self._connection != "CONNECTED":\n            return session_lost()',
            ),
            ("holder.py", "if claim.session != self._session.session_id:", "if False:"),
            ("holder.py", "self._hold.claim.session != self._session.session_id:", "False:"),
        ),
    ),
    Mutant(
        "neither connection nor session nor lease are looked at before an answer",
        (
            (
                "holder.py",
                '        if self._connection != "CONNECTED":\n            return session_lost()',
                "        if hold is not None:\n"
                "            return Held(hold.claim.number, hold.claim.token, 1.0)\n"
                '        if self._connection != "CONNECTED":\n            return session_lost()',
            ),
        ),
    ),
    Mutant(
        "a heartbeat on somebody else's znode counts",
        (
            ("holder.py", "if claim.session != self._session.session_id:", "if False:"),
            ("holder.py", "self._hold.claim.session != self._session.session_id:", "False:"),
            ("holder.py", "if stat is None or stat.czxid != hold.claim.token:", "if stat is None:"),
        ),
    ),
    Mutant(
        "the thread that claims ends with the session",
        (
            (
                "holder.py",
                'lost with its session", self._hold.claim.number)\n            self._hold = None\n',
                'lost with its session", self._hold.claim.number)\n            raise KeyError\n',
            ),
        ),
    ),
    Mutant(
        "a lost connection counts as a lost session",
        (
            (
                "holder.py",
                "                self._hold.lease.interrupted()\n",
                "                self._hold = None\n",
            ),
        ),
        missed_because="it wastes a number, which breaks no rule of chaos; the ladder's rung 5",
    ),
    # --- lease ---
    Mutant("there is no lease", (("lease.py", "LEASE = 0.5\n", "LEASE = 50.0\n"),)),
    Mutant(
        "the lease's clock stops while the process does",
        (("lease.py", "return time.clock_gettime(_CLOCK) if", "return time.process_time() if"),),
    ),
    Mutant(
        "the lease lasts T, not T/2",
        (("lease.py", "LEASE = 0.5\n", "LEASE = 1.0\n"),),
    ),
    Mutant(
        "the lease lasts 0.9 T, not T/2",
        (("lease.py", "LEASE = 0.5\n", "LEASE = 0.9\n"),),
    ),
    Mutant(
        "the lease counts from the answer, not from the sending",
        (
            (
                "lease.py",
                "        now = self._clock()\n        if now < self._end:\n",
                "        now = sent = self._clock()\n        if now < self._end:\n",
            ),
        ),
        missed_because="a pause must fall between a write and its answer; tests/node/test_lease.py",
    ),
    Mutant(
        "one write is enough after a lapse",
        (("lease.py", "        if sent - self._since >= self._length:\n", "        if True:\n"),),
    ),
    # --- IDs ---
    Mutant(
        "the rest of a millisecond begins again",
        (
            (
                "snowflake.py",
                "self._slot = iter(range(first + used, first + PER_MS))",
                "self._slot = iter(range(first, first + PER_MS))",
            ),
        ),
    ),
    Mutant(
        "the worker is not in the ID",
        (("snowflake.py", "                    first |= self._worker << _WORKER_SHIFT\n", ""),),
    ),
    Mutant(
        "the old number's generator goes on, and no version is compared",
        (
            (
                "snowflake.py",
                "return not isinstance(held, Held) or (held.number, held.token) == generator.claim",
                "return True",
            ),
            (
                "reservation.py",
                "self._zk.set_async(self._path, ledger.to_bytes(), self._version), ledger)",
                "self._zk.set_async(self._path, ledger.to_bytes()), ledger)",
            ),
        ),
    ),
    Mutant(
        "a reservation of IDs is set without its version",
        (
            (
                "reservation.py",
                "self._zk.set_async(self._path, ledger.to_bytes(), self._version), ledger)",
                "self._zk.set_async(self._path, ledger.to_bytes()), ledger)",
            ),
            (
                "reservation.py",
                "stat = zk.set_async(path, ledger.to_bytes(), version).get(timeout=left)",
                "stat = zk.set_async(path, ledger.to_bytes()).get(timeout=left)",
            ),
        ),
    ),
    Mutant(
        "what another node has reserved is reserved again",
        (
            (
                "reservation.py",
                "            start = max(first, begin)\n",
                "            start = first\n",
            ),
        ),
        missed_because="a session outlives a reservation; tests/node/test_snowflake.py",
    ),
)


def main() -> None:
    """Run what the arguments say, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all mutants by default")
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--all-seeds", action="store_true", help="go on after a catch")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    print("| bug | caught with seed | by the rules |\n| --- | --- | --- |", flush=True)
    for mutant in MUTANTS:
        if arguments.names and not any(name in mutant.name for name in arguments.names):
            continue
        caught: dict[int, Counter[str]] = {}
        for seed in seeds:
            said = mutant.chaos(seed, arguments.seconds)
            rules = Counter(violation["rule"] for violation in said["violations"])
            if error := said.get("error"):
                rules["error: " + error] += 1
            if rules:
                caught[seed] = rules
                if not arguments.all_seeds:
                    break
        which = ", ".join(map(str, caught)) or f"none of {arguments.seeds}"
        rules = sum(caught.values(), Counter())
        told = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
        expected = f"not expected: {mutant.missed_because}" if mutant.missed_because else "MISSED"
        print(f"| {mutant.name} | {which} | {told or expected} |", flush=True)


if __name__ == "__main__":
    main()
