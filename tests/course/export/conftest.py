"""Exports to look at: of two small pages that have everything, and of the course as it is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.course import page
from labkit.course.export import export

Once = Callable[[str, Callable[[Path], object]], Path]  # of the conftest above
SAMPLES = Path(__file__).parent / "pages"


@pytest.fixture(scope="session")
def samples(once: Once) -> Path:
    """The site made of the sample pages."""
    return once("samples", lambda out: export(page.pages(SAMPLES), out, execute=False))


@pytest.fixture(scope="session")
def site(once: Once) -> Path:
    """The site made of the whole course."""
    return once("site", lambda out: export(page.pages(), out, execute=False))
