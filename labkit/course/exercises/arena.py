"""Where a reader's function runs: a thread with a deadline, against a real ZooKeeper.

A judge hands out clients whose calls are written down and counted, lets a rival act between two of
the reader's calls, loses a reply or ends a session; all of it is real, over links that can be cut.
Whatever the reader's code does, the lab stays usable: its thread is ended, its sessions are closed
and its path is deleted.
"""

from __future__ import annotations

import ctypes
import inspect
import itertools
import linecache
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NoReturn

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.serialization import Transaction
from kazoo.protocol.states import EventType, KeeperState, WatchedEvent, ZnodeStat

from labkit.lab.lab import Lab
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.node.session import Session
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

YOU, RIVAL, NETWORK = "your code", "a rival", "the network"

_PATIENCE = 1.0  # seconds for code that has been told to end
_OPS = {
    "Create": "create", "Create2": "create", "Delete": "delete", "Exists": "exists",
    "GetData": "get", "SetData": "set", "GetChildren": "get_children",
    "GetChildren2": "get_children", "Sync": "sync", "Transaction": "transaction",
    "CheckVersion": "check",
}  # fmt: skip

_LOG = logging.getLogger("labkit.exercises")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False

_numbers = itertools.count(1)


class Failed(Exception):
    """The reader's function does not do what was asked. The message says what it did instead."""


class NotAttempted(Exception):
    """There is nothing to judge yet."""


class _Stop(BaseException):
    """Ends a thread that runs the reader's code; no `except Exception` keeps it alive."""


@dataclass
class Moment:
    """One thing that happened, `t` seconds after the check began; `bad` if it is the mistake."""

    t: float
    who: str
    text: str
    bad: bool = False


