"""The market against the portfolio: is a loss market-wide or the strategy's own?"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.shared.values import number
from runbook.words import amount, percent

MARKET_WIDE_SHARE = 0.6
OWN_SHARE = 0.3
_VOLATILE = 2.5
_POINTS_LEAST = 10


def market_conditions(fills: Finding, database: Database, window: Window) -> Finding:
    """Market conditions: move, volatility and volume of each symbol since the fall began, against the day before."""
    since = fall_began(fills, window)
    frame = database.ask("market/volatility", since=since, as_of=window.as_of).frame
    if frame.empty or frame["last_close"].isna().all():
        return Finding(
            "drawdown.market_conditions",
            Status.UNKNOWN,
            "Market conditions: there are no candles",
            "candlesticks has no 1m rows since the fall began.",
        )
    moved = frame["last_close"].astype(float) / frame["first_close"].astype(float) - 1
    worst = frame["lowest"].astype(float) / frame["first_close"].astype(float) - 1
    ratio = frame["volatility_1m"].astype(float) / frame["usual_volatility_1m"].astype(float)
    table = pd.DataFrame({"symbol": frame["symbol"], "move": moved, "lowest": worst, "volatility (1 min)": frame["volatility_1m"],
                          "times usual": ratio, "volume, times usual": frame["volume_1m"].astype(float) / frame["usual_volume_1m"].astype(float)})  # fmt: skip
    average, volatile = float(moved.mean()), float(ratio.median())
    unusual = volatile >= _VOLATILE or abs(average) >= 0.05
    return Finding(
        "drawdown.market_conditions",
        Status.WARNING if unusual else Status.OK,
        f"The market moved {amount(average, '%')} since the fall began; volatility is {amount(volatile, 'ratio')} times the usual",
        f"{int((moved < 0).sum())} of {len(moved)} symbols fell; the lowest point of any of them was {amount(float(worst.min()), '%')}. Usual is the day before "
        f"{since:%H:%M} UTC, per 1-minute candle.",
        {"move": average, "volatility_ratio": volatile, "falling": int((moved < 0).sum()), "symbols": len(moved), "since": since, "unusual": unusual},
        (Table("Symbols since the fall began", table,
               {"move": "%", "lowest": "%", "volatility (1 min)": "%", "times usual": "ratio", "volume, times usual": "ratio"}),),
    )  # fmt: skip


def market_cause(fills: Finding, window: Window) -> Finding:
    """Market-wide or strategy-specific: how much of the loss the market explains, by beta and correlation.

    Beta is cov(portfolio, market) / var(market) of the returns between the points of the fall, the
    market being the equal-weighted mean of the traded symbols (Sharpe, 1964). The explained part of
    the loss is beta times the market's return over the fall.
    """
    since = fall_began(fills, window)
    portfolio, index = _aligned(fills.series["equity"], fills.series["closes"], since)
    if len(index) < _POINTS_LEAST:
        return Finding("drawdown.market_cause", Status.UNKNOWN, "Market-wide or strategy-specific: too few points to tell",
                       f"{len(index)} common points of portfolio and market since {since:%H:%M} UTC; at least {_POINTS_LEAST} are needed.")  # fmt: skip
    own_returns, market_returns = portfolio.pct_change().iloc[1:], index.pct_change().iloc[1:]
    variance = float(market_returns.var())
    beta = float(own_returns.cov(market_returns)) / variance if variance > 0 else float("nan")
    correlation = float(own_returns.corr(market_returns))
    lost, moved = float(portfolio.iloc[-1] / portfolio.iloc[0] - 1), float(index.iloc[-1] / index.iloc[0] - 1)
    share = beta * moved / lost if lost < 0 and math.isfinite(beta) else float("nan")
    kind, sentence = _judged(lost, share)
    start, end = portfolio.iloc[0], index.iloc[0]
    return Finding(
        "drawdown.market_cause",
        Status.WARNING if lost < -0.01 else Status.OK,
        sentence,
        f"Since {since:%H:%M} UTC the portfolio moved {amount(lost, '%')}, the market {amount(moved, '%')}. Beta {amount(beta, 'ratio')}, correlation {amount(correlation, 'ratio')} "
        f"over {len(own_returns)} returns; beta × market explains {amount(beta * moved, '%')} of it ({amount(share, '%')} of the loss). "
        f"Market-wide from {percent(MARKET_WIDE_SHARE)} explained, strategy-specific up to {percent(OWN_SHARE)}.",
        {
            "kind": kind,
            "beta": beta,
            "correlation": correlation,
            "portfolio_return": lost,
            "market_return": moved,
            "explained_share": share,
            "since": since,
        },
        series={
            "portfolio": pd.DataFrame({"time": portfolio.index, "value": portfolio.to_numpy() / start - 1}),
            "market": pd.DataFrame({"time": index.index, "value": index.to_numpy() / end - 1}),
        },
    )


def fall_began(fills: Finding, window: Window) -> datetime:
    """When the current fall began: the last moment before the trough at which a tenth of its depth was not yet lost.

    Never before the window, nor in the last 15 minutes of it, for returns need points. Where there is
    no fall of 1 %, the window's start.
    """
    curve: pd.DataFrame = fills.series["underwater"]
    depths = -curve["value"]
    trough = (
        int(depths.iloc[int((depths <= 0).to_numpy().nonzero()[0][-1]) :].idxmax())
        if (depths <= 0).any()
        else int(depths.idxmax())
    )
    began = pd.Timestamp(window.start)
    if depths[trough] >= 0.01:
        shallow = depths[:trough][depths[:trough] <= 0.1 * depths[trough]]
        began = curve["time"][shallow.index[-1]] if len(shallow) else began
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


def _judged(lost: float, share: float) -> tuple[str, str]:
    """(kind, sentence) by the share of the loss that the market explains."""
    if lost >= -0.01:
        return "no loss", f"There is no loss to explain: the portfolio moved {amount(lost, '%')} since the fall began"
    share = number(share)
    shown = amount(max(share, 0.0), "%")
    if share >= MARKET_WIDE_SHARE:
        return "market-wide", f"Market-wide: the market's fall explains {shown} of the loss"
    if not share > OWN_SHARE:
        return "strategy-specific", f"Strategy-specific: the market explains only {shown} of the loss"
    return "mixed", f"Mixed: the market explains {shown} of the loss, the rest is the strategies' own"
