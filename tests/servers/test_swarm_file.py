"""`swarm.yml` on a Swarm of real engines: deployed, scaled, updated while asked, and removed."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from labkit.servers.docker.nested import Machines

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent
MACHINES = 2  # the ensemble of three shares them

# As in docs/swarm.md. Without `-d` they return when all is as they say.
DEPLOY = "NODES=2 docker stack deploy -c deploy/swarm.yml lab"
SCALE = "docker service scale lab_node=6"
UPDATE = "docker service update --env-add REQUEST_DEADLINE_MS=1500 lab_node"
REMOVE = "docker stack rm lab"


def run(*command: str, told: bytes | None = None, **environment: str) -> str:
    """What a command prints; fails with all that it said if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, input=told
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout!r}{done.stderr!r}"
    return done.stdout.decode().strip()


def soon(condition: Callable[[], object], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Swarm:
    """Engines in containers, on a network of their own; the first one is the manager."""

    def __init__(self) -> None:
        self.machines = Machines(f"labkit-{uuid.uuid4().hex[:8]}")
        self.names = [self.machines.machine(n).container for n in range(1, MACHINES + 1)]

    def start(self) -> None:
        self.machines.up(MACHINES, lambda what, fraction: None)

    @staticmethod
    def on(name: str, *command: str) -> str:
        """What the command line of one of the engines prints."""
        return run("docker", "exec", name, "docker", *command)

    def manager(self, *command: str) -> str:
        return self.on(self.names[0], *command)

    def shell(self, line: str, **environment: str) -> str:
        """What a line of a shell prints on the manager, in the directory with `swarm.yml`."""
        told = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        return run("docker", "exec", "-w", "/", *told, self.names[0], "sh", "-c", line)

    def load(self, *images: str) -> None:
        """Hand images over, all engines at the same time."""
        save = " ".join(["docker save", *images])
        load = [f">(docker exec -i {name} docker load >/dev/null)" for name in self.names]
        run("bash", "-c", f"set -o pipefail; {save} | tee {' '.join(load)} >/dev/null; wait")
        for name in self.names:
            for image in images:
                soon(partial(self._has, name, image), 60, f"{name} has no {image}")

    @staticmethod
    def _has(name: str, image: str) -> bool:
        ask = ["docker", "exec", name, "docker", "image", "inspect", image]
        return subprocess.run(ask, capture_output=True).returncode == 0

    def left(self) -> list[str]:
        """Containers, volumes, and networks of the stack, on all engines."""
        listings = (["ps", "-aq"], ["volume", "ls", "-q"], ["network", "ls", "-qf", "name=lab"])
        return [
            line for name in self.names for of in listings for line in self.on(name, *of).split()
        ]

    def close(self) -> None:
        self.machines.down()


@pytest.fixture
def swarm(docker_images: None) -> Iterator[Swarm]:
    swarm = Swarm()
    try:
        swarm.start()
        yield swarm
    finally:
        swarm.close()


def _id(image: str) -> str:
    return run("docker", "image", "inspect", "--format", "{{.Id}}", image)


def test_the_stack_from_deploy_to_remove(swarm: Swarm) -> None:
    run(
        *("docker", "build", "-q", "-t", "sequencenode", "--target", "prod"),
        *("--build-arg", f"PYTHON_IMAGE={os.environ['LABKIT_PYTHON_IMAGE']}"),
        *("-f", "Dockerfile.node", "."),
    )
    images = {
        name: _id(image)
        for name, image in (
            ("LABKIT_NODE_IMAGE", "sequencenode"),
            ("LABKIT_ZOOKEEPER_IMAGE", os.environ["LABKIT_ZOOKEEPER_IMAGE"]),
        )
    }
    swarm.load(*images.values())
    run("docker", "cp", str(ROOT / "deploy"), f"{swarm.names[0]}:/deploy")

    swarm.shell(DEPLOY, **images)
    soon(lambda: _healthy(swarm, "lab_node") == 2, 90, "two nodes are not healthy")
    client = ["run", "--rm", "--network", "lab", images["LABKIT_NODE_IMAGE"], "sh", "-c"]
    ask = "wget -qT 2 -t 1 -O- http://node/sequence"
    asked = [*client, f"for i in $(seq 40); do {ask}; echo; sleep 0.05; done"]
    soon(lambda: set(swarm.manager(*asked).split()) == {"1", "2"}, 60, "not two numbers")

    swarm.shell(SCALE)
    assert _healthy(swarm, "lab_node") == 6
    soon(lambda: set(swarm.manager(*asked).split()) == set("123456"), 60, "not six numbers")

    # Updated while a client asks on: it gets answers all the time, from old nodes and new ones.
    log = f"while :; do echo $(date +%s.%N) $({ask}); done"
    swarm.manager("run", "-d", "--name", "asking", *client[2:-1], "-c", log)
    swarm.shell(UPDATE)
    lines = [line.split() for line in swarm.manager("logs", "asking").splitlines()]
    answers = [(float(at), int(number)) for at, number in (line for line in lines if line[1:])]
    assert len(answers) > 50
    assert max(later[0] - earlier[0] for earlier, later in pairwise(answers)) < 5
    # A new node comes before an old one goes, and a number is given again when it is free.
    assert {number for _, number in answers} <= set(range(1, 13))
    swarm.manager("rm", "-f", "asking")

    swarm.shell(REMOVE)
    soon(lambda: not swarm.left(), 60, f"left: {swarm.left()}")


def _healthy(swarm: Swarm, service: str) -> int:
    """How many tasks of a service run; Swarm says so only of healthy ones."""
    ask = ("service", "ls", "--filter", f"name={service}", "--format", "{{.Replicas}}")
    return int(swarm.manager(*ask).partition("/")[0] or 0)


def test_the_docs_say_the_same() -> None:
    text = (ROOT / "docs/swarm.md").read_text()
    for line in (DEPLOY, SCALE, UPDATE, REMOVE):
        assert f"$ {line}\n" in text
