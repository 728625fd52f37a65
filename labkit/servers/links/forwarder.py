"""Links that can be cut or slowed, and seeded schedules of faults."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar, cast

from labkit.errors import ServerNotFound
from labkit.servers.links.fault import LinkFault

T = TypeVar("T")


class Forwarder:
    """Every TCP link of a lab, each on a port of its own, and what is wrong with each.

    All links live in one event loop in one daemon thread; methods may be called from any other
    thread. A link behaves as a network would:

    - *drop* holds bytes back instead of losing them, because TCP retransmits: once healed, what
      was sent into the hole arrives late and in order, and a connection that both ends kept
      goes on as if nothing had been. A connection opened in the hole is established when the
      hole is healed, if its client still waits. When 256 KiB are held, the sender blocks.
    - a target that does not listen looks like a refused connection: a reset, at once.
    - a half-close and a reset pass through, in order with the bytes before them.

    `seed` determines where a flaky link breaks, given the chunks that pass.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._links: dict[tuple[str, str, str], _Link] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Lock()  # held while it is closed
        self._taking = threading.Lock()  # held while work is handed to the loop
        self._takes = False
        self._changing = asyncio.Lock()  # one fault is in force before the next is applied

    def start(self) -> Forwarder:
        """Run the loop. Idempotent."""
        if self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._serve, args=(ready,), name="labkit-forwarder", daemon=True
            )
            self._thread.start()
            ready.wait()
            self._takes = True
        return self

    def _serve(self, ready: threading.Event) -> None:
        # The loop is made here, because only the main thread can be interrupted while it does so.
        self._loop = asyncio.new_event_loop()
        ready.set()
        self._loop.run_forever()

    def link(
        self,
        source: str,
        target: str,
        to: tuple[str, int],
        channel: str = "",
        retry: float = 0.0,
    ) -> int:
        """Forward a port of 127.0.0.1 to `to`, and return it: the link from `source` to `target`.

        The same pair gets the same port again; a changed `to` is used by new connections. Two
        servers that talk on several ports have a link for each `channel`, and a fault hits all.
        A target that refuses is tried again for `retry` seconds before the client is told.
        """
        return self._run(self._open(source, target, to, channel, retry))

    def translate(self, source: str, target: str, channel: str, old: str, new: str) -> None:
        """Replace the address `old` in what `source` sends by `new`, of the same length.

        A ZooKeeper server that opens an election connection announces its own address in it, and
        its peer calls back there: directly, past the links, unless the address is a link's too.
        """
        if len(old) != len(new):
            raise ValueError(f"{old} and {new} differ in length; the message would not survive it.")
        self._links[source, target, channel].translation = (old.encode(), new.encode())

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        """Break the link, or with None heal it. Returns when that is in force.

        Raises `ServerNotFound` for a link that does not exist.
        """
        self._run(self._apply(source, target, fault))

    def overhear(
        self, source: str, target: str, listener: Callable[[str, bytes], object] | None
    ) -> None:
        """Tell `listener` what passes on the link: the direction, "to" or "from", and the bytes.

        It is called in the loop's thread, in order, and has to be quick. None: nobody listens.
        """
        for key, link in self._links.items():
            if key[:2] == (source, target):
                link.listener = listener

    def heal(self) -> None:
        """Heal every link."""
        for source, target, _ in list(self._links):
            self.fault(source, target, None)

    def unlink(self, server: str) -> None:
        """Close every link from or to `server`, and free the ports. Idempotent."""
        self._run(self._close([key for key in self._links if server in key[:2]]))

    def close(self) -> None:
        """Reset every connection, free every port, end the thread. Idempotent."""
        with self._closing:
            if self._loop is None or self._thread is None:
                return
            with self._taking:
                self._takes = False  # an order that came in now might never be carried out
            self._do(self._close(list(self._links)))
            self._do(self._finish())
            self._do(self._loop.shutdown_default_executor())  # it resolves host names
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def __enter__(self) -> Forwarder:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._taking:
            if not self._takes:
                work.close()
                raise RuntimeError(
                    "The forwarder does not run: call start() before using its links."
                )
            done = self._submit(work)
        return done.result()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(
        self, source: str, target: str, to: tuple[str, int], channel: str, retry: float
    ) -> int:
        key = (source, target, channel)
        if key not in self._links:
            link = _Link(to, random.Random(f"{self._seed}:{':'.join(key)}"), retry)
            link.listen()
            self._links[key] = link
        self._links[key].to = to
        return self._links[key].port

    async def _apply(self, source: str, target: str, fault: LinkFault | None) -> None:
        links = [link for key, link in self._links.items() if key[:2] == (source, target)]
        if not links:
            raise ServerNotFound(
                f"There is no link from {source} to {target} to break. Name a running server first "
                "and a ZooKeeper server second."
            )
        async with self._changing:
            for link in links:
                await link.apply(fault)

    async def _close(self, keys: list[tuple[str, str, str]]) -> None:
        for key in keys:
            if link := self._links.pop(key, None):
                await link.close()

    async def _finish(self) -> None:
        """Let connections that were being made while their link was closed come to their end."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # a new connection is announced a turn later, its end another one
            await asyncio.sleep(0)


def _bound(port: int = 0) -> socket.socket:
    sock = socket.socket()
    # The port of a link that was refused is bound again while its old connections linger.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock


class _Link:
    """One listening port, the connections made through it, and what is wrong with them."""

    def __init__(self, to: tuple[str, int], rng: random.Random, retry: float = 0.0) -> None:
        self.to = to
        self.retry = retry
        self.translation: tuple[bytes, bytes] | None = None
        self.listener: Callable[[str, bytes], object] | None = None
        self._rng = rng
        self.relays: set[_Relay] = set()
        self._fault: LinkFault | None = None
        self._closed = False
        self._accepting: set[asyncio.Task[Any]] = set()
        self._socket = _bound()  # while nobody listens, this keeps the port and refuses
        self.port = cast(int, self._socket.getsockname()[1])

    @property
    def dropped(self) -> bool:
        """In a drop of either direction no handshake is ever completed."""
        return self._fault is not None and self._fault.kind == "drop"

    @property
    def refused(self) -> bool:
        return self._closed or (self._fault is not None and self._fault.kind == "refuse")

    def fault(self, direction: str) -> LinkFault | None:
        hit = self._fault is not None and self._fault.direction in ("both", direction)
        return self._fault if hit else None

    def breaks(self, flaky: LinkFault) -> bool:
        return self._rng.random() * flaky.every < 1

    def listen(self) -> None:
        self._socket.listen(512)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        # Not asyncio's own server: closed while it accepts, it forgets the new connection.
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # the client has left again
            client, _ = self._socket.accept()
            client.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(lambda: _Relay(self).near, client))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _stop_listening(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def apply(self, fault: LinkFault | None) -> None:
        was_refused = self.refused
        self._fault = fault
        if self.refused:
            if not was_refused:
                self._stop_listening()
                self._socket = _bound(self.port)
            await self._reset()
        elif was_refused:
            self.listen()
        for relay in list(self.relays):
            relay.resume()

    async def close(self) -> None:
        self._closed = True
        self._stop_listening()
        await self._reset()

    async def _reset(self) -> None:
        for relay in list(self.relays):
            relay.reset()
        while self.relays:  # each leaves when the loop has closed its sockets
            await asyncio.sleep(0)


_EOF, _RESET = b"", None  # the two ends of a lane, after its bytes

_MOST_HELD = 256 * 1024  # bytes a lane holds before its sender has to wait, like a socket buffer


class _Relay:
    """One connection: a near end that a client opened, a far end that we open to the target."""

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.near, self.far = _End(self), _End(self)
        self.near.out = self.far.into = _Lane(self, "to", self.near, self.far)
        self.far.out = self.near.into = _Lane(self, "from", self.far, self.near)
        self._dialling: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        self.link.relays.add(self)
        if self.link.refused:
            self.reset()  # the system had accepted it before the fault began
        else:
            self.resume()

    def resume(self) -> None:
        """Go on as far as the link's present fault lets us."""
        if self._dialling is None and self.near.open and not self.link.dropped:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
        self.near.out.flush()
        self.far.out.flush()

    @property
    def unestablished(self) -> bool:
        """Opened in a hole, and known to nobody but the client."""
        return self._dialling is None

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.link.retry
        while self.near.open:
            try:
                await loop.create_connection(lambda: self.far, *self.link.to)
                return
            except OSError:
                if loop.time() >= deadline:
                    self.near.reset()
                    return
                await asyncio.sleep(0.01)

    def reset(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        self.near.reset()
        self.far.reset()

    def close_if_done(self) -> None:
        if self.near.out.ended and self.far.out.ended:
            self.near.close()
            self.far.close()

    def left(self) -> None:
        if not self.near.open and not self.far.open:
            if self._dialling is not None:
                self._dialling.cancel()
            self.near.out.clear()
            self.far.out.clear()
            self.link.relays.discard(self)


class _End(asyncio.Protocol):
    """One of a relay's two sockets: feeds the lane `out`, drains the lane `into`."""

    out: _Lane
    into: _Lane

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self._was_made = False
        self.transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        return self.transport is not None

    @property
    def gone(self) -> bool:
        """Closed, not merely not opened yet."""
        return self._was_made and (self.transport is None or self.transport.is_closing())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._was_made = True
        if self is self._relay.near:
            self._relay.accepted()
        elif self._relay.near.open:
            self.into.flush()
        else:
            self.reset()  # the client left while we dialled

    def data_received(self, data: bytes) -> None:
        self.out.put(data)

    def eof_received(self) -> bool:
        if self._relay.unestablished:
            return False  # its client has given up, and no handshake will ever reach the target
        self.out.put(_EOF)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if error is not None and not self._relay.unestablished:
            self.out.put(_RESET)
        self._relay.left()

    def pause_writing(self) -> None:
        self.into.blocked = True
        self.into.throttle()

    def resume_writing(self) -> None:
        self.into.blocked = False
        self.into.throttle()

    def reset(self) -> None:
        """Close with a reset instead of a FIN: a zero linger time."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class _Lane:
    """One direction of one connection, and what was read but may not be written yet."""

    def __init__(self, relay: _Relay, direction: str, source: _End, sink: _End) -> None:
        self._relay = relay
        self._direction = direction
        self._source = source
        self._sink = sink
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.blocked = False  # the sink's socket buffer is full
        self.ended = False  # the end of the stream has been passed on

    def put(self, item: bytes | None) -> None:
        if item and self._direction == "to" and self._relay.link.translation is not None:
            item = item.replace(*self._relay.link.translation)
        fault = self._relay.link.fault(self._direction)
        if fault is None and not self._held and self._sink.open:
            return self._deliver(item)
        if fault is not None and fault.kind == "flaky" and item and self._relay.link.breaks(fault):
            return self._relay.reset()
        delay = fault.delay if fault is not None and fault.kind == "slow" else 0.0
        self._held.append((self._loop.time() + delay, item))
        self._size += len(item or b"")
        return self.flush()

    def flush(self) -> None:
        """Pass on the bytes that the link's fault lets through by now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fault = self._relay.link.fault(self._direction)
        kind = fault.kind if fault is not None else None
        while self._held and kind != "drop" and (self._sink.open or self._sink.gone):
            due, item = self._held[0]
            if kind == "slow" and due > self._loop.time():
                self._timer = self._loop.call_at(due, self.flush)
                break
            self._held.popleft()
            self._size -= len(item or b"")
            self._deliver(item)
        self.throttle()

    def _deliver(self, item: bytes | None) -> None:
        if item is _RESET:
            self._sink.reset()
        elif self._sink.transport is None or self._sink.gone:
            pass  # nobody is left to read it
        elif item == _EOF:
            self.ended = True
            with suppress(OSError):  # the far end may have reset it while the bytes were held
                self._sink.transport.write_eof()
            self._relay.close_if_done()
        else:
            if self._relay.link.listener is not None:
                self._relay.link.listener(self._direction, item)
            self._sink.transport.write(item)

    def throttle(self) -> None:
        """Read on, or let the sender wait."""
        source = self._source.transport
        if source is None or source.is_closing():
            return
        if self.blocked or self._size > _MOST_HELD:
            source.pause_reading()
        else:
            source.resume_reading()

    def clear(self) -> None:
        self._held.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
