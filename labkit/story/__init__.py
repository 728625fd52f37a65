"""What happened in a run? Its events, and what they say of requests, faults and claims."""

from labkit.story.run import silences as silences
from labkit.story.timeline import Timeline as Timeline
