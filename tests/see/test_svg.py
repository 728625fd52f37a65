"""The picture as SVG: what events say is text in it, whatever they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from unittest.mock import Mock
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import runs

from labkit.see import strips, svg
from labkit.see.replay import replay
from labkit.see.rows import ManyNodes
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
    drawn = svg.assignment(spans, since=0.0, until=9.0, uid="u", label=RUDE)
    root = ElementTree.fromstring(drawn)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert root.attrib["aria-label"] == RUDE
    texts = [(element.get("class"), element.text) for element in root.iter()]
    assert (None, RUDE) in texts  # the node's name
    assert ("mark", f"{RUDE}, partition") in texts  # the verbs
    assert (None, "503 " + RUDE.replace("-", " ")) in texts  # why it gives no number


def test_many_nodes_are_strips_with_the_same_words() -> None:
    run = rude()
    run.verb(2.0, "pause", "node2")
    spans = Story(run.events)
    names = [RUDE, "node2", *(f"node{n}" for n in range(3, 129))]
    few, many = (
        ElementTree.fromstring(strips.assignment(spans, since=0, until=9, uid="u", nodes=nodes))
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


def drawn(spans: Story, draw: Callable[..., str]) -> Element:
    return ElementTree.fromstring(draw(spans, since=0.0, until=12.0, uid="u", nodes=spans.nodes))


@pytest.mark.parametrize("draw", [svg.assignment, strips.assignment])
def test_rows_stand_by_machine(draw: Callable[..., str]) -> None:
    root = drawn(Story(runs.machines("b", "c<>", "a")), draw)
    rows = [name for e in root.iter() if (name := e.get("data-node"))]
    assert rows == ["node3", "node6", "node1", "node4", "node2", "node5"]
    groups = [e for e in root.iter() if e.get("class") == "machine"]
    assert [e.get("data-machine") for e in groups] == ["a", "b", "c<>"]
    for group in groups:
        (title, text) = (e.text for e in group.iter() if e.text)
        assert title == f"machine {group.get('data-machine')}"
        assert text in title
    names = [e.text for e in root.iter() if e.get("text-anchor") == "end" and e.text in rows]
    assert names == rows


@pytest.mark.parametrize("draw", [svg.assignment, strips.assignment])
def test_on_one_machine_nothing_is_said_of_it(draw: Callable[..., str]) -> None:
    without, one = (
        draw(spans, since=0, until=12, uid="u", nodes=spans.nodes)
        for spans in (Story(runs.machines()), Story(runs.machines("a", "a", "a")))
    )
    assert without == one
    assert "machine" not in without


def test_zookeepers_servers_stand_with_the_nodes_of_their_machine() -> None:
    spans = Story(runs.machines("a", "b", "c"))
    frame = svg.frame_of(spans, 0.0, 12.0)
    assert frame.names[:4] == ["zookeeper1", "node1", "node4", "zookeeper2"]
    within, between = frame.y(2) - frame.y(1), frame.y(3) - frame.y(2)
    assert within == svg.LANE < between
    assert f'"left": {frame.left}' in replay(runs.machines("a", "b", "c")).html


def test_many_nodes_in_a_table_stand_by_machine() -> None:
    spans = Story(runs.machines("a", "b", "c"))
    many = ManyNodes(Mock())
    many.follow(spans, {name: Mock(name=name) for name in spans.nodes})
    said = re.findall(r'aria-label="([^"]*)"|</span>(node\d)', many.table.value)
    assert [label or name for label, name in said] == [
        *("nodes on machine a", "node1", "node4"),
        *("nodes on machine b", "node2", "node5"),
        *("nodes on machine c", "node3", "node6"),
    ]


def test_a_replay_has_no_script_but_its_own() -> None:
    page = replay(rude().events).html
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<!--" not in page
