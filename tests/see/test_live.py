"""The module that puts what can be used in the place of what is saved."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

MODULE = Path(str(files("labkit"))) / "see" / "live.js"


def test_the_scripts_are_small() -> None:
    lines = [path.read_text().count("\n") for path in MODULE.parent.glob("*.js")]
    assert sum(lines) <= 700


@pytest.mark.long
@pytest.mark.slow
def test_the_types_hold(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the compiler that checks the types comes by npm")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    subprocess.run([*install, "typescript@5"], check=True, timeout=300)
    checked = subprocess.run(
        [
            *(tmp_path / "node_modules/.bin/tsc", "--noEmit", "--allowJs", "--checkJs", "--strict"),
            *("--target", "es2022", "--lib", "es2023,dom,dom.iterable", MODULE),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
