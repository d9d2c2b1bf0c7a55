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
from runbook.charts.figure import Line, bars, heatmap, states, timeline
from runbook.charts.frame import Chart, Threshold, prepare
from runbook.charts.platform import (
    breaker_states,
    error_ratio,
    errors_by_component,
    exchange_errors,
    exchange_requests,
    expression,
    failure_ratio,
    pool,
)
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
    "breaker_states",
    "equity",
    "error_ratio",
    "errors_by_component",
    "exchange_errors",
    "exchange_requests",
    "exposure",
    "expression",
    "failure_ratio",
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
    "pool",
    "position_values",
    "prepare",
    "signals",
    "states",
    "tables",
    "throttled",
    "timeline",
    "underwater",
    "usage",
    "volume",
]
