"""ZooKeeper's transaction log: everything that it ever changed, in its own order."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from labkit.errors import HistoryError


@dataclass(frozen=True)
class Transaction:
    """One change that ZooKeeper made: exact, and in ZooKeeper's own order.

    The parts of a `multi` share its zxid. A session that ends is one `closeSession`, and the
    ephemeral znodes it takes along follow as `delete`s with the same zxid.
    `time` is the server's wall clock in seconds, exact to a millisecond.
    """

    zxid: int
    time: float
    session: int
    cxid: int
    op: str
    path: str | None = None
    data: bytes | None = None
    ephemeral: bool = False


# Record types: org.apache.zookeeper.ZooDefs.OpCode.
_DELETE_CONTAINER, _MULTI, _CREATE_SESSION, _CLOSE_SESSION = 20, 14, -10, -11
_CREATES = (1, 15, 19, 21)  # create, create2, container, with a time to live

_OPS = {2: "delete", 5: "setData", 7: "setACL", 13: "check", -1: "error", 16: "reconfig"}


class _Reader:
    """Reads jute, ZooKeeper's record format: big-endian, strings and buffers behind a length."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def unpack(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(">" + form)
        return values

    def int(self) -> int:
        return self.unpack("i")[0]

    def buffer(self) -> bytes | None:
        length = self.int()
        if length < 0:
            return None
        self._at += length
        return self._data[self._at - length : self._at]

    def string(self) -> str:
        return (self.buffer() or b"").decode()

    def boolean(self) -> bool:
        return self.unpack("b")[0] != 0

    @property
    def exhausted(self) -> bool:
        return self._at >= len(self._data)


def _records(data: bytes) -> Iterator[Transaction]:
    if not data:
        return
    if data[:4] != b"ZKLG":
        raise HistoryError("This is not a ZooKeeper transaction log: it does not begin with ZKLG.")
    at = 16
    while at + 12 <= len(data):
        length = struct.unpack_from(">i", data, at + 8)[0]
        body = data[at + 12 : at + 12 + length]
        if length <= 0 or len(body) < length:
            return  # the padding, or a record that is being written
        at += 12 + length + 1
        record = _Reader(body)
        session, cxid, zxid, millis, kind = record.unpack("qiqqi")
        yield from _decode(record, kind, (zxid, millis / 1000, session, cxid))


def _decode(record: _Reader, kind: int, head: tuple[int, float, int, int]) -> Iterator[Transaction]:
    if kind in _CREATES:
        path, data = record.string(), record.buffer()
        for _ in range(max(record.int(), 0)):  # the access list
            record.int(), record.string(), record.string()
        ephemeral = record.boolean() if kind in (1, 15) else False
        yield Transaction(*head, "create", path, data, ephemeral)
    elif kind == 5:
        yield Transaction(*head, "setData", record.string(), record.buffer())
    elif kind in (2, _DELETE_CONTAINER):
        yield Transaction(*head, "delete", record.string())
    elif kind == _CREATE_SESSION:
        yield Transaction(*head, "createSession")
    elif kind == _CLOSE_SESSION:
        yield Transaction(*head, "closeSession")
        if not record.exhausted:  # since 3.6: the paths that go with the session
            for _ in range(max(record.int(), 0)):
                yield Transaction(*head, "delete", record.string())
    elif kind == _MULTI:
        parts: list[Transaction] = []
        for _ in range(max(record.int(), 0)):
            part_kind, part = record.int(), record.buffer() or b""
            parts.extend(_decode(_Reader(part), part_kind, head))
        # One part that fails undoes all, but those before it are logged as if they had been done.
        failed = any(part.op == "error" for part in parts)
        yield from (Transaction(*head, "error") for _ in parts) if failed else parts
    else:
        yield Transaction(*head, _OPS.get(kind, f"op{kind}"))


def _with_implied_deletes(records: Iterable[Transaction]) -> Iterator[Transaction]:
    """Add the deletes that an older server's `closeSession` leaves unsaid."""
    owner: dict[str, int] = {}
    closing: Transaction | None = None
    for txn in records:
        if closing is not None and not (txn.zxid == closing.zxid and txn.op == "delete"):
            yield from _unsaid(owner, closing)
            closing = None
        if txn.op == "create" and txn.ephemeral and txn.path is not None:
            owner[txn.path] = txn.session
        elif txn.op == "delete" and txn.path is not None:
            owner.pop(txn.path, None)
        elif txn.op == "closeSession":
            closing = txn
        yield txn
    if closing is not None:
        yield from _unsaid(owner, closing)


def _unsaid(owner: dict[str, int], closing: Transaction) -> Iterator[Transaction]:
    for path in [path for path, session in owner.items() if session == closing.session]:
        del owner[path]
        yield Transaction(closing.zxid, closing.time, closing.session, closing.cxid, "delete", path)


def parse_transaction_logs(files: Iterable[bytes]) -> list[Transaction]:
    """The transactions in a server's `log.<zxid>` files, oldest first, in ZooKeeper's order.

    The official tool, TxnLogToolkit, prints times to the second and garbles what a `multi` holds;
    the claim is a `multi` and the checker needs milliseconds, so the records are read here, and a
    test holds the result to the official tool's. The layout is FileTxnLog's: a header of 16
    bytes, then records of checksum (long), length (int), body, and one byte 'B'; zeros at the end.
    """
    return _in_order(_by_zxid(files))


def agreed_transactions(servers: Iterable[Iterable[bytes]]) -> list[Transaction]:
    """What an ensemble agreed on, from each server's log files; the leader's come first.

    One server's log is not enough. A follower that was given a snapshot has a hole in its log, and
    a leader that was cut off may keep proposals that nobody else accepted: the last of an epoch (a
    leader's term, the upper half of a zxid). Holes are filled from the other logs. Where an epoch
    ended is told by the servers that were there when the next one began.
    """
    logs = [_by_zxid(files) for files in servers]
    known = {zxid: parts for log in reversed(logs) for zxid, parts in log.items()}
    epochs = {zxid >> 32: zxid for zxid in sorted(known, reverse=True)}  # epoch → its first zxid
    for epoch, following in pairwise(sorted(epochs)):
        heirs = [log for log in logs if epochs[following] in log]
        ends = Counter(
            max(own) for log in heirs if (own := [zxid for zxid in log if zxid >> 32 == epoch])
        )
        if ends:
            end = max(ends, key=lambda zxid: (ends[zxid], zxid))
            known = {z: parts for z, parts in known.items() if z >> 32 != epoch or z <= end}
    last = max(epochs, default=0)
    if logs and (of_leader := [zxid for zxid in logs[0] if zxid >> 32 == last]):
        known = {z: parts for z, parts in known.items() if z <= max(of_leader)}
    return _in_order(known)


def _by_zxid(files: Iterable[bytes]) -> dict[int, list[Transaction]]:
    parts: dict[int, list[Transaction]] = {}
    for data in files:
        last = None
        for txn in _records(data):
            if txn.zxid != last:
                parts[txn.zxid] = []  # a later file may repeat the end of an earlier one
            parts[txn.zxid].append(txn)
            last = txn.zxid
    return parts


def _in_order(parts: Mapping[int, list[Transaction]]) -> list[Transaction]:
    return list(_with_implied_deletes(txn for zxid in sorted(parts) for txn in parts[zxid]))
