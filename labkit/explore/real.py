"""A schedule repeated on a lab's ZooKeeper: whether what the model says happens there too.

The actors' code runs as in a search, one step after the other; but each request is sent by a real
client of the lab, over a link that loses it or its reply where the schedule says so. A session is
ended by a second connection that closes it. The verdict is the specification's own, over the tree
that ZooKeeper's transaction log tells.
"""

from __future__ import annotations

import itertools
import os
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import (
    CheckVersion,
    Create,
    Create2,
    Delete,
    Exists,
    GetACL,
    GetChildren,
    GetChildren2,
    GetData,
    SetData,
    Sync,
    Transaction,
)

from labkit.explore.actor import Moment, Program
from labkit.explore.client import LOG, Observed
from labkit.explore.says import plain
from labkit.explore.search import Found
from labkit.explore.seat import CRASHES, LAGS, Seat
from labkit.explore.specification import Specification, names
from labkit.explore.strands import virtual
from labkit.explore.tree import EPHEMERAL, SEQUENCE, WRITES, Tree, Znode, parent
from labkit.explore.world import Rules, World, shown
from labkit.lab.lab import Lab
from labkit.lab.lossy import LossyClient
from labkit.lab.zookeeper import ZooKeeperServer

_ANSWER = 10.0  # seconds in which a real reply, a notice or the end of a session comes
_QUIET = 0.5  # seconds in which nothing comes from ZooKeeper, so that nothing will
_numbers = itertools.count(1)


@dataclass
class Repeated:
    """Whether the real ZooKeeper confirms a schedule, and what it says."""

    confirmed: bool
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class _Differs(Exception):
    """ZooKeeper does something else than the model. The message says what."""


def repeat(found: Found, wanted: Specification, lab: Lab) -> Repeated:
    """Repeat the schedule that breaks a specification. A schedule is needed."""
    if not found.violation:
        return Repeated(False, "There is no schedule to repeat: nothing wrong was found.")
    lagging = {step["actor"] for step in found.schedule if step["kind"] == LAGS}
    if len(lagging) > len(lab.zookeeper.followers):
        return Repeated(False, "Not confirmed: a server has to lag. Repeat it on Lab(ensemble=3).")
    again = _Repetition(wanted, lab, lagging, Observed(found.observed))
    try:
        again.begin()
        for step in found.schedule:
            again.take(step, found.plan[step["step"] - 1])
        wrong = again.verdict()
    except _Differs as differs:
        return Repeated(False, f"Not confirmed: {differs}")
    finally:
        again.close()
    if wrong is None:
        return Repeated(False, "Not confirmed: on the real ZooKeeper nothing is wrong at the end.")
    if wrong != found.violation:
        return Repeated(False, f"Not confirmed: on the real ZooKeeper {wrong}.")
    return Repeated(True, f"Confirmed by ZooKeeper's own log: {wrong}.")


