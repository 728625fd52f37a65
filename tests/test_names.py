"""The names that a notebook imports."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import labkit
assert "matplotlib" not in sys.modules
from labkit.see.controls import Controls
import labkit.see.replay
for _ in range(2):  # a cell may run twice
    from labkit import *
    assert callable(controls) and callable(replay) and callable(assignment), (controls, replay)
assert controls is labkit.controls and "controls" in dir(labkit)
assert "nbformat" not in sys.modules  # the first cell of every page would wait for it
"""


def test_a_name_stays_the_function_when_its_module_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
