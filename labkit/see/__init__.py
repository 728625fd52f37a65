"""What a run looks like: spans, figures, the live picture, replay, controls."""
