"""A page of the course, as it is on disk.

A page is a notebook in `notebooks/`. What it asks, how long it takes and what it builds on stand in
its metadata, under `labkit`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from labkit.errors import ConfigError
from labkit.files import Unreadable, read_json
from labkit.servers import project

if TYPE_CHECKING:  # it takes a second and a half to load, on every page, and few need it
    from nbformat import NotebookNode

ROOT = project.root()

HOME = ROOT / "notebooks"
_PAGE = re.compile(r"\d\d[a-z]?-")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")

#: Ways through the course that are shorter than all of it: their pages, by number.
PATHS: dict[str, tuple[str, ...]] = {
    "one hour": ("00", "04", "06"),
    "an afternoon": ("00", "01", "02", "04", "05", "06", "07"),
}
ALL = "all of it"  # the path with every page

_WORDS, _LINES = 180, 20  # read in a minute
_EXERCISE = 6  # minutes for one


class Cell(NamedTuple):
    """What is written in a cell, which is "code" or "markdown"."""

    cell_type: str
    source: str


@dataclass(frozen=True)
class Text:
    """What is written on a page, for those who neither run nor save it."""

    path: Path
    about: dict[str, Any]  # what its metadata say of it
    cells: tuple[Cell, ...]

    @classmethod
    def read(cls, path: Path) -> Text:
        """Read a notebook. Raises `Unreadable` when it is none."""
        try:
            return cls.of(path, read_json(path))
        except (KeyError, TypeError, AttributeError) as error:
            raise Unreadable(path, f"it is no notebook: {error}") from error

    @classmethod
    def of(cls, path: Path, notebook: Mapping[str, Any]) -> Text:
        """What is written in a notebook that has been read."""
        cells = [Cell(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
        return cls(path, dict(notebook["metadata"].get("labkit", {})), tuple(cells))

    @property
    def number(self) -> str:
        """Its place in the course: "00" to "17"; "03b" stands between "03" and "04"."""
        return str(self.about.get("number", self.path.stem.split("-")[0]))

    @property
    def title(self) -> str:
        """Its first heading, or its file's name."""
        headings = (
            re.search(r"^# +(.+?) *$", cell.source, flags=re.MULTILINE)
            for cell in self.cells
            if cell.cell_type == "markdown"
        )
        return next((found[1] for found in headings if found), self.path.stem)

    @property
    def name(self) -> str:
        """How other pages call it."""
        return f"{self.number} · {self.about.get('question', self.title)}"


@dataclass(frozen=True)
class Page:
    """One page, as it is on disk."""

    path: Path
    notebook: NotebookNode

    @classmethod
    def read(cls, path: Path) -> Page:
        """Read a notebook. Raises `Unreadable` when it is none."""
        import nbformat

        said = read_json(path)
        try:
            notebook = nbformat.reads(json.dumps(said), as_version=4)
            for cell in notebook.cells:
                cell.setdefault("metadata", {})
                if cell.cell_type == "code":
                    cell.setdefault("outputs", [])
            page = cls(path, cast("NotebookNode", notebook))
            assert page.text  # which looks for all that a page has
            return page
        except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
            raise Unreadable(path, f"it is no notebook: {error}") from error

    def save(self, notebook: NotebookNode) -> Page:
        """Write `notebook` in the page's place."""
        import nbformat

        text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
        self.path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        return Page(self.path, notebook)

    @property
    def text(self) -> Text:
        """What is written on it, as it is now."""
        return Text.of(self.path, self.notebook)

    @property
    def about(self) -> dict[str, Any]:
        """What the page's metadata say of it."""
        return self.text.about

    @property
    def number(self) -> str:
        """Its place in the course."""
        return self.text.number

    @property
    def title(self) -> str:
        """Its first heading, or its file's name."""
        return self.text.title

    @property
    def name(self) -> str:
        """How other pages call it."""
        return self.text.name

    @cached_property
    def minutes(self) -> int:
        """How long it takes to read, to run, and to do the exercises."""
        prose = [c for c in self.notebook.cells if c.cell_type == "markdown" and not _made(c)]
        words = sum(len(_IMAGE.sub("", cell.source).split()) for cell in prose)
        lines = sum(bool(line.strip()) for c in self.code for line in c.source.split("\n"))
        exercises = sum(len(exercise_calls(cell)) for cell in self.code)
        return max(1, round(words / _WORDS + lines / _LINES + exercises * _EXERCISE))

    @property
    def needs(self) -> tuple[str, ...]:
        """The numbers of the pages to have read before."""
        return tuple(self.about.get("needs", ()))

    @property
    def paths(self) -> list[str]:
        """The ways through the course that lead here, the shortest first."""
        return [path for path, numbers in PATHS.items() if self.number in numbers] + [ALL]

    @cached_property
    def code(self) -> list[NotebookNode]:
        """The cells that run."""
        return [c for c in self.notebook.cells if c.cell_type == "code" and c.source.strip()]

    @property
    def source_hash(self) -> str:
        """A digest of all code; the saved outputs belong to the one that is saved with them."""
        text = "\0".join(cell.source for cell in self.code)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def minutes(course: Iterable[Page], path: str = ALL) -> int:
    """How long a way through the course takes."""
    return sum(page.minutes for page in course if path in page.paths)


