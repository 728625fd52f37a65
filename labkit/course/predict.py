"""Predictions: a question before the run, and what the run says to it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from IPython.display import display

from labkit.course.guess import Form, Rating, form
from labkit.course.markup import Note
from labkit.course.standing import standing
from labkit.lab.lab import Lab
from labkit.see.live import Piece
from labkit.see.picture import Shown
from labkit.story.event import PredictionEvent
from labkit.story.timeline import Timeline

_Figure = TypeVar("_Figure", bound=Shown)


def predict(
    lab: Lab,
    question: str,
    options: Sequence[Any] | None = None,
    *,
    number: tuple[float, float] | None = None,
    unit: str = "",
    order: Sequence[Any] | None = None,
) -> Prediction:
    """Ask the reader what will happen, before it does.

    `predict(lab, "Which number does node 4 get?", [2, 3, 4])`

    Asks for one of `options`, for a number (`number=(0, 30)` says from where to where, `unit` of
    what), or for the `order` of things, which are shown as given: shuffle them. With none of
    these, any number. What was predicted, and what was true, becomes part of the lab's timeline.
    """
    prediction = Prediction(question, form(options, number, unit, order), lab.timeline)
    standing.ask(question)
    return prediction


class Prediction(Piece):
    """A question about what will happen. `reveal(truth)` tells.

    A page that is saved keeps what was guessed, and then what was true.
    """

    kind = "form"

    def __init__(self, question: str, form: Form, timeline: Timeline | None = None) -> None:
        self.question = question
        self.form = form
        self._timeline = timeline
        self.right: bool | None = None  # None until revealed, or when nothing was predicted
        self.revealed = False
        self._said = ""  # guess and truth, once both are known
        super().__init__()

    @property
    def answer(self) -> Any:
        """What the reader has answered; None if nothing yet, or nothing that was asked for."""
        return self.form.answer

    def guess(self, answer: Any) -> None:
        """Answer by a call instead of by hand. Raises `ConfigError` for what is no answer."""
        self.form.fill(answer)
        self._follow()

    def hear(self, do: str, value: Any) -> None:
        """What the reader has clicked or typed."""
        if do == "answer" and not self.revealed:
            self.form.hear(value)
            self._follow()

    def _follow(self) -> None:
        self.tell()
        self.keep()

    def face(self) -> dict[str, Any]:
        """The question, and what to answer with."""
        said = f"<p>{html.escape(self._said)}</p>" if self._said else ""
        return {"html": self._html(self.form.html()) + said}

    def saved(self) -> str:
        """The question, what the reader has answered, and what was true."""
        guess = "" if self.answer is None else f"You said {self.form.text(self.answer)}."
        return self._html(html.escape(self._said or guess or self.form.blank()))

    def _html(self, rest: str) -> str:
        name = html.escape(self.question)
        return (
            f"<p><b>Predict:</b> {name}</p>"
            f'<div role="group" class="lk-answers" aria-label="{name}">{rest}</div>'
        )

    def reveal(self, truth: Any) -> None:
        """Show the truth, and how near the prediction was."""
        answer = self.answer
        self.revealed = True
        rating = None if answer is None else self.form.rate(answer, truth)
        self.right = None if rating is None else rating is Rating.RIGHT
        self.form.close()
        if self.right is not None:
            standing.predict(self.question, self.form.text(answer), self.right)
        if self._timeline is not None:
            self._timeline.record(
                PredictionEvent("lab", question=self.question, predicted=answer, truth=truth)
            )
        if rating is not None:
            self._said = self._words(answer, truth, rating)
        self._follow()
        display(Note(self._words(answer, truth, rating), self.right))
        picture = None if answer is None else self.form.picture(answer, truth)
        if picture is not None:
            display(picture)

    def mark(self, figure: _Figure, axis: Literal["x", "y"] = "y", since: float = 0.0) -> _Figure:
        """Draw the guess into a figure, as a dashed line at that number of the axis.

        `since` is where the axis has what the guess counts from: for "how many seconds after the
        kill?" the second of the kill. Without a guess the figure stays as it is. Returns it.
        """
        if isinstance(self.answer, int | float):
            figure.mark(self.answer + since, axis, f"you: {self.form.text(self.answer)}")
        return figure

    def _words(self, answer: Any, truth: Any, rating: Rating | None) -> str:
        true = self.form.text(truth)
        if rating is None:
            return f"Not predicted. It is {true}."
        if rating is Rating.RIGHT and answer == truth:
            return f"Right: {true}."
        return f"{rating.value}: you said {self.form.text(answer)}, and it is {true}."

    def __repr__(self) -> str:
        return f"Predict: {self.question}  {self.form.blank()}"

    def _repr_markdown_(self) -> str:
        blank = self.form.blank().replace("  ", " &emsp; ").replace("_", "\\_")
        return f"**Predict:** {self.question}\n\n{blank}"

    def words(self) -> dict[str, str]:
        """The question for paper."""
        return {"text/plain": repr(self), "text/markdown": self._repr_markdown_()}
