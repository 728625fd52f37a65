"""The course's visual language: one colour a number, a handful of greys, one alarm.

Nothing here imports matplotlib, so that figures, live drawings and diagrams share it.

The palette is Okabe and Ito's ("Color Universal Design", 2008), ordered so that neighbours differ
in lightness too. Colour is never the only cue: a bar carries its number, and from 9 on a hatch.
"""

from __future__ import annotations

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

INK: Final = "#222222"  # text and outlines
QUIET: Final = "#767676"  # what stands back: axes, a node without a number (4.5:1 on white)
LINE: Final = "#D0D0D0"  # rules between lanes
BAND: Final = "#E4E4E4"  # a stretch of time in which something was broken
PAPER: Final = "#FFFFFF"
ALARM: Final = "#C4123A"  # a node answers what it no longer holds; always with a hatch

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
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def colour(number: int) -> str:
    """The colour that `number` has on every page."""
    return PALETTE[(number - 1) % len(PALETTE)]


def hatch(number: int) -> str:
    """What tells number 9 from number 1, which share a colour: a matplotlib hatch, or ""."""
    return _HATCHES[(max(number - 1, 0) // len(PALETTE)) % len(_HATCHES)]


def pale(shade: str, keep: float = 0.25) -> str:
    """`shade` mixed with white; `keep` is how much of it stays."""
    mixed = (round(255 + (channel - 255) * keep) for channel in _channels(shade))
    return "#" + "".join(f"{channel:02X}" for channel in mixed)


def ink(shade: str) -> str:
    """Black or white: whichever reads better on `shade` (by WCAG's relative luminance)."""
    light = luminance(shade)
    return PAPER if 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 else "#000000"


def luminance(shade: str) -> float:
    """WCAG 2's relative luminance, from 0 (black) to 1 (white)."""
    linear = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(shade))
    )
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _channels(shade: str) -> tuple[int, int, int]:
    return int(shade[1:3], 16), int(shade[3:5], 16), int(shade[5:7], 16)
