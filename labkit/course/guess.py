"""What a prediction asks for: one of several options, a number, or an order.

Each form has controls for the notebook, words for paper, and a picture of guess and truth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from labkit.course.markup import plain
from labkit.errors import ConfigError
from labkit.see import style

if TYPE_CHECKING:
    from labkit.see.plots import Chart

_WIDTH = 6.0  # inches


class Rating(Enum):
    """How good a guess was."""

    RIGHT = "Right"
    CLOSE = "Close"
    WRONG = "Not so"


class Form(Protocol):
    """One way to ask."""

    @property
    def answer(self) -> Any:
        """The reader's guess; None if there is none yet."""

    def html(self) -> str:
        """What the reader answers with; `data-do` says to whom a browser tells it."""

    def hear(self, said: str) -> None:
        """What the reader has clicked or typed."""

    def fill(self, answer: Any) -> None:
        """Give the answer by a call, as a hand does. Raises `ConfigError` if it is none."""

    def close(self) -> None:
        """Let the answer not be changed any more."""

    def rate(self, answer: Any, truth: Any) -> Rating:
        """Compare a guess with the truth."""

    def blank(self) -> str:
        """What stands on paper to be filled in."""

    def fields(self) -> str:
        """What a page of the site is answered in, where no kernel is told, in HTML."""

    def text(self, value: Any) -> str:
        """A guess, or the truth, in words."""

    def picture(self, answer: Any, truth: Any) -> Chart | None:
        """Guess and truth side by side, where a picture says more than words."""


class Choice:
    """One of several options."""

    def __init__(self, options: Sequence[Any]) -> None:
        self.options = list(options)
        self._at: int | None = None
        self._closed = False

    @property
    def answer(self) -> Any:
        return None if self._at is None else self.options[self._at]

    def html(self) -> str:
        return "".join(
            button(str(option), at, pressed=at == self._at, closed=self._closed)
            for at, option in enumerate(self.options)
        )

    def hear(self, said: str) -> None:
        self._at = int(said)

    def fill(self, answer: Any) -> None:
        if answer not in self.options:
            raise ConfigError(f"{answer!r} is none of the options: {self.blank()}")
        self._at = self.options.index(answer)

    def close(self) -> None:
        self._closed = True

    def rate(self, answer: Any, truth: Any) -> Rating:
        return Rating.RIGHT if answer == truth else Rating.WRONG

    def blank(self) -> str:
        return "  ".join(f"○ {option}" for option in self.options)

    def fields(self) -> str:
        return "".join(
            f'<label><input type="radio" name="answer" value="{escape(str(option))}"> '
            f"{escape(str(option))}</label>"
            for option in self.options
        )

    def text(self, value: Any) -> str:
        return plain(value)

    def picture(self, answer: Any, truth: Any) -> Chart | None:
        return None


