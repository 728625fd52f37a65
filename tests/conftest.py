"""Fixtures that any test may use: real labs, shared where a test does not break them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from labkit.backends import watchdog
from labkit.lab import Lab

ROOT = Path(__file__).parent.parent


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


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fails the run if the tests together have left a lab, a process or a thread behind."""
    before = {entry.lab_id for entry in watchdog.registered()}
    yield
    assert {entry.lab_id for entry in watchdog.registered()} <= before
    ours = [
        child.cmdline()
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "labkit" in " ".join(child.cmdline())
    ]
    assert ours == []
    assert [t.name for t in threading.enumerate() if t.name.startswith("labkit")] == []
