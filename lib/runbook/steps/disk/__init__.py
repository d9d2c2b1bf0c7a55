"""DiskSpaceWarning: the volume, what fills it, what can be given back, and the decision."""

from __future__ import annotations

from runbook.steps.disk.causes import cause
from runbook.steps.disk.claims import expansion
from runbook.steps.disk.figures import Forecast, Growth, Tables
from runbook.steps.disk.reclaimable import archive, compression
from runbook.steps.disk.storage import growth, tables, writers
from runbook.steps.disk.verdict import decide
from runbook.steps.disk.volumes import forecast, usage
from runbook.steps.disk.write_ahead_log import wal

__all__ = [
    "Forecast",
    "Growth",
    "Tables",
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
