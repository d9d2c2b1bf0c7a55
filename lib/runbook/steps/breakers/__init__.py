"""CircuitBreakerOpen: which breaker, its failures, what it stops, when it tries again, and the decision."""

from __future__ import annotations

from runbook.steps.breakers.figures import Failures, States
from runbook.steps.breakers.openings import affected, frequency, recovery, states
from runbook.steps.breakers.requests import effects, failures, logs
from runbook.steps.breakers.verdict import decide

__all__ = [
    "Failures",
    "States",
    "affected",
    "decide",
    "effects",
    "failures",
    "frequency",
    "logs",
    "recovery",
    "states",
]
