"""Spot the bug: answers to one exercise side by side, of which one is right.

On a page:

    s = exercise(lab, "acquire").spot(seed=1)
    s                 # the codes A, B and C, and buttons
    s.reveal()        # which one is right, and how the others fail
"""

from __future__ import annotations

import ast
import html
import linecache
import random
from collections.abc import Callable
from typing import Any

from IPython.display import display
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from labkit.course.attempt import judge
from labkit.course.exercises.exercise import Exercise, source
from labkit.course.guess import Choice, button
from labkit.course.markup import Note, Words, inline, without_marks
from labkit.lab.lab import Lab
from labkit.see.live import Piece


class Spot(Piece):
    """Codes of which one is right. `guess` or the buttons choose; `reveal` lets the others fail."""

    kind = "form"

    def __init__(self, lab: Lab, exercise: Exercise, seed: int | None) -> None:
        draw = random.Random(seed)
        functions = [exercise.answer, *draw.sample(exercise.wrong, 2)]
        draw.shuffle(functions)
        self._lab = lab
        self._exercise = exercise
        self._functions = dict(zip("ABC", functions, strict=True))
        self.codes = {
            name: bare(function, exercise.name) for name, function in self._functions.items()
        }
        self.form = Choice(list(self._functions))
        self._revealed = False
        self._said = ""  # guess and truth, once both are known
        self.right: bool | None = None  # None until revealed, or when nothing was chosen
        super().__init__()

    @property
    def answer(self) -> str | None:
        """The code that the reader takes for the right one; None if nothing was chosen."""
        chosen: str | None = self.form.answer
        return chosen

    def guess(self, answer: str) -> None:
        """Choose by a call instead of the buttons. Raises `ConfigError` for what is no code."""
        self.form.fill(answer)
        self._follow()

    def hear(self, do: str, value: Any) -> None:
        """What the reader has clicked."""
        if do == "answer" and not self._revealed:
            self.form.hear(value)
            self._follow()

    def _follow(self) -> None:
        self.tell()
        self.keep()

    def reveal(self) -> None:
        """Say which one is right, and run the others on the lab's ZooKeeper: see them fail.

        The one that was chosen comes first. Raises `LabError` when ZooKeeper is stopped.
        """
        self._revealed = True
        truth = next(n for n, f in self._functions.items() if f is self._exercise.answer)
        self.right = None if self.answer is None else self.answer == truth
        said = {
            None: f"Not predicted. {truth} is right.",
            True: f"Right: {truth}.",
            False: f"Not so: you said {self.answer}, and {truth} is right.",
        }
        self._said = "" if self.right is None else said[self.right]
        self._follow()
        display(Note(said[self.right], self.right))
        for name in sorted(self._functions.keys() - {truth}, key=lambda n: (n != self.answer, n)):
            why = " ".join((self._functions[name].__doc__ or "").split())
            display(Words(f"**{name}.** {why}"))
            function = defined(self.codes[name], self._exercise.name)
            display(judge(self._lab, self._exercise, function))

    def _text(self) -> str:
        return (
            f"**Spot the bug: {self._exercise.heading}** {self._exercise.question}\n\n"
            "Only one of these does it. Which one?"
        )

    def face(self) -> dict[str, Any]:
        """The codes side by side, each with its button; what differs between them is marked."""
        buttons = [
            button(f"{name} is right", at, pressed=name == self.answer, closed=self._revealed)
            for at, name in enumerate(self.codes)
        ]
        return {"html": self._html(buttons) + f"<p>{html.escape(self._said)}</p>"}

    def saved(self) -> str:
        """The codes side by side, and what the reader has chosen."""
        guess = "" if self.answer is None else f"You said {self.answer}."
        named = [f"<b>{name}</b>" for name in self.codes]
        return self._html(named) + f"<p>{html.escape(self._said or guess)}</p>"

    def _html(self, heads: list[str]) -> str:
        text = "".join(f"<p>{inline(part)}</p>" for part in self._text().split("\n\n"))
        codes = [code.splitlines() for code in self.codes.values()]
        shared = set.intersection(*map(set, codes))
        columns = "".join(
            f"<div>{head}{_marked(lines, shared)}</div>"
            for head, lines in zip(heads, codes, strict=True)
        )
        return f'{text}<div class="lk-codes">{columns}</div>'

    def _repr_markdown_(self) -> str:
        codes = [f"**{name}**\n\n```python\n{code}\n```" for name, code in self.codes.items()]
        return "\n\n".join([self._text(), *codes, self.form.blank().replace("  ", " &emsp; ")])

    def __repr__(self) -> str:
        return without_marks(self._repr_markdown_().replace(" &emsp; ", "  "))

    def words(self) -> dict[str, str]:
        """The codes for paper."""
        return {"text/plain": repr(self), "text/markdown": self._repr_markdown_()}


def _marked(lines: list[str], shared: set[str]) -> str:
    """Code in colours; a line that is not `shared` by all is marked."""
    shown = highlight("\n".join(lines), PythonLexer(), HtmlFormatter(nowrap=True)).splitlines()
    marked = "\n".join(
        text if line in shared else f"<mark>{text}</mark>"
        for line, text in zip(lines, shown, strict=True)
    )
    return f'<div class="highlight"><pre>{marked}</pre></div>'


def bare(function: Callable[..., Any], name: str) -> str:
    """Its source under another name, without what would tell: comments and docstrings."""
    tree = ast.parse(source(function))
    names = {name: f"try_{name}"}  # a wrong answer may use the right one
    names[function.__name__] = name
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                del node.body[0]
            node.name = names.get(node.name, node.name)
        elif isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)


def defined(code: str, name: str) -> Callable[..., Any]:
    """The function of that name in the code, as a cell would define it."""
    place = f"<{name}>"
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
    names: dict[str, Any] = {}
    exec(compile(code, place, "exec"), names)
    function: Callable[..., Any] = names[name]
    return function
