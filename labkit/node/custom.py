"""A reader's own server: a small class that gets numbers from ZooKeeper with plain kazoo.

    class MyServer:
        def start(self, zk, name): ...   # zk: a connected KazooClient of its own
        def sequence(self): ...          # answers GET /sequence: an int from 1 up
        def state(self, state): ...      # optional: CONNECTED, SUSPENDED or LOST, as kazoo tells
        def token(self): ...             # optional: the czxid of the last answer's znode, or None

A node makes one object of it, `MyServer()`, and promises:

- `start` is called once the client is connected; `name` is the node's. While it raises a kazoo
  error or `labkit.fire.Unavailable` it is called again, a second later. Any other error ends the
  node.
- `sequence` is called for each request, never twice at a time and never before `start` has
  returned; `token` right after it. A number is what `/sequence/<number>` in ZooKeeper stands for.
- A fencing token is that znode's czxid: ZooKeeper's number of the change that created it. It grows
  with each claim of the number, whoever makes it. A counter of the server's own does not.
- Any sequential ephemeral znode below `/sequence`, whatever its name, is a claimant's place in the
  queue: it may take what those ahead of it leave free, and is gone when the claim is done.
- `raise Unavailable("why")` makes the answer 503 with that text. So does any other exception, and
  a value that is no number; these are also in the node's log, in one line that says which node
  failed in which line, after a traceback the first time.
- A request is answered within the node's deadline: 503 if the code is not done by then. It goes on
  all the same, and later requests wait for its end.
- `state` is called, after `start` has returned, for each change since it was called, in a thread
  that nothing else uses: it may ask ZooKeeper, and may run at the same time as `sequence`.
- SIGTERM closes the client's session, so its ephemerals are gone at once.
- What the code prints is in the node's log.

Code that keeps Python's interpreter lock (a regular expression without end, say) stops the whole
node, /status too: nothing but a process of its own would help, and a paused node is to be paused
as a whole. A client's time-out covers that.

A node gets the class by its environment: `CLAIM=/path/my_server.py:MyServer`, or `CLAIM=…:MyServer`
with `CLAIM_SOURCE`, the packed source (see `program`).
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from labkit.node.claimant import Held, Refusal, no_connection, still_claiming
from labkit.node.program import BadProgram, Program, describe, show, where
from labkit.node.session import Session

log = logging.getLogger("labkit.node")

_MAX_WAITING = 8  # requests that wait for the reader's code at a time; the rest come back later
_MOST = 999_999_999  # a znode's name has room for nine digits
_REST = 1.0  # seconds between a start that failed for ZooKeeper's sake and the next
_SLOW = 2.0  # seconds after which the log says that a start has not returned
_QUIET = 1.0  # seconds in which the log is not told the same again
_MANY = 1000  # different things that it may be told before some are forgotten
_FAREWELL = 2.0  # seconds that closing waits for ZooKeeper to hear of it


class Unavailable(Exception):
    """What `sequence` raises when there is no safe answer: `raise Unavailable("the link is lost")`.

    The text says why.
    """


#: What a server that is well may raise while ZooKeeper is not.
_ZOOKEEPERS = (KazooException, KazooTimeoutError, Unavailable)


@dataclass(frozen=True)
class _Running:
    """Reader's code that a node waits for."""

    what: str
    thread: int
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Call:
    """One request's call of `sequence`."""

    outcome: Held | Refusal | None = None


