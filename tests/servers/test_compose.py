"""The sample's walk-through, step by step, with the compose file and the command line.

Source: the README of the C# sample this project comes from.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

# Alone, for the ports of a stopped container, 5001 to 5004, are anybody's.
pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent.parent
PROJECT = "labkit-test"
NETWORK = "code_default"
NODES = [f"sequencenode{i}" for i in range(1, 5)]


def run(*command: str, **environment: str) -> str:
    """What a command prints; fails with all that it said if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def compose(*arguments: str, **environment: str) -> str:
    return run("docker-compose", "-p", PROJECT, *arguments, **environment)


def free_port(preferred: int) -> int:
    for port in (preferred, 0):
        try:
            with socket.create_server(("", port)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise AssertionError("no port is free")


def soon(condition: Callable[[str], bool], of: str, timeout: float = 40.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition(of):
        assert time.monotonic() < deadline, f"{condition.__name__} {of}"
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def machine(docker_images: None) -> Iterator[None]:
    """As the reader's: an engine, and nothing of this project on it, before and after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOOKEEPER_PORT", str(free_port(2181)))
        remove()
        before = everything()
        yield
        remove()
        assert everything() <= before


def everything() -> set[str]:
    """Containers, networks and unused volumes on the engine, but for those of labs elsewhere."""

    def ids(*options: str) -> set[str]:
        listings = (["ps", "-aq", *options], ["network", "ls", "-q", *options])
        return {line for listing in listings for line in run("docker", *listing).split()}

    labs = ids("--filter", "label=labkit.lab")
    found = ids() - labs - ids("--filter", "label=labkit.lab")
    unused = run("docker", "volume", "ls", "-q", "--filter", "dangling=true")
    return found | set(unused.split())


def remove() -> None:
    subprocess.run(["docker", "rm", "--force", "--volumes", *NODES], capture_output=True)
    compose("--profile", "ensemble", "down", "--volumes", "--remove-orphans", "--timeout", "2")


@pytest.fixture
def fresh() -> Iterator[None]:
    yield
    remove()


def sequence(url: str) -> int:
    response = requests.get(f"{url}/sequence", timeout=5)
    assert response.status_code == 200, response.text
    return int(response.text)


def build_node() -> None:
    image = os.environ.get("LABKIT_PYTHON_IMAGE")
    base = ["--build-arg", f"PYTHON_IMAGE={image}"] if image else []
    run(
        *("docker", "image", "build", "-t", "sequencenode", "--target", "prod"),
        *("-f", "Dockerfile.node", *base, "."),
    )


def test_the_walk_through(fresh: None) -> None:
    before = everything()
    # First run the ZooKeeper container.
    compose("up", "-d", "zookeeper")
    zookeeper = compose("ps", "-q", "zookeeper").strip()
    ports = json.loads(run("docker", "inspect", "-f", "{{json .NetworkSettings.Ports}}", zookeeper))
    assert {at["HostIp"] for ats in ports.values() for at in ats or []} == {"127.0.0.1"}
    soon(healthy, zookeeper)

    # (optional) Let's test the ZooKeeper instance.
    assert "[zookeeper]" in run("docker", "exec", zookeeper, "zkCli.sh", "ls", "/")

    # Run the docker instances of the node servers.
    build_node()
    urls = {}
    for number, name in enumerate(NODES, start=1):
        urls[number] = f"http://localhost:{run_node(name, 5000 + number)}"
    for url in urls.values():
        soon(connected, url)

    # Test it! The browser first:
    assert "swagger" in requests.get(f"{urls[1]}/swagger", timeout=5).text.lower()
    # 1. Get the sequence for 1, 2 and 3.
    assert [sequence(urls[number]) for number in (1, 2, 3)] == [1, 2, 3]
    # 2. Then stop 2.
    began = time.monotonic()
    run("docker", "container", "stop", "sequencenode2")
    assert time.monotonic() - began < 5, "SIGTERM is not handled: the engine had to kill it"
    # 3. Then get the sequence for 4: it should get the number 2 since it is free now!
    assert sequence(urls[4]) == 2
    # 4. Then start 2 again.  5. Get the sequence for 2, it should be 4 now.
    run("docker", "container", "start", "sequencenode2")
    soon(connected, urls[2])
    assert sequence(urls[2]) == 4

    # If we test stopping the zookeeper container, all sequence requests are going to fail.
    run("docker", "container", "stop", zookeeper)
    for url in urls.values():
        soon(refuses, url)
    # But if we start it again, they are going to work again.
    run("docker", "container", "start", zookeeper)
    for url in urls.values():
        soon(numbered, url)
    # Not as in the sample, where numbers moved up: every node has the number it had.
    assert [sequence(url) for url in urls.values()] == [1, 4, 3, 2]

    # Many nodes behind one name: those that were stopped have given their numbers back.
    run("docker", "container", "stop", *NODES)
    run("docker", "container", "rm", *NODES)
    compose("up", "-d", NODES="4")
    replicas = compose("ps", "-q", "node", NODES="4").split()
    for container in replicas:
        soon(answers, container)
    assert sorted(map(asked_inside, replicas)) == [1, 2, 3, 4]
    assert everything() > before
    compose("down", "-v")
    assert everything() <= before


def run_node(name: str, port: int) -> int:
    """As in docs/by-hand.md; on another port if somebody has that one, or takes it just now."""
    for _ in range(5):
        port = free_port(port)
        publish = ["-p", f"{port}:80", "--name", name, "--network", NETWORK]
        done = subprocess.run(
            ["docker", "run", *publish, "-d", "sequencenode"], capture_output=True, text=True
        )
        if done.returncode == 0:
            return port
        assert "address already in use" in done.stderr, done.stderr
        run("docker", "rm", name)
    raise AssertionError(done.stderr)


def connected(url: str) -> bool:
    try:
        status = requests.get(f"{url}/status", timeout=2).json()
    except requests.RequestException:
        return False
    return bool(status["connection"] == "CONNECTED")


@pytest.mark.long
def test_replicas_behind_one_name(fresh: None) -> None:
    # Change the number of replicas from 1 to 4, and run `docker compose up -d`.
    compose("up", "-d", NODES="4")
    containers = compose("ps", "-q", "node", NODES="4").split()
    assert len(containers) == 4
    for container in containers:
        soon(answers, container)
    # First approach: connect directly to containers.
    assert sorted(map(asked_inside, containers)) == [1, 2, 3, 4]
    # Second approach (magic one!): another container, the same name again and again.
    client = os.environ["LABKIT_CLIENT_IMAGE"]
    ask = "for i in $(seq 60); do wget -qO- http://node/sequence; echo; done"
    seen = run("docker", "run", "--rm", "--network", NETWORK, client, "sh", "-c", ask)
    assert {int(number) for number in re.findall(r"\d+", seen)} == {1, 2, 3, 4}


def numbered(url: str) -> bool:
    return requests.get(f"{url}/sequence", timeout=5).ok


def refuses(url: str) -> bool:
    return requests.get(f"{url}/sequence", timeout=5).status_code == 503


def asked_inside(container: str) -> int:
    return int(run("docker", "exec", container, "wget", "-qO-", "http://localhost/sequence"))


def answers(container: str) -> bool:
    ask = ["docker", "exec", container, "wget", "-qO-", "http://localhost/sequence"]
    return subprocess.run(ask, capture_output=True).returncode == 0


def healthy(container: str) -> bool:
    state = json.loads(run("docker", "inspect", "-f", "{{json .State}}", container))
    assert state["Running"], run("docker", "logs", container)
    return bool(state["Health"]["Status"] == "healthy")


@pytest.mark.long
def test_the_ensemble_profile(fresh: None) -> None:
    servers = ["zookeeper1", "zookeeper2", "zookeeper3"]
    hosts = ",".join(f"{server}:2181" for server in servers)
    compose("--profile", "ensemble", "up", "-d", *servers)
    found = [compose("--profile", "ensemble", "ps", "-q", s).strip() for s in servers]
    for container in found:
        soon(healthy, container)
    modes = [run("docker", "exec", container, "zkServer.sh", "status") for container in found]
    assert sorted(re.findall(r"Mode: (\w+)", "".join(modes))) == ["follower", "follower", "leader"]
    compose("up", "-d", "--no-deps", "node", NODES="2", ZOOKEEPER_HOSTS=hosts)
    nodes = compose("ps", "-q", "node").split()
    for container in nodes:
        soon(answers, container)
    assert sorted(map(asked_inside, nodes)) == [1, 2]
    # Without a leader they find the next one.
    leader = found[next(i for i, mode in enumerate(modes) if "leader" in mode)]
    run("docker", "kill", leader)
    for container in nodes:
        soon(answers, container)
