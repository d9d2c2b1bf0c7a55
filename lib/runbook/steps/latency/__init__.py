"""AgentHighLatency: how slow decisions are, which part of them, and the decision."""

from __future__ import annotations

from runbook.steps.latency.bottleneck import cause
from runbook.steps.latency.breakdown import models, parts
from runbook.steps.latency.decisions import agents
from runbook.steps.latency.figures import (
    Bottleneck,
    Decisions,
    OwnLatency,
    Part,
    Parts,
    SlowLog,
    SlowQueries,
    Throttling,
)
from runbook.steps.latency.processor import throttling
from runbook.steps.latency.queries import slow_log, slow_queries
from runbook.steps.latency.subject import subject
from runbook.steps.latency.verdict import decide

__all__ = [
    "Bottleneck",
    "Decisions",
    "OwnLatency",
    "Part",
    "Parts",
    "SlowLog",
    "SlowQueries",
    "Throttling",
    "agents",
    "cause",
    "decide",
    "models",
    "parts",
    "slow_log",
    "slow_queries",
    "subject",
    "throttling",
]
