"""The README's code does what it says when it is pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.lab.event import VerbEvent
from labkit.lab.lab import Lab

README = Path(__file__).parent.parent / "README.md"


def test_the_library_snippet_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    monkeypatch.setenv("LABKIT_BACKEND", "process")
    names: dict[str, Lab] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    events = names["lab"].timeline
    verbs = [(e.subject, e.verb) for e in events if isinstance(e, VerbEvent)]
    assert ("zookeeper", "stop") in verbs
    assert verbs.index(("zookeeper", "stop")) < verbs.index(("zookeeper", "start"))
