"""What is read beside the pages: glossary, cheat sheet, what ZooKeeper does not promise, reference.

The first two are texts in `docs/`. The third is made of the pages' recaps, and says what they say;
the reference is made of the code's docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nbformat.v4 import new_markdown_cell, new_notebook

from labkit.course import exercises
from labkit.course.export.reference import reference
from labkit.course.page import ROOT, Page

_PAGE = re.compile(r"[\w-]+\.ipynb")
_PROMISE = re.compile(r"^And one thing that ZooKeeper does \*not\* promise: (.+)$", re.MULTILINE)

_ZOOKEEPER = "https://zookeeper.apache.org/doc/r3.9.4"
_GUIDE = f"{_ZOOKEEPER}/zookeeperProgrammers.html"

#: Where else one can read of what a page's recap says that ZooKeeper does not promise.
SOURCES = {
    "00": ("sessions", f"{_GUIDE}#ch_zkSessions"),
    "01": ("znodes and versions", f"{_GUIDE}#sc_zkDataModel_znodes"),
    "02": ("sessions", f"{_GUIDE}#ch_zkSessions"),
    "03": ("watches", f"{_GUIDE}#ch_zkWatches"),
    "03b": ("recoverable errors", f"{_ZOOKEEPER}/recipes.html#sc_recipes_GuidNote"),
    "04": ("ephemerals", f"{_GUIDE}#Ephemeral+Nodes"),
    "05": ("recipes", f"{_ZOOKEEPER}/recipes.html"),
    "06": ("deployment", f"{_ZOOKEEPER}/zookeeperAdmin.html#sc_designing"),
    "07": (
        "Kleppmann on locks",
        "https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html",
    ),
    "08": ("time", f"{_GUIDE}#sc_timeInZk"),
    "09": ("connection loss", f"{_GUIDE}#ch_zkSessions"),
    "09b": ("guarantees", f"{_GUIDE}#ch_zkGuarantees"),
    "10": ("sessions", f"{_GUIDE}#ch_zkSessions"),
    "10b": (
        "force deletion",
        "https://kubernetes.io/docs/tasks/run-application/force-delete-stateful-set-pod/",
    ),
    "11": ("locks", f"{_ZOOKEEPER}/recipes.html#sc_recipes_Locks"),
    "12": ("queues", f"{_ZOOKEEPER}/recipes.html#sc_recipes_Queues"),
    "12b": ("kazoo's locks", "https://kazoo.readthedocs.io/en/2.10.0/api/recipe/lock.html"),
    "13": ("Jepsen", "https://aphyr.com/posts/291-call-me-maybe-zookeeper"),
    "14": ("guarantees", f"{_GUIDE}#ch_zkGuarantees"),
    "15": ("ACLs", f"{_GUIDE}#sc_ZooKeeperAccessControl"),
    "16": ("data files", f"{_ZOOKEEPER}/zookeeperAdmin.html#sc_dataFileManagement"),
    "17": (
        "Solr's status",
        "https://solr.apache.org/docs/9_6_0/core/org/apache/solr/handler/admin/ClusterStatus.html",
    ),
}


def sheets(pages: Sequence[Page]) -> list[Page]:
    """The sheets that belong to these pages: those of which every link leads to one of them."""
    texts = {
        name: (ROOT / "docs" / f"{name}.md")
        .read_text(encoding="utf-8")
        .replace("../notebooks/", "")
        for name in ("glossary", "cheat-sheet")
    }
    known = {page.path.name for page in pages}
    if not set(_PAGE.findall(texts["glossary"])) <= known:
        return []  # some pages only, or another course
    texts |= {"not-promised": not_promised(pages), "reference": reference()}
    return [
        Page(pages[0].path.parent / name, new_notebook(cells=[new_markdown_cell(text)]))
        for name, text in texts.items()
    ]


def not_promised(pages: Sequence[Page]) -> str:
    """A table of all that ZooKeeper does not promise, as the pages' recaps have it."""
    rows = [row for page in pages for row in _rows(page)]
    return "\n".join(
        [
            "# What ZooKeeper does not promise",
            "",
            f"{len(rows)} sentences that one likes to believe, and that nobody has promised. Each "
            "is shown on a page, with a real ZooKeeper: `make lab`, open the page, and run it. In "
            "its exercises you write what holds all the same.",
            "",
            "| ZooKeeper does not promise … | seen on | exercises | read on |",
            "|:---|:---|:---|:---|",
            *rows,
        ]
    )


def _rows(page: Page) -> list[str]:
    where = f"[{page.name}]({page.path.name})"
    tasks = "; ".join(e.title for e in exercises.ALL if e.page == page.number)
    source, url = SOURCES[page.number]
    return [
        f"| {promise[:1].upper()}{promise[1:]} | {where} | {tasks} | [{source}]({url}) |"
        for cell in page.notebook.cells
        if cell.cell_type == "markdown"
        for promise in _PROMISE.findall(cell.source)
    ]
