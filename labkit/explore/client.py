"""kazoo's own client on a modelled connection: what it says, when, and by which exception.

It is `KazooClient` itself, so calls, `*_async`, transactions, `retry`, listeners and recipes are
kazoo's. Only the connection is not there: a request goes to the actor that the client belongs to,
and what comes back is told by `reply`, `lost`, `back`, `expired` and `notice`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.handlers.utils import AsyncResult
from kazoo.protocol.serialization import Close
from kazoo.protocol.states import Callback, KeeperState, WatchedEvent, ZnodeStat

from labkit.explore.strands import ForeignCall
from labkit.explore.tree import READS, WRITES

TIMEOUT = 10.0  # seconds of a session, unless a specification says otherwise

# kazoo tells its log each exception of a listener, thousands of times in a search.
LOG = logging.getLogger("labkit.explore")
LOG.addHandler(logging.NullHandler())
LOG.propagate = False


class Observed(set[str]):
    """What the code under search has ever looked at: "czxid" and so on, "clock", "connection".

    What nobody looks at need not tell two states apart. When it grows, a search begins anew.
    """


class Stat(ZnodeStat):
    """A stat that knows which of its fields are looked at."""

    observed = Observed()

    def __new__(cls, stat: ZnodeStat, observed: Observed) -> Stat:
        made = super().__new__(cls, *tuple.__iter__(stat))
        made.observed = observed
        return made

    def __getitem__(self, at: Any) -> Any:
        self.observed.update(STAT_FIELDS)
        return super().__getitem__(at)

    def __iter__(self) -> Any:
        self.observed.update(STAT_FIELDS)
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        self.observed.update(STAT_FIELDS)
        return super().__eq__(other)

    __hash__ = ZnodeStat.__hash__

    def __repr__(self) -> str:
        self.observed.update(STAT_FIELDS)
        return super().__repr__()


STAT_FIELDS = frozenset(ZnodeStat._fields)


def _looked_at(at: int, name: str) -> property:
    def look(stat: Stat) -> Any:
        stat.observed.add(name)
        return tuple.__getitem__(stat, at)

    return property(look)


for _at, _name in enumerate(ZnodeStat._fields):
    setattr(Stat, _name, _looked_at(_at, _name))


class Request(NamedTuple):
    """One request on its way: its number among those of its actor, and kazoo's own record of it."""

    number: int
    body: Any


