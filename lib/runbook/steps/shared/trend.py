"""Trends: how fast something grows, how sure that is, and since when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from runbook.words import duration

Floats = NDArray[np.float64]
_POINTS_MAX = 300
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth a second with its 95 % confidence interval, in the unit of the values; `level` is the line's end."""

    per_second: float
    low: float
    high: float
    level: float

    @property
    def rises(self) -> bool:
        """Whether growth is beyond doubt: the whole interval lies above zero."""
        return self.low > 0


def slope(frame: pd.DataFrame) -> Slope | None:
    """The Theil-Sen slope of `frame` (time, value), thinned to at most 300 points; None for fewer than 8 points.

    The slope is the median of the slopes of all pairs; its interval comes from the normal approximation
    to Kendall's tau (Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968).
    Outliers up to 29 % of the points do not move it. Samples near in time are not independent, so the
    interval is rather too narrow than too wide.
    """
    seconds, values = arrays(frame)
    if len(values) < 8 or seconds[-1] <= seconds[0]:
        return None
    middle, low, high = theil_sen(seconds, values)
    level = float(np.median(values) + middle * (seconds[-1] - np.median(seconds)))
    return Slope(middle, low, high, level)


def theil_sen(x: Floats, y: Floats) -> tuple[float, float, float]:
    """(median slope, lower and upper end of its 95 % interval) of y over x; x must have two distinct values."""
    first, second = np.triu_indices(len(x), 1)
    dx, dy = x[second] - x[first], y[second] - y[first]
    slopes = np.sort(dy[dx != 0] / dx[dx != 0])
    count, pairs = len(x), len(slopes)
    # Sen (1968), equation 2.6: variance of Kendall's S, with a correction for ties in either variable.
    ties = sum(_ties(values) for values in (x, y))
    sigma = math.sqrt(max((count * (count - 1) * (2 * count + 5) - ties) / 18.0, 0.0))
    upper = min(round((pairs + _Z95 * sigma) / 2.0), pairs - 1)
    lower = max(round((pairs - _Z95 * sigma) / 2.0) - 1, 0)
    return float(np.median(slopes)), float(slopes[lower]), float(slopes[upper])


def _ties(values: Floats) -> float:
    repeats = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float(np.sum(repeats * (repeats - 1) * (2 * repeats + 5)))


def bent_at(frame: pd.DataFrame) -> pd.Timestamp | None:
    """When the growth of `frame` (time, value) changed; None where one straight line serves as well.

    The bend that makes the squared error of two joined lines least. It counts where it halves the error at
    least, and where more than a tenth of the points lie on either side.
    """
    seconds, values = arrays(frame, 120)
    if len(values) < 20:
        return None
    x = (seconds - seconds[0]) / max(seconds[-1] - seconds[0], 1.0)
    straight = _error(np.column_stack([np.ones_like(x), x]), values)
    margin = max(len(x) // 10, 2)
    errors = {
        i: _error(np.column_stack([np.ones_like(x), x, np.maximum(x - x[i], 0.0)]), values)
        for i in range(margin, len(x) - margin)
    }
    best = min(errors, key=errors.__getitem__)
    if straight <= 0 or errors[best] > 0.5 * straight:
        return None
    return pd.Timestamp(float(seconds[best]), unit="s", tz="UTC")


def last_stretch(frame: pd.DataFrame) -> pd.DataFrame:
    """The end of `frame` (time, value) since its growth last changed; all of it where it never did."""
    for _ in range(4):
        bend = bent_at(frame)
        if bend is None:
            break
        frame = frame[frame["time"] >= bend]
    return frame


def arrays(frame: pd.DataFrame, points: int = _POINTS_MAX) -> tuple[Floats, Floats]:
    """(unix seconds, values) of `frame` (time, value) without NaN, as medians of at most `points` equal groups."""
    clean = frame[np.isfinite(frame["value"])]
    seconds = clean["time"].to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
    values = clean["value"].to_numpy(dtype=np.float64)
    if len(values) <= points:
        return seconds, values
    groups = np.array_split(np.arange(len(values)), points)
    return (np.array([np.median(seconds[g]) for g in groups]), np.array([np.median(values[g]) for g in groups]))


def until(remaining: float, growth: Slope | None) -> tuple[float, float, float]:
    """(likely, earliest, latest) seconds until `remaining` is used up; infinite where there is no growth."""
    if growth is None:
        return math.inf, math.inf, math.inf
    likely, earliest, latest = (_seconds(remaining, rate) for rate in (growth.per_second, growth.high, growth.low))
    return likely, earliest, latest


def spread(likely: float, earliest: float, latest: float) -> str:
    """How sure `likely` seconds are: "between 2 d and 3 d"; where both ends read the same, "give or take 12 min"."""
    low, high = duration(earliest), duration(latest) if math.isfinite(latest) else "never"
    if low != high:
        return f"between {low} and {high}"
    minutes = math.ceil(max(likely - earliest, latest - likely, 1.0) / 60)
    return f"give or take {duration(60.0 * minutes)}"


def _seconds(remaining: float, rate: float) -> float:
    return max(remaining, 0.0) / rate if rate > 0 else math.inf


def _error(design: Floats, values: Floats) -> float:
    solution: Any = np.linalg.lstsq(design, values, rcond=None)[0]
    return float(np.sum((values - design @ solution) ** 2))
