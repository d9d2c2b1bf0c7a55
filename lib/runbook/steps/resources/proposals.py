"""The limit that the affected pod needs."""

from __future__ import annotations

import math

from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps.resources.figures import Affected, Proposal, UsageHistory, UsageTrend
from runbook.steps.resources.wording import quantity
from runbook.steps.shared.quotas import next_limit, quantity_text
from runbook.words import amount, duration

_RESTARTS = "Changing it restarts the pod. Check that a node has the room: only requests are reserved."


def proposal(subject: Finding[Affected], past: Finding[UsageHistory], shape: Finding[UsageTrend]) -> Finding[Proposal]:
    """New limit: the next step at which the highest usage stays below 70 %, and how long it lasts."""
    kind, limit, peak = subject.known.resource, subject.known.limit, past.known.highest
    now, highest = quantity(limit, kind), quantity(peak, kind)
    new = next_limit(peak, kind)
    trend = shape.known
    if math.isfinite(limit) and new <= limit:
        title = f"The limit of {now} is enough: the peak was {highest}"
        return Finding(Status.OK, title, figures=Proposal(False, limit, quantity_text(limit, kind)))
    rate = trend.per_hour / 3600 if trend.shape.grows else 0.0
    lasts = (new - trend.level) / rate if rate > 0 else math.inf
    detail = _RESTARTS
    if math.isfinite(lasts):
        detail = f"With the growth going on it lasts {duration(lasts)}: time to repair, no repair. {_RESTARTS}"
    return Finding(
        Status.WARNING,
        f"A limit of {quantity(new, kind)} would hold the peak of {highest} at {amount(peak / new, '%')} (now {now})",
        detail,
        Proposal(True, new, quantity_text(new, kind), lasts),
    )
