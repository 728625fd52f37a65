"""Where do servers run, and who breaks them? One protocol, two places, one `choice`."""
