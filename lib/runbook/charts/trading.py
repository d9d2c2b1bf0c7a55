"""Charts of money: equity, drawdown, losses, the market against the portfolio."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, bars, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.legacy import Finding
from runbook.words import amount


def equity(finding: Finding, window: Window) -> Chart | None:
    """The portfolio's value over the window."""
    curve = _within(finding.series["equity"], window)
    if curve.empty:
        return None
    change = curve["value"].iloc[-1] - curve["value"].max()
    return timeline(f"Equity is {amount(curve['value'].iloc[-1], 'USDT')}, {amount(abs(change), 'USDT')} below the window's highest", "USDT", window,
                    [Line("equity", curve)])  # fmt: skip


def underwater(finding: Finding, window: Window) -> Chart | None:
    """The drawdown below the running peak over the window, with the threshold."""
    curve = _within(finding.series["underwater"], window)
    if curve.empty:
        return None
    deepest, now = curve["value"].min(), curve["value"].iloc[-1]
    limit = finding.figures["threshold"]
    return timeline(f"Drawdown {amount(-now, '%')} now, {amount(-deepest, '%')} at its deepest in the window", "%", window,
                    [Line("drawdown", curve, "orange", fill=True)], thresholds=[Threshold(-limit, f"threshold {amount(-limit, '%')}")])  # fmt: skip


def gauge(finding: Finding, window: Window) -> Chart | None:
    """The gauge that fired over the window, with its threshold."""
    limit = finding.figures["threshold"]
    return timeline(f"cryptofunk_current_drawdown reads {amount(finding.figures['drawdown'], '%')}", "%", window,
                    [Line("cryptofunk_current_drawdown", finding.series["gauge"])],
                    thresholds=[Threshold(limit, f"threshold {amount(limit, '%')}")])  # fmt: skip


def losses(finding: Finding, window: Window) -> Chart | None:
    """PnL by agent since the fall began, the greatest loss first."""
    values = finding.series.get("agent", {})
    if not values:
        return None
    return bars(finding.title, "USDT", values)


def market_against_portfolio(finding: Finding, window: Window) -> Chart | None:
    """Portfolio and market since the fall began, both starting at zero."""
    start = finding.series["portfolio"]["time"].iloc[0].to_pydatetime()
    return timeline(finding.title, "%", Window(start, window.starts_at, window.as_of),
                    [Line("portfolio", finding.series["portfolio"]), Line("market (equal weights)", finding.series["market"])])  # fmt: skip


def _within(curve: pd.DataFrame, window: Window) -> pd.DataFrame:
    return curve[(curve["time"] >= pd.Timestamp(window.start)) & (curve["time"] <= pd.Timestamp(window.as_of))]
