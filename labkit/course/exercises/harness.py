"""What a judge holds: the reader's function, clients of a real ZooKeeper, and faults.

It hands out clients whose calls are written down and counted, cuts a link or ends a session; all of
it is real. Where the order of events is the subject, `orders` judges. A harness lives in the
process of one check (see `checking`), which may be killed at any moment, so that nothing
here has to be cleaned up.
"""

from __future__ import annotations

import dis
import inspect
import linecache
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError

from labkit.course.exercises.client import LOG, Client
from labkit.course.exercises.values import Moment, as_text, message_of, same
from labkit.explore.search import Found
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

YOU, RIVAL, NETWORK = "your code", "a rival", "the network"


class Failed(Exception):
    """The reader's function does not do what was asked. The message says what it did instead.

    `found` is the search that has shown it, if one has.
    """

    def __init__(self, why: str, found: Found | None = None) -> None:
        super().__init__(why)
        self.found = found


class NotAttempted(Exception):
    """There is nothing to judge yet."""


@dataclass(frozen=True)
class Place:
    """Where a check takes place: a lab's ZooKeeper servers, and the check's own znode in it."""

    base: str  # all paths of the check's clients are below it
    servers: Mapping[str, tuple[str, int]]  # name → host, port
    leader: str
    followers: tuple[str, ...]


