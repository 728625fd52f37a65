"""A run under fire: clients ask every node, faults come and go, and the checker judges."""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError
from labkit.judge.report import Report
from labkit.judge.rules import check
from labkit.judge.schedule import (
    ALL_KINDS,
    CUTS,
    ENSEMBLE_FAULTS,
    LEADER,
    MACHINE_FAULTS,
    TAKEOVERS,
    FaultKind,
    ScheduledFault,
    conflict,
    is_zookeeper,
    schedule,
)
from labkit.judge.takeover import Stage, Stall, Takeover
from labkit.judge.volleys import Volleys
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.progressbar import progress_bar
from labkit.servers.base import Progress, each
from labkit.story.event import FaultEvent
from labkit.story.pulse import Pulse
from labkit.story.run import of_the_run, silences


@dataclass(frozen=True, repr=False)
class ChaosReport:
    """A run and its verdict. `faults` are those that were carried out, when they really
    were: in seconds since the lab was made, as all that the run's events and violations say.

    `silences` tells for each node the longest time, in seconds, for which nobody got an answer.
    """

    seed: int
    seconds: float
    faults: tuple[ScheduledFault, ...]
    silences: dict[str, float]
    report: Report
    backend: str
    zookeeper: str  # its version

    @property
    def ok(self) -> bool:
        """No violation, and the run could have shown one."""
        return self.report.ok

    def to_json(self) -> dict[str, Any]:
        """What `labkit chaos --json` prints."""
        return {
            "ok": self.ok,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "backend": self.backend,
            "zookeeper": self.zookeeper,
            "answered": self.report.answered,
            "failed": self.report.failed,
            "unknown": self.report.unknown,
            "during_faults": self.report.during_faults,
            "faults": [asdict(fault) for fault in self.faults],
            "longest_silence": {node: round(gap, 3) for node, gap in self.silences.items()},
            "vacuous": bool(self.report.vacuous),
            "vacuous_because": list(self.report.vacuous),
            "untested": dict(self.report.untested),
            "violations": [violation.to_json() for violation in self.report.violations],
        }

    def __repr__(self) -> str:
        longest = max(self.silences.values(), default=0.0)
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s, longest silence of a node {longest:.1f} s; "
            "the faults, in seconds since the lab was made:",
            *(f"  {fault}" for fault in self.faults),
            str(self.report),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        faults = "".join(f"<li>{html.escape(str(fault))}</li>" for fault in self.faults)
        return (
            f"<p>Seed {self.seed}, {self.seconds:.0f} s. The faults, in seconds since the lab was "
            f"made:</p><ol>{faults}</ol>{self.report._repr_html_()}"
        )


def run_chaos(
    *,
    seed: int = 1,
    seconds: float = 20.0,
    nodes: int = 8,
    ensemble: int = 3,
    claim: str | Path | type = "lowest-free",
    faults: Sequence[FaultKind] = ALL_KINDS,
    backend: str | None = None,
    session_timeout: float = 2.0,
    progress: Progress | None = None,
) -> ChaosReport:
    """Start a lab of its own, run `chaos` on it, and remove it.

    Raises `ConfigError`, before anything starts, for what can't be done in so many seconds.
    """
    names = [f"node{number + 1}" for number in range(nodes)]
    schedule(seed, seconds, names, ["zookeeper"], faults, machines=[names])  # or it is refused
    lab = Lab(
        nodes,
        ensemble=ensemble,
        backend=backend,
        claim=claim,
        session_timeout=session_timeout,
        request_deadline=session_timeout / 2,
    )
    with lab.start(progress):
        return chaos(lab, seed=seed, seconds=seconds, faults=faults, ids=True, progress=progress)


