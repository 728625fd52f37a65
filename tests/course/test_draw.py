"""The diagrams: legible, described, and what is committed is what the code draws."""

from __future__ import annotations

import importlib.util
import re
from itertools import combinations
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from labkit.course import page as course
from labkit.see import style

IMG = Path(__file__).parents[2] / "img"
PAGES = [page.path for page in course.pages()]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", IMG / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw = _load()
NAMES = list(draw.DRAWINGS)


def test_every_page_has_one() -> None:
    assert {f"{page:02}" for page in range(14)} <= {name[:2] for name in NAMES}
    assert {page.stem for page in PAGES} <= set(NAMES)
    assert set(draw.ALT) == set(NAMES)
    assert all(40 <= len(alt) <= 250 for alt in draw.ALT.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_what_is_drawn(name: str, tmp_path: Path) -> None:
    for fresh in draw.draw(name, tmp_path):
        committed = IMG / fresh.name
        assert fresh.stat().st_size < 120_000
        if fresh.suffix == ".svg":  # the last digit of a coordinate may be the machine's
            words, numbers = _parts(fresh.read_text())
            assert (words, pytest.approx(numbers, abs=0.02)) == _parts(committed.read_text()), (
                "make img"
            )


def _parts(svg: str) -> tuple[list[str], list[float]]:
    number = r"(?<![\w#])-?\d+\.?\d*(?:e-?\d+)?(?!\w)"
    return re.split(number, svg), [float(found) for found in re.findall(number, svg)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_every_time(name: str, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in draw.draw(name, tmp_path)]
    assert first == [path.read_bytes() for path in draw.draw(name, tmp_path)]


@pytest.mark.parametrize("name", NAMES)
def test_no_words_overlap_or_leave_the_card(name: str) -> None:
    with mpl.rc_context(style.SETTINGS):
        figure = draw.DRAWINGS[name]().figure
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        boxes = [(t, t.get_window_extent(renderer).padded(-1)) for t in texts]
    for text, box in boxes:
        assert text.get_fontsize() >= 8.5
        assert box.x0 >= 2, text.get_text()
        assert box.x1 <= figure.bbox.x1 - 2, text.get_text()
        assert box.y0 >= 2
        assert box.y1 <= figure.bbox.y1 - 2, text.get_text()
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{one.get_text()!r} and {other.get_text()!r}"
