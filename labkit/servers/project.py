"""Where the project's own files are: in its checkout, or in an installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def root(package: Path = PACKAGE) -> Path:
    """The directory with `notebooks/`, `img/`, `docs/`, `Dockerfile.node` and `deploy/`.

    A package carries them inside itself, because nothing is beside it where it is installed.
    """
    checkout = package.parent
    return checkout if (checkout / "Dockerfile.node").is_file() else package / "_project"


def is_checkout() -> bool:
    """Whether the code runs from a checkout of the project."""
    return root() == PACKAGE.parent