class _Repetition:
    """The actors of a specification, each with a real client, and a znode for the whole of it."""

    def __init__(
        self, wanted: Specification, lab: Lab, lagging: set[str], observed: Observed
    ) -> None:
        self._wanted = wanted
        self._lagging = lagging
        self._lab = lab
        self._base = f"/explore-{os.getpid()}-{next(_numbers)}"
        self._programs = [
            Program(name, at, body, observed, wanted.timeout)
            for at, (name, body) in enumerate(wanted.bodies.items())
        ]
        self._rules = Rules(self._programs, observed)
        self._actors: list[_Actor] = []
        self._sessions: dict[str, str] = {}  # a real session's number → the model's, as text
        self._orphans: list[tuple[int, bytes]] = []  # sessions of actors that have crashed

    def begin(self) -> None:
        """Plant the tree, connect everybody, and let them come to their first call."""
        self._lab.zk.ensure_path(self._base)
        for path, data in self._wanted.znodes:
            self._lab.zk.create(self._base + path, data, makepath=True)
        followers = list(self._lab.zookeeper.followers)
        for program in self._programs:
            server = None  # any; but one that will lag, or that sees at once what was written
            if self._lagging:
                lags = program.name in self._lagging and followers
                server = followers.pop() if lags else self._lab.zookeeper.leader
            client = self._client(program, server)
            self._actors.append(_Actor(program, client, self._base, self._lab.zookeeper.leader))

    def _client(self, program: Program, server: ZooKeeperServer | None) -> LossyClient:
        return self._lab.client(f"{self._base[1:]}-{program.name}-{next(_numbers)}", server=server)

    def take(self, step: dict[str, Any], choice: tuple[int, str, int]) -> None:
        """Do one step, and compare what the actor is told with what the schedule says."""
        for each in self._actors:
            each.last = False
        at, kind, detail = choice
        if kind == "an old session ends":
            _end_session(self._actors[0].leader, self._orphans.pop(at))
            return
        actor = self._actors[at]
        if kind == CRASHES:
            self._orphans += [] if actor.ended else [actor.client.client_id]
        if kind == "restarts":
            actor.restart(self._client(actor.program, actor.server))
            return
        if kind == LAGS:
            self._cut_off(actor, True)
            return
        if step["kind"] in ("call", "hears") and actor.lags and not actor.reads:
            self._cut_off(actor, False)  # what it sends has to reach the leader
        got = actor.take(step["kind"], detail, step)
        for each, told in zip(self._actors, step["actors"], strict=True):
            number = int(told["session"], 16)
            self._sessions |= {str(each.session): str(number), hex(each.session): hex(number)}
        got = _renamed(got, self._sessions)
        if step["kind"] in ("call", "notice") and not _same(got, step["told"]):
            raise _Differs(
                f"in step {step['step']} {actor.program.name} is told {got!r} by the real "
                f"ZooKeeper, and {step['told']!r} by the model."
            )

    def _cut_off(self, actor: _Actor, lags: bool) -> None:
        """Cut an actor's server off from the leader, or let it catch up."""
        name = actor.client.servers[0].name
        if lags:
            self._lab.partition(name)
        else:
            self._lab.heal(name)
        actor.lags = lags

    def verdict(self) -> str | None:
        """What is wrong, by the specification and by the tree that the log tells."""
        tree, ended = _from_log(self._lab, self._base)
        seats = tuple(a.seat(ended) for a in self._actors)
        world = World(self._rules, tree, seats, 0, 0)
        world.last = next((i for i, a in enumerate(self._actors) if a.last), -1)
        for actor in world.actors:
            if actor.error and not any(name in actor.error for name in self._wanted.raises):
                return f"{actor.name} {actor.error}"
        wrong = self._wanted.invariant(world)
        if wrong is None and not any(a.can_go_on() for a in self._actors):
            wrong = self._wanted.final(world)
        return wrong

    def close(self) -> None:
        """End the clients, and remove what they leave."""
        self._rules.close()
        for actor in self._actors:
            if actor.lags:
                self._cut_off(actor, False)
            actor.leave()
        self._lab.zk.delete(self._base, recursive=True)


