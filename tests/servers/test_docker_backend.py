"""What the Docker backend has to get right before, or without, an engine's answer."""

from __future__ import annotations

import importlib.util
import math
from types import SimpleNamespace

import pytest
from docker.errors import APIError

from labkit.errors import BackendError, BackendUnavailable
from labkit.servers.base import Endpoint, NodeSpec, ServerState
from labkit.servers.choice import choose
from labkit.servers.docker import engine, server
from labkit.servers.docker.backend import DockerBackend
from labkit.servers.docker.leftovers import remove_lab_by
from labkit.servers.docker.server import DockerServer


def test_a_node_that_cannot_be_created_is_no_server() -> None:
    backend, other = DockerBackend("c0ffee4"), DockerBackend("c0ffee5")
    port = backend._ports.reserve()
    backend._ports.release(port)
    for _ in range(2):
        with pytest.raises(BackendError, match="not been prepared"):
            backend.create_node(NodeSpec("node1", port=port))
        assert backend.state("node1") is ServerState.GONE
        assert other._ports.reserve(port) == port
        other._ports.release(port)


# --- where ports are published ----------------------------------------------------------------


@pytest.mark.parametrize("url", ["tcp://192.0.2.1:2375", "ssh://somebody@192.0.2.1"])
def test_ports_are_not_published_to_others_unasked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.delenv("LABKIT_PUBLISH", raising=False)
    with pytest.raises(BackendUnavailable, match=r"^[^\n]*192\.0\.2\.1[^\n]*$") as refusal:
        engine.published_address()
    for word in ("without a password", "LABKIT_PUBLISH=1", "loopback", "backend='process'"):
        assert word in str(refusal.value)
    monkeypatch.setenv("LABKIT_PUBLISH", "1")
    assert engine.published_address() == "192.0.2.1"


@pytest.mark.parametrize("url", ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375"])
def test_ports_are_published_on_loopback(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.delenv("LABKIT_PUBLISH", raising=False)
    assert engine.published_address() == "127.0.0.1"


def test_an_engine_elsewhere_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    backend, note = choose(None, lambda what, fraction: None, {})
    backend.destroy()
    assert backend.name == "process"
    assert note == (
        "No Docker engine answers at tcp://127.0.0.1:1, so servers run as processes. "
        "`labkit doctor` says more."
    )


class BusyEngine:
    """An engine that removes one container at each look, or none; a look takes 15 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, removes: bool) -> None:
        self.api = self
        self.left = [f"node{number}" for number in range(1, 7)]
        self._removes = removes
        self._now = 0.0
        clock = SimpleNamespace(monotonic=lambda: self._now, sleep=lambda _: None)
        monkeypatch.setattr("labkit.servers.docker.leftovers.time", clock)

    def containers(self, **_: object) -> list[dict[str, object]]:
        self._now += 15.0
        return [{"Id": name, "Names": [name]} for name in self.left]

    def remove_container(self, name: str, **_: object) -> None:
        if self._removes and name == self.left[-1]:
            self.left.remove(name)

    def networks(self, **_: object) -> list[dict[str, object]]:
        return []

    def volumes(self, _: object) -> dict[str, None]:
        return {"Volumes": None}


def test_an_engine_that_is_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = BusyEngine(monkeypatch, removes=True)
    remove_lab_by([engine], "c0ffee4")  # type: ignore[list-item]
    assert engine.left == []


def test_an_engine_that_removes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = BusyEngine(monkeypatch, removes=False)
    with pytest.raises(BackendError, match=r"does not remove node1, .*, node6\. `docker ps"):
        remove_lab_by([engine], "c0ffee4")  # type: ignore[list-item]


class MiscountingEngine(BusyEngine):
    """An engine that keeps a network, whether or not it knows of a container on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, users: dict[str, object]) -> None:
        super().__init__(monkeypatch, removes=True)
        self.left = []
        self._users = users

    def networks(self, **_: object) -> list[dict[str, object]]:
        return [{"Id": "1234", "Name": "front"}]

    def remove_network(self, _: str) -> None:
        raise APIError("network front has active endpoints")

    def inspect_network(self, _: str) -> dict[str, object]:
        return {"Containers": self._users}


def test_a_network_without_users_is_left_to_a_later_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    remove_lab_by([MiscountingEngine(monkeypatch, {})], "c0ffee4")  # type: ignore[list-item]
    engine = MiscountingEngine(monkeypatch, {"5678": {"Name": "somebody"}})
    with pytest.raises(BackendError, match="does not remove front"):
        remove_lab_by([engine], "c0ffee4")  # type: ignore[list-item]


def test_what_ssh_takes_is_said() -> None:
    """The library's own word for it is the name of a class."""
    if importlib.util.find_spec("paramiko") is not None:
        pytest.skip("docker[ssh] is installed")
    with pytest.raises(BackendUnavailable, match=r"ssh://nowhere.*pip install 'docker\[ssh\]'"):
        engine.connect("ssh://nowhere")


# --- a freezer that is outrun -----------------------------------------------------------------


class Outrun:
    """An engine's API whose freezer gives up `times` times, as it does on a busy machine."""

    def __init__(
        self, times: float, said: str = "OCI runtime pause failed: unable to freeze"
    ) -> None:
        self.times, self.said, self.tried = times, said, 0

    def pause(self, container: str) -> None:
        self.tried += 1
        if self.tried <= self.times:
            raise APIError("500 Server Error", explanation=self.said)


def frozen_by(api: Outrun) -> None:
    DockerServer("node1", "node1", 0, Endpoint("127.0.0.1", 5001), api).pause()  # type: ignore[arg-type]


def test_a_server_that_outruns_the_freezer_is_frozen_in_the_end() -> None:
    frozen_by(api := Outrun(3))
    assert api.tried == 4


def test_one_that_always_outruns_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FREEZES", 0.05)
    with pytest.raises(APIError, match="500"):
        frozen_by(Outrun(math.inf))


def test_what_else_an_engine_says_is_told_at_once() -> None:
    api = Outrun(math.inf, "container is not running")
    with pytest.raises(APIError, match="500"):
        frozen_by(api)
    assert api.tried == 1
