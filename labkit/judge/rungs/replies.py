"""Rung 8: ZooKeeper does what a server asks, and the server does not hear of it."""

from __future__ import annotations

from labkit.judge.rungs.trial import Trial
from labkit.lab.lab import Lab
from labkit.lab.node import Answer, Node
from labkit.node.session import LOST_REPLY

_MOST = 12  # replies that a claim may take
_LOG = 400  # lines of a node's log


def lost_replies(trial: Trial) -> None:
    """One server after the other claims, and loses its first reply, its second, and so on."""
    with trial.lab(3, session_timeout=3.0) as lab:
        bound = lab.session_timeout + 1.0
        answers = trial.ask(lab, lab.nodes, bound)
        lost = 0
        for place in range(1, _MOST + 1):
            trial.doing = f"losing reply {place} of a claim"
            lost_lines = _claim(trial, lab, [place], answers)
            if not lost_lines:
                break
            lost += 1
        if not lost:
            trial.untested.append("no reply was lost: does the server use a client of its own?")
        for _ in range(3):
            places = sorted(trial.rng.sample(range(1, lost + 3), 2))
            trial.doing = f"losing replies {places[0]} and {places[1]} of a claim"
            _claim(trial, lab, places, answers)
        trial.figures["replies_of_a_claim"] = lost
        trial.judge(lab)


def _claim(trial: Trial, lab: Lab, places: list[int], answers: dict[str, Answer]) -> list[str]:
    """Have a new server claim and lose these replies; its log's lines about the lost ones."""
    began = lab.timeline.now()
    node = lab.add_node(env={"LOSE_REPLIES": ",".join(map(str, places))})
    answers |= trial.ask(lab, [node], lab.session_timeout + 1.0)
    lost_lines = _lost(node)
    answer = answers[node.name]
    if lost_lines:
        what = " and ".join(line.partition(": ")[2] for line in lost_lines)
        trial.figures["last_lost"] = what
        trial.require(
            trial.until(lambda: _is_whole(trial, lab, answers), lab.session_timeout + 1.0),
            f"{node.name} lost {what}; it answered {answer.number}, and "
            f"{_held_besides(trial, lab, answers)}.",
            lab,
            began,
            node.name,
        )
    trial.require_no_leak(lab, answers, 1.0)
    return lost_lines


def _is_whole(trial: Trial, lab: Lab, answers: dict[str, Answer]) -> bool:
    return trial.held(lab) == {answer.number for answer in answers.values()}


def _held_besides(trial: Trial, lab: Lab, answers: dict[str, Answer]) -> str:
    answered = {answer.number for answer in answers.values()}
    if lost := sorted(trial.held(lab) - answered):
        return f"holds {lost[0]} too, which nobody will ever be given"
    return f"does not hold {min(answered - trial.held(lab), default=0)}"


def _lost(node: Node) -> list[str]:
    lines = (line.partition(LOST_REPLY)[1:] for line in node.logs(_LOG).splitlines())
    return ["".join(parts) for parts in lines if parts[0]]
