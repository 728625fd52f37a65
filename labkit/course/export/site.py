"""Pages as a static site that needs no network."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from labkit.course.export.content import GUESS, prepared
from labkit.course.export.sheets import sheets
from labkit.course.export.writer import TEMPLATES, Writer
from labkit.course.guess import asked
from labkit.course.page import ALL, PATHS, ROOT, Page, hours, minutes
from labkit.course.page import files as page_files
from labkit.course.runner import PageFailed
from labkit.see.picture import frame, from_file, without_scripts

_DESCRIPTION = "Understand ZooKeeper by running it and breaking it: real servers, real faults."
_SITE = "ZooKeeper Sequence Lab"
_PICTURE = "Four servers, each with a number; one passes from a dead server to a living one."


_BESIDE = "style.css", "guess.js", "icon.svg"

# Where a server was when the page ran; it is there no more.
_LOCAL = re.compile(r'<a href="https?://(?:127\.0\.0\.1|localhost)\b[^>]*>(.*?)</a>', re.DOTALL)


class Site(Writer):
    """Every page an HTML file, and an index with the map."""

    def __init__(
        self,
        pages: Sequence[Page],
        failures: Sequence[PageFailed] = (),
        address: str = "",
        only: Collection[Path] | None = None,
    ) -> None:
        super().__init__(pages, ".html", only)
        self._failures = {failure.page.path: failure for failure in failures}
        kinds = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"]
        self._exporter = _Cells(  # type: ignore[no-untyped-call]  # nbconvert's
            config=self.config([*kinds, "text/plain"]),
            extra_template_basedirs=[str(TEMPLATES)],
            template_name="labkit-html",
        )
        self._frames = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES / "site"), autoescape=True, trim_blocks=True
        )
        self._frames.globals |= {
            "site": _SITE,
            "description": _DESCRIPTION,
            "picture": _PICTURE,
            "address": address and address.rstrip("/") + "/",  # a link's preview needs all of it
            "version": metadata.version("zookeeper-sequence-lab"),
        }

    def files(self) -> dict[str, bytes]:
        files = {name: (TEMPLATES / "site" / name).read_bytes() for name in _BESIDE} | {
            "title.png": (ROOT / "img" / "logo.png").read_bytes()
        }
        for page in self.written:
            text, figures = self._page(page)
            files[page.path.stem + ".html"] = text.encode()
            files |= figures
        beside = sheets(self.pages)
        for sheet in beside:
            files[sheet.path.stem + ".html"] = self._sheet(sheet).encode()
        files["index.html"] = self._index(beside).encode()
        return files | self._pictures

    def _page(self, page: Page) -> tuple[str, dict[str, bytes]]:
        notebook = prepared(page)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if GUESS in output.get("metadata", {}):
                    data["text/html"] = _form(output, page)
                if "text/html" in data:
                    data["text/html"] = without_scripts(_LOCAL.sub(r"\1", data["text/html"]))
                    data.pop("image/png", None)  # it is there as SVG, or in a replay
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

    def _sheet(self, sheet: Page) -> str:
        cells, _ = self._exporter.convert(
            sheet.notebook, sheet.path.stem, lambda **options: _Renderer(self, sheet, [], **options)
        )
        return self._frames.get_template("sheet.html.j2").render(sheet=sheet, cells=cells)

    def _index(self, beside: Sequence[Page]) -> str:
        rows = [
            {
                "number": page.number,
                "question": page.about.get("question", page.title),
                "minutes": page.minutes,
                "needs": page.needs,
                "paths": page.paths,
                "href": page.path.stem + ".html",
            }
            for page in self.pages
        ]
        paths = {path: hours(minutes(self.pages, path)) for path in (*PATHS, ALL)}
        whole = page_files(self.pages[0].path.parent)
        return self._frames.get_template("start.html.j2").render(
            pages=rows, paths=paths, sheets=beside, whole=max(len(whole), len(rows))
        )

    @staticmethod
    def _step(page: Page) -> dict[str, str]:
        return {"href": page.path.stem + ".html", "name": page.name}


def _form(output: NotebookNode, page: Page) -> str:
    """What a reader of the site predicts in: `guess.js` keeps it, and shows it beside the truth."""
    said = output.data["text/plain"]
    found = asked(said)
    if found is None:
        return str(output.data.get("text/html", f"<pre>{escape(said)}</pre>"))
    question, form = found
    shown = ""
    if not said.startswith("Predict: "):  # of codes, which stand above
        shown, question = str(output.data.get("text/html", f"<pre>{escape(said)}</pre>")), "Which?"
    name = escape(output.metadata[GUESS])
    key = escape(f"{page.number} {name} {question}")
    return (
        f'{shown}<form class="guess" id="{name}" data-key="{key}" '
        f'data-unit="{escape(getattr(form, "unit", ""))}"><fieldset>'
        f"<legend><b>Predict:</b> {escape(question)}</legend>{form.fields()} <output></output> "
        "<button hidden>See what happened</button></fieldset></form>"
    )


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
    """A picture, which scrolls inside its frame where it would get too small."""
    size = f' style="--width: {width}px"' if width else ""
    return (
        f'<span class="figure" tabindex="0" role="group" aria-label="Figure"{size}>'
        f'<img src="{escape(source)}" alt="{escape(alt)}"></span>'
    )


class _Renderer(IPythonRenderer):
    """Markdown → HTML for one page of the site; notes the headings as it goes."""

    def __init__(self, site: Site, page: Page, headings: list[_Heading], **options: Any) -> None:
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
        if url.endswith(".svg"):
            return frame(from_file(self._site.source(self._page, url).decode()))
        name = self._site.picture(self._page, url)
        return _figure(name, text, self._site.width(name))

    def block_code(self, code: str, info: str | None = None) -> str:
        text = super().block_code(code, info)
        focusable = '<div class="highlight" tabindex="0" role="group" aria-label="Code">'
        return text.replace('<div class="highlight">', focusable, 1)

    def table(self, text: str) -> str:
        return (
            '<div class="table" tabindex="0" role="group" aria-label="Table">'
            f"<table>\n{text}</table></div>\n"
        )
