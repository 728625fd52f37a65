"""Rungs 11 and 12: what a claim costs ZooKeeper, and how long its server's clients wait."""

from __future__ import annotations

import time
from statistics import median

from labkit.judge.rungs.trial import Trial
from labkit.lab.lab import Lab
from labkit.servers.zookeeper.words import parse_srvr

_TIMEOUT = 20.0  # seconds for everybody's claim
_FEW, _MANY = 8, 63
_STORMS = {_FEW: 3, _MANY: 1}  # rounds by number of claimants: among few, one collision is chance
_MOST = 4.0  # operations a claim
_SLACK = 0.25  # operations a claim that others may have sent meanwhile, such as heartbeats
_ROUNDS = 7
_FACTOR, _EXTRA = 2.0, 0.3  # how much slower than the lab's own: times, and seconds


def cheap(trial: Trial) -> None:
    """Claims of many at once: few operations each, and no more of them when there are more."""
    cost = {count: _operations(trial, count) for count in (_FEW, _MANY)}
    for count, operations in cost.items():
        trial.figures[f"operations_at_{count}"] = round(operations, 2)
    few, many = cost[_FEW], cost[_MANY]
    if many > _MOST + _SLACK:
        trial.fall(
            f"A claim takes {few:.1f} operations when {_FEW} servers claim at once, and {many:.1f} "
            f"when {_MANY} do; {_MOST:.0f} are enough, however many there are."
        )
    if few > _MOST + _SLACK:
        trial.fall(f"A claim takes {few:.1f} operations; {_MOST:.0f} are enough.")


def _operations(trial: Trial, count: int) -> float:
    """What ZooKeeper is asked by each of `count` servers that claim at the same moment."""
    storms = _STORMS[count]
    nodes, asked = 1 + storms * count, 0
    with trial.lab(nodes, session_timeout=60.0, request_deadline=10.0, record=False) as lab:
        first, *others = lab.nodes
        trial.ask(lab, [first], _TIMEOUT)  # whatever is done only once has been done
        trial.doing = f"{count} servers claim at once"
        for storm in (others[at : at + count] for at in range(0, len(others), count)):
            before = _received(lab)
            trial.ask(lab, storm, _TIMEOUT)
            asked += _received(lab) - before - 1
        return asked / (storms * count)


def _received(lab: Lab) -> int:
    """The packets that ZooKeeper has got from its clients; each look is one of them."""
    return int(parse_srvr(lab.zookeeper.four_letter("srvr"))["Received"])


def fast(trial: Trial) -> None:
    """A new server's first answer, side by side with that of the lab's own algorithm."""
    own, labs = trial.lab(0, record=False), trial.lab(0, claim="lowest-free", record=False)
    with own as mine, labs as theirs:
        trial.doing = "starting a server here and one there, by turns"
        times: dict[str, list[tuple[float, float]]] = {"yours": [], "ours": []}
        for _ in range(_ROUNDS):
            times["yours"].append(_first_answer(trial, mine))
            times["ours"].append(_first_answer(trial, theirs))
    ready = {name: median(r for r, _ in found) for name, found in times.items()}
    claimed = {name: median(c for _, c in found) for name, found in times.items()}
    for name in times:
        trial.figures[f"{name}_ready_ms"] = round(1000 * ready[name])
        trial.figures[f"{name}_claimed_ms"] = round(1000 * claimed[name])
    total = {name: ready[name] + claimed[name] for name in times}
    if total["yours"] > _FACTOR * total["ours"] + _EXTRA:
        trial.fall(
            f"A new server's first number is there {total['yours']:.1f} s after its start; the "
            f"lab's own takes {total['ours']:.1f} s."
        )


def _first_answer(trial: Trial, lab: Lab) -> tuple[float, float]:
    """The seconds until a new server is ready, and from then until it has answered."""
    began = time.monotonic()
    node = lab.add_node()
    ready = time.monotonic()
    trial.ask(lab, [node], _TIMEOUT)
    return ready - began, time.monotonic() - ready
