"""The drawdown by each measure: fills, performance rows, the gauge; and whether they agree."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.equity import from_cash_and_quantities, underwater
from runbook.steps.drawdown.figures import Agreement, ByFills, Gauge, Measure, Measured
from runbook.steps.sessions import Session
from runbook.steps.shared.values import number

DEFAULT_LIMIT = 0.10
"""risk.max_drawdown's own default."""
_AGREE_POINTS = 0.01
_FINE_BUCKETS = 400
_COARSE_BUCKETS = 300


def from_fills(session: Finding[Session], database: Database, window: Window) -> Finding[ByFills]:
    """Drawdown from fills: cash and quantities of every fill, priced with the candles of the time."""
    trading = session.known
    grid = _grid(trading, window)
    fills, closes = (
        answer.frame
        for answer in at_once(
            lambda: database.ask("drawdown/fills", **grid),
            lambda: database.ask("market/closes", since=trading.started_at, **grid),
        )
    )
    if fills.empty:
        return Finding(
            Status.UNKNOWN,
            "Drawdown from fills: the session has no fills",
            "Nothing was traded, so fills give no equity.",
        )
    curve = from_cash_and_quantities(fills, closes, trading.initial_capital, trading.started_at)
    figures = ByFills(Measure.FILLS, limit_of(0.0, trading.max_drawdown_limit), **measured(curve), closes=closes)
    return Finding(_status(figures), wording.measured(figures), wording.measured_detail(figures), figures)


def from_performance(session: Finding[Session], database: Database, window: Window) -> Finding[Measured]:
    """Drawdown from performance rows: total_value of performance_metrics against its running peak."""
    trading = session.known
    frame = database.ask("drawdown/performance", **_grid(trading, window)).frame
    if frame.empty:
        return Finding(
            Status.UNKNOWN,
            "Drawdown from performance rows: there are none",
            "performance_metrics holds no usable total_value for this session.",
        )
    # Within a bucket the order of its extremes is not known: the high is set before the low, then the last value.
    parts = [
        frame[["bucket", name]].rename(columns={name: "value", "bucket": "time"}).assign(order=i)
        for i, name in enumerate(("high", "low"))
    ]
    parts.append(frame[["time", "last"]].rename(columns={"last": "value"}).assign(order=2))
    curve = pd.concat(parts).sort_values(["time", "order"], ignore_index=True)[["time", "value"]]
    figures = Measured(Measure.PERFORMANCE, limit_of(0.0, trading.max_drawdown_limit), **measured(curve))
    return Finding(_status(figures), wording.measured(figures), wording.measured_detail(figures), figures)


def gauge(metrics: Metrics, window: Window) -> Finding[Gauge]:
    """Drawdown by the gauge: cryptofunk_current_drawdown, the metric that fired, and its threshold."""
    series, limits = (
        answer.frame.dropna(subset=["value"])
        for answer in at_once(
            lambda: metrics.range("max(cryptofunk_current_drawdown)", window.start, window.as_of, series=2),
            lambda: metrics.instant("max(cryptofunk_max_drawdown_threshold)", window.as_of),
        )
    )
    if series.empty:
        return Finding(
            Status.UNKNOWN,
            "Drawdown by the gauge: no usable sample",
            "cryptofunk_current_drawdown has no sample in the window, or only NaN.",
        )
    by_alert = series[series["time"] <= window.starts_at]["value"]
    figures = Gauge(
        drawdown=float(series["value"].iloc[-1]),
        highest=float(series["value"].max()),
        at_alert=float(by_alert.iloc[-1]) if len(by_alert) else None,
        threshold=float(limits["value"].iloc[0]) if len(limits) else math.nan,
        interval_seconds=float(series["time"].diff().dt.total_seconds().median()),
        curve=series[["time", "value"]],
    )
    is_over = math.isfinite(figures.threshold) and figures.drawdown > figures.threshold
    status = Status.WARNING if is_over else Status.OK
    return Finding(status, wording.gauge(figures), wording.gauge_detail(figures), figures)


def agreement(
    fills: Finding[ByFills], performance: Finding[Measured], gauge_now: Finding[Gauge], threshold: float = 0.0
) -> Finding[Agreement]:
    """Do the measures agree: fills, performance rows and gauge, and are they over the threshold."""
    read = {
        Measure.FILLS: number(fills.known.drawdown),
        Measure.PERFORMANCE: number(performance.known.drawdown),
        Measure.GAUGE: number(gauge_now.known.drawdown),
    }
    nameless = [name for name, value in read.items() if not math.isfinite(value)]
    if nameless:
        detail = f"There is no usable figure by {' and '.join(nameless)}."
        return Finding(Status.UNKNOWN, "Do the measures agree: not known", detail)
    limit = limit_of(threshold, gauge_now.known.threshold)
    by_fills = read[Measure.FILLS]
    apart = {name: value - by_fills for name, value in read.items()}
    figures = Agreement(
        drawdown=by_fills,
        performance=read[Measure.PERFORMANCE],
        gauge=read[Measure.GAUGE],
        threshold=limit,
        odd=tuple(name for name, by in apart.items() if abs(by) > max(_AGREE_POINTS, 0.1 * by_fills)),
        over=tuple(name for name, value in read.items() if value > limit),
    )
    table = pd.DataFrame(
        {
            "measure": [name.value for name in read],
            "drawdown": list(read.values()),
            "against fills": list(apart.values()),
            "over the threshold": ["yes" if name in figures.over else "no" for name in read],
        }
    )
    status = Status.OK
    if Measure.FILLS in figures.over:
        status = Status.CRITICAL
    elif figures.odd or figures.over:
        status = Status.WARNING
    shown = Table("Drawdown now, by measure", table, {"drawdown": "%", "against fills": "%"})
    return Finding(status, wording.agreement(figures), wording.agreement_detail(figures), figures, (shown,))


def limit_of(threshold: float, exported: Any) -> float:
    """The threshold to judge by, a ratio: the one given, else the exported one, else DEFAULT_LIMIT."""
    if threshold > 0:
        return threshold
    value = number(exported)
    return value if value > 0 else DEFAULT_LIMIT


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


def _status(figures: Measured) -> Status:
    return Status.CRITICAL if figures.drawdown > figures.threshold else Status.OK


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
