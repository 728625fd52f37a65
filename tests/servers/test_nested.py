"""Machines in containers: made, joined to a Swarm, found again, and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from labkit.errors import BackendUnavailable, ConfigError
from labkit.servers.docker import nested
from labkit.servers.docker.engine import connect
from labkit.servers.docker.nested import Machines


def quiet(what: str, fraction: float | None) -> None:
    assert what


@pytest.fixture
def some(docker_images: None) -> Iterator[Machines]:
    made = Machines("labkit-test-up")
    yield made
    made.down()


def on_the_engine(name: str) -> list[str]:
    """What the engine has of the machines of a name."""
    with closing(docker.from_env()) as client:
        filters = {"label": f"labkit.machines={name}"}
        found = [c["Names"][0] for c in client.api.containers(all=True, filters=filters)]
        return found + [n["Name"] for n in client.api.networks(names=[f"{name}-machines"])]


@pytest.mark.docker
def test_from_up_to_down(some: Machines) -> None:
    with pytest.raises(ConfigError, match="1 to 9"):
        some.up(0, quiet)
    there = some.up(2, quiet)
    assert [machine.name for machine in there] == ["a", "b"]
    assert some.up(2, quiet) == there
    with pytest.raises(ConfigError, match="down"):
        some.up(3, quiet)
    for machine in there:
        # Whoever uses an engine is root: its socket is in a directory that is this user's alone.
        assert Path(machine.url.removeprefix("unix://")).parent.stat().st_mode & 0o077 == 0
    with closing(connect(there[0].url)) as manager:
        nodes = manager.api.nodes()
    assert {n["Description"]["Hostname"] for n in nodes} == {"a", "b"}
    with closing(docker.from_env()) as client:  # as after a restart of the machine below
        client.api.kill(there[1].container)
    assert some.up(2, quiet) == there
    assert some.down() == ["a", "b"]
    assert some.down() == some.all() == on_the_engine(some.name) == []


@pytest.mark.docker
def test_an_engine_that_refuses_says_so_and_keeps_nothing(
    some: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nested, "_CAPABILITIES", ("NET_RAW", "KILL"))
    with pytest.raises(BackendUnavailable, match="does not let a container run an engine"):
        some.up(1, quiet)
    assert some.all() == on_the_engine(some.name) == []


def test_a_remote_engine_has_no_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(BackendUnavailable, match="LABKIT_ENGINES"):
        Machines("labkit-test-far").up(1, quiet)
