"""AgentDown: how the trading agents are, the common causes, and the decision."""

from __future__ import annotations

from runbook.steps.agents.agent_logs import last_words, logs
from runbook.steps.agents.figures import LastWords, McpServers, Need, Needed, Online, Signals
from runbook.steps.agents.needs import llm, mcp_servers, store, tools
from runbook.steps.agents.presence import online, recovery, signals, status
from runbook.steps.agents.state import side_by_side
from runbook.steps.agents.usage import resources
from runbook.steps.agents.verdict import decide

__all__ = [
    "LastWords",
    "McpServers",
    "Need",
    "Needed",
    "Online",
    "Signals",
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
