"""Ports that a lab keeps, whatever else runs on the machine."""

from __future__ import annotations

import fcntl
import random
import socket
from pathlib import Path
from typing import IO

from labkit.errors import PortInUse

_LOOPBACK = "127.0.0.1"


class Ports:
    """Ports that belong to one lab for its life, also while the server behind one is stopped.

    A lock on a file a port keeps two labs apart; the system releases it however a lab ends.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._locks: dict[int, IO[bytes]] = {}

    def reserve(self, preferred: int | None = None) -> int:
        """The preferred port if nobody has it, else any free one."""
        if preferred is not None and self._take(preferred):
            return preferred
        # Below the ports that systems hand out by themselves, so that no outgoing connection
        # sits on a stopped server's port.
        for port in random.sample(range(15_000, 32_000), 1000):
            if self._take(port):
                return port
        raise PortInUse("A thousand ports were tried and none is free. Close other labs first.")

    def _take(self, port: int) -> bool:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(self._directory / str(port), "wb")  # noqa: SIM115 — held until the lab ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        if not is_free(port):
            lock.close()
            return False
        self._locks[port] = lock
        return True

    def release(self, port: int) -> None:
        if (lock := self._locks.pop(port, None)) is not None:
            lock.close()

    def close(self) -> None:
        for port in list(self._locks):
            self.release(port)


def is_free(port: int) -> bool:
    """Whether a server could listen there now, on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True
