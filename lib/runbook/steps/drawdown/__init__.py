"""MaxDrawdownExceeded: the drawdown by each measure, the market against the strategies, who lost, and the decision."""

from __future__ import annotations

from runbook.steps.drawdown.agreement import agreement, gauge
from runbook.steps.drawdown.episodes import history
from runbook.steps.drawdown.figures import ByFills, Contributions, Gauge, MarketCause
from runbook.steps.drawdown.losses import contributions, losing_positions
from runbook.steps.drawdown.market import market_cause, market_conditions
from runbook.steps.drawdown.measures import from_fills, from_performance
from runbook.steps.drawdown.verdict import decide

__all__ = [
    "ByFills",
    "Contributions",
    "Gauge",
    "MarketCause",
    "agreement",
    "contributions",
    "decide",
    "from_fills",
    "from_performance",
    "gauge",
    "history",
    "losing_positions",
    "market_cause",
    "market_conditions",
]
