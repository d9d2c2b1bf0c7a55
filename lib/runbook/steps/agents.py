"""Trading agents: the names they go by, and how they are."""

from __future__ import annotations

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