def hours(minutes: int) -> str:
    """Minutes as one says them: "45 min", "6 h 30 min"."""
    whole, rest = divmod(minutes, 60)
    return " ".join([f"{whole} h"] * bool(whole) + [f"{rest} min"] * bool(rest or not whole))


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def _made(cell: NotebookNode) -> bool:
    """Whether a cell is written by `labkit.course.cells`."""
    return bool({"card", "nav", "map"} & set(tags(cell)))


def pages(folder: Path = HOME) -> list[Page]:
    """All pages of the course, in order."""
    return [Page.read(path) for path in files(folder)]


def files(folder: Path = HOME) -> list[Path]:
    """The files of all pages, in order.

    A page's file is called by its number: `03-….ipynb`, and `03b-….ipynb` follows it.
    """
    return sorted(path for path in folder.glob("*.ipynb") if _PAGE.match(path.name))


def calls(cell: Cell | NotebookNode, name: str) -> list[ast.Call]:
    """The calls of that name in a cell: of a function or any method, or with a dot of just that."""
    if name.split(".")[-1] not in cell.source:  # most do not have it, and are not worth parsing
        return []
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:  # IPython understands more than Python
        return []
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = ((call, _dotted(call.func)) for call in found)
    return [call for call, full in names if name in (full, full.split(".")[-1])]


def _dotted(called: ast.expr) -> str:
    """What is called, as far as it is names and dots: "ex.check", ".reveal" of a call's result."""
    if isinstance(called, ast.Attribute):
        return f"{_dotted(called.value)}.{called.attr}"
    return called.id if isinstance(called, ast.Name) else ""


def exercise_calls(cell: Cell | NotebookNode) -> list[ast.Call]:
    """The calls by which a cell sets an exercise: `exercise(…)`, and not `exercise(…).spot()`."""
    spots = [ast.unparse(call.func) for call in calls(cell, "spot")]
    found = calls(cell, "exercise")
    return [call for call in found if f"{ast.unparse(call)}.spot" not in spots]


def alternative(output: NotebookNode) -> str:
    """What an output's picture shows, in words; "" if nobody said."""
    alt = output.metadata.get("image/png", {}).get("alt") or output.data.get("text/plain", "")
    return "" if alt.startswith("<") else " ".join(alt.split())


def choose(names: Iterable[str]) -> list[Page]:
    """The pages named, as `find` takes them, or else all of the course."""
    return [Page.read(find(name)) for name in names] or pages()


def readable(paths: Iterable[Path]) -> tuple[list[Page], list[Unreadable]]:
    """The pages that can be read, and why others can't."""
    found, broken = [], []
    for path in paths:
        try:
            found.append(Page.read(path))
        except Unreadable as error:
            broken.append(error)
    return found, broken


def find(name: str) -> Path:
    """A page by its number ("04", "4", "3b"), its name with or without suffix, or a path.

    Raises `ConfigError` with the names of all pages if there is none.
    """
    known = files()
    for path in known:
        if name in (path.name, path.stem) or _padded(name) == path.stem.split("-")[0]:
            return path
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    there = ", ".join(path.stem for path in known)
    raise ConfigError(f"There is no page {name}. There are: {there or 'none'}.")


def _padded(number: str) -> str:
    """A page's number in full: "04" for "4", "03b" for "3b"."""
    return re.sub(r"^\d(?!\d)", r"0\g<0>", number)
