"""AnyAlert, and the alert among others: what fires, how often, what the alert says and is about, and the decision."""

from __future__ import annotations

from runbook.steps.alerting.observations import about, evaluated, firing, history, logs, rule, tables
from runbook.steps.alerting.verdict import decide

__all__ = [
    "about",
    "decide",
    "evaluated",
    "firing",
    "history",
    "logs",
    "rule",
    "tables",
]
