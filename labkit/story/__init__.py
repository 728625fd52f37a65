"""What happened in a run: its events, and what they say of requests, faults and claims."""
