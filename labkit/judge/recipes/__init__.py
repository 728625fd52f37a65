"""Locks, elections, queues and counters under fire: workers, faults, and what may never be true."""
