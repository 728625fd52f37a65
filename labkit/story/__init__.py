"""What happened in a run? Its events, and what they say of requests, faults and claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import names_of

if TYPE_CHECKING:
    from labkit.story.run import silences as silences
    from labkit.story.timeline import Timeline as Timeline

__getattr__, __dir__ = names_of(__name__, __file__)
