"""The names that a notebook imports."""

from __future__ import annotations

import subprocess
import sys

import labkit

PROGRAM = """
import sys
import labkit
import labkit.fire
assert issubclass(labkit.fire.Unavailable, Exception)
assert not {"matplotlib", "requests", "labkit.lab.lab"} & sys.modules.keys(), "a node would wait"
from labkit.see.controls import Controls
import labkit.see.replay
for _ in range(2):  # a cell may run twice
    from labkit import *
    assert callable(controls) and callable(replay) and callable(assignment), (controls, replay)
assert controls is labkit.controls and "controls" in dir(labkit)
assert dir(labkit.fire) == labkit.fire.__all__ and callable(labkit.fire.chaos)
for nothing in ("chaos", "import_module", "Path"):
    assert not hasattr(labkit, nothing), nothing
assert not {"nbformat", "matplotlib"} & sys.modules.keys()  # every page's first cell would wait
"""


def test_every_page_imports_the_few() -> None:
    assert len(labkit.__all__) <= 12


def test_a_name_stays_the_function_when_its_module_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
