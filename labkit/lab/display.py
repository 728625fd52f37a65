"""A lab as a table, for a terminal and for a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape

from labkit.errors import LabError
from labkit.lab.html_table import html_table
from labkit.lab.node import Node, Server
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.servers.base import Backend, ServerState

_HEAD = ("name", "state", "number", "machine", "at")


@dataclass(frozen=True)
class Table:
    """A title, a line about it that may be empty, and a row a server: its state as it is now.

    Where they run on several machines, a column says which.
    """

    title: str
    note: str
    servers: Sequence[Server]
    backend: Backend | None

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """The head, and then a row a server."""
        several = self.backend is not None and bool(self.backend.machines)
        columns = [i for i, name in enumerate(_HEAD) if name != "machine" or several]
        return (tuple(row[i] for i in columns) for row in [_HEAD, *self._servers()])

    def _servers(self) -> Iterator[tuple[str, str, str, str, str]]:
        for server in self.servers:
            shown, machine, at = "–", "", str(server.endpoint)
            if self.backend is not None:
                with suppress(LabError):  # it is not the lab's own, or is being removed
                    machine = self.backend.machine_of(server.name)
            if isinstance(server, Node):
                at = server.link
                if server.known_state == ServerState.RUNNING:
                    with suppress(LabError):
                        shown = str(server.status()["number"] or shown)
            elif isinstance(server, ZooKeeperServer):
                shown = server.mode or shown
            yield server.name, server.known_state, shown, machine, at

    def __str__(self) -> str:
        rows = list(self._rows()) if self.servers else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([self.title, *([self.note] if self.note else []), *lines])

    def html(self) -> str:
        """The same, as HTML; a node's address leads to its Swagger page."""
        said = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(self.note))
        note = f"<br><small>{said}</small>" if said else ""
        head, *servers = self._rows()
        table = html_table(head, ((*map(escape, texts), _link(at)) for *texts, at in servers))
        return f"<b>{escape(self.title)}</b>{note}{table}"


def _link(at: str) -> str:
    return f'<a href="{at}/swagger">{at}</a>' if "/" in at else at
