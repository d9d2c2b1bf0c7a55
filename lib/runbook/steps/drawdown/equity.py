"""The equity of a session over time, and the drawdowns in it. Pure computation, checked against empyrical in tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from runbook.steps.shared.prices import usable_seconds

_NOTHING = 1e-12
"""Quantities up to this are what is left of rounding."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One drawdown: from a peak of the equity to its trough and, if it came, the recovery of the peak.

    `depth` is a ratio of the peak.
    """

    peak_at: datetime
    trough_at: datetime
    recovered_at: datetime | None
    depth: float
    peak: float
    trough: float

    @property
    def recovery_seconds(self) -> float:
        """From the trough to the recovery; NaN where it is not recovered."""
        return float("nan") if self.recovered_at is None else (self.recovered_at - self.trough_at).total_seconds()


def underwater(equity: pd.Series[Any]) -> pd.Series[Any]:
    """equity / running peak − 1: zero at a peak, negative below it.

    The underwater curve as in Magdon-Ismail and Atiya, "Maximum drawdown" (Risk, 2004).
    """
    return equity / equity.cummax() - 1


def episodes(curve: pd.DataFrame, least_depth: float = 0.002) -> list[Episode]:
    """The drawdowns of `curve` (time, value) at least `least_depth` deep, in order of time."""
    values, times = curve["value"].to_numpy(dtype=float), curve["time"].tolist()
    found: list[Episode] = []
    peak = trough = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] >= values[peak]:
            depth = 1 - values[trough] / values[peak] if values[peak] > 0 else 0.0
            if trough > peak and depth >= least_depth:
                found.append(
                    Episode(
                        peak_at=times[peak],
                        trough_at=times[trough],
                        recovered_at=times[i] if i < len(values) else None,
                        depth=float(depth),
                        peak=float(values[peak]),
                        trough=float(values[trough]),
                    )
                )
            peak = trough = i
        elif values[i] < values[trough]:
            trough = i
    return found


def from_cash_and_quantities(
    fills: pd.DataFrame, closes: pd.DataFrame, capital: float, started_at: datetime
) -> pd.DataFrame:
    """Equity (time, value) at the end of each bucket: capital + cash flows + Σ quantity held · last close.

    `fills`: symbol, bucket, quantity, cash. `closes`: symbol, bucket, close, time. NaN where a symbol that was held had
    no close yet: what was paid for it is no price.
    """
    buckets = sorted({*fills["bucket"], *closes["bucket"]})
    cash = fills.groupby("bucket")["cash"].sum().reindex(buckets).fillna(0.0).cumsum()
    held = _by_symbol(fills, "quantity", "sum").reindex(buckets).fillna(0.0).cumsum()
    prices = _by_symbol(closes, "close", "last").reindex(buckets, columns=held.columns).ffill()
    value = capital + cash + (held * prices).where(held.abs() > _NOTHING, 0.0).sum(axis=1, skipna=False)
    times = pd.Series(buckets, index=buckets)
    if len(closes):
        times = closes.groupby("bucket")["time"].max().reindex(buckets).fillna(times)
    curve = pd.DataFrame({"time": times.to_numpy(), "value": value.to_numpy(dtype=float)})
    first = pd.DataFrame({"time": [pd.Timestamp(started_at)], "value": [float(capital)]})
    curve["time"] = pd.to_datetime(curve["time"], utc=True).astype("datetime64[us, UTC]")
    first["time"] = first["time"].astype("datetime64[us, UTC]")
    joined = pd.concat([first, curve[curve["time"] > first["time"].iloc[0]]], ignore_index=True)
    return joined.sort_values("time", ignore_index=True)


def without_price(fills: pd.DataFrame, closes: pd.DataFrame, as_of: datetime) -> tuple[str, ...]:
    """The symbols that are held at the end and have no usable close then; of closes see there, with `candle`."""
    held = fills.groupby("symbol")["quantity"].sum()
    last = closes.sort_values("time").drop_duplicates("symbol", keep="last").set_index("symbol")
    return tuple(str(symbol) for symbol in held.index[held.abs() > _NOTHING] if not _is_usable(symbol, last, as_of))


def _is_usable(symbol: str, last: pd.DataFrame, as_of: datetime) -> bool:
    if symbol not in last.index:
        return False
    age_seconds = (pd.Timestamp(as_of) - last["time"][symbol]).total_seconds()
    return bool(age_seconds <= usable_seconds(str(last["candle"][symbol])))


def _by_symbol(rows: pd.DataFrame, values: str, how: str) -> pd.DataFrame:
    """One row a bucket, one column a symbol."""
    return rows.pivot_table(index="bucket", columns="symbol", values=values, aggfunc=how)