def chaos(
    lab: Lab,
    *,
    seed: int = 1,
    seconds: float = 20.0,
    faults: Sequence[FaultKind] = ALL_KINDS,
    ids: bool = False,
    progress: Progress | None = None,
) -> ChaosReport:
    """Break a running lab for `seconds` while clients ask all of its nodes, and judge the run.

    `chaos(lab, seed=7, seconds=30).ok`

    The faults are drawn from `seed`; a lab of the same shape gets the same ones. All of them are
    healed and every server runs again when this returns or raises. With `ids` the nodes are asked
    for IDs too, all at the same moment, once a second. The run is on `lab.timeline`, together with
    ZooKeeper's transaction log; a run lasts a little longer than asked when the healing did.
    Raises `ConfigError` when `seconds` are too few for the lab's session timeout.
    """
    nodes = lab.alive
    servers = [server.name for server in lab.zookeeper.servers if lab.zookeeper.is_own]
    names = sorted((node.name for node in nodes), key=lambda name: int(name.removeprefix("node")))
    plan = schedule(
        seed,
        seconds,
        names,
        servers,
        _possible(lab, faults),
        session_timeout=lab.session_timeout,
        cuts=CUTS if lab.backend == "process" else CUTS[:1],
        machines=[[server.name for server in machine.servers] for machine in lab.machines],
    )
    begin = lab.timeline.now()
    with (
        progress_bar("chaos") as report,
        lab.clients(nodes),
        Volleys(lab, nodes) if ids else nullcontext() as volleys,
        _Nemesis(lab, plan, volleys) as nemesis,
    ):
        nemesis.run(seconds, progress or report)
    end = lab.timeline.now()
    events = of_the_run(lab.history(), begin)
    return ChaosReport(
        seed=seed,
        seconds=end - begin,
        faults=tuple(nemesis.done),
        silences=silences(events),
        report=check(events, session_timeout=lab.session_timeout),
        backend=lab.backend,
        zookeeper=lab.zookeeper.version,
    )


def _possible(lab: Lab, faults: Sequence[FaultKind]) -> Sequence[FaultKind]:
    """Those that the lab can have, if all are wanted; else those named, but for ZooKeeper's own
    faults where that is not the lab's.
    """
    sleeps = Stall.is_possible(len(lab.zookeeper.servers), lab.session_timeout)
    if set(faults) == set(ALL_KINDS):
        without = (() if lab.machines else MACHINE_FAULTS) + (() if sleeps else ENSEMBLE_FAULTS)
        faults = [kind for kind in faults if kind not in without]
    elif not sleeps and set(ENSEMBLE_FAULTS) & set(faults):
        raise ConfigError(
            f"A lab of {len(lab.zookeeper.servers)} ZooKeeper servers with a session timeout of "
            f"{lab.session_timeout:g} s can't have pause-leader: take 3 or more, and 2 s."
        )
    if lab.zookeeper.is_own:
        return faults
    possible = {"kill", "pause", "pause-holder", "kill-machine"}
    if lab.backend == "process":  # in Docker there is no link that could be cut
        possible |= {"partition", "cut-holder"}
    return [kind for kind in faults if kind in possible]


# --- faults -----------------------------------------------------------------------------------


