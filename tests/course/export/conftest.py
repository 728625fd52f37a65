"""Exports to look at: of two small pages that have everything, and of the course as it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.course import page
from labkit.course.export import export

SAMPLES = Path(__file__).parent / "pages"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site made of the sample pages."""
    out = tmp_path_factory.mktemp("export") / "samples"
    export(page.pages(SAMPLES), out, execute=False)
    return out


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site made of the whole course."""
    out = tmp_path_factory.mktemp("export") / "site"
    export(page.pages(), out, execute=False)
    return out
