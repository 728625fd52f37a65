"""Where servers run: one protocol (`base`), two places (`containers`, `processes`)."""
