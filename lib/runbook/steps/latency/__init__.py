"""AgentHighLatency: how slow decisions are, which part of them, and the decision."""

from __future__ import annotations

from runbook.steps.latency.bottleneck import cause
from runbook.steps.latency.observations import agents, models, parts, slow_log, slow_queries, throttling
from runbook.steps.latency.verdict import decide

__all__ = [
    "agents",
    "cause",
    "decide",
    "models",
    "parts",
    "slow_log",
    "slow_queries",
    "throttling",
]
