"""What the watchdog may touch."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from labkit.backends import watchdog
from labkit.errors import ConfigError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary files that no other lab uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is looked up once and remembered
    return tmp_path


@pytest.fixture
def home(temporary: Path) -> Path:
    """Where labs keep their files, not made yet."""
    return temporary / f"labkit-{os.getuid()}"


def leave(lab_id: str, directory: Path, backend: str = "process") -> None:
    """The registration of a lab whose owner is dead."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        dead.wait()
    directory.mkdir(parents=True)
    entry: dict[str, Any] = {"lab_id": lab_id, "backend": backend, "nodes": {}}
    entry |= {"owner": dead.pid, "owner_started": 1.0}
    (directory / "lab.json").write_text(json.dumps(entry))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- whose files ------------------------------------------------------------------------------


def test_nobody_else_may_look_into_the_labs_files(home: Path) -> None:
    before = os.umask(0)
    try:
        watchdog.register("abc", "process")
    finally:
        os.umask(before)
    assert mode(home) == 0o700
    assert mode(home / "abc") == 0o700


def test_a_home_that_was_left_open_is_closed(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    assert watchdog.home() == home
    assert mode(home) == 0o700


def test_a_home_that_is_no_directory_is_refused(home: Path, temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    home.symlink_to(elsewhere)
    for use in (watchdog.home, watchdog.registered, lambda: watchdog.register("abc", "process")):
        with pytest.raises(ConfigError, match=r"not a directory of yours.*TMPDIR"):
            use()
    assert list(elsewhere.iterdir()) == []


def test_a_home_that_somebody_else_made_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    home.with_name(f"labkit-{other}").mkdir(mode=0o700)  # made by us, who are not that user
    with pytest.raises(ConfigError, match=r"not a directory of yours.*ls -ld"):
        watchdog.home()


@pytest.mark.parametrize("lab_id", ["/{outside}", "../../outside", "..", ".", "", "0DD", "a/b", 7])
def test_a_registration_that_leads_elsewhere_is_ignored(
    home: Path, temporary: Path, lab_id: str | int
) -> None:
    outside = temporary / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    if isinstance(lab_id, str):
        lab_id = lab_id.replace("/{outside}", str(outside))
    leave(lab_id, home / "abc")  # type: ignore[arg-type]
    assert watchdog.registered() == []
    watchdog.remove_leftovers()
    assert (outside / "precious").exists()
    assert (home / "abc").exists()
    with pytest.raises(ConfigError, match="no lab's id"):
        watchdog.directory(lab_id)  # type: ignore[arg-type]


def test_a_registration_under_another_labs_name_is_ignored(home: Path) -> None:
    leave("abc", home / "def")
    assert watchdog.registered() == []
    leave("abc", home / "abc")
    assert [entry.lab_id for entry in watchdog.registered()] == ["abc"]
