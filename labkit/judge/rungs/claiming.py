"""Rungs 1 to 4: claims, with nothing worse than servers that end."""

from __future__ import annotations

from concurrent.futures import wait

from labkit.errors import NodeError
from labkit.judge.rungs.trial import TICK, Trial, listed
from labkit.lab.lab import Lab
from labkit.lab.node import Answer, Node
from labkit.servers.base import each
from labkit.story.event import CLAIMS

_TIMEOUT = 10.0  # seconds for a claim when nothing is in its way
_AT_ONCE = 0.5  # seconds


def alone(trial: Trial) -> None:
    """One server: it claims 1, holds it, and says the same each time."""
    with trial.lab(1) as lab:
        trial.doing = "asking it"
        began = lab.timeline.now()
        node = lab.node(1)
        first = trial.ask(lab, [node], _TIMEOUT)[node.name]
        trial.figures["first_answer_ms"] = round(1000 * (lab.timeline.now() - began), 1)
        trial.require(
            first.number == 1,
            f"It answered {first.number}; alone, it has to get 1.",
            lab,
            began,
            node.name,
        )
        for _ in range(20):
            again = trial.ask(lab, [node], _TIMEOUT)[node.name]
            trial.require(
                again == Answer(1, first.token, again.lease),
                f"It answered {_text(first)} and then {_text(again)}, though nothing has happened.",
                lab,
                began,
                node.name,
            )
        trial.require_no_leak(lab, {node.name: first}, 1.0)
        trial.judge(lab)


def _text(answer: Answer) -> str:
    return str(answer.number) + (f" with token {answer.token}" if answer.token is not None else "")


def all_at_once(trial: Trial) -> None:
    """Many servers, each asked twice at the same moment: unique, dense, none missing."""
    with trial.lab(trial.rng.randint(13, 16)) as lab:
        trial.doing = f"asking {len(lab.nodes)} servers at once"
        began = lab.timeline.now()
        asked = trial.ask_once(lab.nodes, 2)
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        trial.figures |= {
            "servers": len(answers),
            "all_claimed_ms": round(1000 * (lab.timeline.now() - began), 1),
        }
        wait(asked)
        for node, future in zip(lab.nodes * 2, asked, strict=True):
            error = future.exception()
            if error is not None and not isinstance(error, NodeError):
                raise error
            number = answers[node.name].number
            trial.require(
                error is not None or future.result().number == number,
                f"{node.name} answered {'' if error else future.result().number} at first and "
                f"{number} a moment later.",
                lab,
                began,
                node.name,
            )
        trial.require_dense(lab, answers, began)
        trial.require_no_leak(lab, answers, 1.0)
        trial.judge(lab)


def stop_and_start(trial: Trial) -> None:
    """Servers that end in order: their numbers are free at once, and the lowest is taken first."""
    with trial.lab(8, session_timeout=5.0) as lab:
        answers = trial.ask(lab, lab.nodes, _TIMEOUT)
        trial.require_dense(lab, answers, 0.0)
        lab.zk.create(f"{CLAIMS}/note")  # a child that is no number
        for count in (0, 1, 2):
            holders = [node for node in lab.nodes if node.name in answers]
            one = [node for node in holders if answers[node.name].number == 1]  # no gap tells of it
            victims = trial.rng.sample(holders, count) if count else one
            trial.doing = f"stopping {listed(node.name for node in victims)}"
            freed = sorted((answers.pop(node.name) for node in victims), key=lambda a: a.number)
            trial.learn(lab)
            began = lab.timeline.now()
            each(Node.stop, victims)
            numbers = [answer.number for answer in freed]
            trial.require(
                trial.wait_free(lab, numbers, _AT_ONCE),
                f"{listed(node.name for node in victims)} stopped in order, and {_AT_ONCE:g} s "
                f"later number {listed(sorted(trial.held(lab) & set(numbers)))} is still held.",
                lab,
                began,
                ",".join(node.name for node in victims),
            )
            for old in freed:
                new = _newcomer(trial, lab, victims)
                answers[new.name] = _takes(trial, lab, new, old)
        same = trial.ask(lab, [lab.node(name) for name in answers], _TIMEOUT)
        for name, answer in answers.items():
            trial.require(
                same[name].number == answer.number,
                f"{name} had {answer.number} and now has {same[name].number}, though nothing has "
                "happened to it.",
                lab,
                0.0,
                name,
            )
        trial.require_no_leak(lab, answers, 1.0)
        trial.judge(lab)


