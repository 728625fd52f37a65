"""How much of something came out how: one bar a way, cut into its outcomes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl

from labkit.see import style
from labkit.see.chart import WIDTH, Chart

_SHADES = (style.PALETTE[2], style.PALETTE[4], style.PALETTE[0], style.PALETTE[1])
_HATCHES = ("", "xxx", "///", "...")


def shares(ways: Mapping[str, Mapping[str, int]], title: str) -> Chart:
    """A bar for each way, cut into how often each outcome came: `{way: {outcome: times}}`.

    `shares({"set": {"done": 9, "refused": 1}}, "Ten writes")`

    Outcomes have the same colour and hatch in all bars, in the order in which they come first.
    """
    outcomes = list(dict.fromkeys(name for counts in ways.values() for name in counts))
    looks = {
        name: (_SHADES[i % len(_SHADES)], _HATCHES[i % len(_HATCHES)])
        for i, name in enumerate(outcomes)
    }
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(WIDTH, 1.3 + 0.5 * len(ways)), layout="constrained")
        axes = chart.add_subplot()
        axes.set_title(title)
        axes.set_yticks(range(len(ways)), list(ways))
        axes.set_ylim(len(ways) - 0.5, -0.5)
        axes.set_xlim(0, max(sum(counts.values()) for counts in ways.values()))
        axes.tick_params(axis="y", length=0)
        for row, counts in enumerate(ways.values()):
            left = 0
            for name, times in counts.items():
                shade, hatch = looks[name]
                axes.barh(row, times, 0.62, left, color=shade, hatch=hatch, edgecolor=style.PAPER)
                if times:
                    axes.text(
                        left + times / 2,
                        row,
                        str(times),
                        ha="center",
                        va="center",
                        fontweight="bold",
                        bbox={"boxstyle": "square,pad=0.2", "fc": style.PAPER, "ec": "none"},
                    )
                left += times
        for name, (shade, hatch) in looks.items():
            axes.bar(0, 0, 0, color=shade, hatch=hatch, edgecolor=style.PAPER, label=name)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=len(outcomes),
            frameon=False,
        )
    chart.alt = f"{title}. " + " ".join(
        f"{way}: {', '.join(f'{times} {name}' for name, times in counts.items())}."
        for way, counts in ways.items()
    )
    return chart
