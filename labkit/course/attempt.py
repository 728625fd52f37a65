"""An answer to an exercise, judged: what became of it, and the moments that led to a mistake."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from labkit.course import exercises
from labkit.course.exercises import checking
from labkit.course.exercises.exercise import Exercise
from labkit.course.exercises.harness import YOU
from labkit.course.exercises.values import Moment
from labkit.course.markup import Note, without_marks
from labkit.course.record import Outcome
from labkit.errors import InvalidTransition
from labkit.explore.search import Found
from labkit.lab.lab import Lab
from labkit.progressbar import progress_bar
from labkit.see import style
from labkit.see.player import player

if TYPE_CHECKING:
    from labkit.see.plots import Chart


def judge(
    lab: Lab, exercise: Exercise, function: Callable[..., Any], deadline: float | None = None
) -> Verdict:
    """Run `function` as an answer to `exercise`, for `deadline` seconds at most, and say what
    became of it. A closed lab is started again; raises `LabError` when its ZooKeeper is stopped.
    """
    if not inspect.isfunction(function):
        return Verdict(Outcome.FAILED, f"Hand in the function itself: `check({exercise.name})`.")
    if other := _other(exercise, function):
        return Verdict(
            Outcome.NOT_ATTEMPTED,
            f"This is the exercise *{exercise.title}*, and *{other}* asks for "
            f"`{function.__name__}`. "
            "Run the cell that shows that exercise, and then this one again.",
        )
    if _is_blank(function):
        return Verdict(
            Outcome.NOT_ATTEMPTED, f"Replace the `...` in `{exercise.name}`, and run it."
        )
    try:
        _ = lab.zookeeper
    except InvalidTransition:  # closed, as it is after a page's last cell
        lab.start()
    with progress_bar("checking"):
        found = checking.check(lab, exercise, function, deadline or exercise.deadline)
    return Verdict(Outcome(found.outcome), found.message, found.moments, found.found)


def _other(exercise: Exercise, function: Callable[..., Any]) -> str | None:
    """The title of the exercise on the same page that this function is meant for."""
    for other in exercises.ALL:
        if other.page == exercise.page and other is not exercise and _name(function) == other.name:
            return other.title
    return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "")


# What the bodies `...`, `pass`, a docstring, `return` and `raise NotImplementedError` consist of.
_BLANK_STEPS = (
    "CACHE",
    "CALL",
    "LOAD_COMMON_CONSTANT",
    "LOAD_CONST",
    "LOAD_GLOBAL",
    "NOP",
    "POP_TOP",
    "PRECALL",
    "PUSH_NULL",
    "RAISE_VARARGS",
    "RESUME",
    "RETURN_CONST",
    "RETURN_VALUE",
)


def _is_blank(function: Callable[..., Any]) -> bool:
    """Whether nothing has been written yet: a function that does nothing, or says so."""
    unwritten = "NotImplementedError" in function.__code__.co_names
    for step in dis.get_instructions(function):
        if step.opname not in _BLANK_STEPS:
            return False
        if step.opname == "LOAD_GLOBAL" and step.argval != "NotImplementedError":
            return False
        if step.opname.endswith("_CONST") and step.argval not in (None, ..., function.__doc__):
            return unwritten  # the exception's message
    return True


# --- verdicts ---------------------------------------------------------------------------------


class Verdict:
    """What became of a try: `outcome`, why, and for a failure the moments that led to it."""

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        moments: Sequence[Moment] = (),
        found: Found | None = None,
    ) -> None:
        self.outcome = outcome
        self.message = message
        self.moments = list(moments)
        self.found = found  # the search that has shown the mistake

    @property
    def schedule(self) -> list[dict[str, Any]]:
        """The shortest schedule that leads to the mistake, if a search has found one."""
        return self.found.schedule if self.found else []

    @property
    def chart(self) -> Chart | None:
        """The calls up to the mistake, if there was one."""
        if self.outcome is Outcome.FAILED and self.moments:
            return timeline(self.moments)
        return None

    def __repr__(self) -> str:
        lines = [f"{self.outcome}: {without_marks(self.message)}"]
        if self.outcome is Outcome.FAILED and self.moments:
            lines += [
                f"{'→' if m.bad else ' '} {m.t * 1000:6.0f} ms  {m.who:<12} {m.text}"
                for m in self.moments[-_ROWS:]
            ]
        for step in self.schedule:
            mark = "→" if step is self.schedule[-1] else " "
            lines.append(f"{mark} {step['step']:3}  {step['sentence']}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        good = {Outcome.PASSED: True, Outcome.FAILED: False, Outcome.NOT_ATTEMPTED: None}
        text = f"**{str(self.outcome).capitalize()}.** {self.message}"
        note = Note(text, good[self.outcome])._repr_html_()
        if self.found and self.schedule:
            title = f"{len(self.schedule)} steps lead to it; there is no shorter way."
            foot = f"Scope: {self.found.scope}. {self.found.states:,} states were looked at."
            return note + player(self.schedule, title, foot)
        chart = self.chart
        return note if chart is None else f"{note}<div>{chart.html()}</div>"


_ROWS = 14  # moments that the timeline of a failure shows
_ROW = 0.3  # inches
_WIDTH = 9.0  # inches


def timeline(moments: Sequence[Moment]) -> Chart:
    """The last moments before a mistake: time runs down, each party has a column."""
    from labkit.see.plots import Chart, drawing  # matplotlib is slow to load

    shown = list(moments)[-_ROWS:]
    parties = sorted({m.who for m in shown}, key=lambda who: who != YOU)
    height = 0.75 + _ROW * len(shown)
    with drawing():
        chart = Chart(figsize=(_WIDTH, height))
        axes = chart.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
        axes.axis("off")
        column = (_WIDTH - 0.9) / len(parties)
        at = {who: 0.9 + column * i + 0.12 for i, who in enumerate(parties)}
        bottom = 0.55 + _ROW * len(shown)
        for who, x in at.items():
            axes.text(x - 0.08, 0.22, who, va="center", fontweight="bold")
            axes.vlines(x, 0.4, bottom, color=style.LINE, linewidth=1.5, zorder=1)
        axes.text(0.72, 0.22, "ms", va="center", ha="right", color=style.QUIET)
        for i, moment in enumerate(shown):
            y = 0.55 + _ROW * (i + 0.35)
            x = at[moment.who]
            shade = style.ALARM if moment.bad else style.INK
            letters = int((_WIDTH - x - 0.3 if moment.bad else column - 0.3) / 0.078)
            axes.text(0.72, y, f"{moment.t * 1000:.0f}", va="center", ha="right", color=style.QUIET)
            axes.plot([x], [y], "X" if moment.bad else "o", color=shade, markersize=6.5, zorder=3)
            axes.text(
                x + 0.15,
                y,
                _shorten(moment.text, letters),
                va="center",
                color=shade,
                zorder=4,
                fontweight="bold" if moment.bad else "normal",
                fontsize=9,
                bbox={"boxstyle": "square,pad=0.1", "fc": style.PAPER, "ec": "none"},
            )
    chart.alt = "What happened, in order. " + " ".join(
        f"{m.who}: {m.text}{' (the mistake)' if m.bad else ''}." for m in shown
    )
    return chart


def _shorten(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(letters - 1, 1)] + "…"
