"""The same code has the same schedule in each process, whatever the seed of its hashes."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.exercises import locks
from labkit.explore.ready import lock, numbers
from labkit.explore.search import search
for wanted in lock(locks._queueing_twice), numbers(ListCreateRetry), lock(locks.acquire):
    found = search(wanted).as_json()
    print(json.dumps({**found, "seconds": 0}))
"""


def found(seed: str) -> list[dict[str, object]]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.slow
def test_the_schedule_is_the_same_in_each_process() -> None:
    first, second = found("1"), found("2")
    assert first == second
    assert [bool(each["violation"]) for each in first] == [True, True, False]
    # Held here, so that every version of Python has to find just these.
    assert [len(each["plan"]) for each in first] == [7, 6, 0]  # type: ignore[arg-type]
    assert first[2]["states"] == 1075
