"""Random programs of three clients, and what they see: of the model, and of a real ZooKeeper."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

from hypothesis import strategies as st
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import Callback, WatchedEvent, ZnodeStat

from labkit.explore.actor import Me, Program
from labkit.explore.client import Observed
from labkit.explore.seat import Choice
from labkit.explore.strands import virtual
from labkit.explore.world import Rules, World, begin

CLIENTS = 3
Op = tuple[Any, ...]
Step = tuple[int, Op]
Seen = tuple[Any, list[list[tuple[str, str | None]]]]  # a result, and each client's notices

_NAMES = ("/r/a", "/r/b", "/r/a/c", "/r/a/d", "/r/b/c")
_COUNTED = ("/r/s-", "/r/a/s-")
_paths = st.sampled_from(
    (*_NAMES, *_NAMES, "/r", *(f"{p}000000000{i}" for p in _COUNTED for i in (0, 1, 2)))
)
_new = st.sampled_from(_NAMES)
_versions = st.sampled_from((-1, -1, 0, 1, 2))
_data = st.sampled_from((b"", b"x", b"longer"))
_yes = st.booleans()
_creates = st.one_of(
    st.tuples(st.just("create"), _new, _data, _yes, st.just(False), _yes),
    st.tuples(st.just("create"), st.sampled_from(_COUNTED), _data, _yes, st.just(True), _yes),
)
_writes = st.one_of(
    _creates,
    st.tuples(st.just("delete"), _paths, _versions),
    st.tuples(st.just("set"), _paths, _data, _versions),
)
_parts = st.one_of(_writes, st.tuples(st.just("check"), _paths, st.sampled_from((0, 1, 2))))
_ops = st.one_of(
    _creates,
    _writes,
    st.tuples(st.just("get"), _paths, _yes),
    st.tuples(st.just("exists"), _paths, _yes),
    st.tuples(st.just("children"), _paths, _yes, _yes),
    st.tuples(st.just("transaction"), st.lists(_parts, min_size=1, max_size=4)),
    st.tuples(st.just("ensure"), _new),
    st.tuples(st.just("sync"), _paths),
    st.tuples(st.just("acls"), _paths),
    st.tuples(st.just("ends")),
)
#: At least 20 calls of three clients.
programs = st.lists(st.tuples(st.integers(0, CLIENTS - 1), _ops), min_size=20, max_size=32)


class Side(Protocol):
    """Something that carries a program's steps out, one by one."""

    def take(self, at: int, op: Op) -> Seen: ...


def perform(zk: KazooClient, op: Op, told: Callable[[WatchedEvent], object]) -> Any:
    """Carry out one operation; an exception is a result like any other."""
    watch = told if op[-1] is True else None
    try:
        match op:
            case "create", path, data, ephemeral, sequence, stat:
                return zk.create(path, data, None, ephemeral, sequence, include_data=stat)
            case "delete", path, version:
                return zk.delete(path, version)
            case "set", path, data, version:
                return zk.set(path, data, version)
            case "get", path, _:
                return zk.get(path, watch)
            case "exists", path, _:
                return zk.exists(path, watch)
            case "children", path, stat, _:
                return zk.get_children(path, watch, stat)
            case "transaction", parts:
                both = zk.transaction()
                for part in parts:
                    match part:
                        case "create", path, data, ephemeral, sequence, _:
                            both.create(path, data, None, ephemeral, sequence)
                        case "delete", path, version:
                            both.delete(path, version)
                        case "set", path, data, version:
                            both.set_data(path, data, version)
                        case "check", path, version:
                            both.check(path, version)
                return both.commit()
            case "ensure", path:
                return zk.ensure_path(path)
            case "sync", path:
                return zk.sync(path)
            case "acls", path:
                return zk.get_acls(path)
            case ("ends",):
                zk.stop()
                zk.start()
                return "a new session"
    except KazooException as error:
        return error
    raise AssertionError(op)


class Model:
    """The model of ZooKeeper: three actors that do what they are told, in a world."""

    def __init__(self) -> None:
        self._ops: list[Op] = []
        self._results: list[Any] = []
        self._notices: list[list[tuple[str, str | None]]] = [[] for _ in range(CLIENTS)]
        observed = Observed(("czxid", "mzxid", "pzxid"))
        makes = [Program(f"client{i}", i, self._body, observed) for i in range(CLIENTS)]
        self._rules = Rules(makes, observed)
        with virtual():
            self.world: World = begin(self._rules, [], 0, 0)

    def _body(self, me: Me) -> None:
        def told(event: WatchedEvent) -> None:
            if event.type != "NONE":
                self._notices[me.number].append((event.type, event.path))

        while True:
            me.pause("waits for its next operation")
            self._results.append(perform(me.zk, self._ops.pop(), told))

    def take(self, at: int, op: Op) -> Seen:
        """One step: the call is answered at once, and all notices are delivered."""
        self._ops.append(op)
        for notices in self._notices:
            notices.clear()
        with virtual():
            self._go(Choice(at, "turn", self.world.seats[at].moment.pauses[0][0]))
            while self.world.seats[at].moment.calls:
                self._go(Choice(at, "call"))
            for other in range(CLIENTS):
                while self.world.seats[other].notices:
                    self._go(Choice(other, "notice"))
        return self._results.pop(), [list(notices) for notices in self._notices]

    def _go(self, choice: Choice) -> None:
        self.world = self.world.after(choice)

    def session(self, at: int) -> int:
        """A client's session."""
        return self.world.seats[at].session

    def close(self) -> None:
        """End its actors."""
        self._rules.close()