class Amount:
    """A number, in `unit`; `between` is the range that makes sense, if there is one.

    A guess is right within 10 % of the truth or 2 % of the range, and close within 30 % or 10 %.
    """

    def __init__(self, between: tuple[float, float] | None = None, unit: str = "") -> None:
        if between is not None and not between[0] < between[1]:
            raise ConfigError(f"{between} is no range: the lower end comes first.")
        self.between = between
        self.unit = unit
        self._typed = ""
        self._closed = False

    def _wanted(self) -> str:
        if self.between is None:
            return "a number"
        return f"{self.between[0]:g} to {self.between[1]:g}"

    def html(self) -> str:
        off = " disabled" if self._closed else ""
        sign, shade = "", style.INK
        if self.answer is not None:
            sign, shade = "✓ noted", style.PALETTE[2]
        elif self._typed:
            sign, shade = f"✗ asked for: {self._wanted()}", style.ALARM
        said = f' <b style="color:{shade}">{escape(sign)}</b>' if sign else ""
        return (
            f'<input type="text" inputmode="decimal" data-do="answer" aria-label="your answer" '
            f'value="{escape(self._typed)}" placeholder="{escape(self._wanted())}"{off}>'
            f"<span>{escape(self.unit)}{said}</span>"
        )

    def hear(self, said: str) -> None:
        self._typed = said.strip()

    @property
    def answer(self) -> float | None:
        """The number that was typed; None for nothing, no number, or one out of the range."""
        try:
            number = float(self._typed.replace(",", ".").removesuffix(self.unit))
        except ValueError:
            return None
        low, high = self.between or (number, number)
        return number if isfinite(number) and low <= number <= high else None

    def fill(self, answer: Any) -> None:
        before, self._typed = self._typed, str(answer)
        if self.answer is None:
            self._typed = before
            raise ConfigError(f"{answer!r} is no answer; asked for: {self._wanted()}.")

    def close(self) -> None:
        self._closed = True

    def rate(self, answer: Any, truth: Any) -> Rating:
        if not isinstance(truth, int | float):
            return Rating.WRONG
        low, high = self.between or (0.0, 0.0)
        for rating, share, of_range in ((Rating.RIGHT, 0.1, 0.02), (Rating.CLOSE, 0.3, 0.1)):
            if abs(answer - truth) <= max(share * abs(truth), of_range * (high - low), 1e-9):
                return rating
        return Rating.WRONG

    def blank(self) -> str:
        kind = "A number" if self.between is None else f"A number from {self._wanted()}"
        return f"{kind}: ____ {self.unit}".rstrip()

    def fields(self) -> str:
        ends = zip(("min", "max"), self.between or (), strict=False)
        limits = "".join(f' {name}="{value:g}"' for name, value in ends)
        return (
            f'<label>{self._wanted()} <input type="number" name="answer" step="any"{limits}> '
            f"{escape(self.unit)}</label>"
        )

    def text(self, value: Any) -> str:
        unit = self.unit if isinstance(value, int | float) else ""
        return f"{plain(value)} {unit}".rstrip()

    def picture(self, answer: Any, truth: Any) -> Chart | None:
        """Both on one line, from the lower to the upper end of the range."""
        if not isinstance(truth, int | float):
            return None
        from labkit.see.plots import Chart, beside, drawing  # matplotlib is slow to load

        values = [float(answer), float(truth), *(self.between or (0.0,))]
        low, high = min(values), max(values)
        room = (high - low or 1.0) * 0.05
        with drawing():
            chart = Chart(figsize=(_WIDTH, 1.1))
            axes = chart.add_axes((0.04, 0.42, 0.92, 0.2))
            axes.set(xlim=(low - room, high + room), ylim=(-1, 1), yticks=[], xlabel=self.unit)
            axes.spines["bottom"].set_position(("data", 0))
            for value, name, marker, above in (
                (answer, "you", "o", False),
                (truth, "the run", "D", True),
            ):
                shade = style.INK if above else style.PALETTE[4]
                (dot,) = axes.plot([value], [0], marker, color=shade, markersize=9, clip_on=False)
                dot.set(zorder=3, markerfacecolor=shade if above else style.PAPER)
                label = axes.annotate(
                    f"{name}: {plain(value)}",
                    (value, 0),
                    (0, 9 if above else 24),
                    textcoords="offset points",
                )
                label.set(color=shade, ha=beside(value, low, high), va="bottom")
        chart.alt = f"You said {self.text(answer)}; the run gave {self.text(truth)}."
        return chart


