"""A node of the lab, and the verbs that all its servers share."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from typing import Any

import requests

from labkit.errors import (
    BackendError,
    NoAnswer,
    NodeUnreachable,
    StartTimeout,
)
from labkit.lab import urls
from labkit.lab.core import Core
from labkit.servers import memory
from labkit.servers.base import (
    Endpoint,
    ServerState,
)
from labkit.story.event import CLAIMS, RequestEvent

START_TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """A node's answer to GET /sequence."""

    number: int
    token: int | None  # the fencing token: the claim's czxid; newer claims have larger ones
    lease: float | None  # seconds for which the answer may be trusted from when it was sent


class Server(ABC):
    """The verbs that nodes and ZooKeeper servers share."""

    def __init__(self, core: Core, name: str, endpoint: Endpoint) -> None:
        self._core = core
        self.name = name
        self.endpoint = endpoint

    @property
    def state(self) -> ServerState:
        """What is true of the server right now, asked from the system."""
        return self._core.running.state(self.name)

    @property
    def known_state(self) -> str:
        """The state in a word; "unknown" while the Docker engine does not answer."""
        try:
            return self.state.value
        except BackendError:
            return "unknown"

    def stop(self, grace: float = 5.0) -> None:
        """Shut down in order (SIGTERM), by force after `grace` seconds."""
        with self._core.verb("stop", self.name):
            self._core.running.stop(self.name, grace)

    def kill(self) -> None:
        """End it without warning (SIGKILL), as a crash does."""
        with self._core.verb("kill", self.name):
            self._core.running.kill(self.name)

    def pause(self) -> None:
        """Freeze it, as a long garbage collection or a suspended machine does."""
        with self._core.verb("pause", self.name):
            self._core.running.pause(self.name)

    def resume(self) -> None:
        """Let it run on. It does not know that it was frozen."""
        with self._core.verb("resume", self.name):
            self._core.running.resume(self.name)

    def start(self) -> None:
        """Start it again: same name, same address. Returns when it answers."""
        with self._core.verb("start", self.name):
            self.launch()
            self.wait_ready()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def logs(self, tail: int = 50) -> str:
        """Its last `tail` log lines."""
        return self._core.running.logs(self.name, tail)

    def launch(self) -> None:
        if self.state is ServerState.STOPPED:
            self._core.born[self.name] = self._core.timeline.now()
        self._core.running.start(self.name)

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers right now: a real round trip."""

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for a real round trip, or for the server's death.

        Asks less and less often: whoever starts needs the processor more than we do.
        """
        began = look = time.monotonic()
        while not self._answers():
            now = time.monotonic()
            if now >= look:  # for an engine this is work too
                if self.state in (ServerState.STOPPED, ServerState.GONE):
                    raise self.not_started(f"{self.name} ended while it started.")
                look = now + 0.2
            if now > began + timeout:
                raise self.not_started(
                    f"{self.name} did not answer at {self.endpoint} within {timeout:g} s. "
                    "Is the machine overloaded?"
                )
            time.sleep(max(0.01, (now - began) / 20))

    def not_started(self, what: str) -> StartTimeout:
        """The error that says what happened, and why if memory was short: perhaps ZooKeeper's."""
        for name in dict.fromkeys((self.name, *self._core.zookeepers)):
            log = self._core.running.logs(name, 20)
            if why := memory.shortage(log, self._core.killed_before):
                return StartTimeout(f"{what} {why}", log)
        return StartTimeout(what, self.logs(20))


