"""The reference: complete, and as the code is called."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from labkit.course.export import reference
from labkit.lazy import FACE

TEXT = reference.reference()
ENTRIES = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("module", FACE)
def test_every_name_of_the_face_is_there(module: str) -> None:
    for name in import_module(module).__all__:
        assert len(ENTRIES[name].strip()) > 40, name


def test_a_call_is_shown_as_it_is_written() -> None:
    assert "`Lab(nodes: int = 4, *, ensemble: int = 1, " in ENTRIES["Lab"]
    assert "\n- `node(which: int | str | Node) -> Node`  \n" in ENTRIES["Lab"]
    assert "\n- `nodes`  \n" in ENTRIES["Lab"]
    assert "self" not in re.findall(r"`\w+\((\w+)", TEXT)


def test_what_a_lab_gives_is_there_too_and_nothing_private() -> None:
    assert {"Node", "ZooKeeperHandle", "Chart", "Report", "Task"} <= ENTRIES.keys()
    assert "\n- `kill() -> None`  \n" in ENTRIES["Node"]
    assert not re.findall(r"^- `_", TEXT, re.MULTILINE)
    assert "Node(core" not in TEXT  # nobody makes one
