"""A lab on a ZooKeeper that is there already, and that it leaves as it was."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from labkit.errors import ConfigError, ForeignZooKeeper, InvalidTransition, UnsupportedFault
from labkit.judge.chaos import chaos
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.lab.znode_tree import look
from labkit.see.controls import controls
from labkit.servers.zookeeper import config, install
from labkit.servers.zookeeper.address import Attached

T = 1.5
_KINDS = ["process", pytest.param("docker", marks=pytest.mark.docker)]
Tree = list[tuple[str, str, int]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("keys")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab"
    files = ["-keyout", str(home / "key.pem"), "-out", str(home / "ca.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    both = (home / "key.pem").read_text() + (home / "ca.pem").read_text()
    (home / "both.pem").write_text(both)
    return home


class Theirs:
    """A ZooKeeper of others', with things in it; it speaks in clear and TLS on one port."""

    def __init__(self, home: Path, keys: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (home / "zoo.cfg").write_text(
            f"tickTime=200\nminSessionTimeout=400\ndataDir={home}\nclientPort={port}\n"
            "admin.enableServer=false\n4lw.commands.whitelist=srvr\nclient.portUnification=true\n"
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
            f"ssl.clientAuth=none\nssl.keyStore.type=PEM\nssl.keyStore.location={keys}/both.pem\n"
        )
        config.write_logging_configuration(home)
        command = install.find_installation().server_command(str(home / "zoo.cfg"))
        self._log = (home / "log").open("wb")
        self._server = subprocess.Popen(command, cwd=home, stdout=self._log, stderr=self._log)
        self.hosts = f"127.0.0.1:{port}"
        self.zk = KazooClient(self.hosts)
        self.zk.start(timeout=20)
        self.zk.create("/their/app", b"config", makepath=True)
        self.zk.create("/sequence/1", b"somebody", makepath=True)

    def close(self) -> None:
        self.zk.stop()
        self.zk.close()
        self._server.kill()
        self._server.wait()
        self._log.close()


@pytest.fixture(scope="module")
def theirs(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    theirs = Theirs(tmp_path_factory.mktemp("theirs"), keys)
    yield theirs
    theirs.close()


@pytest.fixture(params=_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        request.getfixturevalue("docker_images")
    return str(request.param)


def _trees(theirs: Theirs) -> Tree:
    """Every znode with its data, and the transaction that wrote that."""
    return [
        (line.path, line.data, theirs.zk.get(line.path)[1].mzxid) for line in look(theirs.zk, "/")
    ]


def test_a_lab_in_a_chroot_leaves_no_trace(theirs: Theirs, kind: str) -> None:
    before = _trees(theirs)
    at = f"{theirs.hosts}/of/ours"
    with Lab(2, backend=kind, session_timeout=T, zookeeper=at) as lab:
        assert {node.sequence() for node in lab.nodes} == {1, 2}
        assert [line.path for line in lab.tree().lines] == [
            "/",
            "/sequence",
            "/sequence/1",
            "/sequence/2",
        ]
        assert "node1" in str(lab.tree())
        assert re.fullmatch(r"\d+\.\d+\.\d+", lab.zookeeper.version)
        assert theirs.zk.exists("/of/ours/sequence/1")
        assert [line for line in _trees(theirs) if not line[0].startswith("/of")] == before
        lab.node(1).kill()  # its number is there still when the lab is closed
    assert _trees(theirs) == before


def test_what_others_have_put_there_stays(theirs: Theirs) -> None:
    at = f"{theirs.hosts}/shared"
    with Lab(1, backend="process", session_timeout=T, zookeeper=at) as lab:
        lab.node(1).sequence()
        theirs.zk.create("/shared/sequence/7", b"another")
    assert theirs.zk.get_children("/shared/sequence") == ["7"]
    with Lab(2, backend="process", session_timeout=T, zookeeper=at) as lab:
        assert {node.sequence() for node in lab.nodes} == {1, 2}
    assert theirs.zk.get_children("/shared/sequence") == ["7"]
    theirs.zk.delete("/shared", recursive=True)


def test_numbers_of_others_are_respected(theirs: Theirs) -> None:
    before = _trees(theirs)
    with Lab(2, backend="process", session_timeout=T, zookeeper=theirs.hosts) as lab:
        assert {node.sequence() for node in lab.nodes} == {2, 3}
    assert _trees(theirs) == before


def test_verbs_on_zookeeper_are_refused_in_one_way(theirs: Theirs) -> None:
    with Lab(1, backend="process", session_timeout=T, zookeeper=theirs.hosts) as lab:
        zookeeper, server = lab.zookeeper, lab.zookeeper.server(1)
        verbs = [
            *(getattr(of, v) for of in (zookeeper, server) for v in ("stop", "kill", "pause")),
            *(getattr(of, v) for of in (zookeeper, server) for v in ("resume", "start", "restart")),
            *(zookeeper.transactions, server.transactions, server.logs, server.backup),
            *(zookeeper.join, lambda: zookeeper.leave(server), lambda: lab.zkcli("ls /")),
        ]
        for verb in verbs:
            with pytest.raises(ForeignZooKeeper, match="not its own"):
                verb()
        assert theirs.zk.exists("/their/app")
        assert "attached" not in repr(lab)
        assert "zookeeper1" in repr(lab)


def test_nodes_and_their_links_break_and_the_checker_says_what_it_cannot_judge(
    theirs: Theirs,
) -> None:
    at = f"{theirs.hosts}/broken"
    with Lab(3, backend="process", session_timeout=T, request_deadline=0.7, zookeeper=at) as lab:
        with pytest.raises(InvalidTransition, match="holds no number"):
            lab.expire(1)
        first = lab.node(1).answer()
        lab.expire(1)
        lab.wait_until(lambda: (lab.node(1).answer().token or 0) > (first.token or 0), T + 2)
        with lab.clients():
            lab.partition(2)
            lab.wait_until(lambda: lab.node(2).status()["number"] is None, T)
            lab.heal(2)
            lab.wait_until(lambda: lab.node(2).sequence(), T + 2)
        report = check(lab.history(), session_timeout=T)
        assert not report.violations, report
        assert {rule: report.judged[rule] for rule in ("unheld", "lowest-free", "tickets")} == {
            "unheld": 0, "lowest-free": 0, "tickets": 0
        }  # fmt: skip
        for rule in ("unheld", "lowest-free", "tickets"):
            assert "can't be judged" in report.untested[rule]
        panel = controls(lab)
        try:
            assert panel.face()["zookeeper"] is None
            assert "node3" in panel.picture
            assert list(panel._rows) == ["node1", "node2", "node3"]
        finally:
            panel.close()


def test_chaos_leaves_their_servers_alone(theirs: Theirs) -> None:
    at = f"{theirs.hosts}/chaos"
    with Lab(4, backend="process", session_timeout=T, request_deadline=0.7, zookeeper=at) as lab:
        run = chaos(lab, seed=3, seconds=8)
        assert run.ok, run
        assert "not the lab's to read" in repr(run)
        assert run.faults
        assert all(target.startswith("node") for f in run.faults for target in f.targets)
    assert not theirs.zk.exists("/chaos")


def test_credentials_and_tls(theirs: Theirs, keys: Path, kind: str) -> None:
    theirs.zk.create("/guarded", acl=[make_digest_acl("ann", "secret", all=True)])
    at = f"{theirs.hosts}/guarded/ours"
    tls = {"use_ssl": True, "ca": str(keys / "ca.pem")}
    with pytest.raises(ConfigError, match="does not let the lab create /guarded/ours"):
        Lab(1, backend=kind, zookeeper=at).start()
    settings = {**tls, "auth_data": [("digest", "ann:secret")]}
    with Lab(1, backend=kind, session_timeout=T, zookeeper=at, kazoo=settings) as lab:
        assert lab.node(1).sequence() == 1
        acl, _ = theirs.zk.get_acls("/guarded/ours/sequence/1")
        assert {(entry.id.scheme, entry.perms) for entry in acl} == {("digest", 31), ("world", 1)}
        client = lab.client("eve")
        client.create("/hers", ephemeral=True)
        assert client.use_ssl
    ann = KazooClient(theirs.hosts, auth_data=[("digest", "ann:secret")])
    ann.start()
    assert ann.get_children("/guarded") == []
    ann.delete("/guarded")
    ann.stop()
    ann.close()


@pytest.mark.docker
@pytest.mark.usefixtures("docker_images")
def test_docker_says_that_it_cannot_cut_these_links(theirs: Theirs) -> None:
    lab = Lab(1, backend="docker", zookeeper=f"{theirs.hosts}/uncut")
    with lab, pytest.raises(UnsupportedFault, match="backend='process'"):
        lab.partition(1)


@pytest.mark.parametrize(
    "hosts", ["[::1]:2181", "zk:1,[2001:db8::7]:2182,10.0.0.1:3", "[::ffff:10.0.0.1]:2181", "zk.:1"]
)
def test_servers_are_named_in_every_way_that_addresses_have(hosts: str) -> None:
    read = Attached.read(f"{hosts}/a/b", {})
    assert (read.servers, read.chroot) == (hosts, "/a/b")


def test_a_zookeeper_at_an_address_of_ipv6(theirs: Theirs) -> None:
    hosts = theirs.hosts.replace("127.0.0.1", "[::1]") + "/their/app"
    with Lab(nodes=2, zookeeper=hosts, backend="process", record=False) as lab:
        assert sorted(node.sequence() for node in lab.nodes) == [1, 2]
        assert lab.zk.exists("/sequence/2")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"zookeeper": "host:port"}, "it must be host:port"),
        ({"zookeeper": "h:2181/a//b"}, "at most one /path"),
        ({"zookeeper": "h:0"}, "it must be host:port"),
        ({"zookeeper": "::1"}, "An IPv6 address has brackets"),
        ({"zookeeper": "::1:2181"}, "An IPv6 address has brackets"),
        ({"zookeeper": "[::1:2181"}, "An IPv6 address has brackets"),
        ({"zookeeper": "[1::2::3]:2181"}, "An IPv6 address has brackets"),
        ({"zookeeper": "[127.0.0.1]:2181"}, "An IPv6 address has brackets"),
        ({"zookeeper": "[::1]:70000"}, "it must be host:port"),
        ({"zookeeper": "h", "ensemble": 3}, "ensemble is for a ZooKeeper that the lab starts"),
        ({"zookeeper": "h", "kazoo": {"randomize_hosts": True}}, "'randomize_hosts'"),
        ({"zookeeper": "h", "kazoo": {"auth_data": [("sasl", "a:b")]}}, "one digest"),
        ({"zookeeper": "h", "kazoo": {"ca": "ca.pem"}}, "no use_ssl"),
        ({"zookeeper": "h", "kazoo": {"use_ssl": True, "ca": "/no/ca"}}, "no such file"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Lab(**settings)  # type: ignore[arg-type]