class Real:
    """Real clients of a real ZooKeeper, each below a znode of the program's own."""

    def __init__(self, hosts: list[str], base: str) -> None:
        with_base = KazooClient(hosts[0])
        with_base.start()
        with_base.create(base)
        with_base.stop()
        with_base.close()
        self._servers, self._watching = len(hosts), set[int]()
        self._notices: list[list[tuple[str, str | None]]] = [[] for _ in range(CLIENTS)]
        self.clients = [KazooClient(hosts[i % len(hosts)] + base) for i in range(CLIENTS)]
        for zk in self.clients:
            zk.start()

    def take(self, at: int, op: Op) -> Seen:
        """One step; what it causes has arrived everywhere when it returns."""
        for notices in self._notices:
            notices.clear()
        notices = self._notices[at]
        zk = self.clients[at]

        def told(event: WatchedEvent, seen: list[tuple[str, str | None]] = notices) -> None:
            if event.type != "NONE":
                seen.append((event.type, event.path))

        if op[-1] is True:
            self._watching.add(at)
        result = perform(zk, op, self._tellers(at, told))
        watching = [self.clients[i] for i in self._watching]  # the others are told nothing
        replies = [client.sync_async("/") for client in self.clients if self._servers > 1]
        replies += [client.exists_async("/") for client in watching]
        for reply in replies:  # what was sent before these has been read before them
            reply.get(timeout=10)
        arrived = [threading.Event() for _ in watching]
        for client, event in zip(watching, arrived, strict=True):
            client.handler.dispatch_callback(Callback("watch", event.set, ()))
        assert all(event.wait(5) for event in arrived)
        return result, [list(seen) for seen in self._notices]

    def _tellers(self, at: int, told: Callable[..., object]) -> Callable[..., object]:
        return self.__dict__.setdefault(f"told{at}", told)

    def session(self, at: int) -> int:
        """A client's session."""
        return self.clients[at].client_id[0]

    def close(self) -> None:
        """Close its clients."""
        for zk in self.clients:
            zk.stop()
            zk.close()


class Same:
    """Whether two sides tell the same, but for the numbers of sessions and of changes.

    Those may be others, but the same ones on one side are the same on the other, and changes are
    in the same order.
    """

    def __init__(self, model: Model, real: Real) -> None:
        self._sides = model, real
        self._zxids: dict[int, int] = {}
        self._sessions: dict[int, int] = {0: 0}

    def compare(self, step: Step, model: Seen, real: Seen) -> None:
        """Raise an `AssertionError` that says what differs."""
        for at in range(CLIENTS):
            self._sessions[self._sides[0].session(at)] = self._sides[1].session(at)
        assert self._same(model[0], real[0]), f"{step}: model {model[0]}, ZooKeeper {real[0]}"
        if step[1][0] == "ends":  # the order of its ephemerals' ends is not promised
            model, real = (
                (None, [sorted(m) for m in model[1]]),
                (None, [sorted(r) for r in real[1]]),
            )
        assert model[1] == real[1], f"{step}: notices of model {model[1]}, of ZooKeeper {real[1]}"

    def _same(self, model: Any, real: Any) -> bool:
        if isinstance(real, Exception):
            return type(model) is type(real)
        if isinstance(real, ZnodeStat):
            return self._same_stat(ZnodeStat(*tuple.__iter__(model)), real)
        if isinstance(real, list) and all(isinstance(name, str) for name in real):
            return sorted(model) == sorted(real)
        if isinstance(real, list | tuple) and not hasattr(real, "_fields"):
            both = zip(model, real, strict=False)
            return len(model) == len(real) and all(self._same(m, r) for m, r in both)
        return bool(model == real)

    def _same_stat(self, model: ZnodeStat, real: ZnodeStat) -> bool:
        for field in ("czxid", "mzxid", "pzxid"):
            zxid, known = getattr(model, field), getattr(real, field)
            if self._zxids.setdefault(zxid, known) != known:
                return False
        ordered = sorted(self._zxids.items())
        if any(a[1] >= b[1] for a, b in pairwise(ordered)):
            return False
        if self._sessions[model.ephemeralOwner] != real.ephemeralOwner:
            return False
        fields = ("version", "cversion", "aversion", "dataLength", "numChildren")
        return all(getattr(model, f) == getattr(real, f) for f in fields)


def run(program: list[Step], hosts: list[str], base: str) -> None:
    """Run a program on both sides, and compare each step."""
    model, real = Model(), Real(hosts, base)
    same = Same(model, real)
    try:
        for step in [(0, ("create", "/r", b"", False, False, False)), *program]:
            same.compare(step, model.take(*step), real.take(*step))
    finally:
        model.close()
        real.close()
