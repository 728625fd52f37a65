"""A client whose answers can be lost: the request is carried out, or it is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kazoo.exceptions import ConnectionLoss
from kazoo.protocol.states import WatchedEvent

from labkit.lab.lab import Lab
from labkit.lab.lossy import LossyClient
from labkit.see.plots import states


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=0, backend="process", record=False) as lab:
        yield lab


@pytest.fixture
def client(lab: Lab) -> LossyClient:
    return lab.client("ann")


def test_a_lost_reply_leaves_the_change_done(lab: Lab, client: LossyClient) -> None:
    for attempt in range(5):
        path = f"/lost-reply-{attempt}"
        client.lose_reply()
        with pytest.raises(ConnectionLoss):
            client.create(path)
        assert lab.zk.exists(path)
        assert client.retry(client.exists, path)  # it has come back by itself, in its session
    assert client.granted is not None


def test_a_lost_request_leaves_nothing_done(lab: Lab, client: LossyClient) -> None:
    client.lose_request()
    with pytest.raises(ConnectionLoss):
        client.create("/lost-request")
    assert client.retry(client.get_children, "/") is not None
    assert not lab.zk.exists("/lost-request")


def test_one_loss_right_after_another(lab: Lab, client: LossyClient) -> None:
    for attempt in range(5):
        client.lose_request()
        with pytest.raises(ConnectionLoss):
            client.create(f"/not-made-{attempt}")
        client.lose_reply()
        with pytest.raises(ConnectionLoss):
            client.create(f"/made-{attempt}")
    made = client.retry(client.get_children, "/")
    assert sorted(name for name in made if "made-" in name) == [f"made-{n}" for n in range(5)]


def test_a_lost_read_raises_and_leaves_no_watch(lab: Lab, client: LossyClient) -> None:
    lab.zk.ensure_path("/read")
    notices: list[WatchedEvent] = []
    client.lose_reply()
    with pytest.raises(ConnectionLoss):
        client.get("/read", watch=notices.append)
    client.retry(client.exists, "/read")
    lab.zk.set("/read", b"1")
    client.sync("/read")
    assert [event for event in notices if event.type == "CHANGED"] == []


def test_a_lost_transaction_is_done_whole(lab: Lab, client: LossyClient) -> None:
    client.lose_reply()
    transaction = client.transaction()
    transaction.create("/both-1")
    transaction.create("/both-2")
    with pytest.raises(ConnectionLoss):
        transaction.commit()
    assert lab.zk.exists("/both-1")
    assert lab.zk.exists("/both-2")


def test_no_client_outlives_its_lab() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    with Lab(nodes=0, backend="process", record=False) as lab:
        client = lab.client()
        client.lose_reply()
        with pytest.raises(ConnectionLoss):
            client.create("/x")
    assert not client.connected
    assert [t.name for t in threading.enumerate() if t.ident not in before] == []


def test_a_cut_longer_than_the_session_is_told_when_it_is_healed(lab: Lab) -> None:
    client = lab.client("bob", session_timeout=2.0)  # a stall of the machine must not suspend it
    session = client.session_id
    client.cut()
    lab.wait_until(lambda: tuple(state for _, state in client.told[-1:]) == ("SUSPENDED",))
    lab.wait_until(lambda: _expired(lab, session), 8)
    assert client.told[-1][1] == "SUSPENDED"  # nobody has told it more
    client.heal()
    lab.wait_until(lambda: client.told[-1][1] == "CONNECTED")
    assert [state for _, state in client.told] == ["CONNECTED", "SUSPENDED", "LOST", "CONNECTED"]
    times = [at for at, _ in client.told]
    ((cut, healed),) = client.cuts
    assert times == sorted(times)
    assert healed is not None
    assert cut < times[1] < healed < times[2]
    chart = states(client)
    assert "SUSPENDED at" in chart.alt
    assert "LOST at" in chart.alt
    assert len(chart.axes[0].patches) == 1


def _expired(lab: Lab, session: int | None) -> bool:
    closed = [t for t in lab.zookeeper.transactions() if t.op == "closeSession"]
    return session in [t.session for t in closed]


def test_a_client_of_one_server_of_an_ensemble() -> None:
    with Lab(nodes=0, ensemble=3, backend="process") as lab:
        for server in lab.zookeeper.servers:
            client = lab.client(f"of-{server.name}", server=server)
            assert client.client_id is not None
            session = f"0x{client.client_id[0]:x}"
            assert session in server.four_letter("cons")
        client.lose_reply()
        with pytest.raises(ConnectionLoss):
            client.create("/mine")
        lab.zk.sync("/mine")  # its own server may be behind
        assert lab.zk.exists("/mine")
