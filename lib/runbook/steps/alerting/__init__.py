"""AnyAlert, and the alert among others: what fires, how often, what the alert says and is about, and the decision."""

from __future__ import annotations

from runbook.steps.alerting.condition import evaluated, rule
from runbook.steps.alerting.figures import About, Evaluated, Firing, History, Rule, Standing
from runbook.steps.alerting.occurrences import firing, history
from runbook.steps.alerting.subject import about, logs, tables
from runbook.steps.alerting.verdict import decide

__all__ = [
    "About",
    "Evaluated",
    "Firing",
    "History",
    "Rule",
    "Standing",
    "about",
    "decide",
    "evaluated",
    "firing",
    "history",
    "logs",
    "rule",
    "tables",
]
