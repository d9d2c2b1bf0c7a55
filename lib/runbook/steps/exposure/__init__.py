"""PositionLimitExceeded: what is open, its limits, who opened it, what reducing takes, and the decision."""

from __future__ import annotations

from runbook.steps.exposure.breach import cause, reduction
from runbook.steps.exposure.figures import Exposure, OpenPositions, PositionValues
from runbook.steps.exposure.observations import current, over_time
from runbook.steps.exposure.openings import approvals, openers, sizing
from runbook.steps.exposure.positions import open_positions
from runbook.steps.exposure.risk_limits import limits
from runbook.steps.exposure.verdict import decide

__all__ = [
    "Exposure",
    "OpenPositions",
    "PositionValues",
    "approvals",
    "cause",
    "current",
    "decide",
    "limits",
    "open_positions",
    "openers",
    "over_time",
    "reduction",
    "sizing",
]
