"""The market against the portfolio: is a loss market-wide or the strategy's own?"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.figures import (
    MARKET_WIDE_SHARE,
    OWN_SHARE,
    ByFills,
    LossCause,
    MarketCause,
    MarketConditions,
)
from runbook.steps.shared.values import number

_VOLATILE = 2.5
_POINTS_LEAST = 10
_LOSS_LEAST = 0.01


def market_conditions(fills: Finding[ByFills], database: Database, window: Window) -> Finding[MarketConditions]:
    """Market conditions: move, volatility and volume of each symbol since the fall began, against the day before."""
    since = fall_began(fills.known, window)
    frame = database.ask("market/volatility", since=since, as_of=window.as_of).frame
    if frame.empty or frame["last_close"].isna().all():
        return Finding(
            Status.UNKNOWN,
            "Market conditions: there are no 1 min candles",
            "candlesticks has no 1m rows since the fall began.",
        )
    read = frame.drop(columns="symbol").astype(float)
    table = pd.DataFrame(
        {
            "symbol": frame["symbol"],
            "move": read["last_close"] / read["first_close"] - 1,
            "lowest": read["lowest"] / read["first_close"] - 1,
            "volatility (1 min)": frame["volatility_1m"],
            "times usual": read["volatility_1m"] / read["usual_volatility_1m"],
            "volume, times usual": read["volume_1m"] / read["usual_volume_1m"],
        }
    )
    move, volatility_ratio = float(table["move"].mean()), float(table["times usual"].median())
    figures = MarketConditions(
        since=since,
        move=move,
        lowest=float(table["lowest"].min()),
        volatility_ratio=volatility_ratio,
        falling=int((table["move"] < 0).sum()),
        symbols=len(table),
        unusual=volatility_ratio >= _VOLATILE or abs(move) >= 0.05,
    )
    units = {
        "move": "%",
        "lowest": "%",
        "volatility (1 min)": "%",
        "times usual": "ratio",
        "volume, times usual": "ratio",
    }
    return Finding(
        Status.WARNING if figures.unusual else Status.OK,
        wording.market_conditions(figures),
        wording.market_conditions_detail(figures),
        figures,
        (Table("Symbols since the fall began", table, units),),
    )


def market_cause(fills: Finding[ByFills], window: Window) -> Finding[MarketCause]:
    """Market-wide or strategy-specific: how much of the loss the market explains, by beta and correlation.

    Beta is cov(portfolio, market) / var(market) of the returns between the points of the fall, the
    market being the equal-weighted mean of the traded symbols (Sharpe, 1964). The explained part of
    the loss is beta times the market's return over the fall.
    """
    measured = fills.known
    since = fall_began(measured, window)
    portfolio, index = _aligned(measured.curve, measured.closes, since)
    if len(index) < _POINTS_LEAST:
        common = f"{len(index)} common points of portfolio and market since {since:%H:%M} UTC"
        return Finding(
            Status.UNKNOWN,
            "Market-wide or strategy-specific: too few points to tell",
            f"{common}; at least {_POINTS_LEAST} are needed.",
        )
    own_returns, market_returns = portfolio.pct_change().iloc[1:], index.pct_change().iloc[1:]
    variance = float(market_returns.var())
    beta = float(own_returns.cov(market_returns)) / variance if variance > 0 else math.nan
    portfolio_moves, market_moves = portfolio / portfolio.iloc[0] - 1, index / index.iloc[0] - 1
    lost, moved = float(portfolio_moves.iloc[-1]), float(market_moves.iloc[-1])
    share = number(beta * moved / lost) if lost < 0 else math.nan
    figures = MarketCause(
        kind=kind_of(lost, share),
        since=since,
        portfolio_return=lost,
        market_return=moved,
        beta=beta,
        correlation=float(own_returns.corr(market_returns)),
        explained_share=share,
        portfolio=portfolio_moves.rename_axis("time").reset_index(name="value"),
        market=market_moves.rename_axis("time").reset_index(name="value"),
    )
    status = Status.WARNING if lost < -_LOSS_LEAST else Status.OK
    return Finding(status, wording.market_cause(figures), wording.market_cause_detail(figures), figures)


def fall_began(measured: ByFills, window: Window) -> datetime:
    """When the current fall began: the last moment before the trough at which a tenth of its depth was not yet lost.

    Never before the window, nor in the last 15 minutes of it, for returns need points. Where there is
    no fall of 1 %, the window's start.
    """
    times, depths = measured.underwater["time"], -measured.underwater["value"]
    at_peaks = (depths <= 0).to_numpy().nonzero()[0]
    last_peak = int(at_peaks[-1]) if len(at_peaks) else 0
    trough = int(depths.iloc[last_peak:].idxmax())
    began = pd.Timestamp(window.start)
    if depths[trough] >= _LOSS_LEAST:
        shallow = depths[:trough][depths[:trough] <= 0.1 * depths[trough]]
        began = times[shallow.index[-1]] if len(shallow) else began
    latest = pd.Timestamp(window.as_of) - pd.Timedelta(minutes=15)
    moment: datetime = max(pd.Timestamp(window.start), min(began, latest)).to_pydatetime()
    return moment


def _aligned(equity: pd.DataFrame, closes: pd.DataFrame, since: datetime) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Equity and equal-weighted market index at the candles' times since `since`: two series by time."""
    if closes.empty:
        return pd.Series(dtype=float), pd.Series(dtype=float)
    prices = closes.pivot_table(index="time", columns="symbol", values="close", aggfunc="last").sort_index().ffill()
    prices = prices[prices.index >= since].dropna(axis=1, how="any")
    if prices.empty or prices.shape[1] == 0:
        return pd.Series(dtype=float), pd.Series(dtype=float)
    index = (prices / prices.iloc[0]).mean(axis=1)
    values = equity.drop_duplicates("time", keep="last").set_index("time")["value"]
    own = values.reindex(values.index.union(index.index)).ffill().reindex(index.index)
    known = own.notna() & np.isfinite(index)
    return own[known], index[known]


def kind_of(lost: float, explained_share: float) -> LossCause:
    """The kind of a loss by the share of it that the market explains; `lost` is the portfolio's return."""
    if lost >= -_LOSS_LEAST:
        return LossCause.NO_LOSS
    if explained_share >= MARKET_WIDE_SHARE:
        return LossCause.MARKET_WIDE
    return LossCause.MIXED if explained_share > OWN_SHARE else LossCause.STRATEGY_SPECIFIC
