"""The lowest free number, as an ephemeral znode: claimed by ticket rank.

`/sequence` holds numbers (`1`, `2`, …) and tickets (`ticket-<uuid>-0000000017`), all ephemeral.
One parent, so one listing is one atomic view. A claimant takes a ticket; with r tickets ahead of
its own, it aims at the (r + 1)-th free number. A finished claim removes its ticket and takes its
number in one transaction, so that every other rank still points at the same number: in a storm of
N claimants nobody collides, and each needs three operations and a look at what it created.

A znode's creation transaction (czxid) orders the claims of a number; it is the fencing token.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionLoss,
    KazooException,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)

from labkit.node.session import Session

ROOT = "/sequence"
_TICKET = "ticket-"
_SEQUENCE_DIGITS = 10  # what ZooKeeper appends to a sequential znode


class ClaimError(Exception):
    """The root of what can go wrong with a claim."""


class NoFreeNumber(ClaimError):
    """Every number up to the limit is held, or meant for a claimant ahead."""


class SessionEnded(ClaimError):
    """The session ended in mid-claim: nothing of it survives, so the claim must begin again."""


@dataclass(frozen=True)
class Claim:
    """A number that a session holds."""

    number: int
    token: int | None  # the fencing token
    session: int
    sent: float  # the caller's clock, just before the transaction that claimed it was sent

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.number}"


def numbers(children: Iterable[str]) -> set[int]:
    """The numbers that are held; children that are not a plain positive number are ignored."""
    return {int(name) for name in children if name.isascii() and name.isdigit() and name[0] != "0"}


def tickets(children: Iterable[str]) -> list[str]:
    """The tickets, first come first."""
    found = [
        name for name in children if name.startswith(_TICKET) and name[-_SEQUENCE_DIGITS:].isdigit()
    ]
    return sorted(found, key=lambda name: int(name[-_SEQUENCE_DIGITS:]))


def target(children: Iterable[str], ticket: str) -> int:
    """The number that the holder of `ticket` aims at: the (rank + 1)-th free one.

    Raises ValueError if the ticket is not among the children.
    """
    children = list(children)
    rank = tickets(children).index(ticket)
    taken = numbers(children)
    number = 0
    for _ in range(rank + 1):
        number += 1
        while number in taken:
            number += 1
    return number


class Claimer:
    """Claims numbers in one session after another, one at a time.

    `data` is what the claimed znode holds; `connected` blocks until the session is connected
    again and raises `SessionEnded` if it has ended; `clock` gives seconds.
    """

    def __init__(
        self,
        session: Session,
        data: bytes,
        max_number: int,
        connected: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._zk: KazooClient = session
        self._data = data
        self._max_number = max_number
        self._connected = connected
        self._clock = clock

    def claim(self) -> Claim:
        """Claim the lowest free number.

        Raises `NoFreeNumber` (the ticket has been given back) or `SessionEnded`. A connection
        that is lost in any step is waited for; what had been done by then is found, not redone.
        """
        session = self._session.session_id
        if session is None:
            raise SessionEnded
        attempt = uuid.uuid4().hex
        ticket: str | None = None
        aim: int | None = None  # the number that the last transaction tried to create
        sent = self._clock()
        while True:
            self._check(session)
            try:
                if ticket is None:
                    children, ticket = self._take_ticket(attempt)
                else:
                    children = self._zk.get_children(ROOT)
                    if ticket not in children:
                        # The transaction may have been done although its reply was lost.
                        if aim is not None and (claim := self._find(aim, session, sent)):
                            return claim
                        ticket = None
                        continue
                aim = target(children, ticket)
                if aim > self._max_number:
                    self._zk.delete(f"{ROOT}/{ticket}")
                    raise NoFreeNumber
                sent = self._clock()
                if claim := self._transact(aim, ticket, session, sent):
                    return claim
            except SessionExpiredError:
                raise SessionEnded from None
            except ConnectionLoss:
                self._connected(session)
                if ticket is None:
                    ticket = self._recover(attempt)

    def _take_ticket(self, attempt: str) -> tuple[list[str], str]:
        """A new ticket, and the children as they are right after."""
        created = self._zk.create_async(
            f"{ROOT}/{_TICKET}{attempt}-", b"", ephemeral=True, sequence=True
        )
        listed = self._zk.get_children_async(ROOT)  # sent at once: the session keeps the order
        try:
            ticket: str = created.get().rsplit("/", 1)[-1]
        except NoNodeError:
            _ended(listed)
            self._zk.ensure_path(ROOT)
            return self._take_ticket(attempt)
        children: list[str] = listed.get()
        return children, ticket

    def _transact(self, number: int, ticket: str, session: int, sent: float) -> Claim | None:
        """Take the number and give the ticket back, or neither; None if the number is taken."""
        path = f"{ROOT}/{number}"
        transaction = self._zk.transaction()
        transaction.create(path, self._data, ephemeral=True)
        transaction.delete(f"{ROOT}/{ticket}")
        committed = transaction.commit_async()
        looked_up = self._zk.exists_async(path)
        results: list[Any] = committed.get()
        if not any(isinstance(result, KazooException) for result in results):
            return self._as_claim(number, looked_up.get(), session, sent)
        _ended(looked_up)
        for result in results:
            if isinstance(result, SessionExpiredError | ConnectionLoss):
                raise result
        if isinstance(results[1], NoNodeError) or isinstance(results[0], NodeExistsError):
            return None  # list again: somebody's number, or a ticket that somebody deleted
        raise next(result for result in results if isinstance(result, KazooException))

    def _find(self, number: int, session: int, sent: float) -> Claim | None:
        return self._as_claim(number, self._zk.exists(f"{ROOT}/{number}"), session, sent)

    @staticmethod
    def _as_claim(number: int, stat: Any, session: int, sent: float) -> Claim | None:
        if stat is None or stat.ephemeralOwner != session:
            return None
        return Claim(number, stat.czxid, session, sent)

    def _recover(self, attempt: str) -> str | None:
        """The ticket of an attempt whose reply was lost, if it was created."""
        while True:
            session = self._session.session_id
            try:
                children = self._zk.get_children(ROOT)
            except NoNodeError:
                return None
            except SessionExpiredError:
                raise SessionEnded from None
            except ConnectionLoss:
                self._connected(session or 0)
            else:
                mine = [name for name in tickets(children) if attempt in name]
                return mine[0] if mine else None

    def _check(self, session: int) -> None:
        if self._session.session_id != session:
            raise SessionEnded


def _ended(result: Any) -> None:
    """Wait for an answer that is not needed any more, whatever it is."""
    result.wait()
