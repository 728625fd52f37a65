"""A table in HTML, of servers, of a report, of a climb."""

from __future__ import annotations

from collections.abc import Container, Iterable


def html_table(
    head: Iterable[str], rows: Iterable[Iterable[str]], numbers: Container[int] = ()
) -> str:
    """A table of cells that are HTML; those in the columns `numbers` stand on the right."""
    lines = [
        f"<tr>{''.join(_cell(tag, text, i in numbers) for i, text in enumerate(row))}</tr>"
        for tag, part in (("th", [head]), ("td", rows))
        for row in part
    ]
    return f"<table>{''.join(lines)}</table>"


def _cell(tag: str, text: str, right: bool) -> str:
    return f"<{tag} style='text-align:{'right' if right else 'left'}'>{text}</{tag}>"
