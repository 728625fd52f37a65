"""How long does a number stay taken after its holder was stopped, killed or paused?

From the moment before the signal to the moment at which a watch on the number's znode fires, for
several session timeouts. The limit is the session timeout itself, for whoever is not asked to
leave; ZooKeeper rounds it up to its ticks.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.report import Result, Row, at_most, save
from labkit import Lab
from labkit.lab.node import Node
from labkit.see import style
from labkit.see.plots import WIDTH, Chart
from labkit.servers.base import ZooKeeperSettings

METHOD = (
    "From the moment before the signal to a watch on the number's znode; nodes hit at random "
    "moments, so that ticks and heartbeats fall everywhere."
)

_VERBS: dict[str, Callable[[Node], None]] = {
    "stop": Node.stop,
    "kill": Node.kill,
    "pause": Node.pause,
}
_TICK = ZooKeeperSettings().tick_time / 1000


def run(quick: bool) -> Result:
    timeouts, times = ((1.0,), 2) if quick else ((1.0, 2.0, 5.0), 7)
    rows: list[Row] = []
    data: dict[str, Any] = {}
    with Lab(nodes=0, backend="process") as lab:
        for timeout in timeouts:
            lab.session_timeout = timeout
            freed = _measure(lab, timeout, times)
            data[f"{timeout:g}"] = freed
            for verb, seconds in freed.items():
                limit, text = (0.1, "100 ms")
                if verb != "stop":
                    limit, text = timeout + 2 * _TICK, f"{timeout + 2 * _TICK:g} s"
                rows.append(
                    Row(
                        f"number free again after {verb}, session timeout {timeout:g} s",
                        median(seconds),
                        "s",
                        timeout,
                        "that timeout",
                        [at_most(max(seconds), limit, f"{text}, slowest of {times}")],
                    )
                )
    return Result(rows, data, METHOD)


def _measure(lab: Lab, timeout: float, times: int) -> dict[str, list[float]]:
    nodes = [lab.add_node() for _ in range(times * len(_VERBS))]
    for node in nodes:
        node.sequence()
    freed: dict[str, list[float]] = {verb: [] for verb in _VERBS}

    def hit(node: Node, verb: str, delay: float) -> None:
        gone = threading.Event()
        moment: list[float] = []

        def watch(_: object) -> None:
            moment.append(time.perf_counter())
            gone.set()

        path = f"/sequence/{node.sequence()}"
        # A listing's watch, for the nodes' heartbeats would use up one of the znode's data.
        lab.zk.get_children(path, watch=watch)
        time.sleep(delay)
        began = time.perf_counter()
        _VERBS[verb](node)
        if not gone.wait(timeout + 10):
            raise TimeoutError(f"{path} is not free {timeout + 10} s after {verb}.")
        freed[verb].append(moment[0] - began)

    verbs = list(_VERBS) * times
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        delays = [random.uniform(0, timeout) for _ in nodes]
        list(pool.map(hit, nodes, verbs, delays))
    for node in nodes:
        node.kill()
    return freed


def draw(data: dict[str, Any], directory: Path) -> None:
    longest = max(data, key=float)
    chart = _latency(data[longest], session_timeout=float(longest))
    save(chart, directory / "bench-freed.svg")


def _latency(freed: Mapping[str, Sequence[float]], *, session_timeout: float) -> Chart:
    """How long after its cause a number was free again: a dot for each time, a bar at the median.

    `freed` maps a cause ("stop", "kill", …) to times in seconds.
    """
    causes = [cause for cause in freed if freed[cause]]
    with mpl.rc_context(style.SETTINGS):
        chart = Chart(figsize=(WIDTH, 1.5 + 0.55 * len(causes)), layout="constrained")
        axes = chart.add_subplot()
        for lane, cause in enumerate(causes):
            _dots(axes, lane, sorted(freed[cause]))
        axes.axvline(session_timeout, color=style.ALARM, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"session timeout {_duration(session_timeout)}",
            (session_timeout, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            color=style.ALARM,
            fontsize=8.5,
        )
        _fit_seconds(axes, [session_timeout, *(t for cause in causes for t in freed[cause])])
        axes.set_yticks(range(len(causes)), causes)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(causes) - 0.4, -0.9)
        axes.set(xlabel="time until the number is free")
        axes.set_title("How long a number stays taken, by what happened to its holder")
    chart.alt = f"Times until a number is free; session timeout {session_timeout:g} s. " + " ".join(
        f"{cause}: median {median(freed[cause]):.3g} s of {len(freed[cause])}." for cause in causes
    )
    return chart


def _dots(axes: Axes, lane: int, times: Sequence[float]) -> None:
    """A dot for each time, a bar at the median, which is written beside the last one."""
    # Dots that would cover each other are set side by side, the same way every time.
    offsets = [((i % 5) - 2) * 0.08 for i in range(len(times))]
    axes.plot(
        times,
        [lane + offset for offset in offsets],
        "o",
        markersize=5,
        alpha=0.75,
        color=style.colour(1),
        markeredgecolor=style.PAPER,
        markeredgewidth=0.5,
    )
    middle = median(times)
    axes.vlines(middle, lane - 0.32, lane + 0.32, color=style.INK, linewidth=2)
    axes.annotate(
        f"median {_duration(middle)}",
        (times[-1], lane),
        xytext=(9, 0),
        va="center",
        textcoords="offset points",
        fontsize=8.5,
        fontweight="bold",
    )


def _fit_seconds(axes: Axes, timeout_and_times: Sequence[float]) -> None:
    """Let the axis begin at 0, or be logarithmic where times are of several magnitudes."""
    slowest, quickest = max(timeout_and_times), min(timeout_and_times[1:], default=math.inf)
    if quickest < slowest / 30:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
        axes.set_xlim(max(quickest, 1e-4) / 2, slowest * (slowest / quickest) ** 0.2)
    else:
        axes.set_xlim(0, slowest * 1.2)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
