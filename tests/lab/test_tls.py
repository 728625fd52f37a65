"""What passes on a link in clear, further lines of `zoo.cfg`, and TLS on the client port."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError

from labkit.errors import ConfigError
from labkit.lab.lab import Lab
from labkit.servers.base import ZooKeeperSettings


def _certificate(home: Path, name: str) -> Path:
    """A key and a certificate for this machine; returns the certificate."""
    key, certificate = home / f"{name}-key.pem", home / f"{name}.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -addext"
    subprocess.run(
        [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    (home / f"{name}-both.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("keys")
    for name in ("right", "wrong"):
        _certificate(home, name)
    return home


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def lab(request: pytest.FixtureRequest, keys: Path) -> Iterator[Lab]:
    lines: dict[str, str | Path] = {
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "client.portUnification": "true",
        "ssl.keyStore.type": "PEM",
        "ssl.keyStore.location": keys / "right-both.pem",
        "ssl.clientAuth": "none",
    }
    with Lab(nodes=1, backend=request.param, zoo_cfg=lines, record=False) as lab:
        yield lab


def _visit(hosts: str, ca: Path) -> list[str]:
    client = KazooClient(hosts, timeout=3, use_ssl=True, ca=str(ca), verify_certs=True)
    try:
        client.start(timeout=3)
        client.create("/secret", b"the treasure", ephemeral=True)
        return [str(name) for name in client.get_children("/")]
    finally:
        client.stop()
        client.close()


def test_the_right_certificate_is_accepted_and_nothing_is_in_clear(lab: Lab, keys: Path) -> None:
    tap = lab.tap("right")
    assert "secret" in _visit(tap.hosts, keys / "right.pem")
    assert len(tap.sent) > 100
    assert b"treasure" not in tap.sent
    assert b"secret" not in tap.sent + tap.received


def test_a_wrong_certificate_is_refused(lab: Lab, keys: Path) -> None:
    server = lab.zookeeper.server(1).endpoint
    for name, said in (("right", None), ("wrong", "self-signed certificate")):
        trust = ssl.create_default_context(cafile=str(keys / f"{name}.pem"))
        with socket.create_connection((server.host, server.port), timeout=5) as link:
            if said is None:
                trust.wrap_socket(link, server_hostname=server.host).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=said):
                    trust.wrap_socket(link, server_hostname=server.host)


def test_without_tls_everything_is_in_clear(lab: Lab) -> None:
    tap = lab.tap("plain")
    client = KazooClient(tap.hosts, auth_data=[("digest", "ann:open sesame")])
    client.start(timeout=5)
    client.create("/box", b"the treasure", ephemeral=True)
    client.get("/box")
    client.stop()
    client.close()
    assert all(word in tap.sent for word in (b"/box", b"treasure", b"ann:open sesame"))
    assert b"treasure" in tap.received
    tap.clear()
    assert tap.sent == tap.received == b""


def test_nodes_and_four_letter_words_work_with_netty(lab: Lab) -> None:
    assert lab.node(1).sequence() == 1
    assert lab.zookeeper.server(1).mode == "standalone"


def test_what_a_lab_decides_is_not_set_by_hand(tmp_path: Path) -> None:
    for lines, said in (
        ({"clientPort": "1"}, "the lab decides"),
        ({"server.1": "x"}, "the lab decides"),
        ({"jute.maxbuffer": "1 2"}, "no blank"),
        ({"ssl.keyStore.location": tmp_path / "none.pem"}, "none.pem: No such file"),
    ):
        with pytest.raises(ConfigError, match=said):
            ZooKeeperSettings(extra=lines).files()


def test_in_a_private_lab_a_second_client_reads_writes_and_deletes_nothing() -> None:
    with Lab(nodes=2, backend="process", record=False, private=True) as lab:
        assert sorted(node.sequence() for node in lab.nodes) == [1, 2]
        second = KazooClient(lab.zookeeper.hosts)
        second.start(timeout=5)
        attempts: list[Callable[[], object]] = [
            lambda: second.get_children("/sequence"),
            lambda: second.get("/sequence/1"),
            lambda: second.set("/sequence/1", b"mine"),
            lambda: second.create("/sequence/3"),
            lambda: second.delete("/sequence/1"),
        ]
        for attempt in attempts:
            with pytest.raises(NoAuthError):
                attempt()
        second.stop()
        second.close()
        assert lab.client("ann").get("/sequence/1")[0]
        assert "node1" in str(lab.tree("/sequence"))
