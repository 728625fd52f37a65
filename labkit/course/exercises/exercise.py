"""What an exercise is: a question, a stub, hints, an answer, and a judge."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.course.exercises.harness import Harness
from labkit.lab.extract import Extract

#: What a question says of the connection to ZooKeeper.
HOLDS = "(The connection holds in this exercise: you need not expect `ConnectionLoss`.)"
BREAKS = (
    "The connection may break at any moment: then a call raises `ConnectionLoss` (from "
    "`kazoo.exceptions`), and nobody knows whether it was done."
)
LAGS = (
    "Then `zk` goes on with another server, which may lag behind: `zk.sync(path)` returns when it "
    "has caught up."
)


@dataclass(frozen=True)
class Exercise:
    """One exercise of one page.

    `answer` is a function that solves it; its name and parameters are the ones that a reader
    writes. `judge` calls the reader's function through the harness and raises `Failed` when it
    does not do what `question` asks. `wrong` are answers that look right; their docstrings say
    why they are not.
    """

    id: str
    page: str  # "04"
    title: str
    question: str  # Markdown
    hints: tuple[str, ...]
    answer: Callable[..., Any]
    wrong: tuple[Callable[..., Any], ...]
    judge: Callable[[Harness], None]
    deadline: float = 12.0  # seconds for all of the reader's code

    @property
    def heading(self) -> str:
        """The title with the mark at its end: "Claim a number.", or "Is it taken?"."""
        return self.title if self.title.endswith(("?", "!")) else f"{self.title}."

    @property
    def name(self) -> str:
        """What the reader's function is called."""
        return self.answer.__name__

    @property
    def signature(self) -> str:
        """Such as `claim(zk, root)`."""
        return f"{self.name}({', '.join(inspect.signature(self.answer).parameters)})"

    @property
    def stub(self) -> str:
        """What stands on the page before a reader has written anything."""
        return f"def {self.signature}:\n    ..."

    @property
    def solution(self) -> str:
        """The answer's source, complete with the imports and the helpers that it needs."""
        return source(self.answer)


def source(function: Callable[..., Any]) -> str:
    """The source of a function that runs by itself: its imports, its helpers, itself."""
    plain, *pieces = Extract(function).program().pieces
    parts = (_without_types(piece.text.rstrip()) for piece in pieces)
    return "\n\n".join(filter(None, ["\n".join(sorted(plain.text.splitlines())), *parts]))


def _without_types(text: str) -> str:
    """A function as a reader would write it: as it is, but for its annotations."""
    lines = text.splitlines()
    cuts: list[tuple[int, int, int]] = []  # line, from, to
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.arg) and node.annotation is not None:
            start = node.col_offset + len(node.arg)
            cuts.append((node.lineno, start, node.annotation.end_col_offset or start))
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            start = lines[node.returns.lineno - 1].rindex(" ->", 0, node.returns.col_offset)
            cuts.append((node.returns.lineno, start, node.returns.end_col_offset or start))
        elif isinstance(node, ast.AnnAssign):
            start = node.target.end_col_offset or 0
            cuts.append((node.lineno, start, node.annotation.end_col_offset or start))
    for number, start, end in sorted(cuts, reverse=True):
        line = lines[number - 1]
        lines[number - 1] = line[:start] + line[end:]
    return "\n".join(lines)
