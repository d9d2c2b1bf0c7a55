"""How many idle kernels to keep: what memory and load allow. And what a process really takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KERNEL_MB = 60
"""What one more running kernel takes (PSS, measured), rounded up."""

_SPARE_MB = 400
_BUSY = 2.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine has left: megabytes available, load of the last minute, processors."""

    available_mb: float
    load: float
    processors: int


def machine() -> Machine:
    """This machine now. Inside a container the smaller of its own and the machine's memory counts."""
    available = _meminfo_mb("MemAvailable")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        available = min(available, (limit - used) / 1e6)
    return Machine(available, os.getloadavg()[0], os.cpu_count() or 1)


def idle_kernels(wanted: int, now: Machine) -> int:
    """How many of `wanted` idle kernels to keep: none without memory, one while the processors are behind."""
    by_memory = max(0, int((now.available_mb - _SPARE_MB) // KERNEL_MB))
    by_load = wanted if now.load <= _BUSY * now.processors else 1
    return min(wanted, by_memory, by_load)


def pss_mb(pid: int) -> float:
    """Proportional memory of a process in megabytes: its own pages, and its share of those it shares; 0 once gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0.0)


def _meminfo_mb(name: str) -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)


def _number(path: str) -> float | None:
    try:
        return float(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or "max"
        return None
