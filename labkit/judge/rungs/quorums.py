"""Rungs 9 and 10: three ZooKeeper servers, one of which fails; and everything at random."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import partial

from kazoo.client import KazooClient

from labkit.judge.chaos import chaos
from labkit.judge.rungs.trial import Trial, listed
from labkit.judge.takeover import LONG, SHORT, Stall, client_of
from labkit.lab.lab import Lab
from labkit.lab.node import Answer, Node
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.story.event import CLAIMS, number_of

_TIMEOUT = 10.0  # seconds for a claim when nothing is in its way
_RECOVERY = 5.0  # seconds, beside a timeout, in which an ensemble elects and everybody returns
_FOLLOWERS = 2.0  # seconds for which a follower waits for its leader: ten ticks
_ON_ITS_WAY = 0.015  # seconds in which an answer gets from a server to its client
_TRIES = 3  # how often a leader sleeps, at most, until that has ended a session
_SESSION = re.compile(r"sid=(0x[0-9a-f]+)")


def ensemble(trial: Trial) -> None:
    """One ensemble's servers die, freeze, are isolated; the leader of another one sleeps."""
    trial.side_by_side(lambda: _servers_fail(trial), lambda: _leader_sleeps(trial))


def _servers_fail(trial: Trial) -> None:
    """The leader dies, freezes, is isolated; then a follower is."""
    with trial.lab(8, session_timeout=1.5, ensemble=3) as lab:
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        with lab.clients(lab.nodes):
            _leader_dies(trial, lab, answers)
            _leader_freezes(trial, lab)
            _leader_is_isolated(trial, lab)
        trial.judge(lab)
        _follower_is_isolated(trial, lab)


def everything(trial: Trial) -> None:
    """All faults at random, on one ZooKeeper server and on three."""
    seeds = {servers: trial.rng.randrange(1_000_000) for servers in (1, 3)}
    trial.side_by_side(*(partial(_at_random, trial, *one) for one in seeds.items()))


def _at_random(trial: Trial, servers: int, seed: int) -> None:
    with trial.lab(8, ensemble=servers) as lab:
        result = chaos(lab, seed=seed, seconds=30.0, progress=trial.progress)
        trial.figures[f"answers_on_{servers}"] = result.report.answered
        trial.figures[f"faults_on_{servers}"] = result.report.faults
        trial.untested += result.report.vacuous
        trial.blame(result.report)


def _leader(trial: Trial, lab: Lab) -> ZooKeeperServer:
    """The leader, once there is one."""
    trial.until(lambda: lab.zookeeper.leader, _TIMEOUT)
    return lab.zookeeper.leader or lab.zookeeper.servers[0]


def _answer_again(trial: Trial, lab: Lab, nodes: Sequence[Node]) -> dict[str, Answer]:
    return trial.ask(lab, nodes, lab.session_timeout + _RECOVERY)


def _leader_dies(trial: Trial, lab: Lab, answers: dict[str, Answer]) -> None:
    leader = _leader(trial, lab)
    trial.doing = f"killing the leader, {leader.name}"
    began = lab.timeline.now()
    leader.kill()
    after = _answer_again(trial, lab, lab.nodes)
    trial.figures["answering_after_the_leaders_death_s"] = round(lab.timeline.now() - began, 2)
    trial.require_same(lab, answers, after, began, "The leader died, which ends no session")
    leader.start()


def _leader_freezes(trial: Trial, lab: Lab) -> None:
    """For less than its followers wait: when it wakes up, it may end everybody's session."""
    leader = _leader(trial, lab)
    trial.doing = f"freezing the leader, {leader.name}"
    leader.pause()
    trial.pause(trial.rng.uniform(0.7, 0.95) * _FOLLOWERS)
    leader.resume()
    _answer_again(trial, lab, lab.nodes)


def _leader_is_isolated(trial: Trial, lab: Lab) -> None:
    leader = _leader(trial, lab)
    trial.doing = f"isolating the leader, {leader.name}"
    lab.partition(leader.name)
    trial.pause(_FOLLOWERS + lab.session_timeout + trial.rng.uniform(0.0, 0.5))
    lab.heal()
    _answer_again(trial, lab, lab.nodes)


