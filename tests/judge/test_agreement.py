"""One history out of an ensemble's logs, of which each alone may be wrong."""

from __future__ import annotations

import struct

import pytest
from kazoo.client import KazooClient

from labkit.lab.lab import Lab
from labkit.servers.zookeeper.txnlog import agreed_transactions


def log(*epochs: tuple[int, int, int]) -> list[bytes]:
    """A server's log of (epoch, first, last): a session created by every transaction."""
    data = b"ZKLG" + bytes(12)
    for epoch, first, last in epochs:
        for counter in range(first, last + 1):
            zxid = epoch << 32 | counter
            body = struct.pack(">qiqqi", zxid, 0, zxid, zxid, -10) + struct.pack(">i", 4000)
            data += struct.pack(">qi", 0, len(body)) + body + b"B"
    return [data]


def agreed(*servers: list[bytes]) -> list[tuple[int, int]]:
    return [(txn.zxid >> 32, txn.zxid & 0xFFFFFFFF) for txn in agreed_transactions(servers)]


def spans(*epochs: tuple[int, int, int]) -> list[tuple[int, int]]:
    return [(epoch, n) for epoch, first, last in epochs for n in range(first, last + 1)]


WHOLE = ((1, 1, 9), (2, 1, 5), (4, 1, 7))


@pytest.mark.parametrize(
    "servers",
    [
        pytest.param([WHOLE], id="a standalone server"),
        pytest.param([WHOLE, WHOLE, WHOLE], id="all agree"),
        pytest.param([((4, 3, 7),), WHOLE, WHOLE], id="the leader was given a snapshot"),
        pytest.param([((1, 1, 4), (4, 1, 7)), WHOLE, WHOLE], id="the leader missed an epoch"),
        pytest.param([WHOLE, ((1, 1, 12), (2, 1, 5), (4, 1, 7)), WHOLE], id="a proposal too much"),
        pytest.param([((1, 1, 12), (4, 2, 7)), WHOLE, WHOLE], id="by who leads now"),
        pytest.param([WHOLE, ((1, 1, 9), (2, 1, 8)), WHOLE], id="by who was cut off and is down"),
        pytest.param([WHOLE, ((1, 1, 9), (2, 1, 5), (4, 1, 9)), WHOLE], id="read a moment later"),
        pytest.param([WHOLE, ((1, 1, 3),), ((1, 1, 9), (2, 1, 2))], id="followers behind"),
    ],
)
def test_what_an_ensemble_agreed_on(servers) -> None:
    assert agreed(*(log(*server) for server in servers)) == spans(*WHOLE)


def test_nothing_agreed_yet() -> None:
    assert agreed() == []
    assert agreed([b""], [b""]) == []


def test_an_isolated_leaders_proposals_are_not_history() -> None:
    """A real one: cut off from its followers, it still takes a client's write, in vain."""
    with Lab(0, ensemble=3, backend="process", record=False) as lab:
        lab.zk.create("/before", b"")
        old = lab.zookeeper.leader
        assert old is not None
        client = KazooClient(str(old.endpoint), timeout=20)
        client.start()
        lab.partition(old.name)
        pending = client.create_async("/doubtful", b"")
        others = [server for server in lab.zookeeper.servers if server is not old]
        lab.wait_until(lambda: any(server.mode == "leader" for server in others), 20)
        lab.heal()
        lab.wait_until(lambda: len(lab.zookeeper.followers) == 2, 20)
        pending.wait(10)
        client.stop()
        client.close()
        lab.zk.retry(lab.zk.create, "/after", b"")
        created = [txn.path for txn in lab.zookeeper.transactions() if txn.op == "create"]
        assert created == ["/before", "/after"]
