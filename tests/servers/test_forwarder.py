"""Links: what a fault lets through, what both ends are told, and that nothing is left."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from labkit.errors import BackendError, ServerNotFound
from labkit.servers import reaper
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder
from labkit.servers.links.remote import RemoteForwarder

PAIR = ("node1", "zookeeper1")


class Echo:
    """A server that sends back what it gets, and knows its connections."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.connections: list[socket.socket] = []
        self.ends: list[str] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            self.ends.append("closed")
        except OSError:
            self.ends.append("reset")
        finally:
            connection.close()

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._accepting.join()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Link:
    """A forwarder with one link to an echo server."""

    def __init__(self, forwarder: Forwarder | RemoteForwarder) -> None:
        self.echo = Echo()
        self.forwarder = forwarder.start()
        self.port = self.forwarder.link(*PAIR, self.echo.address)
        self._clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self._clients.append(client)
        return client

    def fault(self, kind: str | None, **detail: object) -> None:
        self.forwarder.fault(*PAIR, LinkFault(kind, **detail) if kind else None)  # type: ignore[arg-type]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.forwarder.close()
        self.echo.close()


@pytest.fixture(params=["here", "in a process of its own"])
def forwarder(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarder | RemoteForwarder:
    if request.param == "here":
        return Forwarder(seed=5)
    return RemoteForwarder("c0ffee7", tmp_path / "links.log")


@pytest.fixture
def link(forwarder: Forwarder | RemoteForwarder) -> Iterator[Link]:
    link = Link(forwarder)
    yield link
    link.close()


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := client.recv(count - len(data))):
        data += chunk
    return data


def silent(client: socket.socket, seconds: float = 0.2) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# --- healthy ---


def test_everything_passes_in_order(link: Link) -> None:
    client = link.connect()
    data = bytes(range(256)) * 8192  # 2 MiB: more than any buffer on the way holds
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert receive(client, len(data)) == data
    sender.join()


def test_a_pair_keeps_its_port_and_may_get_a_new_target(link: Link) -> None:
    other = Echo()
    assert link.forwarder.link(*PAIR, other.address) == link.port
    assert link.forwarder.link("node2", "zookeeper1", other.address) != link.port
    client = link.connect()
    client.sendall(b"hello")
    assert receive(client, 5) == b"hello"
    assert (len(other.connections), len(link.echo.connections)) == (1, 0)
    other.close()


def test_a_half_close_passes(link: Link) -> None:
    client = link.connect()
    client.sendall(b"ruok")
    client.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"ruok"
    assert eventually(lambda: link.echo.ends == ["closed"])


def test_a_reset_passes(link: Link) -> None:
    client = link.connect()
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert eventually(lambda: link.echo.ends == ["reset"])


def test_a_target_that_does_not_listen_looks_like_a_refusal(link: Link) -> None:
    link.echo.close()
    begin = time.monotonic()
    with pytest.raises(ConnectionResetError):
        link.connect().recv(1)
    assert time.monotonic() - begin < 1


