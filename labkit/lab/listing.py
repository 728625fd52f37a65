"""Who holds which number, as a watch on /sequence sees it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.states import ZnodeStat

from labkit.story.event import (
    CLAIMS,
    Holder,
    HoldersEvent,
    SessionEvent,
    number_of,
    owner,
    ticket_of,
)
from labkit.story.timeline import Timeline

_SETTLE = 0.03  # seconds between two listings: changes that come together are read together
_AGAIN = 0.2  # seconds until the next try, while the client is not connected


class Listing:
    """The children of /sequence, written on a timeline as they change.

    It reads no more than is needed to be correct, and belongs to the event loop that it is made in.
    """

    def __init__(self, timeline: Timeline, client: KazooClient) -> None:
        self._timeline = timeline
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._numbers: dict[str, Holder] = {}
        self._tickets: list[str] = []
        self._version = 0
        self._zxid = -1

    async def follow(self) -> None:
        """Record what changes, and the client's own state, until this task is cancelled."""
        self._client.add_listener(self._listen)
        self._timeline.record(SessionEvent("lab", state=str(self._client.state)))
        try:
            while True:
                self._changed.clear()
                try:
                    if await self._read():
                        self._timeline.record(self._event())
                    await self._changed.wait()
                except KazooException:  # not connected: try again until it is
                    await asyncio.sleep(_AGAIN)
                await asyncio.sleep(_SETTLE)
        finally:
            self._client.remove_listener(self._listen)

    def _listen(self, state: str) -> None:
        self._timeline.record(SessionEvent("lab", state=str(state)))
        self._wake()

    def _wake(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # a late watch finds the loop closed
            self._loop.call_soon_threadsafe(self._changed.set)

    def _event(self) -> HoldersEvent:
        numbers = {int(name): holder for name, holder in self._numbers.items()}
        tickets = tuple(self._tickets)
        return HoldersEvent("zookeeper", numbers=numbers, tickets=tickets, zxid=self._zxid)

    async def _read(self) -> bool:
        """List again, with a watch; returns whether anything is different."""
        client = self._client
        try:
            children, stat = await self._answer(
                client.get_children_async(CLAIMS, watch=self._wake, include_data=True)
            )
        except NoNodeError:
            if await self._answer(client.exists_async(CLAIMS, watch=self._wake)):
                self._wake()  # it has been made since; this watch does not see its children
            return False
        if stat.pzxid == self._zxid:
            return False
        names = {name for name in children if number_of(name)}
        tickets = sorted(name for name in children if ticket_of(name) is not None)
        changes = len(names ^ self._numbers.keys()) + len(set(tickets) ^ set(self._tickets))
        # A parent counts its children's comings and goings. As many as are seen: none was hidden,
        # and a number that is still there is still the same claim.
        known = self._numbers if stat.cversion - self._version == changes else {}
        pending = {name: client.get_async(f"{CLAIMS}/{name}") for name in names - known.keys()}
        found = {name: known[name] for name in names & known.keys()}
        for name, get in pending.items():
            with contextlib.suppress(NoNodeError):  # gone since the listing: the watch has fired
                found[name] = _holder(*await self._answer(get))
        self._numbers = dict(sorted(found.items(), key=lambda item: int(item[0])))
        self._tickets = tickets
        self._version, self._zxid = stat.cversion, stat.pzxid
        return True

    async def _answer(self, pending: Any) -> Any:
        """Await one of kazoo's asynchronous results."""
        answer = self._loop.create_future()

        def finish() -> None:
            if answer.done():
                return
            if pending.exception is None:
                answer.set_result(pending.value)
            else:
                answer.set_exception(pending.exception)

        def done(_: object) -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(finish)

        pending.rawlink(done)
        return await answer


def _holder(data: bytes, stat: ZnodeStat) -> Holder:
    session = f"0x{stat.ephemeralOwner:x}" if stat.ephemeralOwner else None
    return Holder(owner(data.decode(errors="replace")), session, stat.czxid)
