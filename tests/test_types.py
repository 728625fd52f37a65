"""What a user's type checker sees of the names that a notebook imports."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import labkit
from labkit import charts, fire, story

ROOT = Path(__file__).parent.parent


#: All names that a notebook imports, by the module that offers them.
NAMES = {name: module for module in (labkit, charts, fire, story) for name in module.__all__}

WRONG = "Lab(nodes='four').node(1.5)"  # two errors


# What the examples in docstrings speak of.
GIVEN = """
from contextlib import suppress
from pathlib import Path
from labkit import *
from labkit.charts import *
from labkit.fire import *
from labkit.story import *

class MyServer: ...

def power_cut(lab: Lab) -> dict[str, object]:
    return {}

def use(lab: Lab) -> None:"""


def examples(name: str) -> list[str]:
    """What the docstring of a name shows, in backticks, of its use."""
    said = inspect.getdoc(getattr(NAMES[name], name)) or ""
    return [
        shown for shown in re.findall(r"`([^`]+)`", said) if re.search(rf"\b{name}\b.*\(", shown)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_a_short_example(name: str) -> None:
    assert examples(name), f"the docstring of {name} shows no `{name}(…)`"


@pytest.mark.timeout(300)  # mypy reads all that the names need
@pytest.mark.slow
def test_a_users_type_checker_knows_the_names(tmp_path: Path) -> None:
    """The examples have no error, a wrong use has, and no name is of any type at all."""
    example, *_ = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL
    )
    names = sorted(NAMES)
    reveal = [f"reveal_type({NAMES[name].__name__}.{name})" for name in names]
    shown = [f"    {shown}" for name in names for shown in examples(name)]
    lines = [
        example,
        "import labkit.charts, labkit.fire, labkit.story",
        *reveal,
        GIVEN,
        *shown,
        WRONG,
    ]
    (tmp_path / "program.py").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},  # the checkout, as if it were installed
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    last = "\n".join(lines).count("\n") + 1
    assert len(errors) == 2, done.stdout + done.stderr
    assert all(line.startswith(f"program.py:{last}:") for line in errors)
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(names)
    assert not [found for found in revealed if found in ("Any", "builtins.object")]
    assert "labkit.lab.lab.Lab" in revealed[names.index("Lab")]
