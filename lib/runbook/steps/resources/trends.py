"""Leak or burst: whether usage still grows, how surely, and since when."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps.resources.figures import Shape, UsageHistory, UsageTrend
from runbook.steps.resources.wording import trend_detail, trend_title
from runbook.steps.shared import trend
from runbook.steps.shared.grading import graded
from runbook.words import moment

_PROVEN_SECONDS = 90 * 60
_SAMPLES_MIN = 8
_FALL = 0.66
"""Usage that falls below this share of itself from one sample to the next is that of a restart."""


def leak_or_burst(past: Finding[UsageHistory]) -> Finding[UsageTrend]:
    """Leak or burst: does usage still grow, how surely, and since when."""
    curve, restarted_at = _since_reset(past.known.curve)
    last = trend.last_stretch(curve)
    recent = trend.slope(last)
    if recent is None:
        since = f" since it restarted {moment(restarted_at)}" if restarted_at is not None else ""
        title = "Leak or burst: too few samples for a trend"
        return Finding(Status.UNKNOWN, title, f"{len(curve)} samples{since}.")
    found = _trend(past.known, curve, last, recent)
    if restarted_at is not None:
        found = replace(found, restarted_at=restarted_at)
    status = graded(found.is_urgent, found.shape is not Shape.STEADY)
    return Finding(status, trend_title(found), trend_detail(found), found)


def _trend(past: UsageHistory, curve: pd.DataFrame, last: pd.DataFrame, recent: trend.Slope) -> UsageTrend:
    """What the slope of the `last` stretch of `curve` makes of it."""
    scale = past.limit if math.isfinite(past.limit) else past.highest
    base = float(curve["value"].head(max(len(curve) // 10, 3)).median())
    stretch = float((last["time"].iloc[-1] - last["time"].iloc[0]).total_seconds())
    shape = _shape(recent, recent.level - base, stretch, scale, past.resource)
    likely, earliest, latest = trend.until(past.limit - recent.level, recent if shape.grows else None)
    return UsageTrend(
        shape,
        past.resource,
        recent.per_second * 3600,
        recent.low * 3600,
        recent.high * 3600,
        recent.level,
        base,
        stretch,
        seconds_to_limit=likely,
        earliest_seconds=earliest,
        latest_seconds=latest,
        onset=_onset(curve) if shape is not Shape.STEADY else None,
    )


def _shape(recent: trend.Slope, risen: float, stretch: float, scale: float, resource: str) -> Shape:
    """Six hours' growth under 2 % of `scale` is none; a rise under a tenth of it is none either."""
    if recent.rises and recent.per_second * 6 * 3600 > 0.02 * scale:
        return Shape.LEAK if stretch >= _PROVEN_SECONDS else Shape.CLIMBING
    if risen > 0.1 * scale:
        return Shape.BURST if resource == "memory" else Shape.STEP
    return Shape.STEADY


def _since_reset(curve: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp | None]:
    """`curve` from the last fall by more than a third on, and when that was: a restart begins anew."""
    values = curve["value"].to_numpy()
    falls = [i for i in range(1, len(values)) if values[i] < values[i - 1] * _FALL]
    if not falls or falls[-1] > len(values) - _SAMPLES_MIN:
        return curve.reset_index(drop=True), None
    return curve.iloc[falls[-1] :].reset_index(drop=True), curve["time"].iloc[falls[-1]]


def _onset(curve: pd.DataFrame) -> pd.Timestamp | None:
    """When the rise began: the last time that usage was within a tenth of the way up; None where before `curve`."""
    smooth = curve["value"].rolling(5, center=True, min_periods=1).median()
    edge = max(len(smooth) // 10, 3)
    base, top = float(smooth.head(edge).median()), float(smooth.tail(edge).median())
    low = smooth[smooth <= base + 0.1 * (top - base)]
    if low.empty or low.index[-1] <= 2 * edge:
        return None
    return pd.Timestamp(curve["time"][int(low.index[-1])])
