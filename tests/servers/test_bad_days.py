"""What can go wrong with a Docker engine: a clear error each time, and the next lab works."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
import psutil
import pytest
import requests

from labkit import doctor
from labkit.errors import BackendError, BackendUnavailable, PortInUse, ServerNotFound
from labkit.lab.lab import Lab
from labkit.servers import registry
from labkit.servers.base import NodeSpec, ServerState, ZooKeeperSettings
from labkit.servers.choice import choose
from labkit.servers.docker import engine, leftovers
from labkit.servers.docker.backend import DockerBackend

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_images")]

ROOT = Path(__file__).parent.parent.parent


def silent(what: str, fraction: float | None) -> None:
    pass


def of_lab(lab_id: str) -> list[str]:
    """What the engine has of a lab."""
    with closing(docker.from_env()) as client:
        filters = {"label": f"labkit.lab={lab_id}"}
        return [
            *(entry["Id"] for entry in client.api.containers(all=True, filters=filters)),
            *(entry["Id"] for entry in client.api.networks(filters=filters)),
            *(entry["Name"] for entry in client.api.volumes(filters)["Volumes"] or []),
        ]


def test_doctor_names_the_images_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def images() -> doctor.Finding:
        return next(found for found in doctor.examine() if found.what == "Docker images")

    assert images().ok
    monkeypatch.setenv("LABKIT_ZOOKEEPER_IMAGE", "labkit-test/no-such-image")
    assert not images().ok
    assert images().found == "to be pulled: labkit-test/no-such-image"
    assert "docker pull labkit-test/no-such-image" in images().fix
    assert "LABKIT_ZOOKEEPER_IMAGE" in images().fix


# --- no engine --------------------------------------------------------------------------------


def test_no_engine_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    reason = engine.available()
    assert reason is not None
    assert "\n" not in reason
    assert "No such file" in reason
    assert "systemctl start docker" in reason
    with pytest.raises(BackendUnavailable, match="backend='process'"):
        Lab(nodes=1, backend="docker").start()
    backend, note = choose(None, silent, os.environ)
    assert (backend.name, note) == ("process", "")
    backend.destroy()


def test_the_socket_may_not_be_used() -> None:
    """Asked by a process that gives up its rights: tests may be run by root, who has all."""
    script = (
        "import os\n"
        "from labkit.servers.docker import engine\n"
        "os.getuid() or os.setuid(65534)\n"
        "print(engine.available())\n"
    )
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
        path = Path(directory) / "docker.sock"
        path.parent.chmod(0o755)
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        said = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "DOCKER_HOST": f"unix://{path}"},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    assert f"You may not use the Docker engine at unix://{path}" in said
    assert "usermod -aG docker" in said


# --- no images --------------------------------------------------------------------------------


def test_an_image_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_ZOOKEEPER_IMAGE", "localhost:9/nowhere/zookeeper:1")
    with pytest.raises(BackendUnavailable, match=r"nowhere/zookeeper.*LABKIT_ZOOKEEPER_IMAGE"):
        Lab(nodes=1, backend="docker").start()
    with Lab(nodes=0, record=False) as lab:
        assert lab.backend == "process"
        assert lab.note.startswith("The image localhost:9/nowhere/zookeeper:1 is not here")
        assert "\n" not in lab.note
        assert lab.note in repr(lab).splitlines()
        assert (
            lab.note.replace("`labkit doctor`", "<code>labkit doctor</code>") in lab._repr_html_()
        )
    assert capfd.readouterr() == ("", "")  # nothing red on a page


def test_a_build_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    base = "labkit-test/empty:latest"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"))
    with closing(docker.from_env()) as client:
        client.api.import_image_from_data(archive.getvalue(), repository="labkit-test/empty")
        try:
            monkeypatch.setenv("LABKIT_PYTHON_IMAGE", base)
            with pytest.raises(BackendUnavailable, match=r"^[^\n]*step \d+, RUN failed[^\n]*$"):
                Lab(nodes=1, backend="docker").start()
        finally:
            client.images.remove(base, force=True)


def test_the_image_follows_the_source(tmp_path: Path) -> None:
    """Built when a node's source has changed, and only then."""
    copy = tmp_path / "checkout"
    (copy / "deploy").mkdir(parents=True)
    for name in ("Dockerfile.node", "pyproject.toml", "deploy/constraints.txt"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "labkit", copy / "labkit")
    first = image_of(copy)
    assert image_of(copy) == first
    change(copy / "labkit/lab/lab.py")  # not a part of a node
    assert image_of(copy) == first
    change(copy / "labkit/node/app.py")
    second = image_of(copy)
    assert second != first
    with closing(docker.from_env()) as client:
        printed = client.containers.run(second, ["tail", "-1", "labkit/node/app.py"], remove=True)
        client.images.remove(second, force=True)
    assert printed == b"# changed\n"


