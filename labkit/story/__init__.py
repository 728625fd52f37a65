"""What happened in a run: its events, and what they say of requests, faults and claims."""

from labkit.story.facts import silences as silences
from labkit.story.timeline import Timeline as Timeline