def test_a_late_target_is_tried_again(forwarder: Forwarder | RemoteForwarder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with forwarder:
        near = forwarder.link(*PAIR, ("127.0.0.1", port), retry=5.0)
        with socket.create_connection(("127.0.0.1", near), timeout=5) as client:
            client.sendall(b"early")
            assert silent(client, 0.1)
            echo = Echo(port)
            assert receive(client, 5) == b"early"
        echo.close()


def test_an_address_is_translated_on_the_way(link: Link) -> None:
    link.forwarder.translate(*PAIR, "", "127.0.0.1:1111", "127.0.0.1:2222")
    client = link.connect()
    client.sendall(b"I am 127.0.0.1:1111, call back")
    assert receive(client, 30) == b"I am 127.0.0.1:2222, call back"
    with pytest.raises(ValueError, match="differ in length"):
        link.forwarder.translate(*PAIR, "", "127.0.0.1:1111", "127.0.0.1:22222")


# --- drop ---


def test_a_black_hole_tells_nobody_and_what_was_sent_arrives_when_it_heals(link: Link) -> None:
    client = link.connect()
    client.sendall(b"before ")
    assert receive(client, 7) == b"before "
    link.fault("drop")
    client.sendall(b"during ")
    assert silent(client)
    link.fault(None)
    client.sendall(b"after")
    assert receive(client, 12) == b"during after"


@pytest.mark.parametrize("direction", ["to", "from"])
def test_a_black_hole_may_be_one_way(link: Link, direction: str) -> None:
    client = link.connect()
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    link.fault("drop", direction=direction)
    link.echo.connections[0].sendall(b"news")
    if direction == "to":
        assert receive(client, 4) == b"news"
    client.sendall(b"hello")
    assert silent(client)
    link.fault(None)
    held = b"hello" if direction == "to" else b"newshello"
    assert receive(client, len(held)) == held


def test_a_connection_opened_in_a_black_hole_waits_for_the_healing(link: Link) -> None:
    link.fault("drop", direction="from")
    patient, impatient = link.connect(), link.connect()
    patient.sendall(b"patient")
    impatient.sendall(b"impatient")
    impatient.close()
    assert silent(patient)
    assert link.echo.connections == []
    link.fault(None)
    assert receive(patient, 7) == b"patient"
    assert len(link.echo.connections) == 1, "who gave up was never connected"


def test_a_sender_into_a_black_hole_blocks_in_the_end(link: Link) -> None:
    client = link.connect()
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    link.fault("drop")
    data = bytes(64 * 1024 * 1024)
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.sendall(data)


def test_what_ends_in_a_black_hole_ends_on_the_other_side_when_it_heals(link: Link) -> None:
    client = link.connect()
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    link.fault("drop")
    client.sendall(b"last words")
    client.close()
    time.sleep(0.1)
    assert link.echo.ends == []
    link.fault(None)
    assert eventually(lambda: len(link.echo.ends) == 1)


# --- refuse ---


def test_a_refusal_resets_what_is_open_and_refuses_what_is_new(link: Link) -> None:
    client = link.connect()
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    link.fault("refuse")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert eventually(lambda: link.echo.ends == ["reset"])
    with pytest.raises(ConnectionRefusedError):
        link.connect()
    with pytest.raises(OSError, match="in use"), socket.socket() as thief:
        thief.bind(("127.0.0.1", link.port))
    link.fault(None)
    client = link.connect()
    client.sendall(b"again")
    assert receive(client, 5) == b"again"


def test_one_fault_replaces_another(link: Link) -> None:
    for _ in range(3):
        link.fault("refuse")
        link.fault("refuse")
        link.fault("drop")
        client = link.connect()
        client.sendall(b"x")
        assert silent(client, 0.05)
        link.fault("slow", delay=0.01)
        assert receive(client, 1) == b"x"


# --- slow, flaky ---


@pytest.mark.alone
def test_a_slow_link_delays_each_way_and_keeps_the_order(link: Link) -> None:
    client = link.connect()
    link.fault("slow", delay=0.1)
    begin = time.monotonic()
    for word in (b"one ", b"two ", b"three"):
        client.sendall(word)
        time.sleep(0.01)
    assert receive(client, 13) == b"one two three"
    took = time.monotonic() - begin
    assert 0.2 <= took < 0.5
    link.fault("slow", delay=30)
    client.sendall(b"late")
    assert silent(client, 0.1)
    link.fault(None)
    assert receive(client, 4) == b"late"


def test_a_flaky_link_breaks_about_once_in_so_many_chunks(link: Link) -> None:
    link.fault("flaky", every=10, direction="to")
    sent, broken = 0, 0
    while broken < 20:
        client = link.connect()
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                client.sendall(b"x")
                sent += 1
                if not receive(client, 1):
                    break
        broken += 1
    assert 80 < sent < 400


# --- the whole ---


def test_heal_heals_every_link(link: Link) -> None:
    port = link.forwarder.link("node2", "zookeeper1", link.echo.address)
    link.fault("refuse")
    link.forwarder.fault("node2", "zookeeper1", LinkFault("refuse"))
    link.forwarder.heal()
    for address in (link.port, port):
        socket.create_connection(("127.0.0.1", address), timeout=5).close()


def test_a_fault_hits_all_channels_of_a_pair(link: Link) -> None:
    port = link.forwarder.link(*PAIR, link.echo.address, channel="election")
    assert port != link.port
    link.fault("refuse")
    for address in (link.port, port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", address), timeout=5)


def test_a_link_that_does_not_exist_cannot_be_broken(link: Link) -> None:
    with pytest.raises(ServerNotFound, match="no link from node9 to zookeeper1"):
        link.forwarder.fault("node9", "zookeeper1", LinkFault())


def test_unlink_frees_the_ports_of_one_server(link: Link) -> None:
    other = link.forwarder.link("node2", "zookeeper1", link.echo.address)
    link.forwarder.unlink("node1")
    link.forwarder.unlink("node1")
    with pytest.raises(ConnectionRefusedError):
        link.connect()
    socket.create_connection(("127.0.0.1", other), timeout=5).close()


def test_whoever_comes_while_it_closes_is_refused_and_waits_for_nothing() -> None:
    echo = Echo()
    for _ in range(30):
        forwarder = Forwarder().start()
        forwarder.link(*PAIR, echo.address)
        busy = threading.Event()

        def work(forwarder: Forwarder = forwarder, busy: threading.Event = busy) -> None:
            with suppress(RuntimeError):  # refused
                while True:
                    with suppress(ServerNotFound):  # its link is closed already
                        forwarder.fault(*PAIR, None)
                    busy.set()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        busy.wait()
        closers = [threading.Thread(target=forwarder.close, daemon=True) for _ in range(2)]
        for thread in closers:
            thread.start()
        for thread in (worker, *closers):
            thread.join(5)
            assert not thread.is_alive()
    echo.close()


def test_nothing_is_left_after_close(forwarder: Forwarder | RemoteForwarder) -> None:
    process = psutil.Process()
    echo = Echo()
    threads, children = set(threading.enumerate()), process.children()
    forwarder.start()
    ports = [forwarder.link(f"node{i}", "zookeeper1", echo.address) for i in range(20)]
    clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for port in ports]
    for number, client in enumerate(clients):
        client.sendall(b"x")
        fault = (None, LinkFault("drop"), LinkFault("slow", delay=60), LinkFault("refuse"))
        forwarder.fault(f"node{number}", "zookeeper1", fault[number % 4])
    forwarder.close()
    forwarder.close()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    connections = process.net_connections()
    established = {at.raddr.port for at in connections if at.status == "ESTABLISHED" and at.raddr}
    assert established.isdisjoint(ports)
    left = set(threading.enumerate()) - threads
    assert not any(thread.name.startswith("labkit") for thread in left)
    assert process.children() == children
    for client in clients:
        client.close()
    echo.close()
    with pytest.raises((RuntimeError, BackendError)):
        forwarder.link(*PAIR, echo.address)


def test_links_in_a_process_of_their_own_say_when_it_has_ended(tmp_path: Path) -> None:
    with closing(Echo()) as echo, RemoteForwarder("c0ffee7", tmp_path / "links.log") as forwarder:
        forwarder.link(*PAIR, echo.address)
        [links] = reaper.processes_of("c0ffee7")
        links.kill()
        with pytest.raises(BackendError, match="Close the lab and start another one"):
            forwarder.fault(*PAIR, LinkFault())
        with pytest.raises(BackendError, match="no node reaches ZooKeeper"):
            forwarder.link("node2", "zookeeper1", echo.address)


def test_links_in_a_process_of_their_own_end_with_their_owner(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from labkit.servers.links.remote import RemoteForwarder\n"
        f"forwarder = RemoteForwarder('c0ffee7', Path({str(tmp_path / 'links.log')!r})).start()\n"
        "print(forwarder.link('node1', 'zookeeper1', ('127.0.0.1', 1)), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        [links] = psutil.Process(owner.pid).children()
        owner.kill()
        assert links.wait(5) is None or not links.is_running()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
