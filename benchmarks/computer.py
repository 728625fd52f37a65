"""The machine that a benchmark ran on, without its name."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from labkit.servers.zookeeper.install import find_installation


@dataclass(frozen=True)
class Computer:
    """What a figure depends on."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    zookeeper: str
    load: float  # processes that wanted to run, when the benchmark began (average of a minute)
    date: str

    @classmethod
    def here(cls) -> Computer:
        return cls(
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
            memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            zookeeper=find_installation().version,
            load=round(os.getloadavg()[0], 2),
            date=datetime.now(UTC).date().isoformat(),
        )

    @property
    def is_busy(self) -> bool:
        """Others are using it, so that absolute figures are worse than it can do."""
        return self.load > 0.5 * self.cores

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}, "
            f"Python {self.python}, ZooKeeper {self.zookeeper}, {self.date}"
            + (f", while others used it (load {self.load})" if self.is_busy else "")
        )


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
