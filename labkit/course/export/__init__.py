"""The course as a tutorial that anybody can read: a static site, or Markdown files.

What is written needs nothing from elsewhere, neither a network nor a kernel. Answers are folded,
recordings play, and the controls of a page become the recording of the run that made the page.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EACCES, ENOTDIR
from functools import partial
from html import escape, unescape
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import unquote, urlsplit

import jinja2
import nbformat
from nbconvert.exporters import HTMLExporter, MarkdownExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from labkit.course import exercises, run
from labkit.course.exercises.exercise import Exercise
from labkit.course.page import Page, alternative, calls, tags
from labkit.course.run import PageFailed
from labkit.errors import ConfigError

Format = Literal["html", "markdown"]
FORMATS: tuple[Format, ...] = get_args(Format)
DEFAULT_OUT = {"html": "site", "markdown": "markdown"}

#: Called as the export goes on: (what is being done, fraction done).
Progress = Callable[[str, float | None], None]

_TEMPLATES = Path(__file__).parent / "templates"
_SITE = "ZooKeeper Sequence Lab"
_DESCRIPTION = "Understand ZooKeeper by running it and breaking it: real servers, real faults."
_MARKER = ".labkit-export"  # in every directory that was made here; its format and files


@dataclass(frozen=True)
class Export:
    """What was written, and the pages that did not run to their end (written all the same)."""

    out: Path
    files: dict[str, int]  # path below `out` → bytes
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
    progress: Progress | None = None,
) -> Export:
    """Write pages as a tutorial into the directory `out`, which is replaced if it is an older one.

    With `execute` the pages run first, on `backend` and `jobs` at a time; their notebooks stay as
    they are. Without it the saved outputs are taken. Raises `ConfigError` if `out` cannot be
    written, and if it is a directory that was not made here or has the other format, unless
    `force` is given: then its other files stay.
    """
    if not pages:
        raise ConfigError("There is no page to export.")
    with _writing(out):
        _check(out, to, force)
    progress = progress or (lambda what, fraction: None)
    notebooks, failures = _results(pages, execute, backend, jobs, progress)
    pages = [Page(page.path, notebooks[page.path]) for page in pages]
    progress("writing", 1.0)
    writer: _Writer = _Site(pages, failures) if to == "html" else _Files(pages)
    files = writer.files()
    with _writing(out):
        _replace(out, to, files)
    return Export(out, {name: len(data) for name, data in files.items()}, failures)


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

        results = run.run(pages, backend, jobs=jobs, progress=count)
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


def _replace(out: Path, to: Format, files: dict[str, bytes]) -> None:
    """Put the files where those of an older export were."""
    out.mkdir(parents=True, exist_ok=True)
    if older := _older(out):
        for name in older["files"]:
            old = (out / name).resolve()
            if old.is_relative_to(out.resolve()) and old.is_file() and name not in files:
                old.unlink()
        for folder in out.glob("*_files"):
            if folder.is_dir() and not any(folder.iterdir()):
                shutil.rmtree(folder)
    said = {"format": to, "files": sorted(files)}
    (out / _MARKER).write_text(json.dumps(said, indent=1) + "\n")
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# --- what a page becomes ----------------------------------------------------------------------


def _prepared(page: Page) -> NotebookNode:
    """The page's notebook with everything that needs a kernel turned into plain cells."""
    notebook = cast(NotebookNode, nbformat.from_dict(page.notebook))
    tasks: dict[str, Exercise] = {}
    cells = [cell for cell in _without_progress(notebook.cells) if "nav" not in tags(cell)]
    notebook.cells = [
        fresh
        for before, cell, following in zip([None, *cells], cells, [*cells[1:], None], strict=False)
        for fresh in _plain(cell, before, following, page, tasks)
    ]
    for at, cell in enumerate(notebook.cells):
        cell.id = f"cell-{at}"
    return notebook


