"""Durations before the alert and since: what latency steps compare."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

import pandas as pd

from runbook.alert import Window
from runbook.steps.shared.levels import usual


class Medians(NamedTuple):
    """Median before the alert, and since 5 minutes before it; NaN where there is no sample."""

    before: float
    now: float


def medians(series: pd.DataFrame | None, window: Window) -> Medians:
    """The medians of a series (time, value).

    Before ends half an hour (at most a quarter of the lookback) ahead of the alert: what led to it is neither. It is
    told from at least five samples over five minutes.
    """
    if series is None or series.empty:
        return Medians(math.nan, math.nan)
    lead = min(timedelta(minutes=30), (window.starts_at - window.start) / 4)
    is_before = series["time"] < pd.Timestamp(window.starts_at - lead)
    is_now = series["time"] >= pd.Timestamp(window.starts_at - timedelta(minutes=5))
    return Medians(usual(series[is_before]), _median(series["value"][is_now]))


def ratio_of(now: float, before: float) -> float:
    """How many times `before` it is `now`; NaN where before was nothing."""
    return now / before if math.isfinite(before) and before > 0 else math.nan


def _median(values: pd.Series[float]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else math.nan
