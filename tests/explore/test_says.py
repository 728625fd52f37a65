"""A schedule is told in sentences that a beginner understands at first reading."""

from typing import Any

import pytest

from labkit.course.climbs.list_create_retry import ListCreateRetry
from labkit.course.exercises import locks
from labkit.explore import Specification, explore
from labkit.explore.actor import Me
from labkit.explore.says import step
from labkit.explore.search import Search
from labkit.explore.seat import ALL_FAULTS, Choice
from labkit.explore.specification import like
from labkit.explore.strands import virtual


def test_the_schedule_of_a_server() -> None:
    found = explore(ListCreateRetry)
    assert [s["sentence"] for s in found.schedule] == [
        "node1 asks whether /sequence exists: yes",
        "node1 is asked for its number",
        "node1 lists the children of /sequence: there are none",
        "node1 creates the ephemeral znode /sequence/1; it answers 1",
        "node1 is silent for too long: its session ends, and node1 does not know",
        "node1 is asked for its number; it answers 1",
    ]
    assert found.scope.startswith(
        "2 nodes, 2 requests each, one fault (a lost request or a lost reply or a session that ends"
    )


def test_random_names_are_short_in_print() -> None:
    lines = str(explore(locks._watching_nothing, as_a="lock", faults=0)).splitlines()
    assert "creates a sequential ephemeral znode below /lock: /lock/" in lines[1]
    assert "…-lock-0000000000" in lines[1]
    assert lines[3].endswith("user1 is done with the lock")
    assert lines[7].endswith("and watches it; refused: it is not there (NoNodeError)")


def _all_of_it(zk: Any) -> None:
    zk.ensure_path("/a")
    zk.set("/a", b"x", version=0)
    zk.get("/a", watch=print)
    zk.exists("/b", watch=print)
    both = zk.transaction()
    both.create("/a/1", ephemeral=True)
    both.delete("/nowhere")
    both.commit()
    zk.sync("/a")


SAID = [
    "user1 asks whether /a exists: yes",
    "user1 writes 'x' to /a, if its version is 0",
    "user1 reads /a, and watches it: 'x', version 1",
    "user1 asks whether /b exists, and watches it: no",
    "user1 does as one transaction: creates the ephemeral znode /a/1, deletes /nowhere; nothing of "
    "it is done: it is not there (NoNodeError)",
    "user1 asks its ZooKeeper server to catch up",
]
FAULTS = [
    (
        ["call", "reply lost"],
        "user1 writes 'x' to /a, if its version is 0; it is done, but the reply is lost, and "
        "user1 gets ConnectionLoss; its code raises ConnectionLoss",
    ),
    (
        ["request lost"],
        "user1 asks whether /a exists; the request is lost on its way, and user1 gets "
        "ConnectionLoss; its code raises ConnectionLoss",
    ),
    (
        ["session ends", "call"],
        "user1 asks whether /a exists; refused: its session has ended (SessionExpiredError)",
    ),
    (["crashes"], "user1 crashes, and forgets all that it knew"),
    (["crashes", "restarts"], "user1 starts again, with a new session"),
    (
        ["crashes", "an old session ends"],
        "ZooKeeper ends the session that user1 had before it crashed",
    ),
    (["lags"], "user1's ZooKeeper server falls behind: what user1 reads stays as it is now"),
]


@pytest.mark.parametrize(("kinds", "sentence"), FAULTS)
def test_what_happens_to_an_actor(kinds: list[str], sentence: str) -> None:
    assert said(kinds)[-1].startswith(sentence)


def test_what_an_actor_asks() -> None:
    assert said(["call"] * len(SAID)) == SAID


def said(kinds: list[str]) -> list[str]:
    """The sentences of a schedule of one actor."""

    def body(me: Me) -> None:
        _all_of_it(me.zk)

    wanted = Specification(
        "all",
        like(body, 1, "user"),
        lambda world: None,
        znodes=[("/a", b"")],
        faults=9,
        kinds=ALL_FAULTS,
    )
    looking = Search(wanted)
    with virtual(globals()):
        world, sentences = looking.first(), []
        for number, kind in enumerate(kinds, 1):
            after = world.after(Choice(0, kind))
            sentences.append(step(number, wanted, world, Choice(0, kind), after)["sentence"])
            world = after
        looking.close()
    return sentences
