"""The tutorial among what Jupyter can export: in *Save and Export Notebook As…*, and nbconvert."""

from __future__ import annotations

import mimetypes
import re
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from labkit.course.export.site import Site
from labkit.course.page import Page


class Tutorial(HTMLExporter):
    """One page as it is saved, as one HTML file that has its pictures and its looks in it.

    Example: `jupyter nbconvert --to tutorial 04-the-sequence-node.ipynb`
    """

    export_from_notebook = "Tutorial"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> Any:  # the two classes above it do not agree on the type
        """The page's HTML; Jupyter would pack a page with files beside it into a zip."""
        told = resources or {}
        about = {"name": "page", "path": "", **told.get("metadata", {})}
        page = Page(Path(about["path"], f"{about['name']}.ipynb"), nb)
        files = Site([page]).files()
        text = files.pop(f"{page.path.stem}.html").decode()
        return _in_one(text, files), {**told, "output_extension": ".html", "outputs": {}}


def _in_one(text: str, files: dict[str, bytes]) -> str:
    """The page with the files that it refers to inside, and no way to an index."""

    def embedded(found: re.Match[str]) -> str:
        name = unquote(found[2])
        if name not in files:
            return found[0]
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return f'{found[1]}="data:{kind};base64,{b64encode(files[name]).decode()}"'

    style = f"<style>\n{files['style.css'].decode()}</style>"
    text = text.replace('<link rel="stylesheet" href="style.css">', style)
    text = re.sub(r'<a href="index\.html">(.*?)</a>', r"\1, one page of it", text)
    return re.sub(r'\b(src|href)="([^":#]+)"', embedded, text)
