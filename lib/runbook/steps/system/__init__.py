"""SystemHealth: the conclusion over every domain."""

from __future__ import annotations

from runbook.steps.system.verdict import decide

__all__ = [
    "decide",
]
