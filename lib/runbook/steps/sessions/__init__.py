"""TradingSessionFailure: the session, whether trading is halted or failed and why, and what a restart meets."""

from __future__ import annotations

from runbook.steps.sessions.figures import Flow, Halt, RestartSafety, Session, TradingBreakers
from runbook.steps.sessions.health import last_words, orchestrator
from runbook.steps.sessions.restart import restart_safety
from runbook.steps.sessions.session import activity, breakers, latest, paused
from runbook.steps.sessions.trading import flow
from runbook.steps.sessions.verdict import decide

__all__ = [
    "Flow",
    "Halt",
    "RestartSafety",
    "Session",
    "TradingBreakers",
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
