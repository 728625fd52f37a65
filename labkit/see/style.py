"""The course's visual language: one colour a number, a handful of greys, one alarm.

Nothing here imports matplotlib, so that figures, live drawings and diagrams share it.

The palette is Okabe and Ito's ("Color Universal Design", 2008), ordered so that neighbours differ
in lightness too. Colour is never the only cue: a bar carries its number, and from 9 on a hatch.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

PALETTE: Final = (
    "#0072B2",  # 1 blue
    "#E69F00",  # 2 orange
    "#009E73",  # 3 green
    "#56B4E9",  # 4 sky
    "#D55E00",  # 5 vermilion
    "#F0E442",  # 6 yellow
    "#CC79A7",  # 7 pink
    "#555555",  # 8 grey
)
_HATCHES: Final = ("", "///", "...", "xxx", "---", "|||")

# Figures follow the theme of the page: what is drawn in INK and PAPER gets the page's own colours
# (`labkit.see.picture.themed`), and everything else is legible on white and on black.
INK: Final = "#222222"  # text and outlines; stands for the colour of the text around the figure
PAPER: Final = "#FEFEFE"  # behind words; stands for the ground below the figure
MIDDLE: Final = "#777777"  # ink where no theme is known: 4.5:1 on white, 4.2:1 on JupyterLab's dark
QUIET: Final = "#767676"  # what stands back: axes, a node without a number
LINE: Final = "#80808066"  # rules between lanes
BAND: Final = "#80808033"  # a stretch of time in which something was broken
ALARM: Final = "#E2244F"  # a node answers what it no longer holds; always with a hatch

LETTER: Final = 0.6  # width of a letter, in its size

FONT: Final = ("DejaVu Sans",)  # ships with matplotlib, so every machine draws the same page

#: matplotlib settings of every figure.
SETTINGS: Final[dict[Any, Any]] = {
    "font.family": list(FONT),
    "font.size": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "hatch.linewidth": 0.9,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "labkit",
}


def colour(number: int) -> str:
    """The colour that `number` has on every page."""
    return PALETTE[(number - 1) % len(PALETTE)]


def hatch(number: int) -> str:
    """What tells number 9 from number 1, which share a colour: a matplotlib hatch, or ""."""
    return _HATCHES[(max(number - 1, 0) // len(PALETTE)) % len(_HATCHES)]


def pale(shade: str, keep: float = 0.25) -> str:
    """`shade` through which the ground is seen; `keep` is how much of it stays."""
    return f"{shade[:7]}{round(255 * keep):02X}"


def ink(shade: str) -> str:
    """Black or white: whichever reads better on `shade` (by WCAG's relative luminance)."""
    light = luminance(shade)
    return "#FFFFFF" if 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 else "#000000"


def luminance(shade: str) -> float:
    """WCAG 2's relative luminance, from 0 (black) to 1 (white)."""
    linear = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(shade))
    )
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _channels(shade: str) -> tuple[int, int, int]:
    return int(shade[1:3], 16), int(shade[3:5], 16), int(shade[5:7], 16)


# --- pens of drawings in SVG and HTML ---------------------------------------------------------


def chip(number: int | None, *, held: bool = True) -> str:
    """A number in its colour, for tables and lists; a dash for none."""
    if number is None:
        return '<span style="opacity:.6">–</span>'
    shade = colour(number)
    if held:
        look = f"background:{shade};color:{ink(shade)};border:1px solid {shade}"
    else:
        look = f"background:{shade}33;border:1px dashed currentColor"
    return (
        f'<span style="{look};display:inline-block;min-width:1.7em;padding:0 .3em;'
        f'text-align:center;font-weight:700;border-radius:2px">{number}</span>'
    )


def wide(text: str, size: float) -> float:
    """How much room a text takes in a drawing, in its units."""
    return len(text) * size * LETTER + 4


def text(
    words: str,
    x: float,
    y: float,
    size: float,
    anchor: str = "start",
    extra: str = "",
    weight: int = 400,
    title: str = "",
) -> str:
    """Words in a drawing. `title` is what is shown where the pointer rests, if it is longer."""
    look = "" if anchor == "start" else f' text-anchor="{anchor}"'
    look += "" if size == 12 else f' font-size="{size:g}"'
    look += "" if weight == 400 else f' font-weight="{weight}"'
    more = f"<title>{escape(title)}</title>" if title not in ("", words) else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{look} {extra}>{more}{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, opacity: float, extra: str = "") -> str:
    """A line from one point to another."""
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="currentColor" '
        f'opacity="{opacity:g}" {extra}/>'
    )
