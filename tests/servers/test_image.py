"""The image of a node: what is in it, what it may do, and how it ends."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from labkit.lab.lab import Lab

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def lab(docker_images: None) -> Iterator[Lab]:
    with Lab(nodes=1, backend="docker", record=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Container]:
    """The container of a running node."""
    with closing(docker.from_env()) as client:
        port = lab.node(1).endpoint.port
        for container in client.containers.list(filters={"label": "labkit.lab"}):
            if f"'{port}'" in str(container.ports):
                yield container
                return
    raise AssertionError(f"no container has port {port}")


def inside(node: Container, *command: str) -> str:
    code, output = node.exec_run(list(command))
    assert code == 0, output.decode()
    return str(output.decode().strip())


def test_a_node_has_no_privileges(node: Container) -> None:
    assert inside(node, "id", "-u") != "0"
    status = inside(node, "cat", "/proc/1/status")
    assert re.findall(r"^Cap(?:Eff|Prm|Bnd|Amb):\t(\w+)$", status, re.MULTILINE) == ["0" * 16] * 4
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert not node.attrs["HostConfig"]["Privileged"]
    assert node.attrs["HostConfig"]["CapAdd"] is None


def test_a_node_cannot_write_into_its_image(node: Container) -> None:
    assert node.attrs["HostConfig"]["ReadonlyRootfs"]
    code, output = node.exec_run(["touch", "/opt/node/app/labkit/written"], user="root")
    assert code != 0
    assert b"Read-only file system" in output
    assert inside(node, "sh", "-c", "echo temporary > /tmp/it && cat /tmp/it") == "temporary"


def test_only_what_a_node_needs_is_in_the_image(node: Container) -> None:
    listing = "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    found = set(inside(node, "python", "-c", listing).strip("[]'").lower().split("', '"))
    assert {"kazoo", "flask", "waitress"} <= found
    assert found & {"pip", "jupyterlab", "matplotlib", "docker", "psutil", "pytest"} == set()
    assert inside(node, "ls", "/opt/node/app") == "labkit"
    there = inside(node, "ls", "/opt/node/app/labkit").split()
    assert [name for name in there if name.endswith(".py")] == ["__init__.py", "fire.py", "lazy.py"]
    assert {name for name in there if not name.endswith(".py")} <= {"node", "__pycache__"}


def test_its_packages_are_the_pinned_ones(node: Container) -> None:
    pins = dict(
        re.findall(r"^([\w-]+)==(\S+)", (ROOT / "deploy/constraints.txt").read_text(), re.M)
    )
    listing = (
        "import importlib.metadata as m, json, re;"
        "print(json.dumps({re.sub('[-_.]+', '-', d.name.lower()): d.version"
        " for d in m.distributions()}))"
    )
    found = json.loads(inside(node, "python", "-c", listing))
    assert found
    assert {name: pins.get(name) for name in found} == found


def test_ports_are_open_to_this_machine_only(lab: Lab, node: Container) -> None:
    assert lab.node(1).url.startswith("http://127.0.0.1:")
    bound = node.attrs["HostConfig"]["PortBindings"]
    assert [at["HostIp"] for ats in bound.values() for at in ats] == ["127.0.0.1"]


def test_the_health_check_claims_nothing(lab: Lab, node: Container) -> None:
    check = node.image.attrs["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD-SHELL"
    for _ in range(3):
        inside(node, "sh", "-c", check[1])
    assert not lab.zk.exists("/sequence") or lab.zk.get_children("/sequence") == []
    assert lab.node(1).status()["claimed"] is None


def test_a_plain_docker_run_stops_on_sigterm(lab: Lab, node: Container) -> None:
    """As process 1, and without anything that the lab or the compose file would add."""
    with closing(docker.from_env()) as client:
        alone = client.containers.run(
            node.image.id,
            detach=True,
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            environment={"ZOOKEEPER_HOSTS": "127.0.0.1:9"},
        )
        try:
            soon(lambda: alone.exec_run("wget -qO- http://localhost/status").exit_code == 0)
            began = time.monotonic()
            alone.stop(timeout=20)
            assert time.monotonic() - began < 5
            alone.reload()
            assert alone.attrs["State"]["ExitCode"] == 0
        finally:
            alone.remove(v=True, force=True)


def soon(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_bad_configuration_ends_it_with_a_line(node: Container) -> None:
    with closing(docker.from_env()) as client:
        alone = client.containers.run(
            node.image.id, detach=True, environment={"SESSION_TIMEOUT_MS": "soon"}
        )
        try:
            assert alone.wait(timeout=20)["StatusCode"] == 2
            said = alone.logs().decode().strip().splitlines()
            assert len(said) == 1
            assert "SESSION_TIMEOUT_MS" in said[0]
        finally:
            alone.remove(v=True, force=True)


def test_another_client_finds_all_nodes_by_name(lab: Lab, node: Container) -> None:
    """As with compose: on the lab's first network `node` is any of them, and `node1` is one."""
    front = next(name for name in node.attrs["NetworkSettings"]["Networks"] if "front" in name)
    with closing(docker.from_env()) as client:
        command = ["sh", "-c", "wget -qO- http://node/status && wget -qO- http://node1/status"]
        image = os.environ["LABKIT_CLIENT_IMAGE"]
        printed = client.containers.run(image, command, network=front, remove=True).decode()
    assert printed.count('"node1"') == 2
