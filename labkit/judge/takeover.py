"""The faults that can tell whether a lease is kept: a node is silent, and its session ends.

Nobody tells the node what has happened, so only its own clock can. Both stages below wait for what
has to be true next and not for the time, but for the leader's sleep. Whatever fails to come true
is left to the judge to see, who says then what the run did not test.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from labkit.errors import LabError, NodeError
from labkit.judge.volleys import Volleys
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.servers.base import ServerState, each
from labkit.story.event import CLAIMS

_QUEUED = 8  # requests that wait at each silent node, besides those of the clients
_LOOK = 0.01  # seconds between two looks
_ANSWER = 1.0  # seconds for an answer of ZooKeeper's
_START = 10.0  # seconds for a connection to ZooKeeper
_SESSION = re.compile(r"sid=(0x[0-9a-f]+)")

_PATIENCE = 2.0  # seconds for which a follower waits for its leader: ten ticks
_LONGEST = _PATIENCE - 0.3  # that a leader can sleep, and be the leader when it wakes up
#: How long nodes are silent, in session timeouts: more than half of one. A lease that is too long
#: shows the better the shorter they are, and one that is renewed too soon the longer they are.
SHORT, BOTH, LONG = 0.64, 0.76, 0.78
_SHOWS = 0.45  # seconds by which it has to be longer than half a timeout to show anything
_REPORTED = 0.25  # seconds in which a follower has told the leader of all signs of life
_BEFORE = 0.1  # seconds before the leader wakes up, in which a write gets to its door
_CERTAIN = 0.08  # seconds after which the judge is certain that a number is not held any more
_ON_ITS_WAY = 0.05  # seconds in which an answer gets from a server to its client


class Stage(ABC):
    """One such fault on a lab. `stop` ends every wait in it at once."""

    def __init__(self, lab: Lab, stop: threading.Event) -> None:
        self._lab = lab
        self._stop = stop
        self._nodes: list[Node] = []  # those that are silenced or restarted

    @abstractmethod
    def choose(self) -> Sequence[Node | ZooKeeperServer] | None:
        """The servers that it is about; None if it can't be done with those that there are."""

    @abstractmethod
    def break_(self) -> bool:
        """Do all of it but the healing; whether a silent node has lost its number."""

    def mend(self) -> None:
        """Have all run, and reach ZooKeeper."""
        for node in self._nodes:
            if node.state is ServerState.PAUSED:
                node.resume()
            node.start()
            self._lab.heal(node.name)

    def _holders(self) -> dict[int, Node]:
        """The nodes that would answer, by their number."""
        found = {}
        for node in self._lab.nodes:
            with suppress(LabError):
                if node.state is ServerState.RUNNING and (number := node.status()["number"]):
                    found[int(number)] = node
        return found

    def _all_hold(self) -> dict[int, Node]:
        """The holders, if possible once all nodes hold a number, so that nobody claims."""
        everybody = len(self._lab.alive)
        self._wait(lambda: len(self._holders()) == everybody, self._lab.session_timeout + 1.0)
        return self._holders()

    @contextmanager
    def _queued(self, nodes: Sequence[Node]) -> Iterator[None]:
        """Have requests wait at nodes that sleep; at the end, wait for their answers."""
        under_way = threading.Barrier(_QUEUED * len(nodes) + 1)
        with ThreadPoolExecutor(_QUEUED * len(nodes), thread_name_prefix="queued") as pool:
            asked = [pool.submit(self._ask, n, under_way) for n in nodes for _ in range(_QUEUED)]
            under_way.wait()
            self._stop.wait(_ON_ITS_WAY)
            yield
            for answer in asked:
                answer.result()

    @staticmethod
    def _ask(node: Node, under_way: threading.Barrier) -> None:
        under_way.wait()
        with suppress(NodeError):
            node.answer()

    def _wait(self, condition: Callable[[], object], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline or self._stop.wait(_LOOK):
                return False
        return True


class Takeover(Stage):
    """A holder is cut off until another node has its number, and answers it.

    With `frozen` it sleeps too, while requests queue at it; then it runs on, still cut off. With
    `volleys`, both are asked for IDs when it comes back: it is connected again before it has a
    number, and has reserved timestamps as the worker that the other is now.
    """

    def __init__(
        self, lab: Lab, stop: threading.Event, frozen: bool, volleys: Volleys | None = None
    ) -> None:
        super().__init__(lab, stop)
        self._frozen = frozen
        self._volleys = volleys
        self._number = 0

    def choose(self) -> Sequence[Node] | None:
        """The holder of the smallest number, and of the largest: the first is the next to be taken.

        None if not even two nodes come to hold one.
        """
        holders = self._all_hold()
        if len(holders) < 2:
            return None
        self._number = min(holders)
        self._nodes = [holders[self._number], holders[max(holders)]]
        return self._nodes

    def break_(self) -> bool:
        holder, rival = self._nodes
        if self._volleys is None:
            return self._take_over(holder, rival)
        with self._volleys.quiet():  # a request for IDs could not reserve any in that time
            self._volleys.ask(holder)
            taken = self._take_over(holder, rival)
            if taken:
                self._volleys.duel(holder, rival, self._stop)
        return taken

    def _take_over(self, holder: Node, rival: Node) -> bool:
        """Whether the rival has got the number."""
        number, timeout = self._number, self._lab.session_timeout
        self._lab.partition(holder.name)
        if self._frozen:
            holder.pause()
        if not self._wait(lambda: not self._is_held(number), 2 * timeout + 1.0):
            return False
        rival.stop()
        rival.start()
        taken = self._wait(lambda: self._answers(rival, number), timeout + 1.0)
        with self._queued([holder]):
            if self._frozen:
                holder.resume()
        self._stop.wait(timeout / 4)
        return taken

    @staticmethod
    def _answers(rival: Node, number: int) -> bool:
        with suppress(NodeError):
            return rival.sequence() == number
        return False

    def _is_held(self, number: int) -> bool:
        try:
            return self._lab.zk.exists_async(f"{CLAIMS}/{number}").get(timeout=_ANSWER) is not None
        except (KazooException, KazooTimeoutError):
            return True


class Stall(Stage):
    """The leader of an ensemble sleeps, and wakes up just before it ends some nodes' sessions.

    These are connected to one follower, and slept as well, but for the last moment. So the leader
    finds a write of theirs at its door when it wakes up, and does it: it is acknowledged long
    after the leader has last been told that they are alive. Before the follower can tell it again,
    it is cut off, and serves on for ten ticks. Their sessions end on time, counted from before the
    sleep; their leases, if they are longer than half a timeout, or begin again with one write, not
    yet.
    """

    _leader: ZooKeeperServer
    _follower: ZooKeeperServer
    _other: ZooKeeperServer
    _number = 0

    def __init__(self, lab: Lab, stop: threading.Event, silence: float = BOTH) -> None:
        super().__init__(lab, stop)
        self._silence = silence

    @staticmethod
    def is_possible(servers: int, session_timeout: float) -> bool:
        """Whether an ensemble is large enough, and a follower patient enough for that timeout."""
        silent = _silent(BOTH, session_timeout)
        return servers > 2 and silent - session_timeout / 2 >= _SHOWS

    def choose(self) -> Sequence[Node | ZooKeeperServer] | None:
        """The leader, a follower, and all holders that are connected to that one.

        None if there is no leader, or no holder connected to a follower.
        """
        zookeeper = self._lab.zookeeper
        if not self._wait(lambda: zookeeper.leader and len(zookeeper.followers) > 1, _START):
            return None
        by_session = {node.status()["session"]: n for n, node in self._all_hold().items()}
        best: list[int] = []
        for follower in zookeeper.followers:
            sessions = _SESSION.findall(follower.four_letter("cons"))
            on = sorted(by_session[s] for s in sessions if s in by_session)
            if len(on) > len(best):
                best, self._follower = on, follower
        leader = zookeeper.leader
        if leader is None or not best:
            return None
        self._leader, self._number = leader, best[0]
        others = (s for s in zookeeper.followers if s.name != self._follower.name)
        self._other = next(others, leader)
        holders = self._holders()
        self._nodes = [holders[number] for number in best if number in holders]
        return [self._leader, self._follower, *self._nodes]

    def break_(self) -> bool:
        nodes, leader, follower = self._nodes, self._leader, self._follower
        with client_of(self._other) as zk:
            version = self._version(zk)
            self._wait(lambda: self._version(zk) != version, self._lab.session_timeout / 2)
            self._stop.wait(_ON_ITS_WAY)
            each(Node.pause, nodes)
            wakes = time.monotonic() + _silent(self._silence, self._lab.session_timeout)
            self._stop.wait(_REPORTED)
            leader.pause()
            self._stop.wait(wakes - _BEFORE - time.monotonic())
            each(Node.resume, nodes)
            self._stop.wait(wakes - time.monotonic())
            version = self._version(zk)
            follower.pause()  # it is told what the leader does, and can't say a word before the cut
            leader.resume()
            self._wait(lambda: self._version(zk) != version, _ANSWER / 2)
            self._lab.partition(follower.name)
            follower.resume()
            self._stop.wait(2 * _ON_ITS_WAY)
            each(Node.pause, nodes)
            lost = self._wait(lambda: self._version(zk) is None, self._lab.session_timeout)
            self._stop.wait(_CERTAIN)
            with self._queued(nodes):
                each(Node.resume, nodes)
        return lost

    def mend(self) -> None:
        for server in (self._leader, self._follower):
            if server.state is ServerState.PAUSED:
                server.resume()
        self._lab.heal(self._follower.name)
        super().mend()

    def _version(self, zk: KazooClient) -> int | None:
        """How often the number has been written; None if nobody holds it. -1 if nobody knows."""
        try:
            stat = zk.exists_async(f"{CLAIMS}/{self._number}").get(timeout=_ANSWER)
        except (KazooException, KazooTimeoutError):
            return -1
        return None if stat is None else int(stat.version)


def _silent(share: float, session_timeout: float) -> float:
    """How long nodes are silent, in seconds; the leader sleeps for the end of that time."""
    return min(share * session_timeout, _REPORTED + _LONGEST)


@contextmanager
def client_of(server: ZooKeeperServer) -> Iterator[KazooClient]:
    """A client of one server, which sees what happens to the others."""
    zk = KazooClient(str(server.endpoint), logger=logging.getLogger("labkit.kazoo"))
    zk.start(timeout=_START)
    try:
        yield zk
    finally:
        zk.stop()
        zk.close()