class Arena:
    """One check of one function. Use it as a context manager.

    `root` is a fresh, empty znode; `zk` a client whose calls are not written down. In an ensemble
    all talk to the leader, unless a judge wants otherwise: what one writes the others see at once.
    """

    def __init__(
        self, lab: Lab, name: str, function: Callable[..., Any], deadline: float = 6.0
    ) -> None:
        self.lab = lab
        leader = lab.zookeeper.leader
        assert leader is not None, "the caller has looked"
        self._leader = leader
        self.zk = KazooClient(hosts=str(leader.endpoint), logger=_LOG)
        self.root = f"/{name}-{next(_numbers)}"
        self.function = function
        self.moments: list[Moment] = []
        self._deadline = deadline
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._forwarder = Forwarder()
        self._clients: list[Client] = []
        self._runs: list[Run] = []
        self._threads: list[threading.Thread] = []
        self._rival: Client | None = None

    def __enter__(self) -> Arena:
        self._forwarder.start()
        self.zk.start(timeout=10)
        self.zk.create(self.root)
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.ended = True
        for run in self._runs:
            run.end()
        for thread in self._threads:
            thread.join()
        self._forwarder.heal()
        for client in self._clients:
            client.leave()
        self._forwarder.close()
        with suppress(NoNodeError):
            self.zk.delete(self.root, recursive=True)
        self.zk.stop()
        self.zk.close()

    # --- the reader's code --------------------------------------------------------------------

    def call(self, *args: Any, kind: type | None = None) -> Any:
        """What the reader's function returns; `kind`, if given, is what it has to be."""
        return self.start(*args).result(kind)

    def raises(self, error: type[Exception], *args: Any) -> None:
        """Judge that the reader's function raises `error`."""
        run = self.start(*args)
        run.wait()
        if not isinstance(run.error, error):
            run.result()
            self.fail(
                f"`{self.call_text(args)}` should raise `{error.__name__}`; it returned "
                f"{self.show(run.result())}.",
                f"returns {self.show(run.result())}",
            )
        self.note(YOU, f"raises {error.__name__}")

    def start(self, *args: Any) -> Run:
        """Run the reader's function with `args`, and go on at once."""
        self.note(YOU, self.call_text(args))
        run = Run(self, self.function, args)
        self._runs.append(run)
        return run

    def call_text(self, args: Sequence[Any]) -> str:
        """Such as `claim(zk, "/claim-3")`, shortened."""
        return f"{self.function.__name__}({', '.join(map(self.show, args))})"

    @property
    def remaining(self) -> float:
        """Seconds until the deadline of the whole check."""
        return max(0.0, self._began + self._deadline - time.monotonic())

    @property
    def deadline(self) -> float:
        """Seconds that the reader's code may take."""
        return self._deadline

    # --- other parties ------------------------------------------------------------------------

    def client(
        self, who: str = YOU, server: ZooKeeperServer | None = None, timeout: float = 10.0
    ) -> Client:
        """A connected client, over a link of its own; its calls are written down as `who`'s.

        It talks to the leader, or to the server given.
        """
        name = f"{who}-{len(self._clients)}"
        server = server or self._leader
        port = self._forwarder.link(name, server.name, (server.endpoint.host, server.endpoint.port))
        client = Client(self, who, name, server.name, port, timeout)
        self._clients.append(client)
        client.start(timeout=10)
        return client

    @property
    def rival(self) -> Client:
        """Somebody else, with a session of their own."""
        if self._rival is None:
            self._rival = self.client(RIVAL)
        return self._rival

    # --- faults -------------------------------------------------------------------------------

    def cut(self, client: Client) -> None:
        """Let nothing through between a client and ZooKeeper; nobody is told."""
        self.note(NETWORK, f"cuts {_whose(client.who)} link")
        self._fault(client, LinkFault("drop"))

    def reset(self, client: Client) -> None:
        """Break a client's connection; its session stays."""
        self.note(NETWORK, f"breaks {_whose(client.who)} connection")
        self._fault(client, LinkFault("refuse"))
        self._fault(client, None)

    def expire(self, client: Client) -> None:
        """End a client's session; it learns of that when it is back, which is waited for."""
        session = client.client_id
        self._fault(client, LinkFault("drop"))
        # Whoever knows a session's id and password may go on with it, or close it.
        heir = KazooClient(str(self._leader.endpoint), client_id=session, logger=_LOG)
        heir.start(timeout=10)
        heir.stop()
        heir.close()
        self.note("ZooKeeper", f"{_whose(client.who)} session has expired")
        self._fault(client, LinkFault("refuse"))
        self._fault(client, None)
        self._until(lambda: client.connected and client.client_id[0] != session[0], 5.0)

    def lose_reply(self, client: Client, op: str, done: Callable[[], bool]) -> None:
        """Have the client's next `op` carried out, and its connection break before the reply.

        `done` says whether ZooKeeper has carried it out.
        """

        def after() -> None:
            self._until(done, 2.0)
            self.note(NETWORK, "loses the reply; the connection breaks")
            self._fault(client, LinkFault("refuse"))
            self._fault(client, None)

        self._break_around(client, op, "from", after)

    def lose_request(self, client: Client, op: str) -> None:
        """Have the client's connection break before its next `op` reaches ZooKeeper."""

        def after() -> None:
            self._until(lambda: client.waits_for_replies, 2.0)
            self.note(NETWORK, "loses the request; the connection breaks")
            self._fault(client, LinkFault("refuse"))
            self._fault(client, None)

        self._break_around(client, op, "to", after)

    def _break_around(
        self, client: Client, op: str, way: Literal["to", "from"], after: Callable[[], None]
    ) -> None:
        def before(_: str) -> None:
            self._fault(client, LinkFault("drop", direction=way))
            thread = threading.Thread(target=after, name="labkit-exercise-fault", daemon=True)
            self._threads.append(thread)
            thread.start()

        client.before(op, before)

    def _fault(self, client: Client, fault: LinkFault | None) -> None:
        self._forwarder.fault(client.name, client.target, fault)

    # --- judging ------------------------------------------------------------------------------

    def note(self, who: str, text: str, *, bad: bool = False) -> Moment:
        """Write down what happens now."""
        moment = Moment(time.monotonic() - self._began, who, text, bad)
        with self._lock:
            self.moments.append(moment)
        return moment

    def is_last(self, moment: Moment) -> bool:
        """Whether nothing has been written down since."""
        return self.moments[-1] is moment

    def wait(self, condition: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until the condition is true; False when it is not after `timeout` seconds.

        Raises `Failed` when the deadline of the whole check comes first, and the reader's code is
        still running.
        """
        if self._until(condition, self.remaining if timeout is None else timeout):
            return True
        if not self.remaining:
            for run in self._runs:
                run.wait()
        return False

    def _until(self, condition: Callable[[], object], timeout: float) -> bool:
        end = time.monotonic() + min(self.remaining, timeout)
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def fail(self, why: str, moment: str | None = None, who: str = YOU) -> NoReturn:
        """Judge: failed. `why` is a sentence, `moment` what the timeline says there."""
        self.note(who, moment or "this is the mistake", bad=True)
        raise Failed(why)

    def equal(self, got: Any, wanted: Any, why: str = "") -> None:
        """Judge that a function has returned what was wanted."""
        if got != wanted:
            self.fail(
                f"It returned {self.show(got)}; {self.show(wanted)} is right."
                + (f" {why}" if why else ""),
                f"returns {self.show(got)}, not {self.show(wanted)}",
            )
        self.note(YOU, f"returns {self.show(got)}")

    def show(self, value: Any) -> str:
        """A value as the reader would write it, shortened."""
        if isinstance(value, KazooClient):
            return "zk"
        if isinstance(value, ZnodeStat):
            return f"stat(czxid={value.czxid}, version={value.version})"
        if value == self.root:
            return "root"
        if callable(value):
            return getattr(value, "__name__", "…")
        text = repr(value).replace(self.root + "/", "…/").replace(self.root, "…")
        return text if len(text) <= 60 else text[:57] + "…"


class Client(Session):
    """A session whose every call is written down, and between whose calls others may act."""

    def __init__(
        self, arena: Arena, who: str, name: str, server: str, port: int, timeout: float
    ) -> None:
        self.who = who
        self.name = name
        self.target = server
        self.calls: list[str] = []  # such as "create", in order
        self.ended = False
        self.broken: BaseException | None = None  # what a watch function raised
        self._arena = arena
        self._hooks: list[tuple[str, Callable[[str], object]]] = []
        self._guards: dict[Any, Any] = {}
        super().__init__(f"127.0.0.1:{port}", timeout, _LOG)

    def before(self, op: str, act: Callable[[str], object]) -> None:
        """Do something once, right before the client's next `op` on a path is sent."""
        self._hooks.append((op, act))

    @property
    def waits_for_replies(self) -> bool:
        """Whether something has been sent and is not answered yet."""
        return bool(self._pending)

    def _call(self, request: Any, async_object: Any) -> Any:
        if self.ended:
            raise _Stop
        op = _OPS.get(type(request).__name__)
        if op is not None:
            self._run_hooks(op, getattr(request, "path", ""))
            self.calls.append(op)
            self._write_down(self._arena.note(self.who, self._text(op, request)), async_object)
            if getattr(request, "watcher", None) is not None:
                request = request._replace(watcher=self._guarded(request.watcher))
        return super()._call(request, async_object)

    def _run_hooks(self, op: str, path: str) -> None:
        for hook in self._hooks:
            if hook[0] == op:
                self._hooks.remove(hook)
                hook[1](path)
                return

    def _write_down(self, moment: Moment, async_object: Any) -> None:
        # Not a callback of the result's: those run after the caller has been woken, so that its
        # next call could come first.
        arena, succeed, fail = self._arena, async_object.set, async_object.set_exception

        def outcome(text: str) -> None:
            if arena.is_last(moment):
                moment.text += f" → {text}"
            else:
                arena.note(self.who, f"{moment.text}: {text}")

        def success(value: Any = None) -> None:
            if isinstance(value, list) and any(isinstance(v, KazooException) for v in value):
                outcome("refused")
            elif isinstance(value, list) and moment.text.startswith("get_children"):
                outcome(arena.show(sorted(value)))
            succeed(value)

        def failure(error: Any) -> None:
            outcome(type(error).__name__.removesuffix("Error"))
            fail(error)

        async_object.set, async_object.set_exception = success, failure

    def _text(self, op: str, request: Any) -> str:
        if isinstance(request, Transaction):
            parts = [
                f"{_OPS.get(type(part).__name__, '?')} {self._short(part.path)}"
                for part in request.operations
            ]
            return f"transaction: {', '.join(parts)}"
        text = f"{op} {self._short(request.path)}"
        if op in ("set", "create") and 0 < len(request.data or b"") <= 12:
            text += f" = {request.data.decode(errors='replace')}"
        if op in ("set", "delete") and request.version != -1:
            text += f", version {request.version}"
        return text + (", watch" if getattr(request, "watcher", None) is not None else "")

    def _short(self, path: str) -> str:
        short = path.removeprefix(self._arena.root).removeprefix("/") or "/"
        return short if len(short) <= 24 else f"{short[:9]}…{short[-10:]}"

    def _guarded(self, watcher: Any) -> Any:
        """The reader's watch function, written down when it is called; always the same one."""
        if watcher not in self._guards:

            def guard(event: WatchedEvent) -> None:
                where = self._short(event.path) if event.path else "connection"
                self._arena.note(self.who, f"notice: {where} {str(event.type).lower()}")
                try:
                    watcher(event)
                except _Stop:
                    pass
                except Exception as error:  # it would end in kazoo's log, which nobody reads
                    self.broken = error

            self._guards[watcher] = guard
        return self._guards[watcher]

    def leave(self) -> None:
        """Close the session, whatever its threads are in the middle of."""
        self.ended = True
        workers = list(self.handler._workers)  # kazoo forgets them before they have ended
        waking, closing = (
            threading.Thread(target=work, name="labkit-exercise-leave", daemon=True)
            for work in (self._wake, self._leave)
        )
        waking.start()
        closing.start()
        end = time.monotonic() + _PATIENCE
        for thread in (waking, closing):
            thread.join(max(0.0, end - time.monotonic()))
        while waking.is_alive() or closing.is_alive():  # a watch function that does not return
            for thread in (waking, *workers):
                _raise_in(thread)
            time.sleep(0.02)

    def _wake(self) -> None:
        """Code that waits for a notice gets the last ones; its next call ends it."""
        for guard in list(self._guards.values()):
            for kind in (EventType.NONE, EventType.DELETED, EventType.CHANGED, EventType.CHILD):
                with suppress(_Stop):
                    guard(WatchedEvent(kind, KeeperState.CLOSED, None))

    def _leave(self) -> None:
        with suppress(Exception):  # kazoo raises a bare one when its writer does not end in time
            self.stop()
        with suppress(Exception):
            self.close()


class Run:
    """One call of the reader's function, in a thread of its own."""

    def __init__(self, arena: Arena, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self._arena = arena
        self._function = function
        self._args = args
        self._value: Any = None
        self.error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="labkit-exercise", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has returned, or raised."""
        return self._done.is_set()

    def result(self, kind: type | None = None) -> Any:
        """Wait for what it returns.

        Raises `Failed` when it takes too long, raises something, or returns something else than
        a `kind`.
        """
        arena = self._arena
        self.wait()
        if self.error is not None:
            where = _line(self.error, self._function)
            name = type(self.error).__name__
            said = str(self.error)
            what = f": {said[:150]}{'…' * (len(said) > 150)}" if said else ""
            arena.fail(f"It raised `{name}`{what}{where}.", f"raises {name}")
        if self._value is ...:
            raise NotAttempted
        if kind is not None and (not isinstance(self._value, kind) or _is_odd(self._value, kind)):
            got = "nothing" if self._value is None else f"{self._value!r:.60}"
            hint = " Is a `return` missing?" if self._value is None else ""
            arena.fail(
                f"It returned {got}, where {_article(kind.__name__)} is asked for.{hint}",
                f"returns {got}",
            )
        return self._value

    def wait(self) -> None:
        """Wait until it has returned, or raised. Raises `Failed` when it takes too long."""
        if not self._done.wait(self._arena.remaining):
            self._arena.fail(
                f"`{self._function.__name__}` had not returned after {self._arena.deadline:g} s, "
                "and was stopped. Does its loop end? Does it wait for something that nobody does?",
                "still has not returned",
            )
        if isinstance(self.error, NotImplementedError):
            raise NotAttempted

    def end(self) -> None:
        """End the thread, if it is to be ended at all: one that sleeps ends when it wakes up."""
        self._done.wait(0.05)
        deadline = time.monotonic() + _PATIENCE
        while self._thread.is_alive() and time.monotonic() < deadline:
            _raise_in(self._thread)
            self._thread.join(0.02)

    def _work(self) -> None:
        try:
            self._value = self._function(*self._args)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self.error = error
        except _Stop as stop:
            self.error = stop
        finally:
            self._done.set()


def bind(function: Callable[..., Any], parameters: Sequence[str]) -> None:
    """Raise `Failed` unless the function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError:
        own = f"{function.__name__}{inspect.signature(function)}"
        wanted = f"{function.__name__}({', '.join(parameters)})"
        raise Failed(f"It is called as `{wanted}`, and yours is `{own}`.") from None


def _raise_in(thread: threading.Thread) -> None:
    """Raise `_Stop` in another thread, as soon as it runs Python code again."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop)
        )


def _line(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the reader's code an error came from."""
    file = inspect.unwrap(function).__code__.co_filename
    found = ""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == file:
            text = linecache.getline(file, step.tb_lineno).strip()
            within = step.tb_lineno - function.__code__.co_firstlineno + 1
            found = f" (line {within} of the function{f': `{text}`' if text else ''})"
        step = step.tb_next
    return found


def _is_odd(value: Any, kind: type) -> bool:
    return isinstance(value, bool) and kind is int


def _article(noun: str) -> str:
    names = {"str": "a string", "int": "an int", "bool": "True or False", "list": "a list"}
    return names.get(noun, f"a {noun}")


def _whose(who: str) -> str:
    return "your" if who == YOU else f"{who}'s"
