"""An ensemble that changes while clients ask: rolling restart, members that change, backups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit.errors import ConfigError, ServerNotFound, UnsupportedFault
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.story.event import Event, RequestEvent

NODES = 8


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(
        nodes=NODES,
        ensemble=3,
        backend=request.param,
        session_timeout=4,
        zoo_cfg={"reconfigEnabled": "true"},
    ) as lab:
        for node in lab.nodes:
            node.sequence()
        yield lab


def _configured(lab: Lab) -> dict[str, str]:
    data = lab.zk.retry(lab.zk.get, "/zookeeper/config")[0].decode()
    return dict(line.split("=", 1) for line in data.splitlines() if line.startswith("server."))


def _judge(events: list[Event], least: int) -> None:
    """No wrong answer; and at least so many were given, from every node."""
    report = check(events)
    assert not report.violations, str(report)
    answers = [e for e in events if isinstance(e, RequestEvent) and e.phase == "ok"]
    assert len(answers) >= least
    assert {e.subject for e in answers} == {f"node{i}" for i in range(1, NODES + 1)}


def test_a_rolling_restart_gives_no_wrong_answer(lab: Lab) -> None:
    numbers = [node.sequence() for node in lab.nodes]
    sessions = [node.status()["session"] for node in lab.nodes]
    with lab.clients() as asking:
        for server in lab.zookeeper.servers:
            before = asking.answered
            server.restart()
            lab.wait_until(lambda server=server: server.mode, timeout=30)  # type: ignore[misc]
            lab.wait_until(lambda b=before: asking.answered > b + 8 * NODES, timeout=30)  # type: ignore[misc]
    lab.wait_until(lambda: [node.sequence() for node in lab.nodes] == numbers, timeout=20)
    assert [node.status()["session"] for node in lab.nodes] == sessions
    _judge(list(lab.history()), least=100)


def test_three_become_five_and_three_again(lab: Lab) -> None:
    numbers = [node.sequence() for node in lab.nodes]
    with lab.clients() as asking:
        lab.wait_until(lambda: asking.answered > NODES, timeout=20)
        joined = [lab.zookeeper.join(), lab.zookeeper.join()]
        assert all(server.mode in ("follower", "leader") for server in joined)
        assert set(_configured(lab)) == {f"server.{i}" for i in range(1, 6)}
        lab.zookeeper.leave(joined[0])
        lab.zookeeper.leave(lab.zookeeper.server(1))
        lab.wait_until(lambda: [node.sequence() for node in lab.nodes] == numbers, timeout=30)
    assert set(_configured(lab)) == {"server.2", "server.3", "server.5"}
    assert {server.name for server in lab.zookeeper.servers} == {
        "zookeeper2",
        "zookeeper3",
        "zookeeper5",
    }
    with pytest.raises(ServerNotFound, match="no ZooKeeper server 1; there are 2, 3, 5"):
        lab.zookeeper.server(1)
    with pytest.raises(ServerNotFound, match="zookeeper4"):
        lab.zookeeper.leave(joined[0])
    _judge(list(lab.history()), least=100)


def test_an_observer_serves_and_has_no_vote(lab: Lab) -> None:
    observer = lab.zookeeper.join(observer=True)
    assert observer.mode == "observer"
    assert ":observer;" in _configured(lab)[f"server.{observer.name[-1]}"]
    reader = lab.client("reader", server=observer)
    reader.create("/seen", b"here")
    assert lab.zk.get("/seen")[0] == b"here"
    reader.delete("/seen")
    lab.zookeeper.leave(observer)


def test_only_containers_of_such_an_ensemble_can_be_cut_off(lab: Lab) -> None:
    """Each has a network, which can be left; processes have no links that a join could extend."""
    follower = lab.zookeeper.followers[0]
    if lab.backend == "docker":
        lab.partition(follower.name)
        lab.heal(follower.name)
        lab.wait_until(lambda: follower.mode == "follower", 30)
        return
    with pytest.raises(UnsupportedFault, match="pause it instead"):
        lab.partition(follower.name)


@pytest.mark.parametrize("kind", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_backup_is_the_past_and_tokens_go_back(kind: str) -> None:
    with Lab(nodes=1, backend=kind, record=False) as lab:
        lab.zk.create("/kept", b"old")
        lab.node(1).sequence()
        backup = lab.zookeeper.server(1).backup()
        lab.zk.set("/kept", b"new")
        for i in range(20):
            lab.zk.create(f"/lost{i}")
        newest = lab.zk.create("/lost", include_data=True)[1].czxid
        assert int(lab.zookeeper.server(1).mntr()["zk_znode_count"]) > 21
        with pytest.raises(ConfigError, match="reconfigEnabled"):
            lab.zookeeper.join()
    with Lab(nodes=1, backend=kind, record=False, backup=backup) as lab:
        assert lab.zk.get("/kept")[0] == b"old"
        assert lab.zk.exists("/lost") is None
        token = lab.wait_until(lab.node(1).answer, timeout=20).token
        assert token is not None
        assert token < newest
