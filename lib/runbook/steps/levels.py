"""How a series stands now against its usual self, and when it left it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window

QUIET_MINUTES = 45
"""A series' usual level is taken from before this long before the alert."""
_FRESH_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Level:
    """`usual` is the median of the quiet time, `now` the mean of the last samples, `peak` the highest since the quiet time.

    NaN where there is no sample to tell. `rose_at`: when it left the usual for the peak; None where it did not.
    """

    usual: float
    now: float
    peak: float
    rose_at: datetime | None

    @property
    def growth(self) -> float:
        """How many times the usual it is now; infinite where it was zero and no longer is."""
        if self.usual > 0:
            return self.now / self.usual
        return math.inf if self.now > 0 else float("nan")


def level(frame: pd.DataFrame, window: Window, *, factor: float = 3.0, least: float = 0.0) -> Level:
    """The Level of one series (time, value); it "rose" above `factor` times its usual value, and by at least `least`."""
    known = frame.dropna(subset=["value"]).sort_values("time", ignore_index=True)
    known = known[known["value"].abs() != math.inf].reset_index(drop=True)
    if known.empty:
        return Level(float("nan"), float("nan"), float("nan"), None)
    quiet_until = pd.Timestamp(window.starts_at - timedelta(minutes=QUIET_MINUTES))
    quiet, later = known[known["time"] < quiet_until], known[known["time"] >= quiet_until]
    usual = float((quiet if len(quiet) >= 5 else known.head(max(1, len(known) // 4)))["value"].median())
    fresh = known[known["time"] >= pd.Timestamp(window.as_of - timedelta(minutes=_FRESH_MINUTES))]
    now = float(fresh["value"].tail(3).mean()) if len(fresh) else float("nan")
    peak = float(later["value"].max()) if len(later) else float("nan")
    return Level(usual, now, peak, rise(later, max(usual * factor, usual + least)))


def rise(frame: pd.DataFrame, above: float) -> datetime | None:
    """When the stretch above `above` that holds the series' peak began; None where nothing is above it."""
    if frame.empty or not frame["value"].max() > above:
        return None
    values = frame["value"].tolist()
    first = int(frame["value"].reset_index(drop=True).idxmax())
    while first > 0 and values[first - 1] > above:
        first -= 1
    moment: datetime = frame["time"].iloc[first].to_pydatetime()
    return moment


def by_label(frame: pd.DataFrame, label: str, what: str = "") -> dict[str, pd.DataFrame]:
    """The series of a tidy frame by the value of `label` (of the part `what` of a union); {} where it has none."""
    if what:
        frame = frame[frame["what"] == what] if "what" in frame else frame.iloc[:0]
    if label not in frame:
        return {"": frame[["time", "value"]]} if len(frame) else {}
    return {str(name): part[["time", "value"]] for name, part in frame.groupby(label, sort=False)}


def part(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """The one series (time, value) called `what` of a union; empty where it is missing."""
    chosen = frame[frame["what"] == what] if "what" in frame else frame.iloc[:0]
    return chosen[["time", "value"]]


def last(frame: pd.DataFrame, what: str) -> float:
    """The newest value of the part `what` of a union; NaN where there is none."""
    values: Any = part(frame, what)["value"].dropna()
    return float(values.iloc[-1]) if len(values) else float("nan")
