"""Every error the lab raises on purpose, under one root; each message names the fix."""

from __future__ import annotations


class LabError(Exception):
    """Root of the lab's errors: `with suppress(LabError): lab.node(1).sequence()`.

    The message says what happened, to which server, and what to do next.
    """


class ConfigError(LabError):
    """A setting cannot be used; raised before anything has been started."""


class BackendError(LabError):
    """Something went wrong where the servers run."""


class BackendUnavailable(BackendError):
    """No engine answers, or no ZooKeeper or Java is installed."""


class ServerNotFound(BackendError):
    """The lab has no server of that name (or it was removed behind the lab's back)."""


class InvalidTransition(BackendError):
    """The verb makes no sense in the server's present state, such as resuming a stopped one."""


class PortInUse(BackendError):
    """Somebody else listens on a port that a server needs."""


class StartTimeout(BackendError):
    """A server did not get ready in time; `logs` holds its last lines.

    The lines are part of the message too, because that is what a reader sees.
    """

    def __init__(self, message: str, logs: str = "") -> None:
        super().__init__(f"{message}\n\nIts last log lines:\n{logs.rstrip()}" if logs else message)
        self.logs = logs


class ForeignZooKeeper(BackendError):
    """The verb acts on a ZooKeeper server or its files, and the lab was only given its address."""


class UnsupportedFault(BackendError):
    """This backend cannot inject that fault; the message says which one can."""


class WaitTimeout(LabError):
    """A condition did not come true in time."""


class NodeError(LabError):
    """A request to a node did not give what was asked for."""


class NoAnswer(NodeError):
    """The node answered, but with no number: 503 if there is no safe answer now.

    `status` is HTTP's, `problem` its RFC 9457 document.
    """

    def __init__(self, message: str, status: int, problem: dict[str, object]) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem


class NodeUnreachable(NodeError):
    """No HTTP answer at all: the node is stopped, paused or dead.

    The outcome is unknown, unless the connection was `refused`: then nobody took the request.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class HistoryError(LabError):
    """A timeline is malformed and cannot be judged. (Violations are data, not errors.)"""