class Harness:
    """One check of one function.

    `root` is a fresh, empty znode; `zk` a client whose calls are not written down. In an ensemble
    all talk to the leader, unless a judge wants otherwise: what one writes the others see at once.
    `tell` is told each moment as it is written down or changed, with its place among them; `ask`
    has the lab do something that only its own process can do.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        function: Callable[..., Any],
        deadline: float,
        tell: Callable[[int, Moment], None],
        ask: Callable[[str, str], Any],
    ) -> None:
        self.root = f"/{name}"
        self.function = function
        self.deadline = deadline
        self.followers = place.followers
        self.praise = ""  # what is said beside that it has passed
        self.moments: list[Moment] = []
        self._place = place
        self._tell = tell
        self._ask = ask
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._forwarder = Forwarder()
        self._clients: list[Client] = []
        self._runs: list[Run] = []
        self._rival: Client | None = None
        host, port = place.servers[place.leader]
        self.zk = KazooClient(hosts=f"{host}:{port}{place.base}", logger=LOG)

    def start(self) -> None:
        """Connect, and let the deadline begin."""
        self._forwarder.start()
        self.zk.start(timeout=10)
        self.zk.create(self.root)
        self._began = time.monotonic()

    def leave(self, timeout: float) -> None:
        """Close the sessions in order, as far as that takes at most `timeout` seconds."""
        leaving = [
            threading.Thread(target=client.stop, daemon=True)
            for client in (*self._clients, self.zk)
        ]
        end = time.monotonic() + timeout
        for thread in leaving:
            thread.start()
        for thread in leaving:
            thread.join(max(0.0, end - time.monotonic()))

    # --- the reader's code --------------------------------------------------------------------

    def call(self, *args: Any, kind: type | None = None) -> Any:
        """What the reader's function returns; `kind`, if given, is what it has to be."""
        return self.run(*args).result(kind)

    def raises(self, error: type[Exception], *args: Any) -> None:
        """Judge that the reader's function raises `error`."""
        run = self.run(*args)
        run.wait()
        if not isinstance(run.error, error):
            got = self.show(run.result())
            self.fail(
                f"`{self.call_text(args)}` should raise `{error.__name__}`; it returned {got}.",
                f"returns {got}",
            )
        self.note(YOU, f"raises {error.__name__}")

    def run(self, *args: Any) -> Run:
        """Run the reader's function with `args`, and go on at once."""
        self.note(YOU, self.call_text(args))
        run = Run(self, self.function, args)
        self._runs.append(run)
        return run

    def call_text(self, args: Sequence[Any]) -> str:
        """Such as `claim(zk, "/claim")`, shortened."""
        return f"{self.function.__name__}({', '.join(map(self.show, args))})"

    @property
    def remaining(self) -> float:
        """Seconds until the deadline of the whole check."""
        return max(0.0, self._began + self.deadline - time.monotonic())

    def late(self) -> NoReturn:
        """Judge: the reader's function takes too long."""
        self.fail(*too_long(self.function, self.deadline))

    # --- other parties ------------------------------------------------------------------------

    def client(self, who: str = YOU, server: str | None = None, timeout: float = 10.0) -> Client:
        """A connected client, over a link of its own; its calls are written down as `who`'s.

        It talks to the leader, or to the server of that name; `timeout` is its session's.
        """
        name = f"{who}-{len(self._clients)}"
        server = server or self._place.leader
        port = self._forwarder.link(name, server, self._place.servers[server])
        hosts = f"127.0.0.1:{port}{self._place.base}"
        client = Client(self, who, name, server, hosts, timeout)
        self._clients.append(client)
        client.start(timeout=10)
        client.watched = True
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
        """Break a client's connection, and wait until it is back, with the same session."""
        self.note(NETWORK, f"breaks {_whose(client.who)} connection")
        losses = client.losses
        self._break(client)
        self._until(lambda: client.losses > losses and client.connected, 5.0)

    def expire(self, client: Client) -> None:
        """End a client's session; it learns of that when it is back, which is waited for."""
        session = client.client_id
        self._fault(client, LinkFault("drop"))
        # Whoever knows a session's id and password may go on with it, or close it.
        host, port = self._place.servers[self._place.leader]
        heir = KazooClient(f"{host}:{port}", client_id=session, logger=LOG)
        heir.start(timeout=10)
        heir.stop()
        heir.close()
        self.note("ZooKeeper", f"{_whose(client.who)} session has expired")
        self._break(client)
        self._until(lambda: client.connected and client.client_id[0] != session[0], 5.0)

    def _break(self, client: Client) -> None:
        self._fault(client, LinkFault("refuse"))
        self._fault(client, None)

    def _fault(self, client: Client, fault: LinkFault | None) -> None:
        self._forwarder.fault(client.name, client.target, fault)

    def partition(self, server: str) -> None:
        """Cut a ZooKeeper server off from the others."""
        self.note(NETWORK, f"cuts {server} off from the leader")
        self._ask("partition", server)

    def heal(self, server: str) -> None:
        """Mend the links of a ZooKeeper server, and wait until it follows again."""
        self._ask("heal", server)
        self.note(NETWORK, f"{server} is back")
        self._until(lambda: self._ask("mode", server) == "follower", 20)

    # --- judging ------------------------------------------------------------------------------

    def note(self, who: str, text: str, *, bad: bool = False) -> Moment:
        """Write down what happens now."""
        moment = Moment(time.monotonic() - self._began, who, text, bad)
        with self._lock:
            self.moments.append(moment)
            self._tell(len(self.moments) - 1, moment)
        return moment

    def add(self, moment: Moment, text: str) -> None:
        """Write down how something ended: beside its beginning, if nothing came between."""
        with self._lock:
            if self.moments[-1] is moment:
                moment.text += f" → {text}"
                self._tell(len(self.moments) - 1, moment)
                return
        self.note(moment.who, f"{moment.text}: {text}")

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
        if not same(got, wanted):
            self.fail(
                f"It returned {self.show(got)}; {self.show(wanted)} is right."
                + (f" {why}" if why else ""),
                f"returns {self.show(got)}, not {self.show(wanted)}",
            )
        self.note(YOU, f"returns {self.show(got)}")

    def show(self, value: Any) -> str:
        """A value as the reader would write it, shortened."""
        return as_text(value, self.root)


