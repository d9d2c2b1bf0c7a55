"""The equity of a session over time, and the drawdowns in it. Pure computation, checked against empyrical in tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd


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

    `fills`: symbol, bucket, quantity, cash. `closes`: symbol, bucket, close, time. A symbol without
    a close yet is worth what was paid for it.
    """
    buckets = sorted({*fills["bucket"], *closes["bucket"]})
    cash = fills.groupby("bucket")["cash"].sum().reindex(buckets).fillna(0.0).cumsum()
    held = _by_symbol(fills, "quantity", "sum").reindex(buckets).fillna(0.0).cumsum()
    prices = _prices(fills, closes, held)
    value = capital + cash + (held * prices).where(held.abs() > 1e-12, 0.0).sum(axis=1)
    times = pd.Series(buckets, index=buckets)
    if len(closes):
        times = closes.groupby("bucket")["time"].max().reindex(buckets).fillna(times)
    curve = pd.DataFrame({"time": times.to_numpy(), "value": value.to_numpy(dtype=float)})
    first = pd.DataFrame({"time": [pd.Timestamp(started_at)], "value": [float(capital)]})
    curve["time"] = pd.to_datetime(curve["time"], utc=True).astype("datetime64[us, UTC]")
    first["time"] = first["time"].astype("datetime64[us, UTC]")
    joined = pd.concat([first, curve[curve["time"] > first["time"].iloc[0]]], ignore_index=True)
    return joined.dropna(subset=["value"]).sort_values("time", ignore_index=True)


def _prices(fills: pd.DataFrame, closes: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """What a unit of each symbol is worth in each bucket: the last close, else what was paid."""
    price = (fills["cash"] / fills["quantity"].where(fills["quantity"] != 0)).abs()
    paid = _by_symbol(fills.assign(price=price), "price", "last")
    paid = paid.reindex(held.index, columns=held.columns).ffill().bfill()
    if closes.empty:
        return paid
    marks = _by_symbol(closes, "close", "last").reindex(held.index, columns=held.columns).ffill()
    return marks.fillna(paid)


def _by_symbol(rows: pd.DataFrame, values: str, how: str) -> pd.DataFrame:
    """One row a bucket, one column a symbol."""
    return rows.pivot_table(index="bucket", columns="symbol", values=values, aggfunc=how)
