"""The tutorial among what Jupyter can export: in *Save and Export Notebook As…*, and nbconvert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from labkit.course.export.site import Site
from labkit.course.page import Page


class Tutorial(HTMLExporter):
    """One page as it is saved, as HTML with its pictures beside it; Jupyter packs them into a zip.

    Example: `jupyter nbconvert --to tutorial 04-the-sequence-node.ipynb`
    """

    export_from_notebook = "Tutorial"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> Any:  # the two classes above it do not agree on the type
        """The page's HTML, and in the resources' `outputs` the files that it needs."""
        told = resources or {}
        about = {"name": "page", "path": "", **told.get("metadata", {})}
        page = Page(Path(about["path"], f"{about['name']}.ipynb"), nb)
        files = Site([page]).files()
        text = files.pop(f"{page.path.stem}.html").decode()
        return text, {**told, "output_extension": ".html", "outputs": files}
