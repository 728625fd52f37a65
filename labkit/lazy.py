"""Names that a module offers and loads when they are first used.

    if TYPE_CHECKING:
        from labkit.lab.lab import Lab as Lab

    __getattr__, __dir__ = names_of(__name__, __file__)

The imports for type checkers are the list of names; there is no other. `__all__` is made of it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

#: The modules that offer names to pages.
FACE = ("labkit", "labkit.charts", "labkit.fire", "labkit.story")


def names_of(module: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a module whose source is in `file`."""
    homes = {
        alias.name: str(node.module)
        for block in ast.parse(Path(file).read_text(encoding="utf-8")).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(homes)
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return load, lambda: sorted(homes)
