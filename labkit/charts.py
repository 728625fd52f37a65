"""Charts for one purpose each; `assignment`, for every page, is in `labkit` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import names_of

if TYPE_CHECKING:
    from labkit.see.picture import quorum as quorum
    from labkit.see.plots import seen as seen
    from labkit.see.plots import shares as shares
    from labkit.see.plots import states as states
    from labkit.see.plots import storm as storm

__getattr__, __dir__ = names_of(__name__, __file__)
