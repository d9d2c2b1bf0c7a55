"""Drawdown: measured from fills, from performance rows and by the gauge; its history; the decision."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.drawdown.equity import episodes, from_cash_and_quantities, underwater
from runbook.steps.drawdown.verdict import limit_of
from runbook.steps.shared.values import number
from runbook.words import amount, duration, moment, points

_AGREE_POINTS = 0.01
_NOTABLE_DEPTH = 0.03
_FINE_BUCKETS = 400
_COARSE_BUCKETS = 300


def from_fills(session: Finding, database: Database, window: Window) -> Finding:
    """Drawdown from fills: cash and quantities of every fill, priced with the candles of the time."""
    arguments = _grid(session, window)
    fills, closes = (
        answer.frame
        for answer in at_once(
            lambda: database.ask("drawdown/fills", **arguments),
            lambda: database.ask("market/closes", since=arguments["started_at"], **arguments),
        )
    )
    if fills.empty:
        return Finding(
            "drawdown.from_fills",
            Status.UNKNOWN,
            "Drawdown from fills: the session has no fills",
            "Nothing was traded, so fills give no equity.",
        )
    curve = from_cash_and_quantities(fills, closes, session.figures["initial_capital"], session.figures["started_at"])
    limit = limit_of(0.0, session.figures["max_drawdown_limit"])
    found = _measured("drawdown.from_fills", "fills and candles", curve, limit)
    return replace(found, series={**found.series, "closes": closes})


def from_performance(session: Finding, database: Database, window: Window) -> Finding:
    """Drawdown from performance rows: total_value of performance_metrics against its running peak."""
    frame = database.ask("drawdown/performance", **_grid(session, window)).frame
    if frame.empty:
        return Finding("drawdown.from_performance", Status.UNKNOWN, "Drawdown from performance rows: there are none",
                       "performance_metrics holds no usable total_value for this session.")  # fmt: skip
    # Within a bucket the order of its extremes is not known: the high is set before the low, then the last value.
    parts = [
        frame[["bucket", name]].rename(columns={name: "value", "bucket": "time"}).assign(order=i)
        for i, name in enumerate(("high", "low"))
    ]
    parts.append(frame[["time", "last"]].rename(columns={"last": "value"}).assign(order=2))
    curve = pd.concat(parts).sort_values(["time", "order"], ignore_index=True)[["time", "value"]]
    return _measured(
        "drawdown.from_performance", "performance_metrics", curve, limit_of(0.0, session.figures["max_drawdown_limit"])
    )


def gauge(metrics: Metrics, window: Window) -> Finding:
    """Drawdown by the gauge: cryptofunk_current_drawdown, the metric that fired, and its threshold."""
    series, limits = (
        answer.frame.dropna(subset=["value"])
        for answer in at_once(
            lambda: metrics.range("max(cryptofunk_current_drawdown)", window.start, window.as_of, series=2),
            lambda: metrics.instant("max(cryptofunk_max_drawdown_threshold)", window.as_of),
        )
    )
    if series.empty:
        return Finding("drawdown.gauge", Status.UNKNOWN, "Drawdown by the gauge: no usable sample",
                       "cryptofunk_current_drawdown has no sample in the window, or only NaN.")  # fmt: skip
    limit = float(limits["value"].iloc[0]) if len(limits) else float("nan")
    last, highest = float(series["value"].iloc[-1]), float(series["value"].max())
    at_alert = series[series["time"] <= window.starts_at]["value"]
    over = math.isfinite(limit) and last > limit
    return Finding(
        "drawdown.gauge",
        Status.WARNING if over else Status.OK,
        f"The gauge reads {amount(last, '%')} at the report, at most {amount(highest, '%')}; threshold {amount(limit, '%')}",
        f"At the alert's moment it read {amount(at_alert.iloc[-1] if len(at_alert) else None, '%')}. Samples at least every "
        f"{duration(_step_seconds(series))}, so single peaks between them are not seen.",
        {
            "drawdown": last,
            "highest": highest,
            "at_alert": float(at_alert.iloc[-1]) if len(at_alert) else None,
            "threshold": limit,
        },
        series={"gauge": series[["time", "value"]]},
    )


def agreement(fills: Finding, performance: Finding, gauge_now: Finding, threshold: float = 0.0) -> Finding:
    """Do the measures agree: fills, performance rows and gauge, and are they over the threshold."""
    measured = {
        "fills and candles": number(fills.figures["drawdown"]),
        "performance_metrics": number(performance.figures["drawdown"]),
        "gauge": number(gauge_now.figures["drawdown"]),
    }
    nameless = [name for name, value in measured.items() if not math.isfinite(value)]
    if nameless:
        return Finding("drawdown.agreement", Status.UNKNOWN, "Do the measures agree: not known",
                       f"There is no usable figure by {' and '.join(nameless)}.")  # fmt: skip
    limit = limit_of(threshold, gauge_now.figures.get("threshold"))
    apart = {name: value - measured["fills and candles"] for name, value in measured.items()}
    odd = [name for name, by in apart.items() if abs(by) > max(_AGREE_POINTS, 0.1 * measured["fills and candles"])]
    over = [name for name, value in measured.items() if value > limit]
    table = pd.DataFrame({"measure": list(measured), "drawdown": list(measured.values()), "against fills": list(apart.values()),
                          "over the threshold": ["yes" if name in over else "no" for name in measured]})  # fmt: skip
    if not odd:
        title = f"All three measures agree: drawdown {amount(measured['fills and candles'], '%')}, threshold {amount(limit, '%')}"
        most = max(abs(by) for by in apart.values())
        detail = f"They differ by {'at most ' if most >= 1e-4 else ''}{points(most)}."
    elif odd == ["gauge"]:
        title = f"The gauge is wrong: it reads {amount(measured['gauge'], '%')}, fills and performance rows say {amount(measured['fills and candles'], '%')}"
        detail = (f"It is {points(abs(apart['gauge']))} {'above' if apart['gauge'] > 0 else 'below'} the fills, while fills and performance rows agree to "
                  f"{points(abs(apart['performance_metrics']))}. What fired is the exporter's figure, not a loss of that size.")  # fmt: skip
    else:
        title = f"The measures disagree: fills {amount(measured['fills and candles'], '%')}, " + ", ".join(
            f"{name} {amount(measured[name], '%')}" for name in list(measured)[1:]
        )
        detail = (
            "Trust the fills: they are what was traded. Find out why "
            + " and ".join(odd)
            + " differ before acting on them."
        )
    status = Status.CRITICAL if "fills and candles" in over else (Status.WARNING if odd or over else Status.OK)
    return Finding("drawdown.agreement", status, title, detail,
                   {"drawdown": measured["fills and candles"], "gauge": measured["gauge"], "threshold": limit, "odd": ", ".join(odd),
                    "gauge_error": apart["gauge"], "exceeded": "fills and candles" in over},
                   (Table("Drawdown now, by measure", table, {"drawdown": "%", "against fills": "%"}),))  # fmt: skip


def history(fills: Finding, window: Window) -> Finding:
    """Depth and duration: this drawdown beside the earlier ones of the session."""
    curve: pd.DataFrame = fills.series["equity"]
    found = episodes(curve)
    if not found:
        return Finding(
            "drawdown.history",
            Status.OK,
            "The equity is at its peak: there is no drawdown to speak of",
            "",
            {"episodes": 0},
        )
    current = found[-1] if found[-1].recovered_at is None else None
    earlier = [one for one in found if one is not current]
    rows = [
        {
            "peak at": one.peak_at, "trough at": one.trough_at, "depth": one.depth,
            "to trough": (one.trough_at - one.peak_at).total_seconds(),
            "to recover": (one.recovered_at - one.trough_at).total_seconds() if one.recovered_at else None,
            "lost": one.peak - one.trough,
        }
        for one in sorted(found, key=lambda one: -one.depth)[:8]
    ]  # fmt: skip
    table = Table("Deepest drawdowns of the session; no time to recover: not recovered yet", pd.DataFrame(rows),
                  {"peak at": "time", "trough at": "time", "depth": "%", "to trough": "s", "to recover": "s", "lost": "USDT"})  # fmt: skip
    times = [(one.recovered_at - one.trough_at).total_seconds() for one in earlier if one.recovered_at]
    usual = (
        f"Earlier ones ({len(earlier)}) were at most {amount(max(one.depth for one in earlier), '%')} deep"
        if earlier
        else "There is no earlier one"
    )
    usual += f" and took {duration(float(np.median(times)))} (median) to recover." if times else "."
    if current is None:
        return Finding(
            "drawdown.history",
            Status.OK,
            "The last drawdown has been recovered",
            usual,
            {"episodes": len(found)},
            (table,),
        )
    needed = current.peak / float(curve["value"].iloc[-1]) - 1
    unusual = current.depth >= _NOTABLE_DEPTH and current.depth > 2 * max((one.depth for one in earlier), default=0.0)
    return Finding(
        "drawdown.history",
        Status.WARNING if unusual else Status.OK,
        f"{amount(current.depth, '%')} deep, {duration((window.as_of - current.peak_at).total_seconds())} since the peak at {moment(current.peak_at)}",
        f"Trough at {moment(current.trough_at)}. {usual} To reach the peak again the portfolio has to gain {amount(needed, '%')}.",
        {"depth": current.depth, "peak_at": current.peak_at, "trough_at": current.trough_at, "seconds": (window.as_of - current.peak_at).total_seconds(),
         "needed": needed, "lost": current.peak - float(curve["value"].iloc[-1]), "earlier": len(earlier), "peak": current.peak},
        (table,),
    )  # fmt: skip


def _grid(session: Finding, window: Window) -> dict[str, Any]:
    """Session and bucket sizes: some 400 buckets in the window, 300 before it, whatever the session's length."""
    started_at = session.figures["started_at"]
    before = max((window.start - started_at).total_seconds(), 0)
    return {
        "session_id": session.figures["session_id"],
        "started_at": started_at,
        "start": window.start,
        "as_of": window.as_of,
        "fine_seconds": max(30, math.ceil(window.seconds / _FINE_BUCKETS / 30) * 30),
        "coarse_seconds": max(60, math.ceil(before / _COARSE_BUCKETS / 60) * 60),
    }


