"""What does a run look like? Figures, the live picture, replay, controls."""
