"""The tests' own manners."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = ["tests/test_tour.py", "tests/servers/test_image.py"]  # all of their tests need an engine


def _without_an_engine(**environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={
            **os.environ,
            "DOCKER_HOST": "unix:///nowhere",
            "LABKIT_REQUIRE_DOCKER": "",
            **environ,
        },
    )
    return done.stdout


def test_without_an_engine_one_line_says_so() -> None:
    said = [line for line in _without_an_engine().splitlines() if line.startswith("SKIPPED")]
    assert len(said) == 1
    assert "No Docker engine answers" in said[0]


def test_where_an_engine_is_required_its_absence_fails() -> None:
    said = _without_an_engine(LABKIT_REQUIRE_DOCKER="1")
    assert "No Docker engine answers" in said
    assert " error" in said.splitlines()[-1]
    assert "skipped" not in said.splitlines()[-1]


def test_side_by_side_the_tests_of_a_file_stay_in_one_worker() -> None:
    options = ["-n", "2", "--dist", "loadgroup", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/servers/test_base.py"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
    )
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert len(passed) > 10
    assert len({line.split()[0] for line in passed}) == 1
    assert all("@test_base" in line for line in passed)
