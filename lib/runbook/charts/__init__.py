"""The charts that notebooks name: each takes a finding and the window, and draws what the finding states."""

from runbook.charts.figure import Chart, Line, Threshold, bars, heatmap, states, timeline
from runbook.charts.trading import equity, gauge, losses, market_against_portfolio, underwater

__all__ = [
    "Chart",
    "Line",
    "Threshold",
    "bars",
    "equity",
    "gauge",
    "heatmap",
    "losses",
    "market_against_portfolio",
    "states",
    "timeline",
    "underwater",
]
