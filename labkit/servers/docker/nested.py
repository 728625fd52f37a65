"""Machines to try a Swarm on: Docker engines in containers of one engine, joined to each other.

Each has a process tree, a network address, images and containers of its own, and is reached by a
socket in a directory that only this user may enter. They stay until they are taken down.

Environment: `LABKIT_MACHINE_IMAGE` (use this one, which has `dockerd`, instead of building one on
`LABKIT_PYTHON_IMAGE`).
"""

from __future__ import annotations

import os
import shutil
import string
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import NotFound

from labkit.errors import BackendError, BackendUnavailable, ConfigError
from labkit.servers import registry
from labkit.servers.base import Progress, each, wait_until
from labkit.servers.docker.engine import connect, explained, is_elsewhere
from labkit.servers.docker.images import build, pull

MOST = 9

_TIMEOUT = 60.0  # seconds in which an engine has to answer
_HEARTBEAT = 1_000_000_000  # nanoseconds, after some of which a Swarm misses a machine
_SOCKET = "docker.sock"
_MOUNTED = "/machine"  # where the socket is in a machine

# What an engine inside a container needs; "privileged" asks for more than every engine may give.
_CAPABILITIES = (
    *("SYS_ADMIN", "NET_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "MKNOD", "DAC_READ_SEARCH"),
    *("SETFCAP", "SETPCAP", "AUDIT_WRITE", "NET_RAW", "IPC_LOCK"),
)
_UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined")

_DOCKERFILE = b"""
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS prod
# Debian 13 has the command line in a package of its own.
RUN apt-get update && apt-get install -y --no-install-recommends docker.io iptables iproute2 \\
        $(apt-cache search --names-only '^docker-cli$' | cut -d' ' -f1) && \\
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
VOLUME /var/lib/docker
"""

# Since version 2, a group of processes that has groups below it may have no process of its own.
_BOOT = f"""
for d in /sys /sys/fs/cgroup /sys/fs/cgroup/* /proc/sys; do
    mount -o remount,bind,rw $d 2>/dev/null
done
cd /sys/fs/cgroup
if [ -e cgroup.subtree_control ]; then
    mkdir -p boot
    for p in $(cat cgroup.procs); do echo $p >boot/cgroup.procs; done 2>/dev/null
    for c in $(cat cgroup.controllers); do echo +$c >cgroup.subtree_control; done 2>/dev/null
fi
cd /
rm -f /var/run/docker.pid /var/run/docker/containerd/*.pid {_MOUNTED}/{_SOCKET}
exec dockerd -H unix:///var/run/docker.sock -H unix://{_MOUNTED}/{_SOCKET} --group $GROUP
"""


@dataclass(frozen=True)
class NestedMachine:
    """An engine in a container: its name, the container's, and where it is reached."""

    name: str
    container: str
    url: str


class Machines:
    """The machines of one name on the engine of this machine: `Machines().up(3)`."""

    def __init__(self, name: str = "labkit") -> None:
        self.name = name

    @property
    def _home(self) -> Path:
        return registry.home() / f"machines-{self.name}"

    def machine(self, number: int) -> NestedMachine:
        """Machine `number`, from 1, whether it is there or not."""
        letter = string.ascii_lowercase[number - 1]
        socket = self._home / letter / _SOCKET
        return NestedMachine(letter, f"{self.name}-machine-{letter}", f"unix://{socket}")

    def all(self) -> list[NestedMachine]:
        """Those that are up, by their sockets."""
        machines = map(self.machine, range(1, MOST + 1))
        return [m for m in machines if Path(m.url.removeprefix("unix://")).exists()]

    def up(self, count: int, progress: Progress) -> list[NestedMachine]:
        """Make `count` machines, and a Swarm of them, the first one its manager.

        Machines that are there already are used, unless they have ended with their engine; then
        there are new ones. One that fails leaves nothing. Raises
        `BackendUnavailable` if the engine can't have machines, or does not let a container be one.
        """
        if not 1 <= count <= MOST:
            raise ConfigError(f"There can be 1 to {MOST} machines, not {count}.")
        there = self.all()
        if silent := {machine.container for machine in there if not _answers(machine)}:
            if busy := sorted(name[-1] for name in silent & self._running()):
                raise BackendUnavailable(
                    f"Machine {', '.join(busy)} runs and does not answer. Try again when it "
                    "does, or remove the machines, and the labs on them: `labkit machines down`."
                )
            self.down()
        elif len(there) == count:
            return there
        elif there:
            raise ConfigError(f"There are {len(there)} machines. `labkit machines down` first.")
        if is_elsewhere() or sys.platform != "linux":
            raise BackendUnavailable(
                "Machines are containers that are reached by a file, so they need a Docker engine "
                "that runs on this machine itself, and Linux. Where there are real machines, join "
                "them (`docker swarm init`, `docker swarm join`) and name them in LABKIT_ENGINES."
            )
        machines = [self.machine(number) for number in range(1, count + 1)]
        with explained():
            client = connect()
            try:
                image = _machine_image(client, progress)
                progress("starting machines", None)
                client.api.create_network(self._network)
                each(lambda machine: self._run(client.api, machine, image), machines)
                each(lambda machine: self._wait_for(client.api, machine), machines)
                progress("joining them to a Swarm", None)
                self._join(client.api, machines)
            except BaseException:
                self._remove(client.api)
                raise
            finally:
                client.close()
        return machines

    def down(self) -> list[str]:
        """Remove the machines, and all that is on them; the names of those that were there."""
        with explained(), closing(connect()) as client:
            return self._remove(client.api)

    @property
    def _network(self) -> str:
        return f"{self.name}-machines"

    def _run(self, api: docker.APIClient, machine: NestedMachine, image: str) -> None:
        directory = self._home / machine.name
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        host_config = api.create_host_config(
            network_mode=self._network,
            binds={str(directory): {"bind": _MOUNTED, "mode": "rw"}},
            cap_add=list(_CAPABILITIES),
            security_opt=list(_UNCONFINED),
            device_cgroup_rules=["a *:* rwm"],
        )
        host_config |= {"MaskedPaths": [], "ReadonlyPaths": []}
        api.create_container(
            image,
            ["sh", "-c", _BOOT],
            name=machine.container,
            hostname=machine.name,
            environment={"GROUP": str(os.getgid())},
            labels={"labkit.machines": self.name},
            host_config=host_config,
        )
        api.start(machine.container)

    def _wait_for(self, api: docker.APIClient, machine: NestedMachine) -> None:
        """Wait until its engine answers. Raises `BackendUnavailable` if it ends, or never does."""

        def ended() -> bool:
            status: str = api.inspect_container(machine.container)["State"]["Status"]
            return status == "exited"

        if wait_until(lambda: _answers(machine) or ended(), _TIMEOUT, 0.1) and _answers(machine):
            return
        lines = api.logs(machine.container, tail=40).decode(errors="replace").splitlines()
        said = next((line for line in reversed(lines) if "failed" in line or "denied" in line), "")
        raise BackendUnavailable(
            "The Docker engine does not let a container run an engine of its own. That takes the "
            f"rights to {', '.join(_CAPABILITIES[:2])} and more, no seccomp or AppArmor profile, "
            "and devices; an engine without root, or one that isolates its containers further, "
            f"gives none of that. Machine {machine.name} said: {said or lines[-1:]}"
        )

    def _join(self, api: docker.APIClient, machines: list[NestedMachine]) -> None:
        found = (api.inspect_container(machine.container) for machine in machines)
        networks = (container["NetworkSettings"]["Networks"] for container in found)
        addresses = [of[self._network]["IPAddress"] for of in networks]
        with closing(connect(machines[0].url)) as manager:
            spec = manager.api.create_swarm_spec(dispatcher_heartbeat_period=_HEARTBEAT)
            manager.api.init_swarm(advertise_addr=addresses[0], swarm_spec=spec)
            token = manager.api.inspect_swarm()["JoinTokens"]["Worker"]
        for machine, address in zip(machines[1:], addresses[1:], strict=True):
            with closing(connect(machine.url)) as worker:
                worker.api.join_swarm([addresses[0]], token, advertise_addr=address)

    def _running(self) -> set[str]:
        """The names of the containers that run."""
        with explained(), closing(connect()) as client:
            found = client.api.containers(filters=self._filters)
            return {container["Names"][0].lstrip("/") for container in found}

    @property
    def _filters(self) -> dict[str, str]:
        return {"label": f"labkit.machines={self.name}"}

    def _remove(self, api: docker.APIClient) -> list[str]:
        containers = api.containers(all=True, filters=self._filters)
        each(lambda c: api.remove_container(c["Id"], v=True, force=True), containers)
        with suppress(NotFound):
            api.remove_network(self._network)
        shutil.rmtree(self._home, ignore_errors=True)
        return sorted(c["Names"][0].rpartition("-")[2] for c in containers)


def is_gone(url: str) -> bool:
    """Whether this was the engine of a machine of this user's that has been taken down."""
    socket = Path(url.removeprefix("unix://"))
    home = socket.parent.parent
    is_ours = home.parent == registry.home() and home.name.startswith("machines-")
    return is_ours and not socket.exists()


def _answers(machine: NestedMachine) -> bool:
    try:
        with closing(connect(machine.url)):
            return True
    except BackendError:
        return False


def _machine_image(client: docker.DockerClient, progress: Progress) -> str:
    if ready := os.environ.get("LABKIT_MACHINE_IMAGE"):
        pull(client, ready, "LABKIT_MACHINE_IMAGE", progress)
        return ready
    return build(client, "labkit-machine", {"Dockerfile": _DOCKERFILE}, "Dockerfile", progress)