class _Actor:
    """One actor: its code as in a search, its client as in reality."""

    def __init__(
        self, program: Program, client: LossyClient, base: str, leader: ZooKeeperServer | None
    ) -> None:
        self.leader = str((leader or client.servers[0]).endpoint)
        self.server = client.servers[0] if len(client.servers) == 1 else None
        self.program = program
        self._base = base
        self._life = 0
        self._begin(client)

    def _begin(self, client: LossyClient) -> None:
        self.client = client
        self._notices: queue.SimpleQueue[tuple[str, str | None, int]] = queue.SimpleQueue()
        self._armed: list[int] = []
        self._lost: list[int] = []  # watches that went with a connection
        self.ended = False  # ZooKeeper has ended its session, which it has not heard
        self.gone = False  # it has crashed
        self.lags = False  # its server is cut off from the leader
        self.session = _session(client)
        self.last = False  # whether the last step has told it something
        self.moment: Moment = self.program.asleep
        self._tell(("begin", self.session, self._life))

    def restart(self, client: LossyClient) -> None:
        """Begin anew, after a crash."""
        self.leave()
        self._life += 1
        self._begin(client)

    def leave(self) -> None:
        """End the client."""
        self.client.heal()
        self.client.stop()
        self.client.close()

    @property
    def reads(self) -> bool:
        """Whether its next call is one that its server answers by itself."""
        calls = self.moment.calls
        return bool(calls) and not isinstance(calls[0].body, (*WRITES, Sync))

    def seat(self, ended: set[int]) -> Seat:
        """Its place in the world, by what the log says of its session."""
        over = self.session in ended
        return Seat(self.moment, self.session, begun=True, ended=over, gone=self.gone)

    def can_go_on(self) -> bool:
        """Whether anything is left that would happen by itself."""
        moment = self.moment
        if self.gone:
            return True  # it may begin anew
        time.sleep(_QUIET)
        return bool(moment.calls or moment.pauses or moment.timers or not self._notices.empty())

    def take(self, kind: str, detail: int, step: dict[str, Any]) -> Any:
        """One step of this actor; what it is told, as plain data."""
        match kind:
            case "call":
                told = self.ended and not (self.lags and self.reads)
                return self._hear() if told else self._ask()
            case "request lost" | "reply lost":
                self._lose(kind)
            case "session ends":
                self._end()
            case "hears":
                return self._hear()
            case "notice":
                return self._notice(step["told"])
            case "turn":
                self._tell(("go", detail))
            case "time passes":
                self._tell(("over", detail))
            case "moves":
                self._break()
            case "crashes":
                self.client.crash()
                self.gone = True
            case "catches up":
                pass  # it did so when it was healed
            case _:
                raise _Differs(f"nobody has shown yet how to repeat “{kind}”.")
        return None

    def _tell(self, told: tuple[Any, ...]) -> None:
        key = told[0], next(_numbers)
        with virtual(*names(self.program.body)):
            self.moment = self.program.after(self.moment, key, told, time.monotonic())
        self.last = True

    # --- requests -----------------------------------------------------------------------------

    def _ask(self) -> Any:
        request = self.moment.calls[0]
        value, error = None, None
        try:
            value = self._inside(self._send(request.number, request.body).get(timeout=_ANSWER))
        except KazooException as refused:
            error = refused
        if error is None and getattr(request.body, "watcher", None):
            self._armed.append(request.number)
        self._tell(("reply", request.number, shown(value, self.program.observed), error))
        return plain(error if error is not None else value)

    def _send(self, number: int, body: Any) -> Any:
        zk: Any = self.client
        path = self._base + getattr(body, "path", "/").rstrip("/")
        watch = self._watch(number) if getattr(body, "watcher", None) else None
        match body:
            case Create() | Create2():
                more = isinstance(body, Create2)
                return zk.create_async(
                    path, body.data, list(body.acl), *_flags(body), include_data=more
                )
            case Delete():
                return zk.delete_async(path, body.version)
            case SetData():
                return zk.set_async(path, body.data, body.version)
            case Exists():
                return zk.exists_async(path, watch)
            case GetData():
                return zk.get_async(path, watch)
            case GetChildren() | GetChildren2():
                more = isinstance(body, GetChildren2)
                return zk.get_children_async(path, watch, include_data=more)
            case GetACL():
                return zk.get_acls_async(path)
            case Sync():
                return zk.sync_async(path)
            case Transaction():
                return self._transaction(body)
        raise _Differs(f"nobody has shown yet how to repeat a {type(body).__name__}.")

    def _transaction(self, body: Transaction) -> Any:
        both = self.client.transaction()
        for part in body.operations:
            path = self._base + part.path
            match part:
                case Create():
                    both.create(path, part.data, list(part.acl), *_flags(part))
                case Delete():
                    both.delete(path, part.version)
                case SetData():
                    both.set_data(path, part.data, part.version)
                case CheckVersion():
                    both.check(path, part.version)
        return both.commit_async()

    def _inside(self, value: Any) -> Any:
        """A reply without the znode that all of it is below."""
        if isinstance(value, str) and value.startswith(self._base):
            return value[len(self._base) :] or "/"
        if isinstance(value, list):
            return [self._inside(part) for part in value]
        if type(value) is tuple:
            return tuple(self._inside(part) for part in value)
        return value

    # --- faults -------------------------------------------------------------------------------

    def _lose(self, kind: str) -> None:
        request = self.moment.calls[0]
        (self.client.lose_reply if kind == "reply lost" else self.client.lose_request)()
        try:
            self._send(request.number, request.body).get(timeout=_ANSWER)
        except KazooException as error:
            if type(error).__name__ != "ConnectionLoss":
                raise _Differs(f"a lost request raises {type(error).__name__}.") from None
        else:
            raise _Differs("a request that should be lost has had its reply.")
        self._broken()

    def _break(self) -> None:
        self._connect_anew()
        self._broken()

    def _connect_anew(self) -> None:
        self.client.crash()
        _wait(lambda: not self.client.connected)  # on a busy machine it takes a while to notice
        self.client.heal()

    def _broken(self) -> None:
        """The client comes back by itself; its code is told that the connection was lost."""
        _wait(lambda: self.client.connected and _session(self.client) == self.session)
        back = "connection" not in self.program.observed
        self._lost += self._armed
        self._armed = []
        self._tell(("lost", back))

    def _end(self) -> None:
        """End the session as ZooKeeper does when it hears nothing: the client is not told."""
        if not self.lags:  # else its server hears nothing of the end
            self.client.cut()
        _end_session(self.leader, self.client.client_id)
        self.ended = True

    def _hear(self) -> Any:
        self._connect_anew()
        if not self.ended:
            _wait(lambda: self.client.connected)
            self._tell(("back",))
            return None
        _wait(lambda: self.client.connected and _session(self.client) != self.session)
        self.session, self.ended = _session(self.client), False
        self._lost += self._armed
        self._armed = []
        self._tell(("expired", self.session))
        return "SessionExpiredError"

    # --- notices ------------------------------------------------------------------------------

    def _watch(self, number: int) -> Callable[[Any], None]:
        def told(event: Any) -> None:
            if event.type != "NONE":
                self._notices.put((event.type, self._inside(event.path), number))

        return told

    def _notice(self, said: dict[str, Any]) -> Any:
        if said["path"] is None:
            numbers, self._lost = self._lost, []
            self._tell(("notice", "NONE", None, tuple(numbers)))
            return said
        try:
            kind, path, number = self._notices.get(timeout=_ANSWER)
        except queue.Empty:
            raise _Differs(f"no notice of {said['path']} comes.") from None
        self._armed = [n for n in self._armed if n != number]
        self._tell(("notice", kind, path, (number,)))
        return {"event": kind, "path": path}


