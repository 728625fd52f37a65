"""Rungs 5 to 7: ZooKeeper goes away, servers freeze, links break."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait

from labkit.judge.rungs.trial import TICK, Trial, listed
from labkit.judge.volleys import Volleys
from labkit.lab.lab import Lab
from labkit.lab.node import Answer, Node
from labkit.servers.base import each
from labkit.servers.links.fault import Direction, Kind

_TIMEOUT = 10.0  # seconds for a claim when nothing is in its way
_SETTLED = 0.3  # seconds in which a server learns that its connection is gone


def zookeeper_restarts(trial: Trial) -> None:
    """ZooKeeper goes for less and for more than a timeout; then two servers come back too late."""
    with trial.lab(8, session_timeout=2.0) as lab:
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        with lab.clients():
            for timeouts in (trial.rng.uniform(0.2, 0.5), trial.rng.uniform(1.5, 2.0)):
                _restart(trial, lab, timeouts, answers)
        trial.require_no_leak(lab, answers, _bound(lab))
        victims = trial.rng.sample(lab.nodes, 2)
        names = listed(node.name for node in victims)
        trial.doing = f"keeping {names} away until their sessions are over"
        lab.zookeeper.stop()
        for node in victims:
            lab.partition(node.name)
        lab.zookeeper.start()
        answers |= _replaced(trial, lab, victims, answers)
        sessions = {node.name: node.status()["session"] for node in victims}
        lab.heal()
        trial.require(
            trial.until(lambda: all(_has_new_session(n, sessions[n.name]) for n in victims), 10),
            f"{names} could reach ZooKeeper again, and had no new session 10 s later.",
            lab,
            lab.timeline.now(),
            names,
        )
        trial.pause(_SETTLED)
        trial.judge(lab)
        answers |= trial.ask(lab, victims, _bound(lab))
        trial.judge(lab)
        trial.require_no_leak(lab, answers, _bound(lab))


def _has_new_session(node: Node, old: str | None) -> bool:
    status = node.status()
    return status["connection"] == "CONNECTED" and status["session"] not in (None, old)


def _bound(lab: Lab) -> float:
    """The seconds in which everybody has to answer again once nothing is broken any more."""
    return lab.session_timeout + 4.0


def _restart(trial: Trial, lab: Lab, timeouts: float, answers: dict[str, Answer]) -> None:
    """Take ZooKeeper away, and require that everybody has the same number afterwards."""
    away = timeouts * lab.session_timeout
    trial.doing = f"ZooKeeper is away for {away:.1f} s"
    began = lab.timeline.now()
    (lab.zookeeper.stop if trial.rng.random() < 0.5 else lab.zookeeper.kill)()
    trial.pause(away)
    lab.zookeeper.start()
    back = lab.timeline.now()
    after = trial.ask(lab, lab.nodes, _bound(lab))
    trial.figures |= {
        f"{'short' if timeouts < 1 else 'long'}_absence_s": round(away, 1),
        "answering_again_s": round(lab.timeline.now() - back, 2),
    }
    trial.judge(lab)
    why = f"ZooKeeper was away for {away:.1f} s, which ends no session"
    trial.require_same(lab, answers, after, began, why)
    answers.update(after)


def _replaced(
    trial: Trial, lab: Lab, victims: Sequence[Node], answers: dict[str, Answer]
) -> dict[str, Answer]:
    """Wait until the victims' numbers are free, and let newcomers claim them; the new answers."""
    old = {answers.pop(node.name).number for node in victims}
    if not trial.wait_free(lab, old, lab.session_timeout + 2 * TICK + 2.0):
        trial.untested.append(
            f"ZooKeeper did not end the sessions of {listed(node.name for node in victims)}"
        )
        return {}
    rivals = [lab.add_node() for _ in victims]
    new = trial.ask(lab, rivals, _TIMEOUT)
    if {answer.number for answer in new.values()} != old:
        trial.untested.append("nobody else took the numbers that had become free")
    return new


def frozen(trial: Trial) -> None:
    """Servers sleep past their timeout, and are woken by the requests that have queued."""
    with trial.lab(8, session_timeout=1.0) as lab:
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        queued: list[Future[Answer]] = []
        for _ in range(2):
            victims = trial.rng.sample([node for node in lab.nodes if node.name in answers], 3)
            trial.doing = f"freezing {listed(node.name for node in victims)}"
            each(Node.pause, victims)
            answers |= _replaced(trial, lab, victims, answers)
            queued += trial.ask_once(victims, 8)
            trial.pause(0.2)
            each(Node.resume, victims)
            wait(queued)
            trial.judge(lab)
            answers |= trial.ask(lab, victims, _bound(lab))
            trial.judge(lab)
        trial.figures["queued_requests"] = len(queued)
        trial.require_no_leak(lab, answers, _bound(lab))


def cut_off(trial: Trial) -> None:
    """Servers behind a black hole, one of them asleep when it opens, while everybody asks."""
    with trial.lab(8, session_timeout=1.5) as lab:
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        with lab.clients():
            trial.pause(0.3)
            victims = trial.rng.sample(lab.nodes, 4)
            asleep = victims[0]
            trial.doing = f"cutting {listed(node.name for node in victims)} off"
            cuts: list[tuple[Kind, Direction]] = [("drop", "both")] * 4
            if lab.backend == "process":
                cuts[2:] = [("drop", "from"), ("refuse", "both")]
            # One that comes back has reserved timestamps, as the worker that another is by then.
            back, volleys = victims[1], Volleys(lab, lab.nodes)
            volleys.ask(back)
            number = answers[back.name].number
            asleep.pause()
            for node, (kind, direction) in zip(victims, cuts, strict=True):
                lab.partition(node.name, kind=kind, direction=direction)
            answers |= _replaced(trial, lab, victims, answers)
            queued = trial.ask_once([asleep], 8)
            asleep.resume()
            wait(queued)
            trial.pause(1.0)
            trial.judge(lab)
            rivals = [name for name, answer in answers.items() if answer.number == number]
            if rivals:
                trial.doing = f"asking {back.name}, which comes back, and {rivals[0]} for IDs"
                volleys.duel(back, lab.node(rivals[0]), trial.stop)
            lab.heal()
            trial.doing = "the links are whole again"
            answers |= trial.ask(lab, victims, _bound(lab))
        trial.figures["cut_off"] = len(victims)
        trial.judge(lab)
        trial.require_no_leak(lab, answers, _bound(lab))