class Custom:
    """A node's number as a reader's class gives it. A `Claimant`.

    `failed` is called, from a thread, with a line of text and an exit code when the class can't
    work: 2 if it cannot be loaded, 1 if it cannot start.
    """

    def __init__(
        self, session: Session, name: str, program: Program, failed: Callable[[str, int], None]
    ) -> None:
        self._session = session
        self._zk: KazooClient = session
        self._name = name
        self._program = program
        self._failed = failed
        self._changed = threading.Condition()
        self._connection = "CONNECTING"
        self._server: Any = None  # the reader's object, once it has started
        self._running: _Running | None = None  # what of the reader's code a node waits for
        self._states: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._places = threading.BoundedSemaphore(_MAX_WAITING)
        self._calls: list[_Call] = []
        self._last: Held | None = None
        self._told: dict[str, float] = {}  # what the log has been told, and when
        self._closing = False
        self._thread = threading.Thread(target=self._live, name="reader", daemon=True)
        self._answering = threading.Thread(target=self._answer, name="reader-calls", daemon=True)

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background; load the class and start it."""
        self._zk.add_listener(self._on_state)
        self._session.connect()
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Wait for the first connection, at most `timeout` seconds; whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection == "CONNECTED", timeout)

    @property
    def client(self) -> KazooClient | None:
        """The connected client, for what else the node keeps in ZooKeeper."""
        return self._zk if self._connection == "CONNECTED" else None

    def close(self) -> None:
        """End the session, whatever the reader's code is doing; waits at most two seconds."""
        with self._changed:
            self._closing = True
            self._last = None
            self._changed.notify_all()
        farewell = threading.Thread(target=self._end_session, name="farewell", daemon=True)
        farewell.start()
        farewell.join(_FAREWELL)

    def _end_session(self) -> None:
        self._zk.stop()
        self._zk.close()

    # --- answering ----------------------------------------------------------------------------

    def peek(self) -> Held | Refusal:
        """The last answer; nobody can say without asking what the next one will be."""
        if self._connection != "CONNECTED":
            return no_connection()
        return self._last or still_claiming()

    def number(self, timeout: float) -> Held:
        """What the reader's `sequence` returns now, within `timeout` seconds.

        Raises `Refusal` if it raises, if it returns no number, or if it is not done by then.
        """
        if self._server is None and self._connection != "CONNECTED":
            raise no_connection()
        if not self._places.acquire(blocking=False):
            raise self._late()
        call = _Call()
        try:
            with self._changed:
                self._calls.append(call)
                self._changed.notify_all()
                self._changed.wait_for(lambda: call.outcome is not None, timeout)
                if call in self._calls:
                    self._calls.remove(call)
        finally:
            self._places.release()
        if isinstance(call.outcome, Held):
            return call.outcome
        raise call.outcome or self._late()

    def _late(self) -> Refusal:
        """The refusal of a request that nothing came of in time; the log tells it too."""
        running = self._running
        if running is None:
            return Refusal("still-running", "Too many requests are waiting; ask again in a moment.")
        seconds = time.monotonic() - running.since
        place = where(running.thread, self._program.names)
        said = f"{running.what} has not returned for {seconds:.1f} s{place}"
        self._tell(said, f"{running.what} at {running.since}")
        return Refusal("still-running" if self._server is not None else "starting", f"{said}.")

    def status(self) -> dict[str, Any]:
        """What is known, for GET /status."""
        session, timeout, last = self._session.session_id, self._session.timeout, self._last
        reason = None if last else "starting" if self._server is None else "not-answered"
        return {
            "number": last.number if last else None,
            "claimed": last.number if last else None,
            "reason": reason,
            "session": f"0x{session:x}" if session else None,
            "connection": self._connection,
            "session_timeout_ms": round(timeout * 1000) if timeout else None,
            "lease_ms": None,
            "token": last.token if last else None,
            "zookeeper": self._session.server,
        }

    # --- the reader's code --------------------------------------------------------------------

    def _live(self) -> None:
        """Load and start the reader's server, then tell it what happens to its connection."""
        watch = threading.Timer(_SLOW, lambda: self._running and self._late())
        watch.daemon = True
        watch.start()
        server = self._load_and_start()
        watch.cancel()
        if server is None:
            return
        self._server = server
        self._answering.start()
        if hasattr(type(server), "state"):
            while True:
                state = self._states.get()
                try:
                    server.state(state)
                except BaseException as error:
                    self._report(f"{self._program.cls}.state", error)

    def _load_and_start(self) -> Any:
        cls = self._program.cls
        try:
            with self._run(f"loading {cls}"):
                server = self._program.load()()
        except BadProgram as error:
            return self._failed(f"{self._name}: {error}", 2)
        except BaseException as error:
            return self._failed(f"{self._name}: {self._report(f'loading {cls}', error)}.", 2)
        while True:
            self.wait_connected(threading.TIMEOUT_MAX)
            self._states = queue.SimpleQueue()
            try:
                with self._run(f"{cls}.start"):
                    server.start(self._zk, self._name)
            except _ZOOKEEPERS as error:
                self._report(f"{cls}.start", error)
                time.sleep(_REST)
            except BaseException as error:
                return self._failed(f"{self._name}: {self._report(f'{cls}.start', error)}.", 1)
            else:
                return server

    def _answer(self) -> None:
        """Call `sequence` for one request after the other."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._calls))
                call = self._calls.pop(0)
            with self._run(f"{self._program.cls}.sequence"):
                outcome = self._ask()
            with self._changed:
                call.outcome = outcome
                self._last = outcome if isinstance(outcome, Held) and not self._closing else None
                self._changed.notify_all()

    @contextmanager
    def _run(self, what: str) -> Iterator[None]:
        """Let others see what of the reader's code this thread runs."""
        self._running = _Running(what, threading.get_ident())
        try:
            yield
        finally:
            self._running = None

    def _ask(self) -> Held | Refusal:
        what = f"{self._program.cls}.sequence"
        try:
            number = self._server.sequence()
            if type(number) is not int or not 1 <= number <= _MOST:
                return self._wrong(what, number, f"it must be an int from 1 to {_MOST}")
            what = f"{self._program.cls}.token"
            token = self._server.token() if hasattr(type(self._server), "token") else None
            if token is not None and (type(token) is not int or token < 0):
                return self._wrong(what, token, "it must be an int from 0 up, or None")
        except Unavailable as why:
            return Refusal("unavailable", str(why) or "The server says so.")
        except BaseException as error:
            return Refusal("error", f"{self._report(what, error)}.")
        return Held(number, token, None)

    def _wrong(self, what: str, value: object, wanted: str) -> Refusal:
        said = f"{what} returned {show(value)} ({type(value).__name__}); {wanted}"
        self._tell(said)
        return Refusal("wrong-answer", f"{said}.")

    def _report(self, what: str, error: BaseException) -> str:
        """Tell the log which node failed where; what it tells."""
        said = f"{what} {describe(error, self._program.names)}"
        if said not in self._told and not isinstance(error, _ZOOKEEPERS):
            log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        self._tell(said)
        return said

    def _tell(self, said: str, key: str = "") -> None:
        """Write a line into the log, if it has not been told the same within a second."""
        now = time.monotonic()
        if now - self._told.get(key or said, -math.inf) < _QUIET:
            return
        if len(self._told) > _MANY:
            self._told.clear()
        self._told[key or said] = now
        log.error("%s: %s", self._name, said)

    def _on_state(self, state: str) -> None:
        """Called by kazoo's connection thread, which must not wait."""
        with self._changed:
            self._connection = "CLOSED" if self._closing else str(state)
            if state == "LOST":
                self._last = None
            self._changed.notify_all()
        if not self._closing:
            self._states.put(str(state))