class Run:
    """One call of the reader's function, in a thread of its own."""

    def __init__(self, harness: Harness, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self._harness = harness
        self._function = function
        self._args = args
        self._value: Any = None
        self.error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._work, name="labkit-exercise", daemon=True).start()

    def _work(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as error:  # sys.exit, too: nothing of the reader's ends the check
            self.error = error
        finally:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether it has returned, or raised."""
        return self._done.is_set()

    def result(self, kind: type | None = None) -> Any:
        """Wait for what it returns.

        Raises `Failed` when it takes too long, raises something, or returns something else than
        a `kind`.
        """
        self.wait()
        if self.error is not None:
            self._harness.fail(*raised(self.error, self._function))
        if self._value is ...:
            raise NotAttempted
        if kind and (wrong := as_asked(self._value, kind, self._function, self._harness.root)):
            self._harness.fail(*wrong)
        return self._value

    def wait(self) -> None:
        """Wait until it has returned, or raised. Raises `Failed` when it takes too long."""
        if not self._done.wait(self._harness.remaining):
            self._harness.late()
        if type(self.error) is NotImplementedError:
            raise NotAttempted


def raised(error: BaseException, function: Callable[..., Any]) -> tuple[str, str]:
    """The verdict on a function that has raised something, and what the timeline says there."""
    name, said = type(error).__name__, message_of(error)
    hint = ""
    if isinstance(error, ConnectionClosedError):
        hint = " Use the `zk` that your function is given: no other client works in a check."
    what = f": {said}" if said else ""
    return f"It raised `{name}`{what}{_line(error, function)}.{hint}", f"raises {name}"


def as_asked(
    value: Any, kind: type, function: Callable[..., Any], root: str = ""
) -> tuple[str, str] | None:
    """The verdict on what is not a `kind`, and what the timeline says there; None if it is one."""
    if type(value) is kind:
        return None
    nothing = value is None and not _returns(function)
    got = "nothing" if nothing else as_text(value, root)
    hint = " Is a `return` missing?" if nothing else ""
    odd = isinstance(value, kind)
    what = f" (a {type(value).__name__})" if odd and kind is not int else ""
    article = _article(kind.__name__)
    return f"It returned {got}{what}, where {article} is asked for.{hint}", f"returns {got}"


def too_long(
    function: Callable[..., Any], deadline: float, error: BaseException | None = None
) -> tuple[str, str]:
    """The verdict on a function that was stopped, and what the timeline says there."""
    where = _line(error, function) if error else ""
    return (
        f"`{function.__name__}` had not returned after {deadline:g} s, and was stopped{where}. "
        "Does its loop end? Does it wait for something that nobody does?",
        "still has not returned",
    )


def bind(function: Callable[..., Any], parameters: Sequence[str]) -> None:
    """Raise `Failed` unless the function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError:
        own = f"{function.__name__}{inspect.signature(function)}"
        wanted = f"{function.__name__}({', '.join(parameters)})"
        raise Failed(f"It is called as `{wanted}`, and yours is `{own}`.") from None
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        word = "yield" if inspect.isgeneratorfunction(function) else "async"
        raise Failed(f"A function with `{word}` does nothing when it is called. Leave it out.")


def _line(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the reader's code an error came from."""
    file = inspect.unwrap(function).__code__.co_filename
    first = inspect.unwrap(function).__code__.co_firstlineno
    found = ""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == file:
            text = linecache.getline(file, step.tb_lineno).strip()
            code = step.tb_frame.f_code
            within = step.tb_lineno - code.co_firstlineno + 1
            own = "the function" if code.co_firstlineno >= first else f"`{code.co_name}`"
            within += code.co_firstlineno - first if own == "the function" else 0
            found = f" (line {within} of {own}{f': `{text}`' if text else ''})"
        step = step.tb_next
    return found


def _article(noun: str) -> str:
    names = {"str": "a string", "int": "an int", "bool": "True or False", "list": "a list"}
    return names.get(noun, f"a {noun}")


def _whose(who: str) -> str:
    return "your" if who == YOU else f"{who}'s"


def _returns(function: Callable[..., Any]) -> bool:
    """Whether it says `return` with something behind it, even if that is None when it runs."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    steps = list(dis.get_instructions(code)) if code is not None else []
    if any(step.opname == "RETURN_CONST" and step.argval is not None for step in steps):
        return True
    ends = (before for before, step in pairwise(steps) if step.opname == "RETURN_VALUE")
    return any(before.opname != "LOAD_CONST" or before.argval is not None for before in ends)
