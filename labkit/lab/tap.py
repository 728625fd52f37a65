"""A link to ZooKeeper on which every byte is kept."""

from __future__ import annotations

from labkit.lab.zookeeper import ZooKeeperHandle
from labkit.servers.links.forwarder import Forwarder


class Tap:
    """What a third party on the network sees of a client. Got from `lab.tap()`.

    >>> tap = lab.tap()
    >>> zk = KazooClient(tap.hosts)  # any client, of any library
    >>> b"secret" in tap.sent
    """

    def __init__(self, name: str, zookeeper: ZooKeeperHandle, forwarder: Forwarder) -> None:
        self._bytes = {"to": bytearray(), "from": bytearray()}
        ports = []
        for server in zookeeper.servers:
            to = (server.endpoint.host, server.endpoint.port)
            ports.append(forwarder.link(name, server.name, to))
            forwarder.overhear(name, server.name, self._hear)
        #: The connection string of a client that is to be overheard.
        self.hosts = ",".join(f"127.0.0.1:{port}" for port in ports) + zookeeper.chroot

    @property
    def sent(self) -> bytes:
        """All that clients have sent to ZooKeeper, since the last `clear`."""
        return bytes(self._bytes["to"])

    @property
    def received(self) -> bytes:
        """All that ZooKeeper has answered and told, since the last `clear`."""
        return bytes(self._bytes["from"])

    def clear(self) -> None:
        """Forget what has passed."""
        for kept in self._bytes.values():
            kept.clear()

    def _hear(self, direction: str, data: bytes) -> None:
        self._bytes[direction] += data
