"""What `pyproject.toml` cannot say: the package carries pages, pictures and the node's image.

They stay at the top of the project, where people look for them, and are copied into the package
when it is built.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

_CARRIED = (
    ("notebooks", "*.ipynb"),
    ("img", "*.svg"),
    ("img", "*.png"),
    ("docs", "glossary.md"),
    ("docs", "cheat-sheet.md"),
)


class BuildWithProject(build_py):
    """Builds the package, and copies into it what stands beside it in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself is used
            return
        inside = Path(self.build_lib) / "labkit" / "_project"
        for folder, kinds in _CARRIED:
            for file in sorted((ROOT / folder).rglob(kinds)):
                if ".ipynb_checkpoints" not in file.parts:
                    self._carry(file, inside)
        for name in ("Dockerfile.node", "constraints.txt"):
            self._carry(ROOT / name, inside)

    def _carry(self, file: Path, inside: Path) -> None:
        target = inside / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithProject})
