"""The lowest free number, as an ephemeral znode: claimed by ticket rank.

`/sequence` holds numbers (`1`, `2`, …) and tickets (`ticket-<uuid>-0000000017`), all ephemeral.
One parent, so one listing is one atomic view. A claimant takes a ticket; with r tickets ahead of
its own, it aims at the (r + 1)-th free number. A finished claim removes its ticket and takes its
number in one transaction, so that every other rank still points at the same number: in a storm of
N claimants nobody collides, and each needs three operations and a look at what it created.

A session that changes in the middle of a claim leaves nothing: what the attempt before may have got
in the present session is looked for first, and gone on with.

A znode's creation transaction (czxid) orders the claims of a number; it is the fencing token.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
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

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_TICKET = re.compile(r"ticket-[0-9a-f]{32}-[0-9]{10}", re.ASCII)


class ClaimError(Exception):
    """The root of what can go wrong with a claim."""


class NoFreeNumber(ClaimError):
    """Every number up to the limit is held, or meant for a claimant ahead."""


class SessionEnded(ClaimError):
    """The session ended in mid-claim: nothing of it survives, so the claim must begin again."""


@dataclass(frozen=True)
class Claim:
    """A number that a session holds. Times are in seconds of the claimer's clock."""

    number: int
    token: int  # the fencing token
    session: int
    ticketed: float  # just before its ticket, the session's write before this, was sent
    sent: float  # just before the transaction that claimed it was sent

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.number}"


def numbers(children: Iterable[str]) -> set[int]:
    """The numbers that are held; children that are not a plain positive number are ignored."""
    return {int(name) for name in children if name.isdigit() and _NUMBER.fullmatch(name)}


def tickets(children: Iterable[str]) -> list[str]:
    """The tickets, first come first; whatever only looks similar is ignored."""
    return sorted(filter(_TICKET.fullmatch, children), key=_order)


def _order(ticket: str) -> str:
    return ticket[-10:]


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


@dataclass
class _Attempt:
    """One way from a ticket to a number, within one session.

    `before` is the attempt that the end of another session broke off. A client learns that it has
    a new one when it is connected again: what it sent until then may have been done in this one.
    """

    session: int
    before: _Attempt | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    asked: bool = False  # its ticket may exist
    ticketed: float | None = None  # when it was asked for
    aims: dict[int, float] = field(default_factory=dict)  # numbers tried for, and when
    in_doubt: bool = False  # a reply was lost

    @property
    def has_sent(self) -> bool:
        return self.asked or bool(self.aims)

    def ticket(self, children: Iterable[str]) -> str | None:
        prefix = f"ticket-{self.name}-"
        mine = (name for name in children if name.startswith(prefix))
        return next(filter(_TICKET.fullmatch, mine), None)


