"""The trading session in question, whether trading is halted, and how fresh its data is."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.sessions import wording
from runbook.steps.sessions.figures import (
    CANDLE_STALE_SECONDS,
    Beside,
    Freshness,
    Halt,
    Session,
    TradingBreakers,
    candle_stale_seconds,
    limit_in_force,
)
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import age_seconds, number, text
from runbook.words import moment

_SHOWN = 5


def latest(database: Database, window: Window) -> Finding[Session]:
    """Latest session: total PnL, maximum drawdown and ROI of the one in question, those beside and those before it."""
    frame = database.ask("sessions/latest", as_of=window.as_of, starts_at=window.starts_at).frame
    if frame.empty:
        nothing = "trading_sessions has no row up to the report's moment."
        return Finding(Status.UNKNOWN, "Latest session: there is none", nothing)
    row = frame.iloc[0]
    if pd.isna(row["started_at"]):
        nothing = (
            "trading_sessions has no usable started_at for it, and all that is measured of a session is since then."
        )
        return Finding(Status.UNKNOWN, "Latest session: when it began is not known", nothing)
    found = Session(
        session_id=row["session_id"],
        mode=row["mode"],
        started_at=row["started_at"],
        is_open=bool(pd.isna(row["stopped_at"])),
        initial_capital=number(row["initial_capital"]),
        total_pnl=number(row["total_pnl"]),
        roi=number(row["roi"]),
        max_drawdown=number(row["max_drawdown"]),
        max_drawdown_limit=number(row["max_drawdown_limit"]),
        symbol=text(row["symbol"]),
        beside=_beside(frame),
    )
    read = {"total_pnl": found.total_pnl, "max_drawdown": found.max_drawdown}
    missing = [name for name, value in read.items() if not math.isfinite(value)]
    is_over = found.max_drawdown > limit_in_force(found)
    units = {
        "started_at": "time",
        "stopped_at": "time",
        "initial_capital": "USDT",
        "total_pnl": "USDT",
        "roi": "%",
        "max_drawdown": "%",
        "total_trades": "",
        "losing_trades": "",
        "open_positions": "",
    }
    shown = frame.head(max(_SHOWN, 1 + len(found.beside)))
    return Finding(
        graded(False, is_over or missing or found.over, found.untold),
        wording.session_title(found),
        wording.session_detail(row, missing) + wording.default_limit(found) + wording.beside(found),
        found,
        (Table("Latest trading sessions, the one in question first", shown[["mode", "symbol", *units]], units),),
    )


def _beside(frame: pd.DataFrame) -> tuple[Beside, ...]:
    """The sessions after the first that are open, as the first is."""
    if not pd.isna(frame["stopped_at"].iloc[0]):
        return ()
    rows = frame.iloc[1:]
    running = rows[rows["stopped_at"].isna() & rows["started_at"].notna()]
    return tuple(
        Beside(
            session_id=str(row["session_id"]),
            mode=str(row["mode"]),
            symbol=text(row["symbol"]),
            started_at=row["started_at"],
            initial_capital=number(row["initial_capital"]),
            total_pnl=number(row["total_pnl"]),
            max_drawdown=number(row["max_drawdown"]),
            max_drawdown_limit=number(row["max_drawdown_limit"]),
            open_positions=int(row["open_positions"]),
        )
        for row in running.to_dict("records")
    )


def paused(database: Database, window: Window) -> Finding[Halt]:
    """Trading paused: whether the orchestrator is paused, since when and why."""
    frame = database.ask("sessions/halt", as_of=window.as_of).frame
    if frame.empty:
        nothing = "So it cannot be said whether trading runs."
        return Finding(Status.UNKNOWN, "Trading paused: orchestrator_state has no row", nothing)
    row = frame.iloc[0]
    if not row["paused"]:
        as_of = f"State as of {moment(row['updated_at'])}."
        return Finding(Status.OK, "The orchestrator is not paused", as_of, Halt(paused=False))
    halt = Halt(True, row["paused_at"], text(row["paused_by"]), text(row["pause_reason"]))
    title = f"Trading is paused since {moment(halt.paused_at)}"
    return Finding(Status.WARNING, title, f"Paused by {halt.paused_by}: {halt.reason}.", halt)


def breakers(metrics: Metrics, window: Window) -> Finding[TradingBreakers]:
    """Trading breakers: which are tripped (cryptofunk_circuit_breaker_status), and how often each tripped."""
    hours = max(1, round(window.seconds / 3600))
    increase = f"increase(cryptofunk_circuit_breaker_trips_total[{hours}h])"
    status, counted = at_once(
        lambda: metrics.instant("cryptofunk_circuit_breaker_status", window.as_of),
        lambda: metrics.instant(f"sum by (breaker_type, reason) ({increase})", window.as_of),
    )
    now, trips = status.frame, counted.frame
    if now.empty:
        nothing = "Prometheus has no such series at the report's moment, so the breakers' state is not known."
        return Finding(Status.UNKNOWN, "Trading breakers: no metric cryptofunk_circuit_breaker_status", nothing)
    types = now.get("breaker_type", pd.Series(dtype=object))
    found = TradingBreakers(tuple(map(str, types[now["value"] >= 1])))
    title = "No trading breaker is tripped"
    if found.tripped:
        title = f"Tripped trading breakers: {', '.join(found.tripped)}"
    return Finding(graded(critical=False, warning=found.tripped), title, "", found, _trips(trips, hours))


def activity(database: Database, window: Window) -> Finding[Freshness]:
    """Freshness: age of the last fill, order, signal, candle and performance row."""
    row = database.ask("sessions/activity", as_of=window.as_of).frame.iloc[0]
    last = {str(name).removeprefix("last_"): at for name, at in row.items() if str(name).startswith("last_")}
    ages = {kind: age_seconds(at, window) for kind, at in last.items()}
    if not any(math.isfinite(age) for age in ages.values()):
        nothing = "There is no fill, order, signal or candle at all."
        return Finding(Status.UNKNOWN, "Freshness: the trading tables are empty", nothing)
    limits = {"candle": candle_stale_seconds(str(row["candle"])), "performance": CANDLE_STALE_SECONDS}
    stale = tuple(kind for kind, limit in limits.items() if not ages[kind] <= limit)
    found = Freshness(**{f"{kind}_age_seconds": age for kind, age in ages.items()}, stale=stale)
    shown = pd.DataFrame({"last": list(ages), "at": list(last.values()), "age": list(ages.values())})
    return Finding(
        graded(critical=False, warning=stale),
        wording.freshness_title(found),
        wording.freshness_detail(found),
        found,
        (Table("Age of the newest rows", shown, {"at": "time", "age": "s"}),),
    )


def _trips(trips: pd.DataFrame, hours: int) -> tuple[Table, ...]:
    # An extrapolated increase is rarely whole: less than a half is no trip.
    if trips.empty:
        return ()
    happened = trips[trips["value"] > 0.5]
    if happened.empty:
        return ()
    labels = [name for name in ("breaker_type", "reason") if name in happened]
    shown = happened[[*labels, "value"]].rename(columns={"value": "trips"})
    return (Table(f"Breaker trips in the last {hours} h", shown, {"trips": ""}),)
