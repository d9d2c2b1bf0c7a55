"""The platform's agents and how they usually trade."""

from __future__ import annotations

from dataclasses import dataclass

from cryptofunk_demo.incident import Behaviour


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent: its names in agent_status and in Kubernetes, its types in database and metrics."""

    name: str
    agent_type: str
    workload: str
    metric_type: str
    port: int
    decides_every_seconds: int


AGENTS = (
    Agent("technical-analyst", "analysis", "technical-agent", "technical", 9101, 60),
    Agent("orderbook-analyst", "analysis", "orderbook-agent", "orderbook", 9102, 30),
    Agent("sentiment-analyst", "analysis", "sentiment-agent", "sentiment", 9103, 300),
    Agent("trend-follower", "strategy", "trend-agent", "trend", 9104, 60),
    Agent("mean-reversion", "strategy", "reversion-agent", "reversion", 9105, 60),
    Agent("risk-manager", "risk", "risk-agent", "risk", 9106, 30),
)
BY_NAME = {agent.name: agent for agent in AGENTS}

# A small edge: a few more entries go with the coming move than against it, which about pays the fees.
USUAL = (
    Behaviour(
        "technical-analyst",
        wrong_way=0.12,
        entries_per_hour=0.30,
        reasons=("RSI(14) turning up from 34", "MACD histogram crossed zero", "Price reclaimed VWAP on volume"),
    ),
    Behaviour(
        "orderbook-analyst",
        wrong_way=0.12,
        entries_per_hour=0.20,
        hold_minutes=(10, 60),
        reasons=("Bid depth 2.1x ask depth within 0.2 %", "Large resting bid absorbed three sweeps"),
    ),
    Behaviour(
        "sentiment-analyst",
        wrong_way=0.12,
        entries_per_hour=0.12,
        hold_minutes=(90, 360),
        long_share=0.75,
        reasons=("News flow positive, funding neutral", "Social volume up 40 % without price response"),
    ),
    Behaviour(
        "trend-follower",
        wrong_way=0.12,
        entries_per_hour=0.35,
        hold_minutes=(60, 320),
        reasons=("EMA(20) above EMA(60), ADX 27", "Higher high on 1h, pullback held"),
    ),
    Behaviour(
        "mean-reversion",
        wrong_way=0.12,
        entries_per_hour=0.40,
        hold_minutes=(15, 90),
        long_share=0.55,
        reasons=("2.3 sigma below the 60-minute mean", "Bollinger band touch, range regime"),
    ),
)
