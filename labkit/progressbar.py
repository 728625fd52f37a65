"""A bar below the running cell for whatever lasts over a second. At its end it is gone.

Only in a notebook: elsewhere nothing is shown, and the command line has a bar of its own.
"""

from __future__ import annotations

import html
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labkit.servers.base import Progress

_DELAY = 1.0  # seconds; what is over before needs no bar

#: Outputs marked with this are not kept in a page.
PROGRESS = {"labkit": "progress"}

_one = threading.Lock()  # the outermost of several nested ones is shown


@contextmanager
def progress_bar(what: str, delay: float = _DELAY) -> Iterator[Progress]:
    """Show that `what` is going on, if it lasts over `delay` seconds.

    Yields the function that tells how far it is: `report(what, fraction)`.
    """
    # A cell's own thread only: what widgets set off has no cell to be shown below.
    here = _in_notebook() and threading.current_thread() is threading.main_thread()
    if not here or not _one.acquire(blocking=False):
        yield _nowhere
        return
    bar = _Bar(what, delay)
    try:
        yield bar.report
    finally:
        bar.close()
        _one.release()


def _nowhere(what: str, fraction: float | None) -> None:
    pass


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _Bar:
    """Appears after `delay` seconds."""

    def __init__(self, what: str, delay: float) -> None:
        self._what = what
        self._fraction: float | None = None
        self._lock = threading.Lock()
        self._handle: Any = None
        self._open = True
        self._timer = threading.Timer(delay, self._appear)
        self._timer.daemon = True
        self._timer.start()

    def report(self, what: str, fraction: float | None) -> None:
        new = (what, None if fraction is None else round(fraction, 2))
        with self._lock:
            changed = new != (self._what, self._fraction)
            self._what, self._fraction = new
            if changed and self._handle is not None:
                self._handle.update(self, metadata=PROGRESS)

    def _appear(self) -> None:
        from IPython.display import display

        with self._lock:
            if self._open:
                self._handle = display(self, display_id=True, metadata=PROGRESS)

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._open = False
            if self._handle is not None:
                self._handle.update({"text/html": ""}, raw=True, metadata=PROGRESS)

    def __repr__(self) -> str:
        return self._what + ("" if self._fraction is None else f": {self._fraction:.0%}")

    def _repr_html_(self) -> str:
        done = "" if self._fraction is None else f' value="{self._fraction:.2f}"'
        what = html.escape(self._what)
        return f'<progress aria-label="{what}"{done}></progress> {what} …'