def _end_session(server: str, session: tuple[int, bytes]) -> None:
    """Close a session over a second connection: whoever knows its id and password may do so."""
    heir = KazooClient(server, client_id=session, logger=LOG)
    heir.start(timeout=_ANSWER)
    heir.stop()
    heir.close()


def _flags(body: Any) -> tuple[bool, bool]:
    return bool(body.flags & EPHEMERAL), bool(body.flags & SEQUENCE)


def _session(client: LossyClient) -> int:
    found = client.client_id
    return found[0] if found else 0


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _ANSWER
    while not condition():
        if time.monotonic() > end:
            raise _Differs("the client does not come back.")
        time.sleep(0.005)


def _renamed(told: Any, names: Mapping[str, str]) -> Any:
    """What is told, with other names in it."""
    if isinstance(told, str):
        for name, other in names.items():
            told = told.replace(name, other)
    elif isinstance(told, list):
        told = [_renamed(part, names) for part in told]
    elif isinstance(told, dict):
        told = {key: _renamed(part, names) for key, part in told.items()}
    return told


def _same(real: Any, model: Any) -> bool:
    """Whether both tell the same, but for times and numbers of changes."""
    if isinstance(real, dict) and isinstance(model, dict):
        kept = ("event", "path", "version", "cversion", "dataLength", "numChildren")
        return all(real.get(key) == model.get(key) for key in kept)
    if isinstance(real, list) and isinstance(model, list):
        if all(isinstance(part, str) for part in real):
            return sorted(real) == sorted(map(str, model))
        both = zip(real, model, strict=False)
        return len(real) == len(model) and all(_same(r, m) for r, m in both)
    return bool(real == model)


def _from_log(lab: Lab, base: str) -> tuple[Tree, set[int]]:
    """The tree below `base` as ZooKeeper's transaction log tells it, and the ended sessions."""
    root = Znode(b"", 0, 0, 0, 0, 0, 0, 0, 0)
    znodes: dict[str, Znode] = {"/": root}
    ended: set[int] = set()
    for txn in lab.zookeeper.transactions():
        if txn.op == "closeSession":
            ended.add(txn.session)
        if txn.path is None or not txn.path.startswith(f"{base}/"):
            continue
        path = txn.path[len(base) :]
        match txn.op:
            case "create":
                owner = txn.session if txn.ephemeral else 0
                znodes[path] = Znode(txn.data or b"", owner, 0, 0, 0, 0, txn.zxid, txn.zxid, 0)
            case "setData":
                old = znodes[path]
                data = txn.data or b""
                znodes[path] = old._replace(data=data, version=old.version + 1, mzxid=txn.zxid)
            case "delete":
                znodes.pop(path, None)
    for path in [path for path in znodes if path != "/"]:
        over = znodes[parent(path)]
        znodes[parent(path)] = over._replace(children=over.children + 1)
    return Tree(znodes), ended
