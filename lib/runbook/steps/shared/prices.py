"""Prices from candles: for how long a close is usable, and which were taken where the finest are missing."""

from __future__ import annotations

import pandas as pd

from runbook.words import names

_FINEST = "1m"
_USABLE_SECONDS = {"1h": 2 * 3600}
_USABLE_SECONDS_ELSE = 15 * 60
_CANDLES = {"5m": "5 min candles", "15m": "15 min candles", "1h": "1 h candles", "current_price": "its current price"}
TOO_OLD = "no close of the last 15 minutes, nor of the last two hours at 1 h"


def usable_seconds(candle: str) -> int:
    """How long after its candle a close is usable, as sources/sql/…/exposure/open has it."""
    return _USABLE_SECONDS.get(candle, _USABLE_SECONDS_ELSE)


def priced_otherwise(rows: pd.DataFrame) -> str:
    """Which of `rows` (symbol, priced_as, candle) are not priced by their own 1m candle, in a sentence; "" for none."""
    parts = []
    for row in rows.drop_duplicates("symbol").itertuples():
        means = [_CANDLES.get(str(row.candle), str(row.candle))] if row.candle != _FINEST else []
        means += [f"candles of {row.priced_as}"] if row.priced_as != row.symbol else []
        if means:
            parts.append(f"{row.symbol} by {' and '.join(means)}")
    return f" Priced otherwise than by its own 1 min candles: {names(parts)}." if parts else ""
