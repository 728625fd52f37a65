"""The little markup of what a page says beside its cells."""

from __future__ import annotations

import html
import re
from typing import Any

from labkit.see import style


class Note:
    """A line with a mark in front."""

    def __init__(self, text: str, good: bool | None) -> None:
        self.text = text
        self.mark = {True: "✓", False: "✗", None: "○"}[good]
        self.shade = {True: style.PALETTE[2], False: style.ALARM, None: style.QUIET}[good]

    def __repr__(self) -> str:
        return f"{self.mark} {without_marks(self.text)}"

    def _repr_html_(self) -> str:
        return (
            f'<div style="border-left:4px solid {self.shade};padding:2px 0 2px 10px">'
            f"<b>{self.mark}</b> {inline(self.text)}</div>"
        )


class Words:
    """Markdown that a notebook renders and a terminal prints."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return without_marks(self.text)

    def _repr_markdown_(self) -> str:
        return self.text


def inline(text: str) -> str:
    """Markdown's bold, italics and code as HTML."""
    parts = html.escape(text, quote=False).split("`")
    for i in range(0, len(parts), 2):
        for mark, tag in (("**", "b"), ("*", "i")):
            pieces = parts[i].split(mark)
            if len(pieces) % 2:
                parts[i] = "".join(
                    piece if j % 2 == 0 else f"<{tag}>{piece}</{tag}>"
                    for j, piece in enumerate(pieces)
                )
    return "".join(part if i % 2 == 0 else f"<code>{part}</code>" for i, part in enumerate(parts))


def without_marks(text: str) -> str:
    parts = re.split(r"(```python\n.*?\n```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(
        part.removeprefix("```python\n").removesuffix("\n```") if at % 2 else part.replace("*", "")
        for at, part in enumerate(parts)
    )


def plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