class Claimer:
    """Claims numbers in one session after another, one at a time.

    `data` is what the claimed znode holds; `connected` blocks until the given session is
    connected again and raises `SessionEnded` if it has ended; `clock` gives seconds; `deleted` is
    called by kazoo's thread when a claimed znode is deleted, and must not block.
    """

    def __init__(
        self,
        session: Session,
        data: bytes,
        max_number: int,
        connected: Callable[[int], None],
        clock: Callable[[], float],
        deleted: Callable[[Any], None] | None = None,
    ) -> None:
        self._session = session
        self._zk: KazooClient = session
        self._data = data
        self._max_number = max_number
        self._connected = connected
        self._clock = clock
        self._deleted = deleted
        self._attempt: _Attempt | None = None

    def claim(self) -> Claim:
        """Claim the lowest free number.

        Raises `NoFreeNumber` (the ticket has been given back) or `SessionEnded`. A connection
        that is lost in any step is waited for; what had been done by then is found, not redone.
        After any other error the attempt's ticket may be left, and the next call goes on with it.
        """
        attempt = self._attempt
        if attempt is None or attempt.session != self._session.session_id:
            before = attempt if attempt is None or attempt.has_sent else attempt.before
            attempt = self._attempt = _Attempt(self._live_session(), before)
        while True:
            if self._session.session_id != attempt.session:
                raise SessionEnded
            try:
                if claim := self._advance(attempt):
                    self._attempt = None
                    return claim
            except NoFreeNumber:
                self._attempt = None
                raise
            except SessionExpiredError:
                raise SessionEnded from None
            except ConnectionLoss:
                attempt.in_doubt = True
                self._connected(attempt.session)

    def _live_session(self) -> int:
        session = self._session.session_id
        if session is None:
            raise SessionEnded
        return session

    def _advance(self, attempt: _Attempt) -> Claim | None:
        """Go from what ZooKeeper shows to the next step; None to look again."""
        if attempt.before is not None:
            return self._settle(attempt, attempt.before)
        children = self._look(attempt) if attempt.asked else self._ask(attempt)
        if children is None:
            self._zk.ensure_path(ROOT)
            attempt.asked = False
            return None
        ticket = attempt.ticket(children)
        if ticket is None:
            # Either the transaction was done and its reply was lost, or the ticket never was. Which
            # one is known only when a reply to the search has come: until then, no new ticket.
            found = self._find(attempt, numbers(children))
            attempt.asked = found is not None
            return found
        number = target(children, ticket)
        if number > self._max_number:
            with suppress(NoNodeError):
                self._zk.delete(f"{ROOT}/{ticket}")
            raise NoFreeNumber
        return self._transact(attempt, number, ticket)

    def _settle(self, attempt: _Attempt, before: _Attempt) -> Claim | None:
        """Go on with what an attempt before has got in this session, and give its ticket back."""
        attempt.in_doubt = True
        children = self._look(attempt) or []
        if ticket := before.ticket(children):
            with suppress(NoNodeError):
                self._zk.delete(f"{ROOT}/{ticket}")
        found = self._find(_Attempt(attempt.session, aims=before.aims), numbers(children))
        # An older one's leftovers would have to have been made here too.
        attempt.before = before.before
        return found

    def _ask(self, attempt: _Attempt) -> list[str] | None:
        """Take a ticket; the children right after, or None if there is no parent yet."""
        attempt.asked = True
        attempt.ticketed = self._clock()
        path = f"{ROOT}/ticket-{attempt.name}-"
        created = self._zk.create_async(path, b"", ephemeral=True, sequence=True)
        listed = self._zk.get_children_async(ROOT)  # sent at once: a session keeps its order
        try:
            created.get()
        except NoNodeError:
            listed.wait()
            return None
        children: list[str] = listed.get()
        return children

    def _look(self, attempt: _Attempt) -> list[str] | None:
        try:
            if attempt.in_doubt:
                self._zk.sync(ROOT)  # another server may not have heard yet of what was done
                attempt.in_doubt = False
            children: list[str] = self._zk.get_children(ROOT)
        except NoNodeError:
            return None
        return children

    def _transact(self, attempt: _Attempt, number: int, ticket: str) -> Claim | None:
        """Take the number and give the ticket back, or neither; None if it has to look again."""
        path = f"{ROOT}/{number}"
        sent = self._clock()
        attempt.aims.setdefault(number, sent)
        transaction = self._zk.transaction()
        transaction.create(path, self._data, ephemeral=True)
        transaction.delete(f"{ROOT}/{ticket}")
        committed = transaction.commit_async()
        # A listing's watch, unlike that of a plain look, is not spent on our own heartbeats.
        seen = self._zk.get_children_async(path, watch=self._deleted, include_data=True)
        results: list[Any] = committed.get()
        errors = [result for result in results if isinstance(result, KazooException)]
        if not errors:
            return self._as_claim(attempt, number, seen.get()[1], sent)
        seen.wait()
        if any(isinstance(error, NodeExistsError | NoNodeError) for error in errors):
            return None  # somebody's number, or somebody deleted our ticket
        raise ClaimError(f"ZooKeeper refused to create {path}: {errors}")

    def _find(self, attempt: _Attempt, held: set[int]) -> Claim | None:
        """The number that this attempt has got without learning of it."""
        for number, sent in attempt.aims.items():
            if number in held:
                path = f"{ROOT}/{number}"
                with suppress(NoNodeError):
                    seen = self._zk.get_children(path, watch=self._deleted, include_data=True)
                    if claim := self._as_claim(attempt, number, seen[1], sent):
                        return claim
        return None

    @staticmethod
    def _as_claim(attempt: _Attempt, number: int, stat: Any, sent: float) -> Claim | None:
        if stat.ephemeralOwner != attempt.session:
            return None
        ticketed = sent if attempt.ticketed is None else attempt.ticketed
        return Claim(number, stat.czxid, attempt.session, ticketed, sent)
