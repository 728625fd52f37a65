"""Ports that a lab keeps, whatever else runs on the machine."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import threading
from contextlib import suppress
from pathlib import Path

from labkit.errors import ConfigError, PortInUse

#: Shared by all users of a machine, wherever their labs keep their files: its ports are the same.
SHARED = Path("/tmp/labkit-ports.lock")

_LOOPBACK = "127.0.0.1"


class Ports:
    """Ports that belong to one lab for its life, also while the server behind one is stopped.

    The bytes of one file stand for the ports, and a lock on its byte for a port that a lab has.
    The system releases the locks of a process however it ends; the file stays empty.
    """

    def __init__(self, file: Path = SHARED) -> None:
        self._file = file
        self._mine: set[int] = set()

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
        with _guard:
            locks = _Locks.of(self._file)
            if locks.take(port):
                if is_free(port):
                    self._mine.add(port)
                    return True
                locks.give_back(port)
        return False

    def release(self, port: int) -> None:
        """Let others have the port. Idempotent."""
        with _guard:
            if port in self._mine:
                self._mine.remove(port)
                _Locks.of(self._file).give_back(port)

    def close(self) -> None:
        """Release every port."""
        for port in list(self._mine):
            self.release(port)


_guard = threading.Lock()


class _Locks:
    """All the locks that this process has on one file. Used by one thread at a time.

    The file is open once for all labs of the process, as long as there is a lock: such locks
    belong to the process, and it loses all of them when it closes the file.
    """

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file = _opened(file)
        self._taken: set[int] = set()

    @classmethod
    def of(cls, file: Path) -> _Locks:
        """The locks on the file, which may be none yet."""
        if file not in _open:
            _open[file] = cls(file)
        return _open[file]

    def take(self, port: int) -> bool:
        """Lock the port's byte; False if another lab has it."""
        if port in self._taken:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            self._close_unused()
            return False
        self._taken.add(port)
        return True

    def give_back(self, port: int) -> None:
        """Unlock the port's byte."""
        self._taken.discard(port)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)
        self._close_unused()

    def _close_unused(self) -> None:
        if not self._taken:
            os.close(self._file)
            del _open[self._path]


_open: dict[Path, _Locks] = {}


def _opened(file: Path) -> int:
    """The file, which may be another user's; nobody writes anything into it.

    Raises `ConfigError` if it can't be used.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with suppress(FileExistsError):
            descriptor = os.open(file, flags | os.O_CREAT | os.O_EXCL)
            os.fchmod(descriptor, 0o666)
            return descriptor
        return os.open(file, flags)
    except OSError as error:
        raise ConfigError(
            f"Labs agree on their ports by {file}, and it cannot be opened ({error.strerror}). "
            f"Find out whose it is (`ls -l {file}`) and have it removed."
        ) from error


def is_free(port: int) -> bool:
    """Whether a server could listen there now, on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((_LOOPBACK, port))
            probe.listen(1)
            return True
    return False
