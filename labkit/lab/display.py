"""A lab as a table, for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape

from labkit.errors import LabError
from labkit.lab.node import Node, Server
from labkit.lab.zookeeper import ZooKeeperServer
from labkit.servers.base import ServerState

_HEAD = ("name", "state", "number", "at")


@dataclass(frozen=True)
class Table:
    """A title, a line about it that may be empty, and a row a server: its state as it is now."""

    title: str
    note: str
    servers: Sequence[Server]

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for server in self.servers:
            said, at = "–", str(server.endpoint)
            if isinstance(server, Node):
                at = server.link
                if server.known_state == ServerState.RUNNING:
                    with suppress(LabError):
                        said = str(server.status()["number"] or said)
            elif isinstance(server, ZooKeeperServer):
                said = server.mode or said
            yield server.name, server.known_state, said, at

    def __str__(self) -> str:
        rows = [_HEAD, *self._rows()] if self.servers else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([self.title, *([self.note] if self.note else []), *lines])

    def html(self) -> str:
        """The same, as HTML; a node's address leads to its Swagger page."""
        note = f"<br><small>{escape(self.note)}</small>" if self.note else ""
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in texts)}<td>{_link(at)}</td></tr>"
            for *texts, at in self._rows()
        )
        return f"<b>{escape(self.title)}</b>{note}<table><tr>{head}</tr>{rows}</table>"


def _link(at: str) -> str:
    return f'<a href="{at}/swagger">{at}</a>' if "/" in at else at
