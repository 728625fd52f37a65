"""What the README and the docs say is so: code runs when it is pasted, and links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.cli.commands import labkit
from labkit.course.page import pages
from labkit.lab.lab import Lab
from labkit.story.event import VerbEvent

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = [README, *sorted((ROOT / "docs").glob("*.md"))]

TEXT = README.read_text()
LIBRARY = (ROOT / "docs/library.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", LIBRARY, flags=re.DOTALL)


def test_the_library_snippet_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    snippet, *_ = SNIPPETS
    monkeypatch.setenv("LABKIT_BACKEND", "process")
    names: dict[str, Lab] = {}
    exec(compile(snippet, "library.md", "exec"), names)
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


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_bytes()) <= 8000


def test_every_page_of_the_docs_can_be_found() -> None:
    named = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", TEXT))
    assert named == {path.name for path in DOCS[1:]}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert not [link for link in local if link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_command_is_one(page: Path) -> None:
    """Targets of the Makefile, and commands of labkit with options that they have."""
    text = page.read_text()
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\$ )make ([\w-]+)", text, re.MULTILINE)) <= targets
    quoted = re.findall(r"`labkit ([^`]+)`", text)
    typed = re.findall(r"^\$ labkit ([^\n#]+)", text, re.MULTILINE)
    for words in map(str.split, [*quoted, *typed]):
        command = labkit.commands[words[0]]
        known = {option for known in command.params for option in known.opts}
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert asked <= known, f"labkit {' '.join(words)}"
