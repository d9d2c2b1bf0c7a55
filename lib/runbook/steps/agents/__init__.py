"""AgentDown: how the trading agents are, the common causes, and the decision."""

from __future__ import annotations

from runbook.steps.agents.causes import llm, mcp_servers, resources, store, tools
from runbook.steps.agents.observations import last_words, logs, online, recovery, side_by_side, signals, status
from runbook.steps.agents.verdict import decide

__all__ = [
    "decide",
    "last_words",
    "llm",
    "logs",
    "mcp_servers",
    "online",
    "recovery",
    "resources",
    "side_by_side",
    "signals",
    "status",
    "store",
    "tools",
]
