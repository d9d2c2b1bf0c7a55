"""DiskSpaceWarning: the volume, what fills it, what can be given back, and the decision."""

from __future__ import annotations

from runbook.steps.disk.storage import archive, compression, growth, tables, wal, writers
from runbook.steps.disk.verdict import cause, decide
from runbook.steps.disk.volumes import expansion, forecast, usage

__all__ = [
    "archive",
    "cause",
    "compression",
    "decide",
    "expansion",
    "forecast",
    "growth",
    "tables",
    "usage",
    "wal",
    "writers",
]
