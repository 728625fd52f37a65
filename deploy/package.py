"""What `pyproject.toml` cannot say: the package carries pages, pictures and the node's image.

They stay at the top of the project, where people look for them, and are copied into the package
when it is built.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).parents[1]

_CARRIED = (
    ("notebooks", "*.ipynb"),
    ("img", "*.svg"),
    ("img", "*.png"),
    ("docs", "*.md"),  # pages lead to them
    (".", "Dockerfile.node"),
    ("deploy", "constraints.txt"),
)


def carried() -> list[Path]:
    """What stands beside the package and goes into it."""
    found = [file for folder, kind in _CARRIED for file in sorted((ROOT / folder).glob(kind))]
    return [file.relative_to(ROOT) for file in found]


class BuildWithProject(build_py):
    """Builds the package, and copies into it what stands beside it in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself is used
            return
        inside = Path(self.build_lib) / "labkit" / "_project"
        for file in carried():
            (inside / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, inside / file)

    def get_source_files(self) -> list[str]:
        """The sources of a source distribution, from which the package can be built."""
        return [*super().get_source_files(), *map(str, carried()), "deploy/package.py"]
