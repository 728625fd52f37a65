"""A node as a process: its environment, its port, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from conftest import Tree

from labkit.node.__main__ import main
from labkit.node.environment import BadConfiguration, Configuration, configuration
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def node(**environ: str) -> Iterator[subprocess.Popen[str]]:
    """A node that was just started, and will be killed."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "labkit.node"],
        env={**plain, "HOST": "127.0.0.1", **environ},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            requests.get(f"http://127.0.0.1:{port}/status", timeout=1)
            return
        except requests.RequestException:
            assert time.monotonic() < deadline
            time.sleep(0.02)


# --- its environment --------------------------------------------------------------------------


def test_defaults() -> None:
    host = socket.gethostname()
    assert configuration({}) == Configuration(
        hosts="zookeeper:2181",
        session_timeout_ms=5000,
        request_deadline_ms=2000,
        max_number=1023,
        snowflake_epoch_ms=1_288_834_974_657,
        name=host,
        url=f"http://{host}:80",
        host="0.0.0.0",
        port=80,
        claim="lowest-free",
    )


def test_an_empty_variable_is_no_variable() -> None:
    names = ("ZOOKEEPER_HOSTS", "SESSION_TIMEOUT_MS", "PORT", "CLAIM", "NODE_NAME", "HOST")
    assert configuration(dict.fromkeys(names, "")) == configuration({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, extreme in {
            "SESSION_TIMEOUT_MS": "3600001",
            "REQUEST_DEADLINE_MS": "600001",
            "MAX_NUMBER": "1000001",
            "SNOWFLAKE_EPOCH_MS": "99999999999999",
            "PORT": "65536",
        }.items()
        for value in ("abc", "-1", "1.5", "1e3", " ", extreme)
    ]
    + [("CLAIM", "highest-free"), ("CLAIM", "Original"), ("PORT", "0"), ("MAX_NUMBER", "0")],
)
def test_a_bad_variable_is_named_in_one_line(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main({name: value})
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{name} is {value!r}; it must be ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "hosts",
    [
        "a:b",
        "a:0",
        "a:65536",
        "a:99999",
        "a:1,b:99999",
        "a..b:1",
        ".a",
        "a" * 64,
        "a:000000000001",
        "a:2181:2181",
        ",",
        "a,,b",
        "a b",
        "/",
        "a:1/",
        "a:1//b",
        "a:1/../b",
        "::1",
    ],
)
def test_servers_that_cannot_be_meant_are_refused(hosts: str) -> None:
    with pytest.raises(BadConfiguration, match="ZOOKEEPER_HOSTS is .*; it must be host:port"):
        configuration({"ZOOKEEPER_HOSTS": hosts})


@pytest.mark.parametrize("credential", ["lab", "lab:", ":secret"])
def test_a_credential_is_a_user_and_a_password(credential: str) -> None:
    with pytest.raises(BadConfiguration, match="ZOOKEEPER_AUTH must be user:password"):
        configuration({"ZOOKEEPER_AUTH": credential})
    assert configuration({"ZOOKEEPER_AUTH": "lab:a:b"}).credential == "lab:a:b"


@pytest.mark.parametrize("hosts", ["a", "a-1.b:2181", "10.0.0.1:1,b:2/c/d.e", "[::1]:2181"])
def test_servers_that_can(hosts: str) -> None:
    assert configuration({"ZOOKEEPER_HOSTS": hosts}).hosts == hosts


# --- its port ---------------------------------------------------------------------------------


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with node(PORT=str(port), ZOOKEEPER_HOSTS="127.0.0.1:1") as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"Port {port} of 127.0.0.1: Address already in use" in said
    assert "Traceback" not in said


def test_an_address_that_is_not_ours() -> None:
    with node(HOST="203.0.113.1", PORT="5000", ZOOKEEPER_HOSTS="127.0.0.1:1") as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said == "Port 5000 of 203.0.113.1: Cannot assign requested address.\n"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "1.2.3.4.5", "a b", "x" * 64, "::::"])
def test_a_host_that_is_no_address(host: str) -> None:
    with node(HOST=host, PORT="5000", ZOOKEEPER_HOSTS="127.0.0.1:1") as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said == f"HOST is {host!r}; it must be an address or name of this machine.\n"


@pytest.mark.parametrize(
    ("name", "value"), [("ZOOKEEPER_HOSTS", "a:99999"), ("PORT", "99999"), ("CLAIM", "mine")]
)
def test_a_wrong_setting_ends_the_process_with_one_line(name: str, value: str) -> None:
    with node(**{name: value}) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said.startswith(f"{name} is {value!r}")
    assert said.count("\n") == 1


# --- its end ----------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tree: Tree, end: signal.Signals) -> None:
    port = free_port()
    with node(PORT=str(port), ZOOKEEPER_HOSTS=tree.hosts, SESSION_TIMEOUT_MS="60000") as process:
        wait_listening(port)
        assert requests.get(f"http://127.0.0.1:{port}/sequence", timeout=5).json() == 1
        assert tree.children() == {"1"}
        began = time.monotonic()
        process.send_signal(end)
        while tree.children():
            assert time.monotonic() - began < 1.0
        took = time.monotonic() - began
        assert process.wait(5) == 0
    assert took < 0.2


@pytest.mark.parametrize("hole", [False, True], ids=["nobody there", "black hole"])
def test_it_ends_although_zookeeper_cannot_be_reached(
    forwarder: Forwarder, link: str, hole: bool
) -> None:
    forwarder.fault("node", "zookeeper", LinkFault("drop" if hole else "refuse"))
    port = free_port()
    with node(PORT=str(port), ZOOKEEPER_HOSTS=link, SESSION_TIMEOUT_MS="60000") as process:
        wait_listening(port)
        answer = requests.get(f"http://127.0.0.1:{port}/sequence", timeout=5)
        assert answer.status_code == 503
        assert answer.json()["reason"] == "no-connection"
        began = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 3.5


def test_it_ends_in_the_middle_of_a_black_hole(tree: Tree, forwarder: Forwarder, link: str) -> None:
    port = free_port()
    with node(PORT=str(port), ZOOKEEPER_HOSTS=link, SESSION_TIMEOUT_MS="5000") as process:
        wait_listening(port)
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/sequence", timeout=5).json() == 1
        forwarder.fault("node", "zookeeper", LinkFault("drop"))
        time.sleep(0.7)  # a heartbeat is overdue
        process.terminate()
        assert process.wait(5) == 0
    forwarder.fault("node", "zookeeper", None)  # what it said in the hole is heard late
    tree.wait(lambda: not tree.children())


def test_importing_it_starts_nothing() -> None:
    code = (
        "import threading, socket, sys\n"
        "def refuse(*a): raise AssertionError('a socket at import time')\n"
        "socket.socket.connect = refuse\n"
        "import labkit.node.__main__\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "own = {m.split('.')[1] for m in sys.modules if m.startswith('labkit.')}\n"
        "assert own == {'node', 'lazy'}, own\n"
        "heavy = {'matplotlib', 'numpy', 'requests', 'IPython', 'docker'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