def change(path: Path) -> None:
    path.write_text(path.read_text() + "# changed\n")


def image_of(checkout: Path) -> str:
    script = (
        "from labkit.servers.docker.engine import connect\n"
        "from labkit.servers.docker.images import node_image\n"
        "client = connect()\n"
        "print(node_image(client, lambda what, fraction: None))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


# --- in mid-lab -------------------------------------------------------------------------------


def test_an_image_removed_behind_the_labs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = "labkit-test/passing:latest"
    with closing(docker.from_env()) as client:
        client.api.tag(os.environ["LABKIT_CLIENT_IMAGE"], "labkit-test/passing", "latest")
        monkeypatch.setenv("LABKIT_NODE_IMAGE", tag)
        backend = DockerBackend("c0ffee6")
        try:
            backend.prepare(silent)
            backend.create_zookeeper(["zookeeper1"], ZooKeeperSettings())
            client.images.remove(tag)
            with pytest.raises(BackendError, match=r"passing.*Close this lab.*labkit doctor"):
                backend.create_node(NodeSpec("node1"))
        finally:
            backend.destroy()


def test_a_container_removed_behind_the_labs_back() -> None:
    with Lab(nodes=2, backend="docker", record=False) as lab, closing(docker.from_env()) as client:
        client.api.remove_container(container_of(client, lab, "node1"), force=True)
        assert lab.node(1).state is ServerState.GONE
        for verb in (lab.node(1).start, lab.node(1).stop, lab.node(1).pause, lab.node(1).logs):
            with pytest.raises(ServerNotFound, match=r"node1.*add_node"):
                verb()
        assert lab.node(2).sequence() == 1
        assert lab.add_node().sequence() == 2


def container_of(client: docker.DockerClient, lab: Lab, name: str) -> str:
    """The id of a server's container, found as a stranger would."""
    port = str(lab.node(name).endpoint.port)
    for entry in client.api.containers(filters={"label": "labkit.lab"}):
        if any(str(at.get("PublicPort")) == port for at in entry["Ports"]):
            return str(entry["Id"])
    raise AssertionError(f"{name} has no container")


def test_a_port_that_was_taken_meanwhile() -> None:
    with Lab(nodes=1, backend="docker", record=False) as lab:
        node = lab.node(1)
        node.stop()
        with socket.create_server(("127.0.0.1", node.endpoint.port)):
            with pytest.raises(PortInUse, match="node1"):
                node.start()
            assert node.state is ServerState.STOPPED
        node.start()
        assert node.sequence() == 1


def test_the_engines_disk_is_full() -> None:
    """The engine's own message, from a volume that is small enough to fill."""
    with closing(docker.from_env()) as client:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k"}
        image = os.environ["LABKIT_CLIENT_IMAGE"]
        volume = client.volumes.create("labkit-test-small", driver_opts=options)
        small = client.containers.create(
            image,
            ["sleep", "60"],
            volumes={volume.name: {"bind": "/small"}},
        )
        try:
            small.start()
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                entry = tarfile.TarInfo("large")
                entry.size = 1 << 20
                tar.addfile(entry, io.BytesIO(bytes(entry.size)))
            with (
                pytest.raises(BackendError, match=r"disk is full.*docker system prune"),
                engine.explained(),
            ):
                client.api.put_archive(small.id, "/small", archive.getvalue())
        finally:
            small.remove(v=True, force=True)
            volume.remove()


# --- engines that come, go, and are elsewhere -------------------------------------------------


@contextmanager
def engine_behind(listener: socket.socket) -> Iterator[None]:
    """The machine's engine, answering at another address as well, until the block ends."""
    path = engine.current_url().removeprefix("unix://")
    pairs: list[socket.socket] = []
    over = threading.Event()

    def accept() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                near = listener.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(path)
                pairs.extend((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    listener.settimeout(0.1)
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        listener.close()
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def listening_at(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


# The SDK leaves its socket open when it finds nobody at the other end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_engine_goes_away_in_mid_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with engine_behind(listening_at(path)):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        backend = DockerBackend("90ea3a1")
        backend.prepare(silent)
        backend.create_zookeeper(["zookeeper1"], ZooKeeperSettings())
        backend.create_node(NodeSpec("node1"))
        backend.start("node1")
    for verb in (backend.stop, backend.start, backend.state, backend.logs):
        with pytest.raises(BackendUnavailable, match="Docker"):
            verb("node1")
    with pytest.raises(BackendUnavailable):
        backend.destroy()
    # It is back: the next lab works, and clears what the last one had to leave.
    monkeypatch.delenv("DOCKER_HOST")
    assert of_lab("90ea3a1")
    with Lab(nodes=1, backend="docker", record=False) as lab:
        assert lab.node(1).sequence() == 1
        assert of_lab("90ea3a1") == []


def test_a_remote_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine at another address publishes its ports there, if it is told that it may."""
    with closing(docker.from_env()) as client:
        configuration = client.networks.get("bridge").attrs["IPAM"]["Config"]
    address = str(configuration[0].get("Gateway") or "172.17.0.1")
    listener = socket.create_server((address, 0))
    with engine_behind(listener):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}:{listener.getsockname()[1]}")
        with pytest.raises(BackendUnavailable, match="LABKIT_PUBLISH=1"):
            Lab(nodes=1, backend="docker").start()
        backend, note = choose(None, silent, os.environ)
        backend.destroy()
        assert note == (
            "The Docker engine is on another machine, and a lab would be open to whoever reaches "
            f"{address}, so servers run as processes. `labkit doctor` says more."
        )
        monkeypatch.setenv("LABKIT_PUBLISH", "1")
        with Lab(nodes=1, backend="docker", record=False) as lab:
            assert lab.node(1).url.startswith(f"http://{address}:")
            assert lab.node(1).sequence() == 1
            with pytest.raises(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{lab.node(1).endpoint.port}/status", timeout=1)


# --- leftovers --------------------------------------------------------------------------------


def test_the_next_lab_clears_what_a_crash_left() -> None:
    """A kernel and its watchdog killed together: the machine was out of memory, say."""
    script = (
        "import time\n"
        "from labkit.servers.base import NodeSpec, ZooKeeperSettings\n"
        "from labkit.servers.docker.backend import DockerBackend\n"
        "backend = DockerBackend('c4a5ed')\n"
        "backend.prepare(lambda what, fraction: None)\n"
        "backend.create_zookeeper(['zookeeper1'], ZooKeeperSettings())\n"
        "backend.start('zookeeper1')\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    with docker_lab("a11e") as alive:
        owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        assert "c4a5ed" not in left_over()
        for process in [*psutil.Process(owner.pid).children(), psutil.Process(owner.pid)]:
            process.send_signal(signal.SIGKILL)
        owner.communicate()
        shutil.rmtree(registry.directory("c4a5ed"))  # not even a registration is left
        time.sleep(1)
        assert of_lab("c4a5ed")
        assert "c4a5ed" in left_over()
        assert "a11e" not in left_over()
        with docker_lab("e47"):
            assert of_lab("c4a5ed") == []
            assert of_lab("a11e")
            assert alive.state("zookeeper1") is ServerState.RUNNING


def test_what_the_engine_does_not_let_go_is_in_no_other_labs_way() -> None:
    """A network, say, that an engine believes to be in use until it is started again."""
    leave = "from labkit.servers import registry; registry.register('dead', 'docker')"
    subprocess.run([sys.executable, "-c", leave], check=True)
    dead = leftovers.labels_of("dead")
    with closing(engine.connect()) as client:
        network = client.networks.create("labkit-dead-front", labels=dead)
        image = os.environ.get("LABKIT_CLIENT_IMAGE", "labkit-test/client")
        user = client.containers.create(image, "sleep 60", network=network.name)
        try:
            user.start()
            assert "dead" in left_over()
            with docker_lab("e48") as lab:
                assert lab.state("zookeeper1") is ServerState.RUNNING
            assert client.networks.list(names=["labkit-dead-front"])
        finally:
            user.remove(force=True)
        with docker_lab("e49"):
            assert "dead" not in left_over()


def left_over() -> list[str]:
    with closing(engine.connect()) as client:
        return leftovers.leftovers([client])


@contextmanager
def docker_lab(lab_id: str) -> Iterator[DockerBackend]:
    """A ZooKeeper and nothing else."""
    backend = DockerBackend(lab_id)
    try:
        backend.prepare(silent)
        backend.create_zookeeper(["zookeeper1"], ZooKeeperSettings())
        backend.start("zookeeper1")
        yield backend
    finally:
        backend.destroy()
