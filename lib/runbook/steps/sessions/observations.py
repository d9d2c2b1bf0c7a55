"""Trading sessions: which one this is about, whether trading is halted or failed and why, and how fresh its data is."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.agents.causes import said
from runbook.steps.agents.observations import words_before_restart
from runbook.steps.shared.values import age_seconds, number, text
from runbook.words import ago, amount, duration, moment

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
        return Finding("sessions.paused", Status.OK, "The orchestrator is not paused", f"State as of {moment(row['updated_at'])}.",
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
    hours = max(1, round(window.seconds / 3600))
    now, trips = (
        answer.frame
        for answer in at_once(
            lambda: metrics.instant("cryptofunk_circuit_breaker_status", window.as_of),
            lambda: metrics.instant(
                f"sum by (breaker_type, reason) (increase(cryptofunk_circuit_breaker_trips_total[{hours}h]))",
                window.as_of,
            ),
        )
    )
    if now.empty:
        return Finding("sessions.breakers", Status.UNKNOWN, "Trading breakers: no metric cryptofunk_circuit_breaker_status",
                       "Prometheus has no such series at the report's moment, so the breakers' state is not known.")  # fmt: skip
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
        f"Last candle {ago(ages['candle'])}, last fill {ago(ages['fill'])}" + (f"; stale: {', '.join(stale)}" if stale else ""),
        f"Stale is what is over {duration(CANDLE_STALE_SECONDS)} old: market data or the writer is behind, so prices below may be too." if stale
        else "Market data and the performance writer are current.",
        {f"{name}_age_seconds": age for name, age in ages.items()} | {"stale": ", ".join(stale)},
        (Table("Age of the newest rows", shown, {"at": "time", "age": "s"}),),
    )  # fmt: skip


def orchestrator(cluster: Cluster) -> Finding:
    """Orchestrator health: what it answers at /health and /readiness, through the API server's proxy."""
    paths = ("/health", "/readiness")
    told = at_once(*(partial(cluster.health, "orchestrator-service", 8081, path) for path in paths))
    answers = {path: answer.data for path, answer in zip(paths, told, strict=True)}
    rows = [{"path": path, "code": int(one["code"]), "answer": said(str(one["body"]))} for path, one in answers.items()]
    failing = [str(row["path"]) for row in rows if int(str(row["code"])) >= 300]
    return Finding(
        "sessions.orchestrator",
        Status.CRITICAL if failing else Status.OK,
        f"The orchestrator does not answer at {', '.join(failing)}" if failing else "The orchestrator answers at /health and /readiness",
        "; ".join(f"{row['path']}: {row['code']} {row['answer']}" for row in rows),
        {"failing": ", ".join(failing), "answers": not failing},
        (Table("What the orchestrator answers", pd.DataFrame(rows), {"code": ""}),),
    )  # fmt: skip


def last_words(orchestrator_pods: Finding, cluster: Cluster, window: Window) -> Finding:
    """Last words: the orchestrator's log before its last restart in the window."""
    app = "orchestrator" if orchestrator_pods.figures.get("restarted") else ""
    return words_before_restart("sessions.last_words", app, cluster, window)


def flow(database: Database, window: Window) -> Finding:
    """Flow: signals, orders, fills and new sessions over the window, and since the alert."""
    seconds = max(300, round(window.seconds / 60 / 300) * 300)
    frame = database.ask(
        "sessions/flow", start=window.start, as_of=window.as_of, starts_at=window.starts_at, seconds=seconds
    ).frame
    if frame.empty:
        return Finding("sessions.flow", Status.WARNING, "No signal, order or fill in the whole window", "Nothing flows: agents and orders both stand still.",
                       {"flows": False, "stopped_at": None, "since": 0, "signals": 0, "orders": 0, "fills": 0, "sessions": 0})  # fmt: skip
    full = pd.date_range(frame["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{seconds}s")
    series = {
        str(kind): one.set_index("bucket")["count"]
        .reindex(full)
        .fillna(0.0)
        .rename_axis("time")
        .reset_index(name="value")
        for kind, one in frame[frame["kind"] != "sessions"].groupby("kind", sort=False)
    }
    since = frame.groupby("kind")["since"].sum()
    last = frame.groupby("kind")["last"].max()
    counts = {kind: int(since.get(kind, 0)) for kind in ("signals", "orders", "fills", "sessions")}
    newest = last[last.index != "sessions"].max() if (last.index != "sessions").any() else None
    quiet = age_seconds(newest, window)
    gaps = frame[frame["kind"] == "signals"]["bucket"].sort_values().diff().dt.total_seconds().dropna()
    usual = float(gaps.median()) if len(gaps) else float(seconds)
    flows = counts["signals"] > 0 and quiet <= max(3 * usual, 900)
    shown = pd.DataFrame(
        [
            {
                "what": kind,
                "in the window": int(frame.loc[frame["kind"] == kind, "count"].sum()),
                "since the alert": counts[kind],
                "last": last.get(kind),
            }
            for kind in counts
        ]
    )
    return Finding(
        "sessions.flow",
        Status.OK if flows else Status.WARNING,
        (f"Signals flow: {counts['signals']} since the alert, {counts['orders']} orders, {counts['fills']} fills" if flows
         else f"Nothing flows since {moment(newest)}: {counts['signals']} signals, {counts['orders']} orders and {counts['fills']} fills since the alert"),
        f"{counts['sessions'] or 'No'} new trading {'session' if counts['sessions'] == 1 else 'sessions'} since the alert.",
        {"flows": flows, "stopped_at": None if flows else newest, "bucket_minutes": seconds // 60, **counts},
        (Table("Signals, orders, fills and sessions", shown, {"in the window": "", "since the alert": "", "last": "time"}),),
        series={"flow": series},
    )  # fmt: skip
