"""The README's code does what it says when it is pasted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.course.page import pages
from labkit.lab.lab import Lab
from labkit.story.event import VerbEvent

README = Path(__file__).parent.parent / "README.md"

TEXT = README.read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_library_snippet_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    snippet, *_ = SNIPPETS
    monkeypatch.setenv("LABKIT_BACKEND", "process")
    names: dict[str, Lab] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    events = names["lab"].timeline
    verbs = [(e.subject, e.verb) for e in events if isinstance(e, VerbEvent)]
    assert ("zookeeper", "stop") in verbs
    assert verbs.index(("zookeeper", "stop")) < verbs.index(("zookeeper", "start"))


@pytest.mark.alone
def test_the_server_falls_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "my_server.py").write_text(SNIPPETS[-1])
    command = ["ladder", "my_server.py", "--json", "--rung", "5", "--backend", "process"]
    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", *command], cwd=tmp_path, stdout=subprocess.PIPE
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["reached"] == 4


def test_every_page_is_listed_with_its_minutes() -> None:
    rows = re.findall(r"^\| (\w+) \| \[.*\]\(notebooks/(.*)\) \| (\d+) min \|$", TEXT, re.MULTILINE)
    assert rows == [(page.number, page.path.name, str(page.minutes)) for page in pages()]