class _Nemesis:
    """Carries out a plan: every fault in a thread of its own, and all of them healed at the end."""

    def __init__(
        self, lab: Lab, plan: Sequence[ScheduledFault], volleys: Volleys | None = None
    ) -> None:
        self._lab = lab
        self._plan = plan
        self._volleys = volleys
        self._origin = 0.0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=max(len(plan), 1), thread_name_prefix="fault")
        self._futures: list[Future[ScheduledFault | None]] = []

    def __enter__(self) -> _Nemesis:
        self._origin = self._lab.timeline.now()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()  # a fault that has begun heals what it broke

    @property
    def done(self) -> list[ScheduledFault]:
        """What was carried out, with the real times."""
        faults = [future.result() for future in self._futures]
        return sorted((fault for fault in faults if fault is not None), key=lambda f: f.begin)

    def run(self, seconds: float, progress: Progress) -> None:
        """Break and heal, then leave the time in which everybody has to answer again."""
        for fault in self._plan:
            before = [
                (earlier, future)
                for earlier, future in zip(self._plan, self._futures, strict=False)
                if conflict(earlier, fault)
            ]
            self._futures.append(self._pool.submit(self._carry_out, fault, before))
        # A ticket that is left shows only after the time in which one may be waiting.
        quiet = self._lab.session_timeout + 1.5
        end = self._origin + seconds
        pulse = Pulse(self._lab.timeline)
        while (now := self._lab.timeline.now()) < end:
            for future in self._futures:
                if future.done():
                    future.result()  # a verb that failed ends the run
            if not all(future.done() for future in self._futures):
                end = max(end, now + quiet)
            progress(pulse.line(now), min((now - self._origin) / (end - self._origin), 1.0))
            self._stop.wait(0.1)

    def _carry_out(
        self,
        fault: ScheduledFault,
        before: Sequence[tuple[ScheduledFault, Future[ScheduledFault | None]]],
    ) -> ScheduledFault | None:
        """Carry out one fault, after those `before` it that touch the same servers.

        Mending may take longer than planned; then the respite after it still lasts as long.
        """
        due = fault.begin
        for earlier, future in before:
            if (done := future.result()) is not None:
                due = max(due, done.end - self._origin + fault.begin - earlier.end)
        if self._stop.wait(max(0.0, self._origin + due - self._lab.timeline.now())):
            return None
        stage = self._stage(fault.kind)
        chosen = stage.choose() if stage is not None else map(self._server, fault.targets)
        if chosen is None:
            return None  # too few hold a number: the judge says what was not tested
        servers: list[Node | ZooKeeperServer] = list(chosen)
        subject = ",".join(server.name for server in servers)
        number = self._lab.new_id()
        event = FaultEvent(subject, fault=fault.kind, phase="begin", id=number, link=fault.link)
        begin = self._record(event)
        try:
            if stage is not None:
                stage.break_()
            else:
                self._break(fault, servers)
                self._stop.wait(fault.end - fault.begin)
        finally:
            if stage is not None:
                stage.mend()
            else:
                self._mend(fault, servers)
            end = self._record(replace(event, phase="end"))
        return replace(fault, begin=begin, end=end, targets=tuple(subject.split(",")))

    def _stage(self, kind: FaultKind) -> Stage | None:
        if kind == "pause-leader":
            return Stall(self._lab, self._stop)
        if kind in TAKEOVERS:
            return Takeover(self._lab, self._stop, kind == "pause-holder", self._volleys)
        return None

    def _record(self, event: FaultEvent) -> float:
        return round(self._lab.timeline.record(event).t, 3)

    def _server(self, target: str) -> Node | ZooKeeperServer:
        zookeeper = self._lab.zookeeper
        if target == LEADER:
            return zookeeper.leader or zookeeper.servers[0]
        if is_zookeeper(target):
            return zookeeper.server(int(target.removeprefix("zookeeper")))
        return self._lab.node(target)

    def _break(self, fault: ScheduledFault, servers: Sequence[Node | ZooKeeperServer]) -> None:
        match fault.kind:
            case "kill" | "kill-leader" | "kill-machine":
                each(lambda server: server.kill(), servers)
            case "cut-machine":
                self._lab.machine_of(servers[0]).cut()
            case "restart-zookeeper":
                each(lambda server: server.stop(), servers)
            case "pause":
                each(lambda server: server.pause(), servers)
            case "partition":
                assert fault.link is not None
                for server in servers:
                    self._lab.partition(
                        server.name, kind=fault.link.kind, direction=fault.link.direction
                    )

    def _mend(self, fault: ScheduledFault, servers: Sequence[Node | ZooKeeperServer]) -> None:
        match fault.kind:
            case "kill" | "kill-leader" | "kill-machine" | "restart-zookeeper":
                each(lambda server: server.start(), servers)
            case "cut-machine":
                self._lab.machine_of(servers[0]).heal()
            case "pause":
                each(lambda server: server.resume(), servers)
            case "partition":
                for server in servers:
                    self._lab.heal(server.name)
        if any(is_zookeeper(server.name) for server in servers):
            # An ensemble is whole again when it has a leader, not when its servers run.
            self._lab.wait_until(lambda: self._lab.zookeeper.leader, 30, "ZooKeeper has a leader")
