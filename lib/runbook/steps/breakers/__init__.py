"""CircuitBreakerOpen: which breaker, its failures, what it stops, when it tries again, and the decision."""

from __future__ import annotations

from runbook.steps.breakers.observations import affected, effects, failures, frequency, logs, recovery, states
from runbook.steps.breakers.verdict import decide

__all__ = [
    "affected",
    "decide",
    "effects",
    "failures",
    "frequency",
    "logs",
    "recovery",
    "states",
]