class Node(Server):
    """One server that asks ZooKeeper for its sequence number. Got from `lab.node(…)`."""

    def __init__(
        self, core: Core, name: str, endpoint: Endpoint, *, request_deadline: float
    ) -> None:
        super().__init__(core, name, endpoint)
        self.url = f"http://{endpoint}"
        self._http = requests.Session()
        self.request_deadline = request_deadline  # seconds
        self._http.trust_env = False  # a proxy for the world outside has no business here

    @property
    def link(self) -> str:
        """Where the reader's browser finds it: `url`, unless a hub or a codespace is between."""
        return urls.link(self.endpoint)

    def sequence(self) -> int:
        """Its number, by GET /sequence; the first request makes the node claim one.

        Raises `NoAnswer` when the node says 503, `NodeUnreachable` when it says nothing.
        """
        return self.answer().number

    def answer(self) -> Answer:
        """Its number together with the fencing token and the remaining lease."""
        record = self._core.timeline.record
        invoke = RequestEvent(self.name, phase="invoke", id=self._core.new_id())
        record(invoke)
        try:
            response = self._get(CLAIMS)
        except NodeUnreachable as error:
            record(invoke.unanswered(str(error), refused=error.refused))
            raise
        except NoAnswer as error:
            reason, detail = map(error.problem.get, ("reason", "detail"))
            record(
                replace(
                    invoke,
                    phase="fail",
                    status=error.status,
                    reason=None if reason is None else str(reason),
                    detail=None if detail is None else str(detail),
                )
            )
            raise
        except BaseException as error:  # an interrupt: that it gave no answer is not its fault
            name = type(error).__name__
            record(replace(invoke.unanswered(name, refused=False), abandoned=True))
            raise
        token = response.headers.get("Fencing-Token")
        lease = response.headers.get("Lease-Remaining-Ms")
        answer = Answer(
            response.json(), int(token) if token else None, float(lease) / 1000 if lease else None
        )
        record(
            replace(
                invoke,
                phase="ok",
                number=answer.number,
                token=answer.token,
                lease_ms=float(lease) if lease else None,
            )
        )
        return answer

    def status(self) -> dict[str, Any]:
        """What the node knows about itself, by GET /status. It never claims."""
        status: dict[str, Any] = self._get("/status").json()
        return status

    def id(self) -> int:
        """A fresh Snowflake ID with the node's number as its worker id."""
        return int(self._get("/id").json()["id"])

    def ids(self, count: int) -> list[int]:
        """`count` fresh Snowflake IDs, in order."""
        return [int(value) for value in self._get(f"/ids?count={count}").json()]

    def _get(self, path: str) -> requests.Response:
        timeout = self.request_deadline + 1.0
        try:
            response = self._http.get(self.url + path, timeout=(1.0, timeout))
        except requests.RequestException as error:
            raise NodeUnreachable(
                f"{self.name} ({self.known_state}) did not answer GET {path} within "
                f"{timeout:g} s: {type(error).__name__}. A stopped node wants start(), a paused "
                "one resume().",
                refused=_is_refused(error),
            ) from error
        if response.ok:
            return response
        try:
            problem = response.json()
        except ValueError:
            problem = {"detail": response.text[:200]}
        raise NoAnswer(
            f"{self.name} answered GET {path} with {response.status_code}: "
            f"{problem.get('detail', '')}",
            response.status_code,
            problem,
        )

    def wait_connected(self) -> None:
        """Wait until it has reached ZooKeeper, and a server of the reader's own has started.

        Raises `StartTimeout`, at once if the node ends.
        """
        self.wait_ready()
        deadline = time.monotonic() + START_TIMEOUT
        while (why := self._why_not_started()) is not None:
            if self.state in (ServerState.STOPPED, ServerState.GONE):
                raise self.not_started(f"{self.name} ended while it started.")
            if time.monotonic() > deadline:
                raise self.not_started(f"{self.name} {why} within {START_TIMEOUT:g} s.")
            time.sleep(0.01)

    def _why_not_started(self) -> str | None:
        try:
            status = self.status()
        except NodeUnreachable:
            return "did not go on answering"
        if status["connection"] != "CONNECTED":
            return "did not reach ZooKeeper"
        return "has not started its server" if status["reason"] == "starting" else None

    def close(self) -> None:
        """Close the connections that requests left open."""
        self._http.close()

    def _answers(self) -> bool:
        # A failure costs a tenth of what it costs with `requests`, and a start brings many.
        connection = HTTPConnection(self.endpoint.host, self.endpoint.port, timeout=1.0)
        try:
            connection.request("GET", "/status")
            status = json.load(connection.getresponse())
            # A server of another lab may have taken the port before ours came to it.
            return bool(status["lab"] == self._core.running.lab_id)
        except (OSError, HTTPException, ValueError, LookupError, TypeError):
            return False
        finally:
            connection.close()

    def __repr__(self) -> str:
        return f"<{self.name} {self.known_state} {self.url}>"


def _is_refused(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None
