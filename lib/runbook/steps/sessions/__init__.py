"""TradingSessionFailure: the session, whether trading is halted or failed and why, what a restart meets, and the decision."""

from __future__ import annotations

from runbook.steps.sessions.observations import activity, breakers, flow, last_words, latest, orchestrator, paused
from runbook.steps.sessions.restart import restart_safety
from runbook.steps.sessions.verdict import decide

__all__ = [
    "activity",
    "breakers",
    "decide",
    "flow",
    "last_words",
    "latest",
    "orchestrator",
    "paused",
    "restart_safety",
]
