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

import ipywidgets as widgets
from IPython.display import display

from labkit.course.attempt import judge
from labkit.course.exercises.exercise import Exercise, source
from labkit.course.guess import Choice
from labkit.course.markup import Note, Words, inline, without_marks
from labkit.lab.lab import Lab


class Spot:
    """Codes of which one is right. `guess` or the buttons choose; `reveal` lets the others fail."""

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
        self.right: bool | None = None  # None until revealed, or when nothing was chosen
        shown = [
            widgets.HTML(f"<b>{name}</b><pre>{html.escape(code)}</pre>")
            for name, code in self.codes.items()
        ]
        self.widget = widgets.VBox([widgets.HTML(self._html()), *shown, self.form.widget])

    @property
    def answer(self) -> str | None:
        """The code that the reader takes for the right one; None if nothing was chosen."""
        chosen: str | None = self.form.answer
        return chosen

    def guess(self, answer: str) -> None:
        """Choose by a call instead of the buttons. Raises `ConfigError` for what is no code."""
        self.form.fill(answer)

    def reveal(self) -> None:
        """Say which one is right, and run the others on the lab's ZooKeeper: see them fail.

        The one that was chosen comes first. Raises `LabError` when ZooKeeper is stopped.
        """
        self.form.close()
        truth = next(n for n, f in self._functions.items() if f is self._exercise.answer)
        self.right = None if self.answer is None else self.answer == truth
        said = {
            None: f"Not predicted. {truth} is right.",
            True: f"Right: {truth}.",
            False: f"Not so: you said {self.answer}, and {truth} is right.",
        }
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

    def _html(self) -> str:
        return "".join(f"<p>{inline(part)}</p>" for part in self._text().split("\n\n"))

    def _repr_markdown_(self) -> str:
        codes = [f"**{name}**\n\n```python\n{code}\n```" for name, code in self.codes.items()]
        return "\n\n".join([self._text(), *codes, self.form.blank().replace("  ", " &emsp; ")])

    def __repr__(self) -> str:
        return without_marks(self._repr_markdown_().replace(" &emsp; ", "  "))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = dict(self.widget._repr_mimebundle_() or {})
        return bundle | {"text/plain": repr(self), "text/markdown": self._repr_markdown_()}


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
