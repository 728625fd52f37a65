"""The tour: numbers claimed, freed and reused by real servers, step by step, with what to expect.

First the experiment (three nodes ask, one stops, a fourth gets its number, the first one returns),
then ZooKeeper itself goes away, for less and for much longer than the session timeout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from labkit.errors import NoAnswer, NodeError
from labkit.lab.lab import Lab
from labkit.lab.node import Node

SESSION_TIMEOUT = 2.0  # seconds; short, because one step outwaits it


@dataclass(frozen=True)
class Step:
    """One thing that was done, what should come of it, and what came."""

    step: str
    expected: str
    observed: str

    @property
    def ok(self) -> bool:
        return self.expected == self.observed


def tour(lab: Lab) -> Iterator[Step]:
    """Run the tour on a started lab of four fresh nodes, yielding each step when it is done."""
    one, two, three, four = (lab.node(i) for i in (1, 2, 3, 4))
    for number, node in enumerate((one, two, three), start=1):
        yield Step(f"{node.name} asks for its number", str(number), _ask(node))
    two.stop()
    yield Step("node2 stops: the numbers still held", "1, 3", _held(lab))
    yield Step("node4 asks: number 2 is free now", "2", _ask(four))
    two.start()
    yield Step("node2 starts again and asks: the lowest free number", "4", _ask(two))

    numbers = _ask_all(lab)
    for absence, seconds in (("", 0.0), (", for three session timeouts", 3 * lab.session_timeout)):
        lab.zookeeper.stop()
        began = time.monotonic()
        lab.wait_until(lambda: not any(_is_connected(node) for node in lab.nodes), timeout=2)
        yield Step(f"ZooKeeper stops{absence}: all ask", _all(lab, "503"), _ask_all(lab))
        time.sleep(max(0.0, began + seconds - time.monotonic()))  # it is the absence that counts
        lab.zookeeper.start()
        _wait_for_answers(lab)
        yield Step("ZooKeeper starts again: all have the number they had", numbers, _ask_all(lab))


def as_table(steps: Sequence[Step], title: str, note: str, yes: str, no: str) -> Table:
    """The steps as a table for a terminal, with its words for what is as expected and what not."""
    table = Table("step", "expected", "observed", "", title=title, caption=note)
    for step in steps:
        table.add_row(step.step, step.expected, step.observed, yes if step.ok else f"{no} differs")
    return table


def _ask(node: Node) -> str:
    """The node's number, or the status it refuses with; late answers are called that."""
    deadline = node.request_deadline + 0.5
    began = time.monotonic()
    try:
        answer = str(node.sequence())
    except NoAnswer as error:
        answer = str(error.problem.get("status"))
    except NodeError:
        return "no answer"
    return answer if time.monotonic() - began <= deadline else f"{answer}, late"


def _ask_all(lab: Lab) -> str:
    return ", ".join(f"{node.name}: {_ask(node)}" for node in lab.nodes)


def _all(lab: Lab, answer: str) -> str:
    return ", ".join(f"{node.name}: {answer}" for node in lab.nodes)


def _held(lab: Lab) -> str:
    children = lab.zk.get_children("/sequence")
    return ", ".join(sorted(name for name in children if name.isdigit()))


def _is_connected(node: Node) -> bool:
    return bool(node.status()["connection"] == "CONNECTED")


def _wait_for_answers(lab: Lab) -> None:
    """A lease that lapsed while ZooKeeper was away takes half a session timeout to come back."""
    lab.wait_until(
        lambda: all(node.sequence() for node in lab.nodes),
        timeout=2 * lab.session_timeout + 10,
        message="every node answers again",
    )
