"""Fixtures that any test may use: real labs, shared where a test does not break them."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from labkit import doctor
from labkit.course import record
from labkit.lab.lab import Lab
from labkit.servers import registry
from labkit.servers.docker import engine
from labkit.servers.docker.nested import Machines

ROOT = Path(__file__).parent.parent

os.environ[record.VARIABLE] = ""  # what the user of this machine has solved is not ours

# A shell's background job ignores SIGINT, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_CHROMIUM = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Four fresh nodes, as processes, with a short session timeout."""
    with Lab(nodes=4, backend="process", session_timeout=1.0) as lab:
        yield lab


@pytest.fixture(scope="session")
def zookeeper_lab() -> Iterator[Lab]:
    """A ZooKeeper without nodes, shared by tests that keep to paths of their own."""
    with Lab(nodes=0, backend="process", record=False) as lab:
        yield lab


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The one browser of all tests: Playwright runs once in a thread."""
    found = map(shutil.which, doctor.BROWSERS)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next(filter(None, found), own if Path(own).exists() else None)
        assert path, (
            "These tests need Chromium: `sudo apt-get install chromium`, or "
            f"`{sys.executable} -m playwright install chromium`"
        )
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM.split())
        yield browser
        browser.close()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fails the run if the tests together have left a lab, a process or a thread behind."""
    yield
    assert [entry.lab_id for entry in registry.registered() if entry.owner == os.getpid()] == []
    ours = [
        child.cmdline()
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "labkit" in " ".join(child.cmdline())
    ]
    assert ours == []
    assert [t.name for t in threading.enumerate() if t.name.startswith("labkit")] == []


@functools.cache
def _why_no_engine() -> str | None:
    return engine.available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a Docker engine where none answers; fails it with LABKIT_REQUIRE_DOCKER=1.

    All from this one place, so that the report says it in one line.
    """
    if item.get_closest_marker("docker") and (reason := _why_no_engine()):
        if os.environ.get("LABKIT_REQUIRE_DOCKER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


#: Files of long tests that share nothing: each of these tests may run in another worker.
SPREAD = {"test_exercises", "test_process", "test_hostile", "test_model"}

#: Files whose tests start servers, kernels or installers that take seconds: not for every change.
SLOW = {
    *("test_course", "test_exercises", "test_export", "test_grade", "test_hostile"),
    *("test_sheets", "test_site"),
    *("test_chaos", "test_ensemble_under_fire", "test_ladder", "test_ladder_bugs", "test_recipes"),
    *("test_attached", "test_crew", "test_lab", "test_members", "test_other_users"),
    *("test_own_server", "test_recorder"),
    *("test_api", "test_holder", "test_original"),
    *("test_backends", "test_process_backend", "test_system"),
    *("test_cli", "test_controls", "test_moments", "test_package", "test_setup"),
    "test_suite",
}

#: Files of tests that take minutes together: what is not quick in them is in `make test-long`.
#: Some page runs what most of them look at more closely.
LONG = {
    *("test_export", "test_grade", "test_hostile", "test_sheets", "test_site", "test_staged"),
    *("test_ladder", "test_ladder_bugs", "test_recipes"),
    *("test_attached", "test_crew", "test_members", "test_other_users", "test_own_server"),
    *("test_recorder", "test_tls", "test_original"),
    *("test_bad_days", "test_image", "test_nested", "test_process_backend", "test_swarm"),
    *("test_swarm_file", "test_system", "test_controls", "test_hub", "test_projector"),
    *("test_all_in_one", "test_benchmarks", "test_package", "test_readme", "test_setup"),
    "test_tour",
}


#: What is marked so is not in `make test-quick`.
NOT_QUICK = ("docker", "browser", "alone", "slow")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests stay together where tests run side by side.

    Those of a file do, for it may have built something for all of them. Those that use a browser
    do, and so do those that use an engine, so that not too many containers start at the same time.
    """
    for item in items:
        name = item.path.stem
        if name in SLOW:
            item.add_marker(pytest.mark.slow)
        if name in LONG and any(map(item.get_closest_marker, NOT_QUICK)):
            item.add_marker(pytest.mark.long)
        if item.get_closest_marker("docker"):
            group = "engine"
        elif "chromium" in getattr(item, "fixturenames", ()):
            group = "browser"
        elif name in SPREAD:
            continue
        else:
            group = name
        item.add_marker(pytest.mark.xdist_group(group))


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes what many tests read, once in a run, whichever of its workers is the first to need it.

    `once(name, make)` is a path that `make` has been called with. It must not be changed.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the whole run's

    def made(name: str, make: Callable[[Path], object]) -> Path:
        done = root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(root / name)
                done.touch()
        return root / name

    return made


@pytest.fixture(scope="session")
def docker_images(once: Once) -> Iterator[None]:
    """Images for an engine: those named, stand-ins, official ones, in this order."""
    chosen = once("images", lambda path: path.write_text(json.dumps(_choose_images())))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in json.loads(chosen.read_text()).items():
            if name not in os.environ:
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def engines(docker_images: None) -> Iterator[list[str]]:
    """The engines of three machines that are a Swarm, by their URLs."""
    machines = Machines(f"labkit-test-{os.getpid()}")
    try:
        yield [machine.url for machine in machines.up(3, lambda what, fraction: None)]
    finally:
        machines.down()


def _choose_images() -> dict[str, str]:
    official = ["python:3.12-slim", "zookeeper:3.9", "alpine"]
    if not _engine_does("image", "inspect", "labkit-test/client") and all(
        _engine_does("image", "inspect", image) or _engine_does("pull", image) for image in official
    ):
        return {"LABKIT_CLIENT_IMAGE": "alpine"}
    built = subprocess.run(
        [ROOT / "tests/images/build.sh"], check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(word.split("=", 1) for word in shlex.split(built.stdout) if "=" in word)


def _engine_does(*command: str) -> bool:
    return subprocess.run(["docker", *command], capture_output=True).returncode == 0
