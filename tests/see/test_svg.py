"""The picture as SVG: what events say is text in it, whatever they say."""

from __future__ import annotations

from html import unescape
from xml.etree import ElementTree

import runs

from labkit import svg
from labkit.replay import replay
from labkit.story import Story

RUDE = '<script>alert("&")</script>'


def rude() -> runs.Script:
    """A run whose every name, verb and reason would be markup, if it were not text."""
    run = runs.Script()
    run.says(0.1, RUDE, None, "not-asked")
    run.claims(0.5, 1, RUDE)
    run.says(0.6, RUDE, 1)
    run.verb(1.0, RUDE, RUDE)
    run.verb(1.5, "partition", RUDE)
    run.says(2.0, RUDE, None, RUDE)
    run.frees(2.1, RUDE)
    run.says(9.0, RUDE, None, RUDE)
    return run


def test_what_events_say_is_escaped() -> None:
    story = Story(rude().events)
    drawn = svg.assignment(story, since=0.0, until=9.0, uid="u", label=RUDE)
    root = ElementTree.fromstring(drawn)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    texts = [element.text or "" for element in root.iter()]
    assert RUDE in texts  # the node's name
    assert any(text.startswith(f"{RUDE}, partition") or text == RUDE for text in texts)
    assert root.attrib["aria-label"] == RUDE
    assert "<script" not in drawn
    assert "<script" in unescape(drawn)


def test_a_replay_has_no_script_but_its_own() -> None:
    page = replay(rude().events).html
    assert page.count("<script") == 1
    assert page.count("</script") == 1
    assert "<!--" not in replay([*rude().events]).html
