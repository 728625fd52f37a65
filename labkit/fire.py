"""What tries to break a server: your own, the lab's, or a recipe; by fire, and by every schedule.

Names are loaded when they are first used: a node that imports `Unavailable` never loads a chart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import names_of

if TYPE_CHECKING:
    from labkit.judge.chaos import chaos as chaos
    from labkit.node.custom import Unavailable as Unavailable
    from labkit.see.player import be_the_network as be_the_network
    from labkit.see.player import explore as explore
    from labkit.see.verdict import ladder as ladder
    from labkit.see.verdict import under_fire as under_fire

__getattr__, __dir__ = names_of(__name__, __file__)
