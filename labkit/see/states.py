"""What a client was told of its connection, over time."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
from kazoo.protocol.states import KazooState

from labkit.lab.lossy import LossyClient
from labkit.see import style
from labkit.see.chart import WIDTH, Chart

_LEVELS = (KazooState.LOST, KazooState.SUSPENDED, KazooState.CONNECTED)
_SHADES = {
    KazooState.CONNECTED: style.PALETTE[2],
    KazooState.SUSPENDED: style.PALETTE[1],
    KazooState.LOST: style.ALARM,
}


def states(client: LossyClient, since: float = 0.0, until: float | None = None) -> Chart:
    """The states that kazoo has told a client, from `since` to `until` on the lab's timeline.

    `states(lab.client("you"))`

    A grey band is a time in which the client's link was cut. Seconds count from `since`.
    """
    end = client.clock() if until is None else until
    told = [(at, state) for at, state in client.told if at <= end]
    before = [state for at, state in told if at <= since]
    steps = [(since, before[-1]), *(s for s in told if s[0] > since)] if before else told
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(WIDTH, 2.3), layout="constrained")
        axes = chart.add_subplot()
        axes.set(xlim=(0, end - since), ylim=(-0.5, 2.7), xlabel="seconds")
        axes.set_yticks(range(3), _LEVELS)
        axes.set_title(f"What kazoo told {client.name!r} of its connection")
        for begin, healed in client.cuts:
            stop = end if healed is None else min(healed, end)
            if stop > since:
                axes.axvspan(max(begin - since, 0), stop - since, color=style.BAND, zorder=0)
                axes.text((max(begin, since) + stop) / 2 - since, 2.45, "link cut", ha="center")
        for (at, state), (then, next_state) in pairwise([*steps, (end, "")]):
            level = _LEVELS.index(state)
            axes.plot(
                (at - since, then - since),
                (level, level),
                color=_SHADES[state],
                linewidth=6,
                solid_capstyle="butt",
            )
            if next_state:
                levels = (level, _LEVELS.index(next_state))
                axes.plot((then - since,) * 2, levels, color=style.QUIET, linewidth=1)
                axes.annotate(
                    f"{then - since:.1f} s",
                    (then - since, levels[1]),
                    xytext=(3, 7),
                    textcoords="offset points",
                    fontsize=8.5,
                )
    words = (f"{state} at {at - since:.1f} s" for at, state in steps)
    chart.alt = f"What the client was told of its connection: {', '.join(words)}."
    return chart
