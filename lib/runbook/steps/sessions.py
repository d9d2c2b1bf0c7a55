"""Trading sessions: which one this is about, whether trading is halted, and how fresh its data is."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.outcome import Finding, Status, Table
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.tables import amount, duration, moment

FILL_STALE_SECONDS = 15 * 60
CANDLE_STALE_SECONDS = 3 * 60


def latest(database: Database, window: Window) -> Finding:
    """Latest session: total PnL, maximum drawdown and ROI, with the four before it."""
    frame = database.ask("sessions/latest", as_of=window.as_of, starts_at=window.starts_at).frame
    if frame.empty:
        return Finding(
            "sessions.latest",
            Status.UNKNOWN,
            "Latest session: there is none",
            "trading_sessions has no row up to the report's moment.",
        )
    row = frame.iloc[0]
    is_open = row["stopped_at"] is None or pd.isna(row["stopped_at"])
    pnl, roi, worst = number(row["total_pnl"]), number(row["roi"]), number(row["max_drawdown"])
    limit = number(row["max_drawdown_limit"])
    over = math.isfinite(worst) and math.isfinite(limit) and worst > limit
    missing = [name for name, value in (("total_pnl", pnl), ("max_drawdown", worst)) if not math.isfinite(value)]
    shown = frame[
        [
            "mode",
            "started_at",
            "stopped_at",
            "initial_capital",
            "total_pnl",
            "roi",
            "max_drawdown",
            "total_trades",
            "losing_trades",
        ]
    ]
    return Finding(
        "sessions.latest",
        Status.WARNING if over or missing else Status.OK,
        f"The {'open' if is_open else 'last'} {row['mode']} session: total PnL {amount(pnl, 'USDT')}, ROI {amount(roi, '%')}, "
        f"maximum drawdown {amount(worst, '%')}",
        f"Began {moment(row['started_at'])}; {'still open' if is_open else 'stopped ' + moment(row['stopped_at'])}; "
        f"initial capital {amount(row['initial_capital'], 'USDT')}; {amount(row['losing_trades'])} of {amount(row['total_trades'])} closed trades lost."
        + (f" The row has no usable {' and '.join(missing)}." if missing else ""),
        {
            "session_id": row["session_id"],
            "started_at": row["started_at"],
            "initial_capital": number(row["initial_capital"]),
            "total_pnl": pnl,
            "roi": roi,
            "max_drawdown": worst,
            "max_drawdown_limit": limit,
            "is_open": is_open,
            "mode": row["mode"],
        },
        (
            Table(
                "Latest trading sessions, the one in question first",
                shown,
                {"started_at": "time", "stopped_at": "time", "initial_capital": "USDT", "total_pnl": "USDT", "roi": "%", "max_drawdown": "%",
                 "total_trades": "", "losing_trades": ""},
            ),
        ),
    )  # fmt: skip


def paused(database: Database, window: Window) -> Finding:
    """Trading paused: whether the orchestrator is paused, since when and why."""
    frame = database.ask("sessions/halt", as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "sessions.paused",
            Status.UNKNOWN,
            "Trading paused: orchestrator_state has no row",
            "So it cannot be said whether trading runs.",
        )
    row = frame.iloc[0]
    since = row["paused_at"]
    if not row["paused"]:
        return Finding("sessions.paused", Status.OK, "The orchestrator is not paused: trading goes on", f"State as of {moment(row['updated_at'])}.",
                       {"paused": False})  # fmt: skip
    return Finding(
        "sessions.paused",
        Status.WARNING,
        f"Trading is paused since {moment(since)}",
        f"Paused by {text(row['paused_by'])}: {text(row['pause_reason'])}.",
        {"paused": True, "paused_at": since, "paused_by": text(row["paused_by"]), "reason": text(row["pause_reason"])},
    )


def breakers(metrics: Metrics, window: Window) -> Finding:
    """Trading breakers: which are tripped (cryptofunk_circuit_breaker_status), and how often each tripped."""
    now = metrics.instant("cryptofunk_circuit_breaker_status", window.as_of).frame
    if now.empty:
        return Finding("sessions.breakers", Status.UNKNOWN, "Trading breakers: no metric cryptofunk_circuit_breaker_status",
                       "Prometheus has no such series at the report's moment, so the breakers' state is not known.")  # fmt: skip
    hours = max(1, round(window.seconds / 3600))
    trips = metrics.instant(
        f"sum by (breaker_type, reason) (increase(cryptofunk_circuit_breaker_trips_total[{hours}h]))", window.as_of
    ).frame
    names = [str(name) for name in now.get("breaker_type", pd.Series(dtype=object))[now["value"] >= 1]]
    tripped = ", ".join(names)
    trips = trips[trips["value"] > 0.5] if len(trips) else trips
    counted = [name for name in ("breaker_type", "reason") if name in trips]
    return Finding(
        "sessions.breakers",
        Status.WARNING if names else Status.OK,
        f"Tripped trading breakers: {tripped}" if names else "No trading breaker is tripped",
        "",
        {"tripped": tripped, "count": len(names)},
        (
            Table(
                f"Breaker trips in the last {hours} h",
                trips[[*counted, "value"]].rename(columns={"value": "trips"}),
                {"trips": ""},
            ),
        )
        if len(trips)
        else (),
    )


def activity(database: Database, window: Window) -> Finding:
    """Freshness: age of the last fill, order, signal, candle and performance row."""
    frame = database.ask("sessions/activity", as_of=window.as_of).frame
    ages = {name.removeprefix("last_"): age_seconds(frame[name].iloc[0], window) for name in frame.columns}
    if not any(math.isfinite(age) for age in ages.values()):
        return Finding(
            "sessions.activity",
            Status.UNKNOWN,
            "Freshness: the trading tables are empty",
            "There is no fill, order, signal or candle at all.",
        )
    stale = [
        name
        for name, limit in (("candle", CANDLE_STALE_SECONDS), ("performance", CANDLE_STALE_SECONDS))
        if not ages[name] <= limit
    ]
    shown = pd.DataFrame(
        {"last": list(ages), "at": [frame[f"last_{name}"].iloc[0] for name in ages], "age": list(ages.values())}
    )
    return Finding(
        "sessions.activity",
        Status.WARNING if stale else Status.OK,
        f"Last candle {_ago(ages['candle'])}, last fill {_ago(ages['fill'])}",
        f"Stale: {', '.join(stale)} (over {duration(CANDLE_STALE_SECONDS)} old): market data or the writer is behind, so prices below may be too." if stale
        else "Market data and the performance writer are current.",
        {f"{name}_age_seconds": age for name, age in ages.items()} | {"stale": ", ".join(stale)},
        (Table("Age of the newest rows", shown, {"at": "time", "age": "s"}),),
    )  # fmt: skip


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago" if math.isfinite(seconds) else "never"


def age_seconds(value: Any, window: Window) -> float:
    """Seconds from `value` to the report's moment; NaN where there is none."""
    return float("nan") if value is None or pd.isna(value) else float((window.as_of - value).total_seconds())


def number(value: Any) -> float:
    """`value` as a float; NaN for none, text that is no number, and infinities."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return result if math.isfinite(result) else float("nan")


def text(value: Any) -> str:
    """`value` as one line of text; "not recorded" for none."""
    return " ".join(str(value).split())[:300] if isinstance(value, str) and value.strip() else "not recorded"
