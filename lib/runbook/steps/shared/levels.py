"""How a series stands now against its usual self, and when it left it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.words import amount

QUIET_MINUTES = 45
"""A series' usual level is taken from before this long before the alert."""
_FRESH_MINUTES = 10
_HISTORY_LEAST = 5
_HISTORY_SPAN = np.timedelta64(5, "m")
"""What is usual is told from at least so many samples, over at least so long."""
Times = npt.NDArray[np.datetime64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """`usual` is the median of the quiet time, `now` the mean of the last samples, `peak` the highest since then.

    NaN where there is no sample to tell, and `usual` where there are too few: at least five over five minutes.
    `rose_at`: when it left the usual for the peak; None where it did not.
    """

    usual: float
    now: float
    peak: float
    rose_at: datetime | None

    @property
    def has_history(self) -> bool:
        """Whether it is known what is usual."""
        return math.isfinite(self.usual)

    @property
    def growth(self) -> float:
        """How many times the usual it is now; infinite where that is zero, NaN where it is not known."""
        if self.usual > 0:
            return self.now / self.usual
        return math.inf if self.usual == 0 and self.now > 0 else math.nan


def level(frame: pd.DataFrame, window: Window, *, factor: float = 3.0, least: float = 0.0) -> Level:
    """The Level of a series (time, value); it "rose" above `factor` times its usual value, and by at least `least`."""
    times, values = _known(frame)
    if not len(values):
        return Level(math.nan, math.nan, math.nan, None)
    quiet_until = _stamp(window.starts_at - timedelta(minutes=QUIET_MINUTES))
    is_later = times >= quiet_until
    later = values[is_later]
    is_quiet = ~is_later if (~is_later).sum() >= _HISTORY_LEAST else np.arange(len(values)) < len(values) // 4
    usual = _usual(times[is_quiet], values[is_quiet])
    fresh = values[times >= _stamp(window.as_of - timedelta(minutes=_FRESH_MINUTES))]
    now = float(fresh[-3:].mean()) if len(fresh) else math.nan
    peak = float(later.max()) if len(later) else math.nan
    return Level(usual, now, peak, _rise(times[is_later], later, max(usual * factor, usual + least)))


def usual(frame: pd.DataFrame) -> float:
    """The median of a series (time, value); NaN where it is too short to call anything usual."""
    return _usual(*_known(frame))


def _usual(times: Times, values: Values) -> float:
    """The median; NaN of a history that is too short to call anything usual."""
    if len(values) < _HISTORY_LEAST or times[-1] - times[0] < _HISTORY_SPAN:
        return math.nan
    return float(np.median(values))


def usually(value: float, unit: str = "", digits: int | None = None) -> str:
    """What is usual in words, rounded to so many digits: of what is NaN, that its history is too short."""
    if not math.isfinite(value):
        return "not known yet (too little history)"
    rounded = value if digits is None else round(value, digits)
    return amount(rounded, unit)


def counted_from_start(curves: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Rates (time, value) of counters by name, each 0 before its first sample where others of them have one.

    A counter appears with what it first counts: before that it counted nothing, as long as its metric was read.
    """
    times = sorted(set().union(*(frame["time"] for frame in curves.values())))
    return {name: _from_start(frame, times) for name, frame in curves.items()}


def _from_start(frame: pd.DataFrame, times: Sequence[Any]) -> pd.DataFrame:
    first = frame["time"].min()
    earlier = pd.DataFrame({"time": [time for time in times if time < first]})
    if earlier.empty:
        return frame
    return pd.concat([earlier.assign(value=0.0), frame.sort_values("time")], ignore_index=True)


def rise(frame: pd.DataFrame, above: float) -> datetime | None:
    """When the stretch above `above` with the peak of the series (time, value) began; None where nothing is above."""
    return _rise(*_known(frame), above)


def _known(frame: pd.DataFrame) -> tuple[Times, Values]:
    """The series' finite samples, oldest first."""
    times, values = frame["time"].to_numpy(dtype="datetime64[us]"), frame["value"].to_numpy(dtype="float64")
    finite = np.isfinite(values)
    times, values = times[finite], values[finite]
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def _rise(times: Times, values: Values, above: float) -> datetime | None:
    if not len(values) or not values.max() > above:
        return None
    first = int(values.argmax())
    while first > 0 and values[first - 1] > above:
        first -= 1
    moment: datetime = times[first].item()
    return moment.replace(tzinfo=UTC)


def _stamp(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


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


def levels_table(caption: str, rows: list[tuple[str, Level]], unit: str) -> Table:
    """The (name, level) rows as a table, the highest now first, at most 15."""
    order = sorted(rows, key=lambda row: -or_zero(row[1].now))[:15]
    levels = [seen for _, seen in order]
    frame = pd.DataFrame(
        {
            "what": [name for name, _ in order],
            "usual": [_rounded(seen.usual) for seen in levels],
            "now": [_rounded(seen.now) for seen in levels],
            "times usual": [seen.growth for seen in levels],
            "rose at": [seen.rose_at for seen in levels],
        }
    )
    frame["rose at"] = pd.to_datetime(frame["rose at"], utc=True)
    return Table(caption, frame, {"usual": unit, "now": unit, "times usual": "ratio", "rose at": "time"})


def or_zero(value: float) -> float:
    """`value`, or 0 where there is no sample: nothing counted is none."""
    return value if math.isfinite(value) else 0.0


def _rounded(value: float) -> float:
    return round(value, 2 if abs(value) < 100 else 0) if math.isfinite(value) else value
