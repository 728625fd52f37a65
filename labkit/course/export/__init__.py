"""The course as a tutorial that anybody can read: a static site, or Markdown files.

What is written needs nothing from elsewhere, neither a network nor a kernel. Answers are folded,
recordings play, and the controls of a page become the recording of the run that made the page.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EISDIR, ENOTDIR
from pathlib import Path
from typing import Any, Literal

from nbformat import NotebookNode

from labkit.course import runner
from labkit.course.export.site import Site
from labkit.course.export.writer import Files, Writer
from labkit.course.page import Page
from labkit.course.page import files as page_files
from labkit.course.runner import PageFailed
from labkit.errors import ConfigError
from labkit.servers.choice import asked_for

Format = Literal["html", "markdown"]
SUFFIXES = {"html": ".html", "markdown": ".md"}
DEFAULT_OUT = {"html": "site", "markdown": "markdown"}

#: Called as the export goes on: (what is being done, fraction done).
Progress = Callable[[str, float | None], None]

_MARKER = ".labkit-export"  # in every directory that was made here; its format and files


@dataclass(frozen=True)
class Export:
    """What was written, and the pages that did not run to their end.

    These are written too, as far as they came; but not over an older export.
    """

    out: Path
    files: dict[str, int]  # path below `out` → bytes; empty if nothing was written
    failures: list[PageFailed]

    @property
    def first(self) -> Path:
        """Where to begin: the index, or the only page."""
        if "index.html" in self.files:
            return self.out / "index.html"
        pages = [name for name in self.files if name.endswith(".md")]
        return self.out / pages[0] if len(pages) == 1 else self.out


def export(
    pages: Sequence[Page],
    out: Path,
    *,
    to: Format = "html",
    execute: bool = True,
    backend: str | None = None,
    jobs: int = 1,
    force: bool = False,
    address: str = "",
    progress: Progress | None = None,
) -> Export:
    """Write pages as a tutorial into the directory `out`.

    An older export there keeps its other pages, and its index lists them all. Files are written
    beside it and then renamed; where a page fails, an older export stays as it was.

    With `execute` the pages run first, on `backend` and `jobs` at a time; their notebooks stay as
    they are. Without it the saved outputs are taken. `address` is the URL below which a site will
    stand: links to it then have a picture where they are previewed.

    Raises `ConfigError` if `out` cannot be written, and if it is a directory that was not made here
    or has the other format, unless `force` is given: then files that are not of an export stay.
    """
    if not pages:
        raise ConfigError("There is no page to export.")
    asked_for(backend)
    with _writing(out):
        _check(out, to, force)
    progress = progress or (lambda what, fraction: None)
    notebooks, failures = _results(pages, execute, backend, jobs, progress)
    pages = [Page(page.path, notebooks[page.path]) for page in pages]
    older = _older(out) or {}
    if failures and older:
        return Export(out, {}, failures)
    progress("writing", 1.0)
    kept = older if older.get("format") == to else {}
    course = _with_others(pages, kept.get("files", []), SUFFIXES[to])
    if len(course) > len(pages):  # a part of a site stays where the site stands
        address = address or str(kept.get("address", ""))
    only = frozenset(page.path for page in pages)
    writer: Writer = Site(course, failures, address, only) if to == "html" else Files(course, only)
    files = writer.files()
    told = {"format": to, "address": address, "files": sorted({*files, *kept.get("files", [])})}
    with _writing(out):
        _put(out, {**files, _MARKER: (json.dumps(told, indent=1) + "\n").encode()})
        _remove_stale(out, older, None if older and not kept else only, set(files))
    return Export(out, {name: len(data) for name, data in files.items()}, failures)


def _with_others(pages: Sequence[Page], files: Iterable[str], suffix: str) -> list[Page]:
    """The pages, and those beside them that an older export has, in the course's order."""
    there = {page.path.resolve(): page for page in pages}
    for path in page_files(pages[0].path.parent):
        if path.resolve() not in there and path.stem + suffix in files:
            with suppress(ConfigError):  # it can't be read any more: what was written stays
                there[path.resolve()] = Page.read(path)
    return (
        sorted(there.values(), key=lambda page: page.path.name)
        if len(there) > len(pages)
        else [*pages]
    )


def _results(
    pages: Sequence[Page], execute: bool, backend: str | None, jobs: int, progress: Progress
) -> tuple[dict[Path, NotebookNode], list[PageFailed]]:
    if not execute:
        saved = [(page, _saved_failure(page) or page.notebook) for page in pages]
        results: Iterable[tuple[Page, NotebookNode | PageFailed]] = saved
    else:
        cells = sum(len(page.code) for page in pages)
        done = 0

        def count(page: Page, _: int, __: int) -> None:
            nonlocal done
            done += 1
            progress(f"running {page.path.stem}", done / cells)

        results = runner.run(pages, backend, jobs=jobs, progress=count)
    notebooks, failures = {}, []
    for page, result in results:
        if isinstance(result, PageFailed):
            failures.append(result)
        notebooks[page.path] = result.notebook if isinstance(result, PageFailed) else result
    return notebooks, sorted(failures, key=lambda failure: failure.page.path.name)


def _saved_failure(page: Page) -> PageFailed | None:
    for at, cell in enumerate(page.notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                what, trace = f"{output.ename}: {output.evalue}", "\n".join(output.traceback)
                return PageFailed(page, at, what, trace, page.notebook)
    return None


# --- the directory ----------------------------------------------------------------------------


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Says what to do where `out` cannot be written."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The export cannot be written to {out}: {error.strerror} ({error.filename or out}). "
            "Name another directory with --out, or remove what is in the way."
        ) from error


def _check(out: Path, to: Format, force: bool) -> None:
    """Refuse before the pages run, not after."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name a directory with --out.")
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(there))
    older = _older(out)
    if older is not None and older["format"] != to and not force:
        raise ConfigError(
            f"{out} holds an export as {older['format']}. Name another directory with --out, or "
            "say --force to replace it."
        )
    if out.is_dir() and any(out.iterdir()) and older is None and not force:
        raise ConfigError(
            f"{out} was not made by an export, and is not empty. Name another directory with "
            "--out, or say --force to write into this one."
        )


def _older(out: Path) -> dict[str, Any] | None:
    """What the marker says of the export that is there, if there is one."""
    try:
        said = json.loads((out / _MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return said if isinstance(said, dict) and {"format", "files"} <= said.keys() else None


def _put(out: Path, files: dict[str, bytes]) -> None:
    """Write all files beside the directory, or in a corner of it; and then move them in."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out if out.is_dir() else out.parent))
    try:
        for name, data in files.items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if not out.exists():
            out.mkdir()
        for name in files:  # what can be known to fail fails before anything has changed
            if (out / name).is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(out / name))
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(stage / name, out / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_stale(
    out: Path, older: dict[str, Any], only: frozenset[Path] | None, files: set[str]
) -> None:
    """Remove an older export's pictures of these pages that are shown no more; or, if `only` is
    None, all of its files: it had another format, and its place is taken.
    """
    folders = None if only is None else {f"{path.stem}_files" for path in only}
    for name in set(older.get("files", [])) - files:
        old = (out / name).resolve()
        gone = folders is None or Path(name).parts[0] in folders
        if gone and old.is_relative_to(out.resolve()) and old.is_file():
            old.unlink()
            if old.parent != out.resolve() and not any(old.parent.iterdir()):
                old.parent.rmdir()