def _without_progress(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """Nobody makes progress on paper: drop the line that tells, and what introduces it."""
    for cell, following in zip_longest(cells, cells[1:]):
        if following is not None and _tells_progress(following) and cell.cell_type == "markdown":
            *kept, last = cell.source.rstrip().split("\n\n")
            cell.source = "\n\n".join(kept if last.endswith(":") else [*kept, last])
        if not _tells_progress(cell):
            yield cell


def _tells_progress(cell: NotebookNode) -> bool:
    return (
        cell.cell_type == "code" and re.fullmatch(r"progress\(\)", cell.source.strip()) is not None
    )


def _explains(cell: NotebookNode | None, before: NotebookNode | None) -> bool:
    """Whether a text explains the answer of a prediction: it comes right after the reveal."""
    return (
        cell is not None
        and before is not None
        and cell.cell_type == "markdown"
        and before.cell_type == "code"
        and bool(calls(before, "reveal"))
        and not re.search(r"^#{1,6} ", cell.source, re.MULTILINE)
    )


def _plain(
    cell: NotebookNode,
    before: NotebookNode | None,
    following: NotebookNode | None,
    page: Page,
    tasks: dict[str, Exercise],
) -> Iterator[NotebookNode]:
    if cell.cell_type != "code":
        if not _explains(cell, before):
            yield cell
        return
    for output in cell.outputs:
        if "data" in output:
            output.output_type = "display_data"  # how it came to be shown is of no interest
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
            output.metadata["alt"] = alternative(output)
    code, shown = _part(cell, outputs=False), _part(cell, source=False)
    if calls(cell, "controls"):
        shown.outputs = [o for o in shown.outputs if _is_recording(o)]
        yield code
        yield _text(
            "*In the notebook, this is a panel of sliders and buttons over the running servers. "
            "Here is what happened to them when the page was run. To break them yourself: "
            f"`make lab`, and open page {page.number}.*"
        )
        yield shown
    elif calls(cell, "predict") and shown.outputs:
        if set_up := _before_question(cell):
            yield nbformat.v4.new_code_cell(set_up)
        yield from _boxed([shown])
    elif calls(cell, "reveal"):
        yield code
        why = [following] if following is not None and _explains(following, cell) else []
        yield from _folded("What happened", [_without_verdict(shown), *why])
    elif calls(cell, "exercise"):
        for name, exercise in _exercises(cell):
            tasks[name] = exercise
            yield from _boxed([_text(f"**Exercise: {exercise.title}.** {exercise.question}")])
    elif checks := calls(cell, "ex.check"):
        yield code
        for check in checks:
            if (task := tasks.get(ast.unparse(check.func).split(".")[0])) is not None:
                yield from _answers(task)
    elif "hide-input" in tags(cell):
        yield from _folded("Code", [code], "source")
        yield shown
    elif "solution" in tags(cell):
        yield from _folded("Answer", [code, shown])
    else:
        yield code
        yield shown


def _is_recording(output: NotebookNode) -> bool:
    """Whether it is the controls' recording; what was printed beside it has no metadata."""
    return bool(output.get("metadata", {}).get("labkit") == "recording")


def _before_question(cell: NotebookNode) -> str:
    """What a cell does before it asks for a prediction."""
    first = min(call.lineno for call in calls(cell, "predict"))
    return "\n".join(cell.source.split("\n")[: first - 1]).strip()


def _exercises(cell: NotebookNode) -> Iterator[tuple[str, Exercise]]:
    """The exercises that a cell shows, with the names that the page has for them."""
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call = node.value
            if ast.unparse(call.func) == "exercise":
                found = exercises.find(ast.literal_eval(call.args[1]))
                yield ast.unparse(node.targets[0]), found


def _answers(exercise: Exercise) -> Iterator[NotebookNode]:
    for number, hint in enumerate(exercise.hints, start=1):
        yield from _folded(f"Hint {number} of {len(exercise.hints)}", [_text(hint)])
    yield from _folded("One answer", [nbformat.v4.new_code_cell(exercise.solution)])


def _without_verdict(shown: NotebookNode) -> NotebookNode:
    """What happened, without the remark that nobody had predicted it when the page was run."""
    for output in shown.outputs:
        for kind, text in output.get("data", {}).items():
            if kind.startswith("text/"):
                output.data[kind] = text.replace("Not predicted. ", "")
    return shown


def _part(cell: NotebookNode, *, source: bool = True, outputs: bool = True) -> NotebookNode:
    part = cast(NotebookNode, nbformat.from_dict(cell))
    part.source = cell.source if source else ""
    part.outputs = part.outputs if outputs else []
    return part


def _text(text: str) -> NotebookNode:
    return cast(NotebookNode, nbformat.v4.new_markdown_cell(text))


def _folded(
    summary: str, cells: Sequence[NotebookNode], kind: str = "answer"
) -> Iterator[NotebookNode]:
    yield _text(f'<details class="{kind}">\n<summary>{escape(summary)}</summary>')
    yield from cells
    yield _text("</details>")


def _boxed(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    yield _text('<div class="task">')
    yield from cells
    yield _text("</div>")


@dataclass
class _Writer(ABC):
    """Pages of one format, all of them together."""

    pages: Sequence[Page]
    suffix: str = ""
    _pictures: dict[str, bytes] = field(default_factory=dict)

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """All files, by their path below the target directory."""

    def link(self, page: Page, target: str) -> str | None:
        """Where a link leads in the export; None if to a page that is not in it."""
        url = urlsplit(target)
        if url.scheme or not url.path:
            return target
        path = (page.path.parent / unquote(url.path)).resolve()
        if path not in {other.path.resolve() for other in self.pages}:
            return None
        return path.stem + self.suffix + (f"#{url.fragment}" if url.fragment else "")

    def picture(self, page: Page, target: str) -> str:
        """A picture beside the page becomes one of its files; where that is."""
        url = urlsplit(target)
        if url.scheme:
            return target
        path = page.path.parent / unquote(url.path)
        name = f"{page.path.stem}_files/{path.name}"
        try:
            self._pictures[name] = path.read_bytes()
        except OSError:
            raise ConfigError(f"{page.path.name} shows {target}, which is not there.") from None
        return name

    def width(self, name: str) -> int | None:
        """How wide a picture is by itself, in pixels; None if it does not say."""
        data = self._pictures.get(name, b"")
        if data.startswith(b"\x89PNG"):
            return int.from_bytes(data[16:20])
        found = re.search(rb'<svg[^>]*?viewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)', data)
        return round(float(found[1])) if found else None

    def outputs(self, resources: dict[str, Any]) -> dict[str, bytes]:
        """The figures that an exporter took out of the cells."""
        return dict(resources["outputs"] or {})

    def config(self, priority: list[str]) -> Config:
        """What both exporters are told."""
        key, place = "{unique_key}", "{cell_index}-{index}"
        return Config(
            {
                "NbConvertBase": {"display_data_priority": priority},
                "ExtractOutputPreprocessor": {
                    "enabled": True,
                    "output_filename_template": f"{key}_files/{place}{{extension}}",
                },
            }
        )


# --- Markdown ---------------------------------------------------------------------------------

_LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\(([^)\s]+)\)")


class _Files(_Writer):
    """Every page a Markdown file, with its pictures beside it."""

    def __init__(self, pages: Sequence[Page]) -> None:
        super().__init__(pages, ".md")
        kinds = ["image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
        self._exporter = MarkdownExporter(
            config=self.config([*kinds, "text/html"]),
            extra_template_basedirs=[str(_TEMPLATES)],
            template_name="labkit-markdown",
        )

    def files(self) -> dict[str, bytes]:
        files = {}
        for page in self.pages:
            notebook = _prepared(page)
            moved = partial(self._moved, page)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = _LINK.sub(moved, cell.source)
            text, resources = self._exporter.from_notebook_node(
                notebook, {"unique_key": page.path.stem}
            )
            files[page.path.stem + ".md"] = (
                re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
            ).encode()
            files |= self.outputs(resources)
        return files | self._pictures

    def _moved(self, page: Page, link: re.Match[str]) -> str:
        image, label, target = link.groups()
        if image:
            return f"![{label}]({self.picture(page, target)})"
        moved = self.link(page, target)
        return f"[{label}]({moved})" if moved else label


# --- the site ---------------------------------------------------------------------------------

# Where a server was when the page ran; it is there no more.
_LOCAL = re.compile(r'<a href="https?://(?:127\.0\.0\.1|localhost)\b[^>]*>(.*?)</a>', re.DOTALL)


class _Site(_Writer):
    """Every page an HTML file, and an index with the map."""

    def __init__(self, pages: Sequence[Page], failures: Sequence[PageFailed]) -> None:
        super().__init__(pages, ".html")
        self._failures = {failure.page.path: failure for failure in failures}
        kinds = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"]
        self._exporter = _Cells(  # type: ignore[no-untyped-call]  # nbconvert's
            config=self.config([*kinds, "text/plain"]),
            extra_template_basedirs=[str(_TEMPLATES)],
            template_name="labkit-html",
        )
        self._frames = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES / "site"), autoescape=True, trim_blocks=True
        )
        self._frames.globals |= {
            "site": _SITE,
            "description": _DESCRIPTION,
            "version": metadata.version("zookeeper-sequence-lab"),
        }

    def files(self) -> dict[str, bytes]:
        files = {
            name: (_TEMPLATES / "site" / name).read_bytes() for name in ("style.css", "icon.svg")
        }
        for page in self.pages:
            text, figures = self._page(page)
            files[page.path.stem + ".html"] = text.encode()
            files |= figures
        files["index.html"] = self._index().encode()
        return files | self._pictures

    def _page(self, page: Page) -> tuple[str, dict[str, bytes]]:
        notebook = _prepared(page)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "labkit-replay" in data.get("text/html", ""):
                    data.pop("image/png", None)  # it carries its own
                elif "text/html" in data:
                    data["text/html"] = _LOCAL.sub(r"\1", data["text/html"])
        headings: list[_Heading] = []
        cells, resources = self._exporter.convert(
            notebook, page.path.stem, lambda **options: _Renderer(self, page, headings, **options)
        )
        at = list(self.pages).index(page)
        text = self._frames.get_template("page.html.j2").render(
            page=page,
            cells=cells,
            contents=[heading for heading in headings if heading.level == 2],
            failure=self._failures.get(page.path),
            before=self._step(self.pages[at - 1]) if at > 0 else None,
            after=self._step(self.pages[at + 1]) if at + 1 < len(self.pages) else None,
        )
        return text, self.outputs(resources)

    def _index(self) -> str:
        rows = [
            {
                "number": page.number,
                "question": page.about.get("question", page.title),
                "minutes": page.minutes,
                "needs": page.needs,
                "href": page.path.stem + ".html",
            }
            for page in self.pages
        ]
        return self._frames.get_template("start.html.j2").render(
            pages=rows, minutes=sum(page.minutes for page in self.pages), map=_map(self.pages)
        )

    @staticmethod
    def _step(page: Page) -> dict[str, str]:
        return {"href": page.path.stem + ".html", "name": page.name}


