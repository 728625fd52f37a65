"""Where servers run: one protocol (`base`), two places (`docker/`, `process/`), one `choice`."""