def _measured(name: str, source: str, curve: pd.DataFrame, limit: float) -> Finding:
    depths = -underwater(curve["value"])
    now, deepest, at = float(depths.iloc[-1]), float(depths.max()), curve["time"][int(depths.idxmax())]
    peak = float(curve["value"].max())
    return Finding(
        name,
        Status.CRITICAL if now > limit else Status.OK,
        f"By {source} the drawdown is {amount(now, '%')} now, at most {amount(deepest, '%')} ({moment(at)})",
        f"Equity {amount(curve['value'].iloc[-1], 'USDT')} against a peak of {amount(peak, 'USDT')} at {moment(curve['time'][int(curve['value'].idxmax())])}; "
        f"{len(curve):,} points since {moment(curve['time'].iloc[0])}, the last at {moment(curve['time'].iloc[-1])}.",
        {"drawdown": now, "threshold": limit, "deepest": deepest, "deepest_at": at, "equity": float(curve["value"].iloc[-1]), "peak": peak,
         "peak_at": curve["time"][int(curve["value"].idxmax())]},
        series={"equity": curve, "underwater": pd.DataFrame({"time": curve["time"], "value": -depths})},
    )  # fmt: skip


def _step_seconds(series: pd.DataFrame) -> float:
    steps = series["time"].diff().dt.total_seconds().dropna()
    return float(steps.median()) if len(steps) else float("nan")
