"""What a run's events say of ZooKeeper's own servers: who led when, and when nobody could."""

from __future__ import annotations

from collections import defaultdict

from labkit.story.bars import LAST, Stretch
from labkit.story.stretches import Life, Mark, close_stretch, natural, open_stretch, take_back

_STATES = {
    "start": "running",
    "resume": "running",
    "pause": "paused",
    "stop": "stopped",
    "kill": "stopped",
}


class Ensemble:
    """ZooKeeper's servers, told event by event.

    A server's mode is what it was last heard to be ("leader", "follower", "standalone"; "" when it
    serves nobody), and "" from the moment at which it was stopped, killed or paused. `outages` are
    the stretches in which fewer than a majority ran.
    """

    def __init__(self) -> None:
        self.modes: dict[str, list[Stretch]] = defaultdict(list)
        self.lives: dict[str, Life] = defaultdict(Life)
        self.outages: list[Stretch] = []
        self._servers: set[str] = set()
        self._down: set[str] = set()
        self._starting: set[int] = set()  # verbs under way that bring ZooKeeper back
        self._paused: dict[str, str] = {}  # the mode that each paused server had

    @property
    def servers(self) -> list[str]:
        """As far as they have been heard of."""
        return sorted(self._servers, key=natural)

    @property
    def is_down(self) -> bool:
        """Whether fewer than a majority run now."""
        return bool(self.outages) and self.outages[-1].end == LAST

    def says(self, server: str, mode: str, t: float) -> None:
        """Let a server have been heard to be something else."""
        self._servers.add(server)
        self._paused.pop(server, None)
        open_stretch(self.modes[server], t, mode)

    def verb(self, subject: str, verb: str, begins: bool, number: int, t: float) -> None:
        """Let a verb on a server, or on "zookeeper" as a whole, have begun or ended."""
        servers = {subject} if subject != "zookeeper" else self._servers or {"zookeeper1"}
        self._servers |= servers
        if verb in ("start", "resume"):
            if begins:
                self._starting.add(number)
            else:
                self._starting.discard(number)
                self._down -= servers
        elif verb in ("stop", "kill", "pause") and not begins:  # while it stops it still serves
            self._down |= servers
        for server in servers:
            self._one(server, verb, begins, t)
        self._weigh(t)

    def _one(self, server: str, verb: str, begins: bool, t: float) -> None:
        life, modes = self.lives[server], self.modes[server]
        if begins and verb != "heal":
            life.marks.append(Mark(t, verb))
        if not begins:
            life.state = _STATES.get(verb, life.state)
        match verb, begins:
            case (("stop" | "kill" | "pause" | "leave"), False) if modes:
                if verb == "pause":
                    self._paused[server] = modes[-1].what
                open_stretch(modes, t)
            case "resume", False if server in self._paused:
                open_stretch(modes, t, self._paused.pop(server))
            case (("partition" | "slow" | "flaky"), True):
                open_stretch(life.broken, t, "cut" if verb == "partition" else verb)
            case "heal", False:
                life.heal(t)

    def heal(self, t: float) -> None:
        """Let every link have been mended."""
        for life in self.lives.values():
            life.heal(t)

    def failed(self, subject: str, verb: str, number: int, began: float) -> None:
        """Take back what the beginning of a verb has changed that failed."""
        self._starting.discard(number)
        for life in self.lives.values() if subject == "zookeeper" else [self.lives[subject]]:
            take_back(life.broken, began)
            life.marks = [mark for mark in life.marks if mark != Mark(began, verb)]

    def is_connected(self, state: str | None, t: float) -> None:
        """Who is connected while ZooKeeper starts knows, sooner than the verb, that it serves."""
        if self._starting and state == "CONNECTED":
            close_stretch(self.outages, t)

    def leaderless(self) -> list[Stretch]:
        """When no server led, between two leaders; empty where no mode was ever heard."""
        epochs = sorted(
            (mode.start, mode.end)
            for modes in self.modes.values()
            for mode in modes
            if mode.what == "leader"
        )
        gaps, until = [], LAST
        for start, end in epochs:
            if start > until:
                gaps.append(Stretch(until, start))
            until = end if until == LAST else max(until, end)
        return gaps

    def _has_majority(self) -> bool:
        return 2 * (len(self._servers) - len(self._down)) > len(self._servers)

    def _weigh(self, t: float) -> None:
        if self._has_majority():
            close_stretch(self.outages, t)
        else:
            open_stretch(self.outages, t)