def _follower_is_isolated(trial: Trial, lab: Lab) -> None:
    """A follower is cut off from the others: it serves on for a while, and knows of no ends.

    That happens right after the holder of a number, connected to it, has written something.
    """
    holders = _answer_again(trial, lab, lab.nodes)
    _leader(trial, lab)
    follower = max(lab.zookeeper.followers, key=lambda s: len(_on(s, lab, holders)))
    while not (victims := _on(follower, lab, holders)):  # all are with another one
        holders |= trial.ask(lab, [lab.add_node()], _TIMEOUT)
    rivals = _rivals(lab, follower, len(victims))
    trial.doing = f"isolating {follower.name} and {listed(node.name for node in victims)}"
    number = holders[victims[0].name].number
    with lab.clients([lab.node(name) for name in holders]), client_of(_other(lab, follower)) as zk:
        _await_write(zk, number)
        trial.pause(_ON_ITS_WAY)
        lab.partition(follower.name)
        trial.until(lambda: number not in _numbers(zk), _FOLLOWERS)
        trial.ask(lab, rivals, _TIMEOUT)
        trial.pause(0.6)
        lab.heal()
        _answer_again(trial, lab, lab.nodes)
    answers = _answer_again(trial, lab, lab.nodes)
    trial.judge(lab)
    trial.require_no_leak(lab, answers, lab.session_timeout + _RECOVERY)


def _leader_sleeps(trial: Trial) -> None:
    """The leader sleeps, and is told too late that some nodes live: their sessions end early."""
    with trial.lab(8, session_timeout=2.5, ensemble=3) as lab:
        for silence in (SHORT, LONG):
            if not any(_sessions_end_early(trial, lab, silence) for _ in range(_TRIES)):
                trial.untested.append("no session ended early although the leader had slept")
        answers = _answer_again(trial, lab, lab.nodes)
        trial.require_no_leak(lab, answers, lab.session_timeout + _RECOVERY)


def _sessions_end_early(trial: Trial, lab: Lab, silence: float) -> bool:
    _answer_again(trial, lab, lab.nodes)
    stall, lost = Stall(lab, trial.stop, silence), False
    with lab.clients(lab.nodes):
        if chosen := stall.choose():
            trial.doing = f"{chosen[0].name}, which leads, sleeps"
            try:
                lost = stall.break_()
            finally:
                stall.mend()
        _answer_again(trial, lab, lab.nodes)
    trial.judge(lab)
    return lost


def _on(server: ZooKeeperServer, lab: Lab, names: dict[str, Answer]) -> list[Node]:
    """Those of the nodes that are connected to a ZooKeeper server."""
    sessions = set(_SESSION.findall(server.four_letter("cons")))
    return [node for node in map(lab.node, names) if node.status()["session"] in sessions]


def _rivals(lab: Lab, follower: ZooKeeperServer, count: int) -> list[Node]:
    """New servers that have not claimed yet, connected to the others."""
    rivals: list[Node] = []
    while len(rivals) < count:
        node = lab.add_node()
        if node.status()["session"] not in _SESSION.findall(follower.four_letter("cons")):
            rivals.append(node)
    return rivals


def _other(lab: Lab, follower: ZooKeeperServer) -> ZooKeeperServer:
    """The leader, or else another one, which sees what happens while the follower is cut off."""
    others = [s for s in lab.zookeeper.servers if s.name != follower.name]
    return next((s for s in others if s.mode == "leader"), others[0])


def _numbers(zk: KazooClient) -> set[int]:
    return {number for name in zk.get_children(CLAIMS) if (number := number_of(name))}


def _await_write(zk: KazooClient, number: int) -> None:
    """Wait for the next write on a claim, if its holder writes at all."""
    written = threading.Event()
    zk.get(f"{CLAIMS}/{number}", watch=lambda _: written.set())
    written.wait(1.0)
