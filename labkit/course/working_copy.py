"""The reader's copy of the course: made from the published pages, and kept fresh.

A page that is run saves its outputs into its own file. So a reader works on a copy, `pages/` with
what it shows of `img/` and `docs/` beside it, and the published pages stay as they are. What a
reader has written is never overwritten: a page whose cells have been changed stays, and
`WorkingCopy.behind` names it when there is a newer published one. A page that has
only been run is replaced when the published cells change; one that has not even been run, whenever
the published file does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labkit.course.page import HOME, ROOT, Text, files, find
from labkit.errors import ConfigError
from labkit.files import Unreadable
from labkit.servers import project
from labkit.servers.system import put

#: Where the copy is, unless a reader names another place: beside the pages, or here.
DEFAULT = (ROOT if project.is_checkout() else Path.cwd()) / "my-course"

_RECORD = ".published.json"  # what each page of the copy was made from
_BESIDE = re.compile(r"\]\((\.\./(?:img|docs)/[^)\s#]+)")  # a picture or a text that a page shows


@dataclass(frozen=True)
class WorkingCopy:
    """A reader's copy of the course, as `refresh` leaves it."""

    home: Path
    behind: tuple[str, ...] = ()  # pages that the reader has changed, and that are newer published
    broken: tuple[str, ...] = ()  # why a page of the copy can't be read; it stays as it is

    @property
    def pages(self) -> Path:
        """The directory with the pages."""
        return self.home / "pages"

    def find(self, name: str) -> Path:
        """A page of the copy by its number or name, as `course.page.find` takes them.

        A path may also name a notebook of the reader's own in the copy. Raises `ConfigError` for
        one that is somewhere else.
        """
        found = find(name).resolve()
        if found.parent == HOME.resolve():
            return self.pages / found.name
        if found.is_relative_to(self.home.resolve()):
            return found
        raise ConfigError(f"{found} is not in {self.home}, which is what JupyterLab shows.")

    def news(self, first: Path) -> str:
        """What a reader is told when it is opened at the page `first`."""
        shown = f"JupyterLab shows {first.name}, in your copy of the pages: {self.pages}."
        shown += " Ctrl-C, twice, ends it."
        shown = "\n".join([*(f"{why} It stays as it is." for why in self.broken), shown])
        if not self.behind:
            return shown
        newer = f"You have changed {', '.join(self.behind)}, and there is a newer one: yours stays."
        return f"{newer} To get the other, rename yours, and start again.\n{shown}"

    def jupyterlab(self, first: Path, browser: bool) -> list[str]:
        """The arguments with which Python shows the copy in JupyterLab, at the page `first`."""
        root = ROOT if self.home.is_relative_to(ROOT) else self.home
        settings = Path(__file__).parent / "jupyter"
        command = ["-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
        command += [f"--LabApp.default_url=/lab/tree/{first.relative_to(root).as_posix()}"]
        command += [f"--LabApp.app_settings_dir={settings}"]
        # Around the link stands nothing else: no news, and no warning that is not the reader's.
        for app in ("ServerApp", "LabApp"):
            command += [f"--{app}.log_level=ERROR", f"--{app}.log_format=%(message)s"]
        # It takes over settings of the classic notebook, and warns of Jupyter's own while it does.
        command += ["--ServerApp.jpserver_extensions=notebook_shim=False"]
        # Others who use this machine can't listen to a kernel; it would warn that they can.
        command += ["--KernelManager.transport_encryption=auto"]
        command += [] if browser else ["--no-browser"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command += ["--allow-root"]  # as everybody is in most containers; it is on loopback
        return command


@dataclass(frozen=True)
class _State:
    """Digests of a page: of its file, and of what is written in its cells."""

    file: str
    cells: str

    @classmethod
    def of(cls, path: Path) -> _State:
        """A file that is no notebook (any more) has no cells that could be equal to a page's."""
        file = path.read_bytes()
        try:
            cells = Text.read(path).cells
        except ConfigError:
            return cls(_digest(file), "")
        # JupyterLab adds an empty cell when the last one is run from the keyboard.
        written = [[cell.cell_type, cell.source] for cell in cells if cell.source.strip()]
        return cls(_digest(file), _digest(json.dumps(written).encode()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refresh(home: Path = DEFAULT, published: Path = HOME) -> WorkingCopy:
    """Bring the copy in the directory `home` up to date with the pages in `published`.

    Makes it if there is none. Raises `ConfigError` when it cannot be written.
    """
    copy = WorkingCopy(home.absolute())
    course = files(published)
    behind, broken = [], []
    try:
        copy.pages.mkdir(parents=True, exist_ok=True)
        record = _read_record(home)
        kept: dict[str, _State] = {}
        for page in course:
            name, newest = page.name, _State.of(page)
            base, mine = _refresh(page, newest, copy.pages / name, record.get(name))
            if base is not None:
                kept[name] = base
            if not mine.cells:
                broken.append(_why(copy.pages / name))
            if newest.cells not in (mine.cells, base and base.cells):
                behind.append(name)
        for name in record.keys() - {page.name for page in course}:
            _remove_unchanged(copy.pages / name, record[name])
        _copy_what_is_shown(course, home)
        _write_record(home, kept)
    except OSError as error:
        raise ConfigError(
            f"Your copy of the pages cannot be written to {home}: {error.strerror or error}. "
            "Name another directory: labkit lab --copy DIRECTORY"
        ) from error
    return WorkingCopy(copy.home, tuple(behind), tuple(broken))


def _why(page: Path) -> str:
    """Why a page can't be read."""
    try:
        Text.read(page)
    except Unreadable as error:
        return str(error)
    return f"{page} could not be read a moment ago."


def _refresh(
    original: Path, newest: _State, place: Path, base: _State | None
) -> tuple[_State | None, _State]:
    """Replace a page that the reader has not changed.

    Returns what the page in the copy was made from, None if nobody knows, and what it is now.
    """
    if place.exists():
        mine = _State.of(place)
        if mine.cells == newest.cells and (base is None or base.cells != newest.cells):
            return _State("", newest.cells), mine  # it became the same in another way
        if base is None or mine.cells != base.cells:
            return base, mine
        is_untouched = mine.file == base.file
        if newest.cells == base.cells and not (is_untouched and newest.file != base.file):
            return base, mine
    put(place, original.read_bytes())
    return newest, newest


def _remove_unchanged(place: Path, base: _State) -> None:
    """A page that the course has no more goes, unless the reader has changed it."""
    if place.exists() and _State.of(place).cells == base.cells:
        place.unlink()


def _copy_what_is_shown(course: Iterable[Path], home: Path) -> None:
    for page in course:
        for cell in Text.read(page).cells:
            for target in _BESIDE.findall(cell.source):
                data = (page.parent / target).read_bytes()
                place = home / target.removeprefix("../")
                if not place.exists() or place.read_bytes() != data:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    put(place, data)


def _read_record(home: Path) -> dict[str, _State]:
    try:
        said = json.loads((home / _RECORD).read_text())
        return {name: _State(file, cells) for name, (file, cells) in said.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _write_record(home: Path, bases: dict[str, _State]) -> None:
    said = {name: [base.file, base.cells] for name, base in sorted(bases.items())}
    put(home / _RECORD, (json.dumps(said, indent=1) + "\n").encode())
