"""The drawdown by what the database holds: the session's fills, and its performance rows."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.agreement import limit_of
from runbook.steps.drawdown.equity import from_cash_and_quantities, underwater, without_price
from runbook.steps.drawdown.figures import ByFills, Measure, Measured
from runbook.steps.sessions import Session
from runbook.steps.shared.grading import graded
from runbook.steps.shared.prices import TOO_OLD, priced_otherwise
from runbook.words import amount, counted, duration, names, plural

_STALE_SECONDS = 15 * 60
_EVERY_FILL = "Equity is the sum of all of them: without one it is wrong from then on."
_FINE_BUCKETS = 400
_COARSE_BUCKETS = 300


def from_fills(session: Finding[Session], database: Database, window: Window) -> Finding[ByFills]:
    """Drawdown from fills: cash and quantities of every fill, priced with the candles of the time."""
    trading = session.known
    grid = _grid(trading, window)
    answers = at_once(
        lambda: database.ask("drawdown/fills", **grid),
        lambda: database.ask("market/closes", since=trading.started_at, **grid),
    )
    fills, closes = (answer.frame for answer in answers)
    if fills.empty:
        return Finding(
            Status.UNKNOWN,
            "Drawdown from fills: the session has no fills",
            "Nothing was traded, so fills give no equity.",
        )
    if unusable := int(fills["unusable"].sum()):
        which = f"{unusable:,} of {counted(int(fills['fills'].sum()), 'fill')} {plural(unusable, 'has', 'have')}"
        return Finding(Status.UNKNOWN, f"Drawdown from fills: {which} no usable number", _EVERY_FILL)
    if cut := answers[0].missing:
        return Finding(Status.UNKNOWN, f"Drawdown from fills: {cut}", _EVERY_FILL)
    if nameless := without_price(fills, closes, window.as_of):
        detail = f"What is held of it has no value that could be told: {TOO_OLD}."
        return Finding(Status.UNKNOWN, f"Drawdown from fills: there is no usable price of {names(nameless)}", detail)
    whole = from_cash_and_quantities(fills, closes, trading.initial_capital, trading.started_at)
    curve = whole.dropna(subset=["value"]).reset_index(drop=True)
    unpriced = whole.loc[whole["value"].isna(), "time"]
    figures = ByFills(
        Measure.FILLS,
        limit_of(0.0, trading.max_drawdown_limit),
        **measured(curve),
        closes=closes,
        partners=len(trading.partners),
    )
    return Finding(
        graded(figures.drawdown > figures.threshold, False, len(unpriced)),
        wording.measured(figures),
        wording.measured_detail(figures) + wording.unpriced(unpriced) + priced_otherwise(closes),
        figures,
    )


def from_performance(session: Finding[Session], database: Database, window: Window) -> Finding[Measured]:
    """Drawdown from performance rows: total_value of performance_metrics against its running peak."""
    trading = session.known
    frame = database.ask("drawdown/performance", **_grid(trading, window)).frame
    usable = frame[frame["last"].notna()] if len(frame) else frame
    if usable.empty:
        return Finding(
            Status.UNKNOWN,
            "Drawdown from performance rows: there are none",
            "performance_metrics holds no usable total_value for this session.",
        )
    curve = _with_extremes(usable)
    figures = Measured(
        Measure.PERFORMANCE,
        limit_of(0.0, trading.max_drawdown_limit),
        **measured(curve),
        partners=len(trading.partners),
    )
    age_seconds = (pd.Timestamp(window.as_of) - usable["time"].max()).total_seconds()
    if trading.is_open and age_seconds > _STALE_SECONDS:
        then = f"By it the drawdown was {amount(figures.drawdown, '%')} then; what came since is not known."
        title = f"Drawdown from performance rows: the last usable one is {duration(age_seconds)} old"
        return Finding(Status.UNKNOWN, title, then)
    unusable = int(frame["unusable"].sum())
    return Finding(
        graded(figures.drawdown > figures.threshold, False, unusable),
        wording.measured(figures),
        wording.measured_detail(figures) + wording.unusable_rows(unusable, int(frame["rows"].sum())),
        figures,
    )


def _with_extremes(rows: pd.DataFrame) -> pd.DataFrame:
    """The equity curve (time, value) of one session, the highest and lowest of each bucket in it.

    Within a bucket the order of its extremes is not known: the high is set before the low, then the last value.
    """
    parts = [
        rows[["bucket", name]].rename(columns={name: "value", "bucket": "time"}).assign(order=i)
        for i, name in enumerate(("high", "low"))
    ]
    parts.append(rows[["time", "last"]].rename(columns={"last": "value"}).assign(order=2))
    return pd.concat(parts).sort_values(["time", "order"], ignore_index=True)[["time", "value"]]


def measured(curve: pd.DataFrame) -> dict[str, Any]:
    """The fields of Measured that follow from an equity curve (time, value)."""
    values, times = curve["value"], curve["time"]
    depths = -underwater(values)
    return {
        "drawdown": float(depths.iloc[-1]),
        "deepest": float(depths.max()),
        "deepest_at": times[int(depths.idxmax())],
        "equity": float(values.iloc[-1]),
        "peak": float(values.max()),
        "peak_at": times[int(values.idxmax())],
        "curve": curve,
        "underwater": pd.DataFrame({"time": times, "value": -depths}),
    }


def _grid(session: Session, window: Window) -> dict[str, Any]:
    """Session and bucket sizes: some 400 buckets in the window, 300 before it, whatever the session's length."""
    before = max((window.start - session.started_at).total_seconds(), 0)
    return {
        "session_id": session.session_id,
        "started_at": session.started_at,
        "start": window.start,
        "as_of": window.as_of,
        "fine_seconds": max(30, math.ceil(window.seconds / _FINE_BUCKETS / 30) * 30),
        "coarse_seconds": max(60, math.ceil(before / _COARSE_BUCKETS / 60) * 60),
    }
