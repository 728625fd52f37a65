"""The benchmarks run, measure what they say, and tell a missed bar from one that is met."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.computer import Computer
from benchmarks.report import Report, Result, Row, at_least, at_most, quantity
from labkit.servers import reaper, registry

ROOT = Path(__file__).parent.parent


def _bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *options], cwd=ROOT, text=True, capture_output=True
    )


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    names = [name for name in NAMES if name not in ("containers", "engines")]
    options = [option for name in names for option in ("--only", name)]
    done = _bench("--quick", "--output", str(tmp_path), *options)

    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "results.json").read_text())
    assert list(written["results"]) == names
    for result in written["results"].values():
        assert result["rows"]
        assert result["method"]
        assert all(row["ours"] >= 0 and row["what"] in done.stdout for row in result["rows"])
    _check_ids(written["results"]["ids"]["rows"])
    _check_storm(written["results"]["storm"]["data"])
    _check_freed(written["results"]["freed"]["data"])
    for picture in ("storm", "storm-seconds", "freed", "start"):
        assert ElementTree.parse(tmp_path / f"bench-{picture}.svg").getroot().tag.endswith("svg")
    assert not list(tmp_path.glob("README*"))


def _check_ids(rows: list[dict[str, Any]]) -> None:
    """Rates are compared with the format's ceiling, generators by their processor time."""
    against = {row["what"]: (row["unit"], row["against"]) for row in rows}
    assert against["next_id(): processor time of one"] == ("s", "snowflake-id")
    assert against["next_id(), one thread"] == ("IDs/s", "the format's ceiling")


def _check_storm(data: dict[str, Any]) -> None:
    """Counts are exact, however busy the machine is."""
    operations = data["operations a claim"]
    assert set(operations["ticket rank"].values()) == {4}  # a ticket, two looks, a transaction
    assert operations["list, create, retry"]["1"] == 2  # a look and a create
    assert operations["Lock, then list"]["16"] > 4
    assert data["distinct numbers"]["ticket rank"] == {"1": 1, "4": 4, "16": 16}


def _check_freed(data: dict[str, Any]) -> None:
    ((timeout, freed),) = data.items()
    # The last sign of life may be a third of a timeout old, but not older.
    assert min(freed["kill"] + freed["pause"]) > 0.5 * float(timeout)
    assert max(freed["stop"]) < 0.5 * float(timeout)


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_a_quick_run_in_docker(tmp_path: Path, docker_images: None) -> None:
    done = _bench("--quick", "--output", str(tmp_path), "--only", "containers")

    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "results.json").read_text())["results"].values()
    assert result["skipped"] is None
    assert all(seconds > 0 for side in result["data"]["seconds"].values() for seconds in side)


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_a_quick_run_on_three_engines(tmp_path: Path, docker_images: None) -> None:
    done = _bench("--quick", "--output", str(tmp_path), "--only", "engines")

    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "results.json").read_text())["results"].values()
    assert result["skipped"] is None
    for (sample,) in result["data"]["samples"].values():
        assert sample["seconds"] > 0.5
        assert 10 < sample["MB a node"] < 200
        assert sample["MB"] > 6 * sample["MB a node"]  # ZooKeeper's is more


def test_an_engine_that_is_not_there_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    done = _bench("--only", "containers", "--only", "engines")

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("containers", "engines"):
        assert f"{name}: 0 s, skipped: No Docker engine answers" in done.stdout


def test_an_unknown_name_is_told_the_known_ones() -> None:
    done = _bench("--only", "everything")

    assert done.returncode == 2
    assert "everything" in done.stderr
    assert "storm" in done.stderr


def test_an_interruption_is_told() -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "freed"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not (labs := [lab for lab in registry.registered() if lab.owner == bench.pid]):
        assert bench.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bench.send_signal(signal.SIGINT)
    _, said = bench.communicate(timeout=30)
    assert bench.returncode == 130
    assert said.strip() == "Interrupted; nothing is left running."
    assert [reaper.processes_of(lab.lab_id) for lab in labs] == [[]]


def test_better_is_better_whatever_the_unit() -> None:
    assert Row("time", 2, "s", 6).better == 3
    assert Row("rate", 2, "/s", 6).better == pytest.approx(1 / 3)
    assert Row("IDs", 6, "IDs/s", 2).better == 3
    assert Row("pairs", 6, "IDs/s", 2, paired=2.5).better == 2.5
    assert Row("nothing to compare with", 6, "s").better is None


def test_a_missed_bar_is_seen() -> None:
    met = Row("quick", 1, "s", 3, "theirs", [at_most(1, 2, "2 s"), at_least(3, 2, "2 ×")])
    missed = Row("slow", 3, "s", 3, "theirs", [at_most(3, 4, "4 s"), at_least(1, 2, "2 ×")])
    report = Report(Computer.here(), {"start": Result([met, missed], {})})

    assert report.missed == [missed]
    assert met.cells()[-1] == "✓ ≤ 2 s, ✓ ≥ 2 ×"
    assert missed.cells()[-1] == "✓ ≤ 4 s, ✗ ≥ 2 ×"


def test_the_docs_get_the_table_between_its_markers(tmp_path: Path) -> None:
    row = Row("ready", 1.234, "s", 3, "theirs", [at_most(1, 2, "2 s")])
    report = Report(Computer.here(), {"start": Result([row], {})})
    page = tmp_path / "measurements.md"
    page.write_text("# Lab\n<!-- bench -->\nold\n<!-- /bench -->\nThe end.\n")

    report.write_page(page)
    once = page.read_text()
    report.write_page(page)

    assert "| ready | 1.23 s | 3 s, theirs | 2.43 × | ✓ ≤ 2 s |" in once
    assert "old" not in once
    assert once.startswith("# Lab\n<!-- bench -->\n")
    assert once.endswith("\n<!-- /bench -->\nThe end.\n")
    assert page.read_text() == once


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "measurements.md"
    page.write_text("# Lab\n")

    with pytest.raises(ValueError, match="has no <!-- bench -->"):
        Report(Computer.here()).write_page(page)
    assert page.read_text() == "# Lab\n"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "s", "1.5 s"),
        (0.0123, "s", "12.3 ms"),
        (0.00029, "s", "290 µs"),
        (4_085_123, "IDs/s", "4.09 M IDs/s"),
        (2345.6, "/s", "2,350/s"),
        (12.34, "/s", "12.3/s"),
        (4.0, "operations", "4.0"),
        (0.0123, "cores", "1.2% of a core"),
        (22.44, "MB", "22.4 MB"),
        (2088.3, "MB", "2,090 MB"),
    ],
)
def test_quantities_read_well(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_the_machine_is_described_without_its_name() -> None:
    machine = str(Computer.here())
    assert platform.node() not in machine
    assert platform.python_version() in machine
