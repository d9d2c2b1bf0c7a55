"""Durations before the alert and since: what latency steps compare."""

from __future__ import annotations

import math
from datetime import timedelta

import pandas as pd

from runbook.alert import Window

LIMIT_MS = 5_000.0
MOVED_RATIO = 1.5
THROTTLED = 0.25


def split(series: pd.DataFrame | None, window: Window) -> tuple[float, float]:
    """(median before the alert, median since 5 minutes before it); NaN where there is no sample.

    Before ends half an hour (at most a quarter of the lookback) ahead of the alert: what led to it is neither.
    """
    if series is None or series.empty:
        return math.nan, math.nan
    lead = min(timedelta(minutes=30), (window.starts_at - window.start) / 4)
    before = series[series["time"] < pd.Timestamp(window.starts_at - lead)]["value"].dropna()
    now = series[series["time"] >= pd.Timestamp(window.starts_at - timedelta(minutes=5))]["value"].dropna()
    return (float(before.median()) if len(before) else math.nan), (float(now.median()) if len(now) else math.nan)


def ratio_of(now: float, before: float) -> float:
    return now / before if math.isfinite(before) and before > 0 else math.nan