@dataclass(frozen=True)
class _Heading:
    level: int
    id: str
    text: str  # HTML


class _Cells(HTMLExporter):
    """nbconvert's way from cells to HTML, without the links to elsewhere that its pages have."""

    def convert(
        self, notebook: NotebookNode, key: str, renderer: Callable[..., IPythonRenderer]
    ) -> tuple[str, dict[str, Any]]:
        """The HTML of the cells, and nbconvert's resources with the figures among them."""
        self._renderer = renderer
        text, resources = self.from_notebook_node(notebook, {"unique_key": key})
        return text, resources

    def default_filters(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """nbconvert's filters and ours."""
        yield from super().default_filters()  # type: ignore[no-untyped-call]  # nbconvert's
        yield "figure", _figure

    @jinja2.pass_context
    def markdown2html(self, context: jinja2.runtime.Context, source: str) -> str:
        """Overrides nbconvert's, for links, headings, pictures and tables of our own."""
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(self._renderer(attachments=attachments)).render(source)


def _figure(source: str, alt: str, width: int | None) -> str:
    """A picture on white paper, which scrolls inside its frame where it would get too small."""
    size = f' style="--width: {width}px"' if width else ""
    return (
        f'<span class="figure" tabindex="0" role="group" aria-label="Figure"{size}>'
        f'<img src="{escape(source)}" alt="{escape(alt)}"></span>'
    )


class _Renderer(IPythonRenderer):
    """Markdown → HTML for one page of the site; notes the headings as it goes."""

    def __init__(self, site: _Site, page: Page, headings: list[_Heading], **options: Any) -> None:
        super().__init__(escape=False, exclude_anchor_links=True, **options)
        self._site = site
        self._page = page
        self._headings = headings

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        # Jupyter's names for headings, so that links into a page lead to the same place.
        name = unescape(re.sub(r"<[^>]+>", "", text)).strip().replace(" ", "-")
        taken = [heading.id for heading in self._headings]
        if name in taken:
            name = f"{name}-{len(taken)}"
        self._headings.append(_Heading(level, name, text))
        return f'<h{level} id="{escape(name)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        moved = self._site.link(self._page, url)
        return super().link(text, moved, title) if moved else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if url.startswith("attachment:"):
            return super().image(text, url, title)
        name = self._site.picture(self._page, url)
        return _figure(name, text, self._site.width(name))

    def table(self, text: str) -> str:
        return (
            '<div class="table" tabindex="0" role="group" aria-label="Table">'
            f"<table>\n{text}</table></div>\n"
        )


@dataclass(frozen=True)
class _Map:
    width: float
    height: float
    paths: list[str]


def _map(pages: Sequence[Page]) -> _Map:
    """The arcs from each page to those that build on it, one row a page."""
    width, row = 96.0, 57.6
    at = {page.number: (i + 0.5) * row for i, page in enumerate(pages)}
    arcs = [(at[need], at[page.number]) for page in pages for need in page.needs if need in at]
    longest = max([abs(end - start) for start, end in arcs], default=row)
    paths = []
    for start, end in arcs:
        bulge = width * (1 - 1.25 * (0.2 + 0.8 * (abs(end - start) / longest) ** 0.7))
        paths.append(
            f"M{width:g} {start:g}C{bulge:.1f} {start:g} {bulge:.1f} {end:g} {width:g} {end:g}"
        )
    return _Map(width, row * len(pages), paths)
