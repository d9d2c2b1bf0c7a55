"""The charts that notebooks name: each takes a finding and the window, and draws what the finding states."""

from runbook.charts.agents import (
    agents_online,
    flow,
    latency,
    latency_by_agent,
    latency_parts,
    latency_throttling,
    signals,
)
from runbook.charts.figure import Chart, Line, Threshold, bars, heatmap, states, timeline
from runbook.charts.resources import (
    exposure,
    growth,
    heap,
    position_values,
    tables,
    throttled,
    usage,
    volume,
)
from runbook.charts.trading import equity, gauge, losses, market_against_portfolio, underwater

__all__ = [
    "Chart",
    "Line",
    "Threshold",
    "agents_online",
    "bars",
    "equity",
    "exposure",
    "flow",
    "gauge",
    "growth",
    "heap",
    "heatmap",
    "latency",
    "latency_by_agent",
    "latency_parts",
    "latency_throttling",
    "losses",
    "market_against_portfolio",
    "position_values",
    "signals",
    "states",
    "tables",
    "throttled",
    "timeline",
    "underwater",
    "usage",
    "volume",
]
