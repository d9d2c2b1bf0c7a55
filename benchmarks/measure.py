"""Timing, medians, what the machine is, and the page the figures go to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

VERSIONS = (
    "ipykernel",
    "jupyter_client",
    "matplotlib",
    "nbclient",
    "nbconvert",
    "numpy",
    "pandas",
    "papermill",
    "psycopg",
)


@dataclass(slots=True)
class Section:
    """One part of the results: its letter, a title, what it says in short, and a table."""

    letter: str
    title: str
    says: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## ({self.letter}) {self.title}", "", self.says, ""]
        lines += ["| " + " | ".join(self.header) + " |", "|" + " --- |" * len(self.header)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + [f"- {note}" for note in self.notes] + ([""] if self.notes else [])
        return "\n".join(lines)


def tell(text: str) -> None:
    """Progress, on standard error."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """The median with the least and the greatest, in seconds."""
    return f"{median(values):.2f} s ({min(values):.2f}–{max(values):.2f})"


def ratio(baseline: Sequence[float], ours: Sequence[float]) -> float:
    """How many times the median of `baseline` is that of `ours`."""
    return median(baseline) / median(ours)


def machine() -> list[str]:
    """What the figures were taken on: processor, memory, load before, versions."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    total = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    return [
        f"{os.cpu_count()} processors ({cpu}), {total / 1e6:.0f} GB, Linux {platform.release().split('-')[0]}",
        f"load before: {os.getloadavg()[0]:.1f} (above 0.5, something else ran: read ratios, not seconds)",
        f"Python {platform.python_version()}, {versions}",
    ]


def write(path: Path, sections: Sequence[Section], facts: Sequence[str], left_out: Sequence[str]) -> None:
    """Write results.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`python -m benchmarks`). Medians; in brackets least and greatest.",
        "",
    ]
    lines += [f"- {fact}" for fact in facts] + [f"- {one}" for one in left_out] + [""]
    path.write_text("\n".join(lines) + "\n".join(section.markdown() for section in sections), encoding="utf-8")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
