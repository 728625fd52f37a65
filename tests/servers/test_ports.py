"""Ports: kept from everybody else for as long as a lab has them, without a trace afterwards."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from labkit.errors import ConfigError
from labkit.servers.ports import Ports


def elsewhere(file: Path, *ports: int) -> list[int]:
    """What another process gets that wants these ports, one after the other."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from labkit.servers.ports import Ports\n"
        "ports = Ports(Path(sys.argv[1]))\n"
        "print(*[ports.reserve(int(port)) for port in sys.argv[2:]])\n"
    )
    command = [sys.executable, "-c", script, str(file), *map(str, ports)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [int(port) for port in run.stdout.split()]


def test_a_port_is_one_labs_alone(tmp_path: Path) -> None:
    file = tmp_path / "ports.lock"
    first, second = Ports(file), Ports(file)
    port = first.reserve()
    assert second.reserve(port) != port
    assert elsewhere(file, port) != [port]
    second.close()  # the locks of a process go when it closes the file: not yet
    assert elsewhere(file, port) != [port]
    first.release(port)
    assert second.reserve(port) == port
    first.release(port)  # not its own any more
    assert elsewhere(file, port) != [port]
    second.close()
    assert elsewhere(file, port) == [port]


def test_a_port_that_somebody_listens_on_is_nobodys(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.lock")
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert ports.reserve(taken) != taken
    ports.close()


def test_nothing_grows(tmp_path: Path) -> None:
    """Neither the directory nor the number of open files, however many ports there are."""
    ports = Ports(tmp_path / "ports.lock")
    before = psutil.Process().num_fds()
    taken = [ports.reserve() for _ in range(200)]
    assert len(set(taken)) == 200
    assert psutil.Process().num_fds() == before + 1
    ports.close()
    assert psutil.Process().num_fds() == before
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("ports.lock", 0)]


def test_labs_with_other_directories_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port that one has reserved is nobody else's, although nothing listens there yet."""
    ours = Ports()
    port = ours.reserve()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = f"from labkit.servers.ports import Ports; print(Ports().reserve({port}))"
    got = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    ours.close()
    assert int(got.stdout) != port


def test_a_file_that_is_no_file_of_ports(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="have it removed"):
        Ports(tmp_path / "link").reserve()
    assert not (tmp_path / "precious").exists()