class Order:
    """The order in which things happen. `items` are shown as they are given: shuffle them."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)
        if len({str(item) for item in self.items}) < len(self.items) or len(self.items) < 2:
            raise ConfigError("An order needs at least two items, all of them different.")
        self._chosen: list[int] = []
        self._closed = False

    def html(self) -> str:
        title = "click in the order that you expect"
        return "".join(
            button(
                self._label(at), at, pressed=at in self._chosen, closed=self._closed, title=title
            )
            for at in range(len(self.items))
        )

    def _label(self, at: int) -> str:
        place = f"{self._chosen.index(at) + 1}." if at in self._chosen else "○"
        return f"{place} {self.items[at]}"

    def hear(self, said: str) -> None:
        """Give an item the next place; a second click takes it, and what came after it, back."""
        at = int(said)
        if at in self._chosen:
            del self._chosen[self._chosen.index(at) :]
        else:
            self._chosen.append(at)

    @property
    def answer(self) -> list[Any] | None:
        """The items in the reader's order; None before each has a place."""
        whole = len(self._chosen) == len(self.items)
        return [self.items[at] for at in self._chosen] if whole else None

    def fill(self, answer: Any) -> None:
        if not isinstance(answer, Sequence) or sorted(map(str, answer)) != sorted(
            map(str, self.items)
        ):
            raise ConfigError(f"{answer!r} is no order of {self.blank()}")
        self._chosen = [self.items.index(item) for item in answer]

    def close(self) -> None:
        self._closed = True

    def rate(self, answer: Any, truth: Any) -> Rating:
        return Rating.RIGHT if answer == list(truth) else Rating.WRONG

    def blank(self) -> str:
        return "Put in order: " + "  ".join(f"__ {item}" for item in self.items)

    def fields(self) -> str:
        items = "".join(f"<option>{escape(str(item))}</option>" for item in self.items)
        options = f'<option value="">–</option>{items}'
        return "".join(
            f'<label>{at}. <select name="answer">{options}</select></label>'
            for at in range(1, len(self.items) + 1)
        )

    def text(self, value: Any) -> str:
        return ", then ".join(map(str, value))

    def picture(self, answer: Any, truth: Any) -> Chart | None:
        """Two columns, the reader's and the run's; a line joins each item with itself."""
        from labkit.see.plots import DASHES, Chart, drawing

        truth = list(truth)
        rows = max(len(answer), len(truth))
        with drawing():
            chart = Chart(figsize=(_WIDTH, 0.5 + 0.3 * rows))
            axes = chart.add_axes((0, 0, 1, 1))
            axes.set(xlim=(0, 1), ylim=(rows - 0.4, -1.2))
            axes.axis("off")
            axes.text(0.4, -0.8, "you", ha="right", va="center", fontweight="bold")
            axes.text(0.6, -0.8, "the run", va="center", fontweight="bold")
            for at, item in enumerate(truth):
                axes.text(0.6, at, f"{at + 1}. {item}", va="center")
            for at, item in enumerate(answer):
                axes.text(0.4, at, f"{item} {at + 1}.", ha="right", va="center")
                if item in truth:
                    there = truth.index(item)
                    right = there == at
                    (line,) = axes.plot([0.42, 0.58], [at, there], "o", linewidth=2, markersize=4)
                    line.set_color(style.INK if right else style.PALETTE[4])
                    line.set_linestyle("-" if right else DASHES)
        chart.alt = f"You said {self.text(answer)}; the run gave {self.text(truth)}."
        return chart


def button(text: str, value: object, *, pressed: bool, closed: bool, title: str = "") -> str:
    """A button of a form, which stays pressed until another one is, in HTML."""
    off = " disabled" if closed else ""
    said = f' title="{escape(title)}"' if title else ""
    return (
        f'<button type="button" data-do="answer" value="{value}" '
        f'aria-pressed="{str(pressed).lower()}"{said}{off}>{escape(text)}</button>'
    )


def form(
    options: Sequence[Any] | None,
    number: tuple[float, float] | None,
    unit: str,
    order: Sequence[Any] | None,
) -> Form:
    """The form that the arguments of `predict` ask for. Raises `ConfigError` for two at once."""
    if sum(given is not None for given in (options, number, order)) > 1:
        raise ConfigError("Ask for one thing: options, a number, or an order.")
    if options is not None:
        return Choice(options)
    return Amount(number, unit) if order is None else Order(order)


_ASKED = re.compile(r"(?:Predict: )?(.*?)\s{2}((?:○ |A number\b|Put in order: __ ).*)", re.DOTALL)


def asked(said: str) -> tuple[str, Form] | None:
    """The question in what is saved of a prediction, and its form; None if it is something else.

    `asked("Predict: Which?  ○ 1  ○ 2")`
    """
    found = _ASKED.fullmatch(said)
    if found is None:
        return None
    question, blank = found.groups()
    if blank.startswith("○ "):
        return question, Choice(blank.removeprefix("○ ").split("  ○ "))
    if number := re.fullmatch(r"A number(?: from (\S+) to (\S+))?: ____ ?(.*)", blank):
        between = (float(number[1]), float(number[2])) if number[1] else None
        return question, Amount(between, number[3])
    return question, Order(blank.removeprefix("Put in order: __ ").split("  __ "))
