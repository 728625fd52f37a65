"""Clients that ask all the time: whom, how often, and what they write down."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from labkit.errors import WaitTimeout
from labkit.lab.lab import Lab
from labkit.story.event import RequestEvent


def ended(lab: Lab) -> Counter[tuple[str, str]]:
    """How many requests to each node ended how."""
    return Counter(
        (event.subject, event.phase)
        for event in lab.timeline
        if isinstance(event, RequestEvent) and event.phase != "invoke"
    )


def test_every_node_is_asked_also_one_that_comes_later() -> None:
    with Lab(nodes=2, backend="process", session_timeout=1.0) as lab:
        with lab.clients():
            lab.wait_until(lambda: ended(lab)["node1", "ok"] > 5 and ended(lab)["node2", "ok"] > 5)
            lab.node(2).kill()
            lab.wait_until(lambda: ended(lab)["node2", "fail"] > 5)
            lab.add_node()
            lab.wait_until(lambda: ended(lab)["node3", "ok"] > 5)
        asked = ended(lab).total()
        with pytest.raises(WaitTimeout):
            lab.wait_until(lambda: ended(lab).total() > asked, timeout=0.3)
        invoked = sum(isinstance(e, RequestEvent) and e.phase == "invoke" for e in lab.timeline)
        assert invoked == asked


def test_only_the_nodes_that_were_named_are_asked() -> None:
    with Lab(nodes=2, backend="process", session_timeout=1.0) as lab:
        with lab.clients([lab.node(2)]):
            lab.wait_until(lambda: ended(lab)["node2", "ok"] > 5)
        assert {node for node, _ in ended(lab)} == {"node2"}


def test_a_lab_that_closes_is_asked_no_more() -> None:
    with Lab(nodes=1, backend="process", session_timeout=1.0) as lab:
        asking = lab.clients().start()
        assert asking.start() is asking  # a second start changes nothing
        lab.wait_until(lambda: ended(lab)["node1", "ok"] > 2)
    asking.stop()
    asking.stop()
    assert "labkit-clients" not in {thread.name for thread in threading.enumerate()}
