"""The drawing: what events say is text in it, whatever they say; many lanes are strips."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import runs

from labkit.see.drawing import LANE, Frame, Look, draw
from labkit.see.replay import replay
from labkit.see.rows import cells
from labkit.see.scene import Scene
from labkit.story.run import Story

RUDE = '<!--<script>alert("&")</script>'


def rude() -> runs.Script:
    """A run whose every name, verb and reason would be markup, if it were not text."""
    run = runs.Script()
    run.says(0.1, RUDE, None, "not-asked")
    run.claims(0.5, 1, RUDE)
    run.says(0.6, RUDE, 1)
    run.verb(1.0, RUDE, RUDE)
    run.verb(1.5, "partition", RUDE)
    run.says(0.2, "node2", None, RUDE)
    run.says(9.0, "node2", None, RUDE)
    return run


def test_what_events_say_is_escaped() -> None:
    spans = Story(rude().events)
    drawn = draw(Scene.of(spans, 0.0, 9.0), Look("u", label=RUDE))
    root = ElementTree.fromstring(drawn)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert root.attrib["aria-label"] == RUDE
    texts = [(element.get("class"), element.text) for element in root.iter()]
    assert (None, RUDE) in texts  # the node's name
    assert ("mark", RUDE) in texts  # the verb
    assert (None, "503 " + RUDE.replace("-", " ")) in texts  # why it gives no number


def test_many_nodes_are_strips_with_the_same_words() -> None:
    run = rude()
    run.verb(2.0, "pause", "node2")
    spans = Story(run.events)
    names = [RUDE, "node2", *(f"node{n}" for n in range(3, 129))]
    few, many = (
        ElementTree.fromstring(draw(Scene.of(spans, 0, 9, nodes), Look("u")))
        for nodes in (names[:20], names)
    )
    for root in (few, many):
        titles = [e.text for e in root.iter() if e.tag.endswith("title")]
        assert [text for text in titles if text and text.startswith(f"{RUDE} answers 1,")]
        assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
        assert sum(e.get("class") == "strip" for e in root.iter()) == len(names[:20]) * (
            root is few
        ) + len(names) * (root is many)
    written = [e.text for e in many.iter() if e.tag.endswith("text") and "node" in (e.text or "")]
    assert len(written) < 30  # not every name has room
    assert float(many.attrib["viewBox"].split()[-1]) < 750


def drawn(spans: Story, more: int = 0) -> Element:
    nodes = [*spans.nodes, *(f"node{n}" for n in range(100, 100 + more))]
    return ElementTree.fromstring(draw(Scene.of(spans, 0.0, 12.0, nodes), Look("u")))


@pytest.mark.parametrize("more", [0, 60])
def test_rows_stand_by_machine(more: int) -> None:
    root = drawn(Story(runs.machines("b", "c<>", "a")), more)
    rows = [name for e in root.iter() if (name := e.get("data-node"))]
    kept = [name for name in rows if name.startswith("node") and len(name) < 6]
    assert kept == ["node3", "node6", "node1", "node4", "node2", "node5"]
    groups = [e for e in root.iter() if e.get("class") == "machine"]
    assert [e.get("data-machine") for e in groups] == ["a", "b", "c<>"]
    for group in groups:
        (title, text) = (e.text for e in group.iter() if e.text)
        assert title == f"machine {group.get('data-machine')}"
        assert text in title


def test_zookeepers_servers_stand_with_the_nodes_of_their_machine() -> None:
    scene = Scene.of(Story(runs.machines("a", "b", "c")), 0.0, 12.0)
    frame = Frame(scene, Look("u"))
    assert [lane.name for lane in scene.lanes][:4] == ["zookeeper1", "node1", "node4", "zookeeper2"]
    within, between = frame.y(2) - frame.y(1), frame.y(3) - frame.y(2)
    assert within == LANE < between
    assert f'data-left=\\"{frame.left:g}\\"' in replay(runs.machines("a", "b", "c")).html


@pytest.mark.parametrize("count", [4, 16])
def test_nothing_moves_while_things_happen(count: int) -> None:
    """Of a live picture every lane is as high as before, and the key is there from the start."""
    nodes = [f"node{i}" for i in range(1, count + 1)]
    before, after = (
        ElementTree.fromstring(
            draw(Scene.of(Story(events), until - 30, until, nodes), Look("u", whole_key=True))
        )
        for events, until in ((runs.outage()[:4], 0.5), (runs.outage(), 12.0))
    )
    for name in ("viewBox", "data-left", "data-bottom"):
        assert before.get(name) == after.get(name)
    keys = [
        [e.text for group in root if group.get("transform") for e in group.iter() if e.text]
        for root in (before, after)
    ]
    assert keys[0] == keys[1]
    assert "asked: no answer" in keys[0]
    ticks = [e.text for e in before.iter() if e.get("text-anchor") == "middle" and e.text]
    assert not any(text.startswith("-") for text in ticks), "there was no time before the lab's"


def test_many_nodes_in_a_table_stand_by_machine() -> None:
    spans = Story(runs.machines("a", "b", "c"))
    said = [(name, where) for name, _, where in cells(spans, spans.nodes)]
    assert [name for name, _ in said] == ["node1", "node4", "node2", "node5", "node3", "node6"]
    assert dict(said)["node2"] == "on b"
    assert dict(said)["node1"] == "link cut"


def test_a_replay_has_no_script_but_its_own() -> None:
    page = replay(rude().events).html
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<!--" not in page
