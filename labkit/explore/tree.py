"""ZooKeeper's tree as a value: znodes, their stats, sequence counters, and what a change triggers.

A request makes a new tree out of an old one, which stays as it was: so a search can hold thousands
of trees, and a follower that lags is an older tree. What the rules are is told by ZooKeeper's
PrepRequestProcessor (what is refused, and in which order) and DataTree (stats, watches).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple
from zlib import crc32

from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    KazooException,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
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
    SetACL,
    SetData,
    Sync,
    Transaction,
)
from kazoo.protocol.states import ZnodeStat
from kazoo.security import OPEN_ACL_UNSAFE

EPHEMERAL, SEQUENCE, CONTAINER = 1, 2, 4
WRITES = (Create, Create2, Delete, SetData, SetACL, Transaction)
READS = (Exists, GetACL, GetChildren, GetChildren2, GetData, Sync)
#: What of a znode need not tell two states apart, unless somebody looks at it.
VARYING = ("czxid", "mzxid", "pzxid")
Trigger = tuple[str, str]  # the type of an event, and the path that it is about


class Znode(NamedTuple):
    """One znode. `created` counts the children that were ever created: the next one's number."""

    data: bytes
    owner: int  # the session that an ephemeral belongs to, or 0
    version: int
    created: int
    children: int
    aversion: int
    czxid: int
    mzxid: int
    pzxid: int
    acl: tuple[Any, ...] = tuple(OPEN_ACL_UNSAFE)

    @property
    def stat(self) -> ZnodeStat:
        """The stat as a client is told it. The model has no clock for ctime and mtime: both 0."""
        return ZnodeStat(
            czxid=self.czxid,
            mzxid=self.mzxid,
            ctime=0,
            mtime=0,
            version=self.version,
            cversion=_signed(2 * self.created - self.children),  # creates and deletes
            aversion=self.aversion,
            ephemeralOwner=self.owner,
            dataLength=len(self.data),
            numChildren=self.children,
            pzxid=self.pzxid,
        )


