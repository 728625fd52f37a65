"""The picture as SVG: what events say is text in it, whatever they say."""

from __future__ import annotations

from xml.etree import ElementTree

import runs

from labkit.see import strips, svg
from labkit.see.replay import replay
from labkit.see.spans import Spans

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
    spans = Spans(rude().events)
    drawn = svg.assignment(spans, since=0.0, until=9.0, uid="u", label=RUDE)
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
    spans = Spans(run.events)
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


def test_a_replay_has_no_script_but_its_own() -> None:
    page = replay(rude().events).html
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<!--" not in page
