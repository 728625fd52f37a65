"""The picture as SVG: what events say is text in it, whatever they say."""

from __future__ import annotations

from xml.etree import ElementTree

import runs

from labkit.see import svg
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


def test_a_replay_has_no_script_but_its_own() -> None:
    page = replay(rude().events).html
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<!--" not in page
