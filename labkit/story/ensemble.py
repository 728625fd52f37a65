"""What ZooKeeper's own servers were: who led when, and when nobody could."""

from __future__ import annotations

from collections import defaultdict

from labkit.story.bars import LAST, Stretch
from labkit.story.faults import Deed, Faults, outages
from labkit.story.stretches import natural, open_stretch


class Ensemble:
    """ZooKeeper's servers, one thing after another.

    A server's mode is what it was last heard to be ("leader", "follower", "standalone"; "" when it
    serves nobody), and "" from the moment at which it was stopped, killed or paused.
    """

    def __init__(self, faults: Faults) -> None:
        self.modes: dict[str, list[Stretch]] = defaultdict(list)
        self._faults = faults
        self._states: dict[str, str] = {}
        self._paused: dict[str, str] = {}  # the mode that each paused server had
        self._connected: list[float] = []  # when somebody was
        self._outages: tuple[tuple[int, int], list[Stretch]] = (-1, -1), []

    @property
    def servers(self) -> list[str]:
        """As far as they have been heard of."""
        return sorted(self._faults.heard | self._states.keys(), key=natural)

    @property
    def outages(self) -> list[Stretch]:
        """When fewer than a majority ran."""
        known = self._faults.version, len(self._connected)
        if self._outages[0] != known:
            self._outages = known, outages(self._faults, self._connected)
        return self._outages[1]

    @property
    def is_down(self) -> bool:
        """Whether fewer than a majority run now."""
        found = self.outages
        return bool(found) and found[-1].end == LAST

    def state(self, server: str) -> str:
        """What the server's process is: "running", "paused", "stopped" or "unknown"."""
        return self._states.get(server, "unknown")

    def mode(self, server: str, mode: str, t: float) -> None:
        """Let a server have been heard to be something else."""
        self._paused.pop(server, None)
        open_stretch(self.modes[server], t, mode)

    def follow(self, deed: Deed) -> None:
        """Let a verb have been carried out on a server."""
        server, modes = deed.server, self.modes[deed.server]
        self._states[server] = deed.makes or self.state(server)
        if deed.makes == "running":
            if server in self._paused:
                open_stretch(modes, deed.end, self._paused.pop(server))
        elif deed.makes and modes:
            self._paused.pop(server, None)
            if deed.makes == "paused":
                self._paused[server] = modes[-1].what
            open_stretch(modes, deed.end)

    def hear(self, connection: str | None, t: float) -> None:
        """Let a client have been in a state of its connection to ZooKeeper."""
        if connection == "CONNECTED":
            self._connected.append(t)

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
