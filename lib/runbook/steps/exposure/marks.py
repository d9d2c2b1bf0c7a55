"""What open positions are worth by the newest usable closes; without one a position has no price, never its entry's."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from runbook.steps.shared import prices
from runbook.words import names


def marked(frame: pd.DataFrame) -> pd.DataFrame:
    """Open positions with `last_price`, `notional`, `entry_notional`, `unrealized_pnl`: NaN where there is no price."""
    price, quantity, entry = (frame[name].astype("float64") for name in ("close", "quantity", "entry_price"))
    sign = np.where(frame["side"] == "SHORT", -1.0, 1.0)
    return frame.assign(
        last_price=price,
        notional=quantity * price,
        entry_notional=quantity * entry,
        unrealized_pnl=sign * quantity * (price - entry),
    )


def unpriced(positions: pd.DataFrame) -> tuple[str, ...]:
    """The symbol of each position that cannot be valued: without a usable close, or without a quantity."""
    return tuple(map(str, positions.loc[positions["notional"].isna(), "symbol"]))


def total(values: pd.Series[float]) -> float:
    """The sum of what is known; NaN where nothing is."""
    return float(values.sum()) if values.notna().any() else math.nan


def priced_otherwise(positions: pd.DataFrame) -> str:
    """Which positions have another price than that of their symbol's 1m candle, in a sentence; "" where none has."""
    return prices.priced_otherwise(positions[positions["notional"].notna()])


def without_price(symbols: tuple[str, ...]) -> str:
    """Whose price is missing, and what would have been one, in a sentence."""
    which = names(tuple(dict.fromkeys(symbols)))
    return f"There is no usable price of {which}: {prices.TOO_OLD}."
