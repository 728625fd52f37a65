"""What a lab leaves on this machine, seen from outside."""

from __future__ import annotations

from contextlib import suppress

import psutil

from labkit.servers import registry
from labkit.servers.helper import LAB_VARIABLE


def labs_of(owner: int) -> list[str]:
    """The registered labs of a process, by its id."""
    return [entry.lab_id for entry in registry.registered() if entry.owner == owner]


def processes_of(lab: str) -> list[psutil.Process]:
    """The processes that a lab has started, its watchdog apart."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(LAB_VARIABLE) == lab:
                found.append(process)
    return found
