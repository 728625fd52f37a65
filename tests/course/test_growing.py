"""The reader's server grows from page to page, and falls where the pages say."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from labkit.course import growing, record
from labkit.course.growing import my_server, reference
from labkit.course.standing import standing
from labkit.errors import ConfigError
from labkit.judge.ladder import TOP, climb

PAGES = ("04", "05", "06", "07", "08", "09b")
MyServer: Any = object


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr(growing, "_unkept", {})
    return tmp_path / "my_server.py"


def change(page: str) -> type:
    """What a reader writes on a page: here, the course's own."""
    return grown(reference()[page])


def grown(text: str) -> type:
    """A class as a page's cell makes it, on top of what there was."""
    file = Path(f"cell-{next(_CELLS)}.py")
    file.write_text(text)
    space: dict[str, Any] = {"__name__": "cell", "MyServer": MyServer}
    exec(compile(text, str(file.absolute()), "exec"), space)
    made = space["MyServer"]
    assert isinstance(made, type)
    return made


_CELLS = count()


def test_who_has_written_nothing_has_the_courses_own(place: Path) -> None:
    before = my_server("07")
    assert hasattr(before, "claim")
    assert not hasattr(before, "keep")
    assert hasattr(my_server("09b"), "token")
    assert not place.exists()


def test_a_stub_is_not_attempted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stub = grown("class MyServer(MyServer):\n    def claim(self):\n        ...\n")
    assert hasattr(my_server("07", stub), "keep")
    assert "Not attempted" in capsys.readouterr().out
    assert not place.exists()


def test_a_change_is_kept_and_others_are_the_courses_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hers = "class MyServer(MyServer):\n    def claim(self):\n        return next(count(1))\n"
    mine = my_server("05", grown("from itertools import count\n" + hers))
    assert "Kept" in capsys.readouterr().out
    assert mine().claim() == 1  # type: ignore[attr-defined]
    assert "--- page 05" in place.read_text()
    later = my_server("08")
    assert hasattr(later, "keep")
    assert "next(count(1))" in later.__program__.pieces[0].text  # type: ignore[attr-defined]
    my_server("05", grown(hers.replace("next(count(1))", "2")))
    assert my_server("06")().claim() == 2  # type: ignore[attr-defined]
    assert place.read_text().count("--- page 05") == 1


@pytest.mark.parametrize(
    "found",
    [
        b"class MyServer:\n    pass\n",  # one that she has made by herself
        b"import os\n\n# --- page 04\nclass MyServer:\n    pass\n",  # or added to
        "# --- page 04\n# \u00e4\n".encode("latin-1"),
        "# --- page 04\n".encode("utf-16"),
    ],
)
def test_a_file_that_the_pages_did_not_write_is_hers(place: Path, found: bytes) -> None:
    place.write_bytes(found)
    with pytest.raises(ConfigError, match=r"my_server\.py"):
        my_server("04", change("04"))
    with pytest.raises(ConfigError, match=r"my_server\.py"):
        my_server("05")
    assert place.read_bytes() == found


def test_a_page_without_a_server_says_so() -> None:
    with pytest.raises(ConfigError, match="grows on pages 04, 05"):
        my_server("10", change("05"))


def test_how_high_it_stands_is_told() -> None:
    standing.climb([1, 2])
    standing.climb([4])
    assert f"stands on rung 2 of {TOP}" in standing.told()


def test_only_the_readers_own_counts() -> None:
    assert not hasattr(my_server("05"), "__climbed__")
    my_server("05", change("05"))
    assert hasattr(my_server("06"), "__climbed__")


# --- a scripted learner -----------------------------------------------------------------------


FORGETS = """    session = None

    def state(self, state):
        self.session = None
"""
MISTAKES = {  # a page, what is wrong, what it is instead, and the rung
    "05": ("both.delete(ticket)", "pass", 2),
    "06": ("    session = None\n", FORGETS, 5),
    "07": ("monotonic() >= self.until", "False", 6),
    "08": ("return self.czxid", "return id(self)", 3),
    "09b": ("if self.doubt:", "if False:", 8),
}


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_learner_climbs_from_page_to_page_to_the_top() -> None:
    for page in PAGES:
        mine = my_server(page, change(page))
    done = climb(mine, backend="process")
    assert done.reached == TOP, done.summary
    assert f"stands on rung {TOP} of {TOP}" in standing.told()


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", MISTAKES)
def test_with_the_pages_mistake_she_falls_where_it_says(page: str) -> None:
    old, new, rung = MISTAKES[page]
    source = reference()[page]
    assert old in source
    mine = my_server(page, grown(source.replace(old, new)))
    done = climb(mine, only=[rung], backend="process")
    assert done.reached == 0, done.summary
