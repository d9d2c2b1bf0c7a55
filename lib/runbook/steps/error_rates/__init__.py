"""HighErrorRate: errors by status, path, component and log, since when, and the decision."""

from __future__ import annotations

from runbook.steps.error_rates.observations import api, components, logs, paths, refused
from runbook.steps.error_rates.verdict import decide

__all__ = [
    "api",
    "components",
    "decide",
    "logs",
    "paths",
    "refused",
]
