"""What the watchdog may touch, and that it gets rid of a dead lab in the end."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from unittest.mock import Mock

import pytest

from labkit.errors import BackendError, ConfigError
from labkit.servers import owner, reaper, registry
from labkit.servers.choice import choose


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


def leave(lab_id: str, directory: Path, backend: str = "process", *engines: str) -> None:
    """The registration of a lab whose owner is dead."""
    directory.mkdir(parents=True)
    held = directory.with_suffix(".owner")
    hold = "import os, sys, pathlib; from labkit.servers import owner\n"
    hold += "owner.hold(pathlib.Path(sys.argv[1])); print(os.getpid())"
    dead = subprocess.check_output([sys.executable, "-c", hold, str(held)], text=True)
    entry: dict[str, Any] = {"lab_id": lab_id, "backend": backend, "nodes": {}}
    entry |= {"engines": engines, "owner": int(dead), "place": owner.place()}
    (directory / "lab.json").write_text(json.dumps(entry))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- whose files ------------------------------------------------------------------------------


def test_nobody_else_may_look_into_the_labs_files(home: Path) -> None:
    before = os.umask(0)
    try:
        registry.register("abc", "process")
    finally:
        os.umask(before)
    assert mode(home) == 0o700
    assert mode(home / "abc") == 0o700


def test_a_home_that_was_left_open_is_closed(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    assert registry.home() == home
    assert mode(home) == 0o700


def test_a_home_that_is_no_directory_is_refused(home: Path, temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    home.symlink_to(elsewhere)
    for use in (registry.home, registry.registered, lambda: registry.register("abc", "process")):
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
        registry.home()


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
    assert registry.registered() == []
    reaper.remove_leftovers()
    assert (outside / "precious").exists()
    assert (home / "abc").exists()
    with pytest.raises(ConfigError, match="no lab's id"):
        registry.directory(lab_id)  # type: ignore[arg-type]


def test_a_registration_under_another_labs_name_is_ignored(home: Path) -> None:
    leave("abc", home / "def")
    assert registry.registered() == []
    leave("abc", home / "abc")
    assert [entry.lab_id for entry in registry.registered()] == ["abc"]


# --- whose labs -------------------------------------------------------------------------------


@contextmanager
def living(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the file."""
    hold = "import sys, pathlib; from labkit.servers import owner\n"
    hold += "owner.hold(pathlib.Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_an_owner_that_is_killed_is_known_to_be_dead(temporary: Path) -> None:
    file = temporary / "abc.owner"
    with living(file) as process:
        assert not owner.has_ended(file)
        process.kill()
        process.wait()
        assert owner.has_ended(file)


@pytest.mark.parametrize("elsewhere", ["another system", "a copy", "nothing there", "no locks"])
def test_nobody_is_dead_who_cannot_be_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    leave("abc", home / "abc")
    file = registry.owner_file("abc")
    assert owner.has_ended(file)
    if elsewhere == "another system":
        monkeypatch.setattr(owner, "_boot", lambda: "another-boot")
    elif elsewhere == "a copy":
        file.rename(file.with_suffix(".old"))
        file.write_bytes(file.with_suffix(".old").read_bytes())
    elif elsewhere == "nothing there":
        file.unlink()
    else:
        monkeypatch.setattr(owner.fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "none")))
    assert not owner.has_ended(file)
    assert reaper.remove_leftovers() == []
    assert (home / "abc").exists()


def test_a_lab_of_another_container_is_not_taken_down(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are shared, and its processes have ids of their own there."""
    leave("abc", home / "abc")
    registry.owner_file("abc").unlink()
    [entry] = registry.registered()
    monkeypatch.setattr(owner, "place", lambda: "another pid namespace")
    [(_, error)] = reaper.remove_each([entry])
    assert "can't be seen from here" in str(error)
    assert (home / "abc").exists()


def test_the_next_lab_of_a_process_does_not_take_the_first_for_dead(home: Path) -> None:
    registry.register("abc", "process")
    try:
        assert [entry.orphaned for entry in registry.registered()] == [False]
        for path in home.rglob("*"):  # as somebody does who reads all files there
            if path.is_file():
                path.read_bytes()
        with subprocess.Popen([sys.executable, "-c", LOOK], stdout=subprocess.PIPE) as other:
            assert other.communicate()[0] == b"[False]\n"
    finally:
        registry.disarm("abc")


LOOK = "from labkit.servers import registry; print([e.orphaned for e in registry.registered()])"


# --- an engine that is down -------------------------------------------------------------------


class EmptyEngine(BaseHTTPRequestHandler):
    """As much of a Docker engine as it takes to say that a lab has left nothing on it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rpartition("/")[2]
        answers: dict[str, object] = {
            "version": {"ApiVersion": "1.44"},
            "volumes": {"Volumes": None},
        }
        body = json.dumps(answers.get(path, [])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "a Unix socket has none"


@contextmanager
def engine_at(path: Path) -> Iterator[None]:
    with ThreadingUnixStreamServer(str(path), EmptyEngine) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield
        server.shutdown()
        thread.join()
    path.unlink()


@pytest.fixture
def engine(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an engine is expected, and none is yet."""
    path = temporary / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


def test_a_leftover_that_cannot_be_removed_is_in_nobodys_way(home: Path, engine: Path) -> None:
    leave("abc", home / "abc", "docker")
    leave("def", home / "def")
    with pytest.raises(BackendError):
        reaper.remove("abc", "docker")
    assert reaper.remove_leftovers() == ["def"]
    assert [entry.lab_id for entry in registry.registered()] == ["abc"]
    choose("process", lambda what, fraction: None, {}).backend.destroy()
    with engine_at(engine):
        assert reaper.remove_leftovers() == ["abc"]
    assert registry.registered() == []


def test_what_was_on_a_machine_has_gone_with_it(home: Path, engine: Path) -> None:
    machine = home / "machines-labkit" / "a"
    leave("abc", home / "abc", "swarm", f"unix://{machine}/docker.sock")
    leave("def", home / "def", "swarm", f"unix://{machine.with_name('b')}.sock")  # of others
    assert reaper.remove_leftovers() == ["abc"]
    assert [entry.lab_id for entry in registry.registered()] == ["def"]
    leave("abc", home / "abc", "swarm", f"unix://{machine}/docker.sock")
    machine.mkdir(parents=True)
    (machine / "docker.sock").touch()  # it is there, and does not answer now
    assert reaper.remove_leftovers() == []


def test_down_removes_what_it_can_and_says_what_is_left(home: Path, engine: Path) -> None:
    leave("abc", home / "abc", "docker")
    leave("def", home / "def")
    named, every = down("def"), down()
    assert (named.returncode, named.stdout) == (0, "Removed lab def.\n")
    assert (every.returncode, every.stdout) == (1, "")
    assert named.stderr == ""
    assert "Lab abc is still there: No Docker engine answers" in every.stderr
    with engine_at(engine):
        assert down().returncode == 0
    assert registry.registered() == []


def down(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labkit.cli", "down", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_watchdog_waits_for_the_engine(home: Path, engine: Path) -> None:
    leave("abc", home / "abc", "docker")
    owner = json.loads((home / "abc" / "lab.json").read_text())["owner"]
    command = [sys.executable, "-m", "labkit.servers.reaper", str(owner), "abc", "docker"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("No Docker engine answers" in line for line in process.stderr)
            time.sleep(0.2)
            assert process.poll() is None
            assert (home / "abc").exists()
            with engine_at(engine):
                assert process.wait(timeout=20) == 0
            assert not (home / "abc").exists()
        finally:
            process.kill()
