"""Pages as files: one for each, with the pictures beside them. Markdown is the plain case."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nbconvert.exporters import MarkdownExporter
from traitlets.config import Config

from labkit.course.export.content import prepared
from labkit.course.page import Page
from labkit.errors import ConfigError

TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class Writer(ABC):
    """Pages of one format, all of them together."""

    pages: Sequence[Page]
    suffix: str = ""
    only: Collection[Path] | None = None  # the pages to write; the others are linked to
    _pictures: dict[str, bytes] = field(default_factory=dict)

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """All files, by their path below the target directory."""

    @property
    def written(self) -> list[Page]:
        """The pages that get a file."""
        return [page for page in self.pages if self.only is None or page.path in self.only]

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
        name = f"{page.path.stem}_files/{Path(unquote(url.path)).name}"
        self._pictures[name] = self.source(page, target)
        return name

    def source(self, page: Page, target: str) -> bytes:
        """A picture beside the page. Raises `ConfigError` if there is none."""
        try:
            return (page.path.parent / unquote(urlsplit(target).path)).read_bytes()
        except OSError:
            raise ConfigError(f"{page.path.name} shows {target}, which is not there.") from None

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


_LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\(([^)\s]+)\)")


class Files(Writer):
    """Every page a Markdown file, with its pictures beside it."""

    def __init__(self, pages: Sequence[Page], only: Collection[Path] | None = None) -> None:
        super().__init__(pages, ".md", only)
        kinds = ["image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
        self._exporter = MarkdownExporter(
            config=self.config([*kinds, "text/html"]),
            extra_template_basedirs=[str(TEMPLATES)],
            template_name="labkit-markdown",
        )

    def files(self) -> dict[str, bytes]:
        files = {}
        for page in self.written:
            notebook = prepared(page)
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