def _newcomer(trial: Trial, lab: Lab, stopped: list[Node]) -> Node:
    """A new server, or one of those that were stopped, started again."""
    if stopped and trial.rng.random() < 0.5:
        node = stopped.pop()
        node.start()
        return node
    return lab.add_node()


def _takes(trial: Trial, lab: Lab, node: Node, old: Answer) -> Answer:
    """Require that a new server gets the number that was freed, by a larger token."""
    began = lab.timeline.now()
    new = trial.ask(lab, [node], _TIMEOUT)[node.name]
    trial.require(
        new.number == old.number,
        f"{node.name} got {new.number} though {old.number} was free, and lower."
        if new.number > old.number
        else f"{node.name} got {new.number}, which somebody else holds.",
        lab,
        began,
        node.name,
    )
    trial.require(
        new.token is None or old.token is None or new.token > old.token,
        f"{node.name} got {new.number} with token {new.token}, and its holder before had "
        f"{old.token}: a fencing token has to grow with every claim.",
        lab,
        began,
        node.name,
    )
    return new


def crash(trial: Trial) -> None:
    """Servers that are killed, also in mid-claim: their numbers are free within a timeout."""
    with trial.lab(8, session_timeout=1.0) as lab:
        trial.learn(lab)
        unlucky = trial.rng.sample(lab.nodes, 2)
        trial.doing = f"killing {listed(node.name for node in unlucky)} while all claim"
        asked = trial.ask_once(lab.nodes, 1)
        trial.pause(trial.rng.uniform(0.0, 0.03))
        each(Node.kill, unlucky)
        wait(asked)
        answers = trial.ask(lab, [n for n in lab.nodes if n not in unlucky], _TIMEOUT)
        trial.require_no_leak(lab, answers, lab.session_timeout + 3 * TICK)
        holders = [node for node in lab.nodes if node.name in answers]
        for victim in trial.rng.sample(holders, 2):
            trial.doing = f"killing {victim.name}"
            old = answers.pop(victim.name)
            _freed_in_time(trial, lab, victim, old)
            holes = set(range(1, old.number)) - trial.held(lab)
            free = Answer(min({*holes, old.number}), None if holes else old.token, None)
            new = lab.add_node()
            answers[new.name] = _takes(trial, lab, new, free)
        trial.require_no_leak(lab, answers, 1.0)
        trial.judge(lab)


def _freed_in_time(trial: Trial, lab: Lab, victim: Node, old: Answer) -> None:
    """Kill a server, and require that its number is free a timeout and two ticks later."""
    trial.learn(lab)
    victim.kill()
    killed = lab.timeline.now()
    bound = lab.session_timeout + 2 * TICK
    trial.wait_free(lab, [old.number], bound + 1.0)
    life = [claim for claim in trial.claims(lab) if claim.order == old.number][-1]
    took = min(life.end, lab.timeline.now()) - killed
    trial.figures["freed_after_s"] = max(round(took, 2), trial.figures.get("freed_after_s", 0.0))
    trial.require(
        took <= bound,
        f"{victim.name} was killed, and its number {old.number} was "
        + (
            f"still held {took:.1f} s later"
            if trial.held(lab) & {old.number}
            else f"free only {took:.1f} s later"
        )
        + f"; a session timeout and two ticks are {bound:.1f} s.",
        lab,
        killed,
        victim.name,
    )