class Handler:
    """kazoo's handler: its callbacks run in strands of the actor."""

    name = "explore"
    timeout_exception = KazooTimeoutError
    running = True

    def __init__(self, completions: Any) -> None:
        self.completion_queue = completions
        self.calm = True  # events made now are kazoo's own: nobody looks at them in between
        self.notices: deque[Callable[[], object]] = deque()

    @property
    def sleep_func(self) -> Callable[[float], None]:
        return time.sleep

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def event_object(self) -> threading.Event:
        event = threading.Event()
        vars(event)["calm"] = self.calm
        return event

    def lock_object(self) -> Any:
        return threading.Lock()

    def rlock_object(self) -> Any:
        return threading.RLock()

    def async_result(self) -> Any:
        return AsyncResult(self, threading.Condition, KazooTimeoutError)

    def spawn(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    def dispatch_callback(self, callback: Callback) -> None:
        self.notices.append(lambda: callback.func(*callback.args))


class _InOrder(dict[Any, None]):
    """A set that keeps the order in which things came."""

    def add(self, thing: Any) -> None:
        self[thing] = None

    def discard(self, thing: Any) -> None:
        self.pop(thing, None)


class Client(KazooClient):
    """A `KazooClient` whose requests are handed to `send`."""

    def __init__(
        self,
        send: Callable[[Request], None],
        handler: Any,
        timeout: float,
        observed: Observed,
    ) -> None:
        self._send = send
        self._observed = observed
        self._said = "LOST"
        self._numbers = 0
        self._waiting: dict[int, Any] = {}  # a request's number → who waits for its reply
        self._watching: dict[int, Any] = {}  # a request's number → its watch function
        super().__init__(handler=handler, timeout=timeout, logger=LOG)
        handler.calm = False
        self.state_listeners: Any = _InOrder()  # a set's order is another in each process

    # --- kazoo's ------------------------------------------------------------------------------

    def _call(self, request: Any, async_object: Any) -> Any:
        if self._state == KeeperState.CLOSED:
            async_object.set_exception(ConnectionClosedError("Connection has been closed"))
            return False
        if not isinstance(request, (*READS, *WRITES)) and not is_close(request):
            name = type(request).__name__
            raise ForeignCall(f"sends a request that the model of ZooKeeper does not have: {name}")
        self._numbers += 1
        self._waiting[self._numbers] = async_object
        watcher = getattr(request, "watcher", None)
        if watcher:
            self._watching[self._numbers] = watcher
        self._send(Request(self._numbers, request))
        return None

    def start(self, timeout: float = 15) -> None:
        """Connect, unless it is: the actor's client is when its code begins."""
        if self._state == KeeperState.CLOSED:
            done = self.handler.async_result()
            self._numbers += 1
            self._waiting[self._numbers] = done
            self._send(Request(self._numbers, "connect"))
            done.get()

    def stop(self) -> None:
        """End the session, in order."""
        if self._state == KeeperState.CLOSED:
            return
        done = self.handler.async_result()
        self._call(Close, done)
        done.get()
        self._watching.clear()
        self._session_callback(KeeperState.CLOSED)

    def close(self) -> None: ...

    @property
    def sent(self) -> int:
        """How many requests it has sent."""
        return self._numbers

    @property
    def timeout(self) -> float:
        """The session timeout in seconds."""
        return self._session_timeout / 1000

    @property
    def state(self) -> str:
        """CONNECTED, SUSPENDED or LOST."""
        self._observed.add("connection")
        return self._said

    @state.setter
    def state(self, state: str) -> None:
        self._said = state

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        self._observed.add("connection")
        return bool(self._live.is_set())

    def add_listener(self, listener: Callable[[str], object]) -> None:
        """Have a function told each change of the connection's state."""
        self._observed.add("connection")
        super().add_listener(listener)

    def _make_state_change(self, state: str) -> None:
        if self._said == state:
            return
        self._said = state
        for listener in list(self.state_listeners):
            try:
                if listener(state) is True:
                    self.remove_listener(listener)
            except Exception:
                LOG.exception("Error in connection state listener")

    # --- what is told -------------------------------------------------------------------------

    def begin(self, session: int) -> None:
        """There is a connection, and a session."""
        self._session_id, self._session_passwd = session, b"\x01" * 16
        self._stopped.clear()
        self._session_callback(KeeperState.CONNECTED)

    def reply(self, number: int, value: Any, error: Exception | None) -> None:
        """A request's reply is there."""
        waiting = self._waiting.pop(number)
        if error is not None:
            self._watching.pop(number, None)
            waiting.set_exception(type(error)())  # each with a traceback of its own
        else:
            waiting.set(value)

    def lost(self) -> None:
        """The connection breaks: who waits is told, then the listeners, then who watches."""
        self._fail(ConnectionLoss)
        self._session_callback(KeeperState.CONNECTING)

    def back(self) -> None:
        """The connection is back, with the same session."""
        self._session_callback(KeeperState.CONNECTED)

    def expired(self, session: int) -> None:
        """The session has ended, which the client hears only now; then it has a new one."""
        if self._state == KeeperState.CONNECTED:
            self._state = KeeperState.CONNECTING
            self._live.clear()
            self._make_state_change("SUSPENDED")
        waiting, self._waiting = self._waiting, {}
        self._session_callback(KeeperState.EXPIRED_SESSION)
        for result in waiting.values():
            result.set_exception(SessionExpiredError())
        self.begin(session)

    def _fail(self, error: type[Exception]) -> None:
        waiting, self._waiting = self._waiting, {}
        for result in waiting.values():
            result.set_exception(error())

    def notice(self, kind: str, path: str | None, numbers: tuple[int, ...]) -> None:
        """Hand an event to those watch functions that these requests have left."""
        told: list[Any] = []
        for number in numbers:
            watcher = self._watching.pop(number, None)
            if watcher is not None and watcher not in told:
                told.append(watcher)
        event = WatchedEvent(kind, self._state, path and self.unchroot(path))
        for watcher in told:
            self.handler.dispatch_callback(Callback("watch", watcher, (event,)))

    @property
    def watching(self) -> bool:
        """Whether a watch function of this client may be called."""
        return bool(self._watching)


def is_close(body: Any) -> bool:
    """Whether a request ends the session."""
    return body is Close or isinstance(body, Close)
