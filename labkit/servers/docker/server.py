"""One server of a lab in its container, on the engine that it was made on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from docker import APIClient
from docker.errors import APIError, NotFound

from labkit.servers.base import Endpoint, ServerState, wait_until
from labkit.servers.docker.engine import unless_stopped
from labkit.servers.docker.inside import logs_in

_STATES = {
    "created": ServerState.STOPPED,
    "exited": ServerState.STOPPED,
    "running": ServerState.RUNNING,
    "restarting": ServerState.RUNNING,
    "paused": ServerState.PAUSED,
}
_FREEZES = 5.0  # seconds for which a container is frozen again that has outrun the freezer


@dataclass
class DockerServer:
    """What a backend knows of a server; the engine's errors come through as they are."""

    name: str
    container: str  # its name; that of a ZooKeeper server's volume too
    number: int  # from 0, in the lab; its address on every network follows from it
    endpoint: Endpoint
    api: APIClient  # of its engine
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def state(self) -> ServerState:
        """What its engine says. Raises `NotFound` if its container is gone."""
        status = self.api.inspect_container(self.container)["State"]["Status"]
        return _STATES.get(status, ServerState.STOPPED)

    def address(self, network: str) -> str:
        """Its address on one of its networks; "" while it does not run."""
        networks = self.api.inspect_container(self.container)["NetworkSettings"]["Networks"]
        return str(networks[network]["IPAddress"])

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        with unless_stopped():
            self.api.kill(self.container, signal="SIGKILL")
        self.api.wait(self.container)

    def pause(self) -> None:
        """Freeze it. On a busy machine a container may outrun its freezer, which then gives up."""
        if not wait_until(self._freezes, _FREEZES):
            self.api.pause(self.container)

    def _freezes(self) -> bool:
        try:
            self.api.pause(self.container)
        except APIError as error:
            if "unable to freeze" not in str(error.explanation):
                raise
            return False
        return True

    def data(self) -> bytes:
        """A tar of a ZooKeeper server's snapshots and logs. Raises `NotFound` if it never ran."""
        chunks, _ = self.api.get_archive(self.container, "/data/version-2")
        return b"".join(chunks)

    def transaction_logs(self) -> list[bytes]:
        """The bytes of a ZooKeeper server's transaction log files, oldest first."""
        try:
            return logs_in(self.data())
        except NotFound as error:
            if "No such container" in str(error.explanation):
                raise
            return []  # it has never run
