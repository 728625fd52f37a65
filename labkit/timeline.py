"""Events, as they happen: the record of everything a lab does and sees, on one clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kazoo.exceptions import KazooException, NoNodeError

if TYPE_CHECKING:
    from kazoo.client import KazooClient

    from labkit.zookeeper import Transaction


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `t` is in seconds since the timeline began; `kind` says what `data` holds; `subject` is a
    server's name ("node1", "zookeeper1"), "zookeeper" for the service as a whole, or "lab".
    """

    t: float
    kind: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        event = {"t": self.t, "kind": self.kind, "subject": self.subject, "data": dict(self.data)}
        return json.dumps(event)


_LASTING = ("transaction", "verb", "fault")  # what a run is judged by
_LAST_WORDS = ("status", "holders", "session", "quorum")
_MOVED = 0.005  # seconds by which the two clocks part before that counts as a step
_SURE = 0.001  # seconds within which both clocks have to be read, to be compared
_JITTER = 0.05  # seconds by which the times in ZooKeeper's log may be out of its own order


@dataclass
class _Step:
    """A stretch of time in which the wall clock and the timeline's went at the same pace."""

    since: float
    offset: float  # wall-clock time at t = 0, by how the clocks are now
    seen: float  # when that was last true


class Timeline:
    """An append-only, thread-safe list of events on one monotonic clock.

    It is bounded, so that a lab left running does not grow for ever. The last `limit` events are
    kept; transactions, verbs and faults, by which a run is judged, have a bound of their own,
    twice as large, at which the oldest transactions go first. Of what was dropped, the last word
    on every node's, ZooKeeper's and the lab's state is kept, and one event of kind `dropped` says
    how many `events` are missing, of which `kinds`, and up to which `zxid`: `check` then says that
    the beginning is missing, and accuses nobody of what it cannot see.

    `clock` is monotonic and may stand still while the machine sleeps; `wall` may be set. The
    timeline compares them whenever it looks at the time, and so knows where on its own clock each
    of ZooKeeper's timestamps belongs.
    """

    def __init__(
        self,
        limit: int = 200_000,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._origin = clock()
        self.epoch = wall()  # wall-clock time at t = 0
        self._steps = [_Step(since=0.0, offset=self.epoch, seen=0.0)]
        self._skew = 0.0
        self._limit = limit
        self._events: list[Event] = []
        self._lasting = 0  # how many of them are of a lasting kind
        self._lost: Counter[str] = Counter()
        self._dropped = 0
        self._rewritten = 0  # a reader that has not come as far as this has missed something
        self._generation = 0  # grows when the past changes
        self._merged: set[int] = set()
        self._forgotten = 0  # the newest zxid that was dropped
        self._changed = threading.Condition()

    def now(self) -> float:
        """Seconds since the timeline began."""
        t = self._clock() - self._origin
        step = self._steps[-1]
        if abs(self._wall() - t - step.offset) <= _MOVED:
            step.seen = t
        else:
            self._look_again()
        return t

    def _look_again(self) -> None:
        """Note that the clocks have parted; unless this thread was only held up between them."""
        with self._changed:
            begin, wall = self._clock() - self._origin, self._wall()
            t = self._clock() - self._origin
            offset = wall - t
            if t - begin <= _SURE and abs(offset - self._steps[-1].offset) > _MOVED:
                self._steps.append(_Step(since=t, offset=offset, seen=t))

    def correct(self, skew: float) -> None:
        """Say that ZooKeeper's clock is `skew` seconds ahead of this machine's wall clock.

        It may be, when ZooKeeper runs on another machine (a remote container engine); behind is
        negative. Holds for the transactions that are merged from now on.
        """
        with self._changed:
            self._skew = skew

    def record(self, kind: str, subject: str, /, **data: Any) -> Event:
        """Append an event that happens now."""
        with self._changed:
            event = Event(self.now(), kind, subject, data)
            self._events.append(event)
            self._lasting += kind in _LASTING
            self._trim()
            self._changed.notify_all()
        return event

    def merge_transactions(
        self, transactions: Iterable[Transaction], *, heartbeats: bool = False
    ) -> int:
        """Put ZooKeeper's own history in, by time; returns how many events that added.

        What was merged before is skipped by zxid, so the whole log may be handed in again. The
        nodes' `heartbeats` (they write on their claims, many times a second) are left out unless
        they are asked for: they say nothing about who holds what.

        Times are ZooKeeper's, to the millisecond. A clock that was set back passes some of them
        twice; which time is meant follows from the order of the zxids, so the more of the log is
        handed in, the better.
        """
        with self._changed:
            self.now()
            events = [
                self._event(part, t)
                for part, t in self._placed(sorted(transactions, key=lambda part: part.zxid))
                if part.zxid > self._forgotten
                and part.zxid not in self._merged
                and (heartbeats or not _is_heartbeat(part))
            ]
            self._merged.update(event.data["zxid"] for event in events)
            self._lasting += len(events)
            events.sort(key=lambda event: event.t)
            self._events = list(merge(self._events, events, key=lambda event: event.t))
            self._trim()
            if events:
                self._generation += 1
                self._changed.notify_all()
        return len(events)

    def _placed(self, parts: Iterable[Transaction]) -> Iterator[tuple[Transaction, float]]:
        """Each part of the log, in order of zxid, with its time on this timeline."""
        at, before = 0, -math.inf
        for part in parts:
            wall = part.time - self._skew
            while at + 1 < len(self._steps):
                step, following = self._steps[at], self._steps[at + 1]
                t = wall - step.offset
                # Time goes on from one zxid to the next; where it does not, the clock was set.
                is_back = t < before - _JITTER
                fits_there = wall - following.offset >= step.seen - _JITTER
                if t <= following.since and not (is_back and fits_there):
                    break
                before = max(before, step.seen)
                at += 1
            t = wall - self._steps[at].offset
            if at > 0:
                t = max(t, self._steps[at - 1].seen)
            before = max(before, t)
            yield part, t

    @staticmethod
    def _event(part: Transaction, t: float) -> Event:
        value = None if part.data is None else part.data.decode(errors="replace")
        data = {
            "zxid": part.zxid,
            "session": f"0x{part.session:x}",
            "op": part.op,
            "path": part.path,
            "value": value,
            "ephemeral": part.ephemeral,
        }
        return Event(t, "transaction", "zookeeper", data)

    def _trim(self) -> None:
        """Drop what is too much, and a tenth more, so that it need not be done at every event."""
        slack, passing = self._limit // 10, len(self._events) - self._lasting
        if passing > self._limit:
            self._drop(lambda kind: kind not in _LASTING, passing - self._limit + slack)
        for kinds in (("transaction",), ("verb", "fault")):
            if self._lasting > 2 * self._limit:
                self._drop(kinds.__contains__, self._lasting - 2 * self._limit + slack)

    def _drop(self, expendable: Callable[[str], bool], count: int) -> None:
        """Drop the `count` oldest events of expendable kinds, but for the last words of each."""
        doomed = list(islice((i for i, e in enumerate(self._events) if expendable(e.kind)), count))
        if not doomed:
            return
        ends = doomed[-1] + 1
        last_words = {
            (event.kind, event.subject): i
            for i in doomed
            if (event := self._events[i]).kind in _LAST_WORDS
        }
        gone = set(doomed) - set(last_words.values())
        kept = []
        for i, event in enumerate(self._events[:ends]):
            if event.kind == "dropped":
                continue
            if i not in gone:
                kept.append(event)
                continue
            self._lost[event.kind] += 1
            self._lasting -= event.kind in _LASTING
            if event.kind == "transaction":
                self._merged.discard(event.data["zxid"])
                self._forgotten = max(self._forgotten, event.data["zxid"])
        rest = [event for event in self._events[ends:] if event.kind != "dropped"]
        if len(rest) < len(self._events) - ends:
            self._generation += 1  # a gap in the midst of what may have been read
        t = self._events[ends - 1].t
        position = self._dropped + len(self._events)
        data = {
            "events": self._lost.total(), "kinds": dict(self._lost), "zxid": self._forgotten
        }  # fmt: skip
        self._events = [*kept, Event(t, "dropped", "lab", data), *rest]
        self._dropped = position - len(self._events)
        self._rewritten = position - len(rest)

    def tail(self) -> Tail:
        """A reader that follows the timeline from its beginning."""
        return Tail(self)

    def __iter__(self) -> Iterator[Event]:
        with self._changed:
            return iter(list(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def write(self, path: Path) -> None:
        """Write JSON lines, the first of which holds the epoch."""
        lines = [json.dumps({"epoch": self.epoch}), *(event.to_json() for event in self)]
        path.write_text("\n".join(lines) + "\n")

    @staticmethod
    def read(path: Path) -> list[Event]:
        """The events that `write` wrote."""
        lines = (json.loads(line) for line in path.read_text().splitlines())
        return [Event(**line) for line in lines if "kind" in line]


def _is_heartbeat(part: Transaction) -> bool:
    return part.op == "setData" and (part.path or "").startswith(f"{_CLAIMS}/")


class Tail:
    """Reads a timeline as it grows; one for each reader."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._generation = timeline._generation
        self._next = 0

    def wait(self, timeout: float) -> bool:
        """Wait until there is something to read; False if nothing came for `timeout` seconds."""
        with self._timeline._changed:
            return self._timeline._changed.wait_for(self._pending, timeout)

    def read(self) -> tuple[list[Event], bool]:
        """The events not read yet, and whether they start anew because the past has changed."""
        timeline = self._timeline
        with timeline._changed:
            missed = self._next < timeline._rewritten
            anew = missed or self._generation != timeline._generation
            start = 0 if anew else self._next - timeline._dropped
            self._generation = timeline._generation
            self._next = timeline._dropped + len(timeline._events)
            return timeline._events[start:], anew

    def _pending(self) -> bool:
        timeline = self._timeline
        behind = self._next < timeline._dropped + len(timeline._events)
        return behind or self._generation != timeline._generation


# --- who writes it ------------------------------------------------------------------------------

_PATIENCE = 1.0  # seconds of silence after which a node counts as unreachable
_GIVE_UP = 10.0  # seconds after which a silent connection is replaced
_SETTLE = 0.03  # seconds between two listings: changes that come together are read together
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MODE = re.compile(rb"^Mode: (\w+)", re.MULTILINE)
_CLAIMS = "/sequence"


class Recorder:
    """Writes on a timeline, as it changes, what every node says and what ZooKeeper says.

    `nodes` and `servers` are asked again and again, from the recorder's thread, for what there is
    now: nodes as (name, base URL), ZooKeeper servers as (name, host, port), so they have to be
    quick. A node's `/status` is asked every `interval` seconds and recorded as `status` when
    anything but its lease has changed, with the times at which it was `asked` and at which it had
    been asked (`previous_until`) when it gave the previous answer for the last time. A server's
    mode is recorded as `quorum`. With a `client`, a watch on /sequence records `holders`, and the
    client's own state `session`.

    One thread does it all. A node that is paused or dead delays nobody: its connection stays open
    and counts as unreachable after a second of silence.
    """

    def __init__(
        self,
        timeline: Timeline,
        nodes: Callable[[], Iterable[tuple[str, str]]],
        client: KazooClient | None = None,
        *,
        servers: Callable[[], Iterable[tuple[str, str, int]]] = lambda: (),
        interval: float = 0.2,
    ) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._servers = servers
        self._client = client
        self._interval = interval
        self._said: dict[str, tuple[dict[str, Any], float]] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._claims_changed: asyncio.Event

    def start(self) -> Recorder:
        """Begin to record; returns at once. Does nothing if it records already."""
        if self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._record(ready)), name="labkit-recorder", daemon=True
            )
            self._thread.start()
            ready.wait()
        return self

    def stop(self) -> None:
        """Stop recording; no thread, connection or listener is left. Idempotent."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def catch_up(self, timeout: float = 0.5) -> None:
        """Wait until every node that can be reached has been asked once more.

        One that falls silent just now is waited for until `timeout` seconds have passed.
        """
        now = self._timeline.now()
        deadline = now + timeout
        while self._thread is not None and self._timeline.now() < deadline:
            heard = (self._said.get(name) for name, _ in self._nodes())
            if all(said and (said[1] >= now or not said[0]["reachable"]) for said in heard):
                return
            time.sleep(0.01)

    async def _record(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._claims_changed = asyncio.Event()
        ready.set()
        tasks: dict[tuple[Any, ...], asyncio.Task[None]] = {}
        if self._client is not None:
            tasks[("claims",)] = asyncio.create_task(self._follow_claims(self._client))
        while not self._stopping.is_set():
            wanted: dict[tuple[Any, ...], Callable[..., Coroutine[Any, Any, None]]] = {
                **{tuple(node): self._follow_node for node in self._nodes()},
                **{tuple(server): self._follow_server for server in self._servers()},
            }
            for key in tasks.keys() - wanted.keys() - {("claims",)}:
                tasks.pop(key).cancel()
            for key in wanted.keys() - tasks.keys():
                tasks[key] = asyncio.create_task(wanted[key](*key))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    # --- nodes ---

    async def _follow_node(self, name: str, url: str) -> None:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or 80
        request = f"GET /status HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        while True:
            try:
                async with _connection(host, port) as (reader, writer):
                    while True:
                        asked = self._timeline.now()
                        status = await self._status(name, request, reader, writer)
                        self._note(name, {**status, "reachable": True}, asked)
                        await asyncio.sleep(self._interval)
            except EOFError:
                self._unreachable(name, "it closed the connection")
            except (OSError, ValueError) as error:
                self._unreachable(name, str(error) or type(error).__name__)
            await asyncio.sleep(self._interval)

    async def _status(
        self,
        name: str,
        request: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> dict[str, Any]:
        silent = self._loop.call_later(_PATIENCE, self._unreachable, name, "no answer")
        hopeless = self._loop.call_later(_GIVE_UP, writer.transport.abort)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200") or not length:
                raise ValueError(head.split(b"\r\n", 1)[0].decode(errors="replace"))
            status: dict[str, Any] = json.loads(await reader.readexactly(int(length[1])))
            return status
        finally:
            silent.cancel()
            hopeless.cancel()

    def _unreachable(self, name: str, error: str) -> None:
        self._note(name, {"reachable": False, "error": error}, self._timeline.now())

    def _note(self, name: str, status: dict[str, Any], asked: float) -> None:
        # What is wrong with a node that cannot be reached may be put in many ways: one is enough.
        lasting = {k: v for k, v in status.items() if k not in ("lease_ms", "error")}
        before, until = self._said.get(name, (None, None))
        self._said[name] = lasting, asked
        if lasting != before:
            self._timeline.record("status", name, **status, asked=asked, previous_until=until)

    # --- ZooKeeper's servers ---

    async def _follow_server(self, name: str, host: str, port: int) -> None:
        """Ask a server for its mode; None when it serves nobody: no quorum, or down."""
        before: object = self  # equal to no mode
        while True:
            mode = None
            with contextlib.suppress(OSError, EOFError):
                async with asyncio.timeout(_PATIENCE), _connection(host, port) as (reader, writer):
                    writer.write(b"srvr")
                    if match := _MODE.search(await reader.read()):
                        mode = match[1].decode()
            if mode != before:
                self._timeline.record("quorum", name, mode=mode)
                before = mode
            await asyncio.sleep(self._interval)

    # --- claims ---

    async def _follow_claims(self, client: KazooClient) -> None:
        def listen(state: str) -> None:
            self._timeline.record("session", "lab", state=str(state))
            self._wake()

        client.add_listener(listen)
        self._timeline.record("session", "lab", state=str(client.state))
        listing = _Listing()
        try:
            while True:
                self._claims_changed.clear()
                try:
                    if await listing.read(self, client):
                        self._timeline.record("holders", "zookeeper", **listing.said())
                    await self._claims_changed.wait()
                except KazooException:  # not connected: try again until it is
                    await asyncio.sleep(self._interval)
                await asyncio.sleep(_SETTLE)
        finally:
            client.remove_listener(listen)

    def _wake(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # a late watch finds the loop closed
            self._loop.call_soon_threadsafe(self._claims_changed.set)

    async def _ask(self, pending: Any) -> Any:
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


class _Listing:
    """The children of /sequence, read as cheaply as is still correct."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, Any]] = {}
        self._tickets: list[str] = []
        self._version = 0
        self._zxid = -1

    def said(self) -> dict[str, Any]:
        return {"numbers": dict(self._numbers), "tickets": self._tickets, "zxid": self._zxid}

    async def read(self, recorder: Recorder, client: KazooClient) -> bool:
        """List again, with a watch; returns whether anything is different."""
        try:
            children, stat = await recorder._ask(
                client.get_children_async(_CLAIMS, watch=recorder._wake, include_data=True)
            )
        except NoNodeError:
            if await recorder._ask(client.exists_async(_CLAIMS, watch=recorder._wake)):
                recorder._wake()  # it has been made since; this watch does not see its children
            return False
        if stat.pzxid == self._zxid:
            return False
        names = {name for name in children if name.isdigit()}
        tickets = sorted(name for name in children if name.startswith("ticket-"))
        changes = len(names ^ self._numbers.keys()) + len(set(tickets) ^ set(self._tickets))
        # A parent counts its children's comings and goings. As many as are seen: none was hidden,
        # and a number that is still there is still the same claim.
        known = self._numbers if stat.cversion - self._version == changes else {}
        pending = {name: client.get_async(f"{_CLAIMS}/{name}") for name in names - known.keys()}
        found = {name: known[name] for name in names & known.keys()}
        for name, get in pending.items():
            with contextlib.suppress(NoNodeError):  # gone since the listing: the watch has fired
                found[name] = _claim(*await recorder._ask(get))
        self._numbers = dict(sorted(found.items(), key=lambda item: int(item[0])))
        self._tickets = tickets
        self._version, self._zxid = stat.cversion, stat.pzxid
        return True


def _claim(data: bytes, stat: Any) -> dict[str, Any]:
    session = f"0x{stat.ephemeralOwner:x}" if stat.ephemeralOwner else None
    return {"owner": owner(data.decode(errors="replace")), "session": session, "token": stat.czxid}


def owner(value: str | None) -> str | None:
    """The node that a claim's data names, or None if it names none."""
    try:
        data = json.loads(value or "")
        return str(data["owner"])
    except (ValueError, KeyError, TypeError):
        return None


@contextlib.asynccontextmanager
async def _connection(host: str, port: int) -> Any:
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