class Tree:
    """All znodes at one moment, and the number of the last change."""

    __slots__ = ("keys", "place", "znodes", "zxid")

    def __init__(self, znodes: Mapping[str, Znode] | None = None, zxid: int = 0) -> None:
        self.znodes = dict(znodes) if znodes else {"/": Znode(b"", 0, 0, 0, 0, 0, 0, 0, 0)}
        self.zxid = zxid
        self.place = -1  # among all trees of a search
        self.keys: dict[tuple[str, ...], Any] = {}  # what tells it from others, by what counts

    def key(self, seen: tuple[str, ...]) -> Any:
        """Equal for trees that differ in nothing but those of `VARYING` that are not `seen`."""
        if seen not in self.keys:
            left = [at for at, name in enumerate(Znode._fields) if name not in VARYING]
            left += [Znode._fields.index(name) for name in seen]
            fields = itemgetter(*left)
            zxid = self.zxid if seen else 0
            self.keys[seen] = zxid, frozenset((path, fields(z)) for path, z in self.znodes.items())
        return self.keys[seen]

    def change(self, request: Any, session: int) -> tuple[Tree, Any, list[Trigger]]:
        """Carry out a write: the new tree, its result, and what is triggered.

        Raises kazoo's exception if it is refused. A refused transaction raises nothing: it changes
        nothing, and its results say why.
        """
        after = Tree(self.znodes, self.zxid + 1)
        triggers: list[Trigger] = []
        if not isinstance(request, Transaction):
            return after, after._do(request, session, triggers), triggers
        results: list[Any] = []
        for at, part in enumerate(request.operations):
            try:
                result = after._do(part, session, triggers)
                results.append(result)
            except KazooException as refused:
                left = len(request.operations) - at - 1
                said = [RolledBackError()] * at + [refused] + [RuntimeInconsistency()] * left
                return Tree(self.znodes, self.zxid + 1), said, []
        return after, results, triggers

    def end(self, session: int) -> tuple[Tree, list[Trigger]]:
        """End a session: the tree without its ephemerals, and what that triggers."""
        after = Tree(self.znodes, self.zxid + 1)
        triggers: list[Trigger] = []
        for path in sorted(path for path, z in self.znodes.items() if z.owner == session):
            after._delete(path, -1, triggers)
        return after, triggers

    def read(self, request: Any) -> Any:
        """Answer a read. Raises `NoNodeError`."""
        if isinstance(request, Sync):
            return request.path
        znode = self.znodes.get(request.path)
        if isinstance(request, Exists):
            return znode.stat if znode else None
        if znode is None:
            raise NoNodeError
        match request:
            case GetData():
                return znode.data, znode.stat
            case GetACL():
                return list(znode.acl), znode.stat
            case GetChildren2():
                return self.children(request.path), znode.stat
        assert isinstance(request, GetChildren)
        return self.children(request.path)

    def children(self, path: str) -> list[str]:
        """The names of a znode's children, in no order that a reader could rely on."""
        prefix = path.rstrip("/") + "/"
        names = [p[len(prefix) :] for p in self.znodes if p.startswith(prefix) and p != "/"]
        return sorted((n for n in names if "/" not in n), key=lambda n: (crc32(n.encode()), n))

    def _do(self, request: Any, session: int, triggers: list[Trigger]) -> Any:
        match request:
            case Create() | Create2():
                path = self._create(request, session, triggers)
                return (path, self.znodes[path].stat) if isinstance(request, Create2) else path
            case Delete():
                self._delete(request.path, request.version, triggers)
                return True
            case SetData():
                return self._set(request, triggers)
            case SetACL():
                znode = self._found(request.path)
                if request.version not in (-1, znode.aversion):
                    raise BadVersionError
                znode = znode._replace(acl=tuple(request.acls), aversion=znode.aversion + 1)
                self.znodes[request.path] = znode
                return znode.stat
        assert isinstance(request, CheckVersion)
        self._found(request.path, request.version)
        return True

    def _create(self, request: Any, session: int, triggers: list[Trigger]) -> str:
        path: str = request.path
        if path == "/":
            raise NodeExistsError
        above = parent(path)
        over = self._found(above)
        if request.flags & SEQUENCE:
            path += f"{_signed(over.created):010d}"
        if path in self.znodes:
            raise NodeExistsError
        if over.owner:
            raise NoChildrenForEphemeralsError
        owner = session if request.flags & EPHEMERAL else 0
        acl = tuple(request.acl)
        self.znodes[path] = Znode(
            request.data or b"", owner, 0, 0, 0, 0, self.zxid, self.zxid, self.zxid, acl
        )
        self.znodes[above] = over._replace(
            created=over.created + 1, children=over.children + 1, pzxid=self.zxid
        )
        triggers += [("CREATED", path), ("CHILD", above)]
        return path

    def _delete(self, path: str, version: int, triggers: list[Trigger]) -> None:
        if path == "/":
            raise BadArgumentsError
        if self._found(path, version).children:
            raise NotEmptyError
        above = parent(path)
        over = self.znodes[above]
        del self.znodes[path]
        self.znodes[above] = over._replace(children=over.children - 1, pzxid=self.zxid)
        triggers += [("DELETED", path), ("CHILD", above)]

    def _set(self, request: Any, triggers: list[Trigger]) -> ZnodeStat:
        znode = self._found(request.path, request.version)
        znode = znode._replace(
            data=request.data or b"", version=_signed(znode.version + 1), mzxid=self.zxid
        )
        self.znodes[request.path] = znode
        triggers.append(("CHANGED", request.path))
        return znode.stat

    def _found(self, path: str, version: int = -1) -> Znode:
        znode = self.znodes.get(path)
        if znode is None:
            raise NoNodeError
        if version not in (-1, znode.version):
            raise BadVersionError
        return znode


def planted(znodes: Iterable[tuple[str, bytes]]) -> Tree:
    """A tree with these znodes, and those above them, before anything happens."""
    tree = Tree()
    for path, data in znodes:
        steps = path.strip("/").split("/")
        for depth in range(1, len(steps) + 1):
            above = "/" + "/".join(steps[:depth])
            if above not in tree.znodes:
                last = data if above == path else b""
                tree = tree.change(Create(above, last, OPEN_ACL_UNSAFE, 0), 0)[0]
    return tree


def parent(path: str) -> str:
    """The path above."""
    return path.rpartition("/")[0] or "/"


def _signed(number: int) -> int:
    """A Java int: after 2³¹ - 1 comes -2³¹."""
    return (number + 2**31) % 2**32 - 2**31
