"""The trading agents and MCP servers: the names they go by in the database, in metrics and in Kubernetes."""

from __future__ import annotations

import re

DEPLOYMENTS = {
    "technical-analyst": "technical-agent",
    "orderbook-analyst": "orderbook-agent",
    "sentiment-analyst": "sentiment-agent",
    "trend-follower": "trend-agent",
    "mean-reversion": "reversion-agent",
    "risk-manager": "risk-agent",
    "arbitrage": "arbitrage-agent",
}
"""agent_status.agent_name -> the Kubernetes deployment that runs it."""

MCP_SERVERS = {
    "market-data-server": 9201,
    "technical-indicators-server": 9202,
    "risk-analyzer-server": 9203,
    "order-executor-server": 9204,
}
"""MCP server -> the port that answers /health."""

NOT_RECORDED = "(not recorded)"
"""What the database's questions call an agent that no row names."""
_POD_SUFFIX = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}$")


def deployment_of(name: str) -> str:
    """The deployment of an agent, from its name in agent_status, its type in metrics, or its own name."""
    found = DEPLOYMENTS.get(name)
    return found or (name if name.endswith(("-agent", "-server")) else f"{name}-agent")


def workload_of(pod: str) -> str:
    """The deployment that a pod's name begins with: "trend-agent" of "trend-agent-7d9c5b8f6-x2x9k"."""
    return _POD_SUFFIX.sub("", pod)
