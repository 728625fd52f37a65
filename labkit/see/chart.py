"""A figure that shows itself in a notebook, and says in words what it shows."""

from __future__ import annotations

import io
from base64 import b64encode
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from labkit.see import style

WIDTH = 9.0  # inches: a notebook's column


class Chart(Figure):
    """A figure that shows itself in a notebook, sharp, and says in words what it shows."""

    alt: str = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = self._size()
        data = {"image/png": b64encode(self.png()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt}}

    def html(self) -> str:
        """The figure as an HTML image, with its words."""
        width, height = self._size()
        return (
            f'<img src="data:image/png;base64,{b64encode(self.png()).decode()}" width="{width}" '
            f'height="{height}" alt="{escape(self.alt, quote=True)}">'
        )

    def _size(self) -> tuple[int, int]:
        """On a screen, in pixels of CSS."""
        width, height = (round(inches * 96) for inches in self.get_size_inches())
        return width, height

    def png(self, dpi: int = 160) -> bytes:
        """The figure as PNG bytes."""
        with mpl.rc_context(style.SETTINGS):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()
