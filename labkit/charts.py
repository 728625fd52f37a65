"""Charts for one purpose each; `assignment`, for every page, is in `labkit` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import names_of

if TYPE_CHECKING:
    from labkit.see.curves import seen as seen
    from labkit.see.curves import storm as storm
    from labkit.see.plots import quorum as quorum
    from labkit.see.shares import shares as shares
    from labkit.see.states import states as states

__getattr__, __dir__ = names_of(__name__, __file__)
