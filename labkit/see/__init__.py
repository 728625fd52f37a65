"""What a run looks like: figures, the live picture, replay, controls."""
