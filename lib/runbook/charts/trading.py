"""Charts of money: equity, drawdown, losses, the market against the portfolio."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, bars, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.findings import Finding
from runbook.steps.drawdown import ByFills, Contributions, Gauge, MarketCause
from runbook.words import amount


def equity(finding: Finding[ByFills], window: Window) -> Chart | None:
    """The portfolio's value over the window."""
    curve = _within(finding.known.curve, window)
    if curve.empty:
        return None
    now = curve["value"].iloc[-1]
    below = amount(abs(now - curve["value"].max()), "USDT")
    title = f"Equity is {amount(now, 'USDT')}, {below} below the window's highest"
    return timeline(title, "USDT", window, [Line("equity", curve)])


def underwater(finding: Finding[ByFills], window: Window) -> Chart | None:
    """The drawdown below the running peak over the window, with the threshold."""
    curve = _within(finding.known.underwater, window)
    if curve.empty:
        return None
    now, deepest = amount(-curve["value"].iloc[-1], "%"), amount(-curve["value"].min(), "%")
    title = f"Drawdown {now} now, {deepest} at its deepest in the window"
    limit = -finding.known.threshold
    thresholds = [Threshold(limit, f"threshold {amount(limit, '%')}")]
    return timeline(title, "%", window, [Line("drawdown", curve, "orange", fill=True)], thresholds=thresholds)


def gauge(finding: Finding[Gauge], window: Window) -> Chart | None:
    """The gauge that fired over the window, with its threshold."""
    name, limit = "cryptofunk_current_drawdown", finding.known.threshold
    title = f"{name} reads {amount(finding.known.drawdown, '%')}"
    thresholds = [Threshold(limit, f"threshold {amount(limit, '%')}")]
    return timeline(title, "%", window, [Line(name, finding.known.curve)], thresholds=thresholds)


def losses(finding: Finding[Contributions], window: Window) -> Chart | None:
    """PnL by agent since the fall began, the greatest loss first."""
    agents = finding.known.agents
    return bars(finding.title, "USDT", {agent.agent: agent.pnl for agent in agents}) if agents else None


def market_against_portfolio(finding: Finding[MarketCause], window: Window) -> Chart | None:
    """Portfolio and market since the fall began, both starting at zero."""
    portfolio, market = finding.known.portfolio, finding.known.market
    start = portfolio["time"].iloc[0].to_pydatetime()
    lines = [Line("portfolio", portfolio), Line("market (equal weights)", market)]
    return timeline(finding.title, "%", Window(start, window.starts_at, window.as_of), lines)


def _within(curve: pd.DataFrame, window: Window) -> pd.DataFrame:
    return curve[(curve["time"] >= pd.Timestamp(window.start)) & (curve["time"] <= pd.Timestamp(window.as_of))]
