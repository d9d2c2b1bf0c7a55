"""Circuit breakers: which is open and why, how often requests fail, what it stops, when it tries again; the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, union
from runbook.steps import platform
from runbook.steps.breakers.verdict import DEPLOYMENTS, TRIP_RATIO
from runbook.steps.shared.levels import by_label, level, part
from runbook.words import amount, duration, moment

SERVICES = ("exchange", "llm", "database")
OPEN_SECONDS = {"exchange": 30, "llm": 60, "database": 15}
"""How long each breaker stays open before it lets a request through (half-open)."""
TRIP_SECONDS = 10
IMPACT = {
    "exchange": "no new orders are placed; stops already at the exchange stay there",
    "llm": "agents decide without the LLM, or not at all",
    "database": "nothing is persisted: signals, fills and decisions are lost or delayed",
}
CLOSED, OPEN, HALF_OPEN = 0.0, 1.0, 2.0
_NEAR_MINUTES = 45
_BY_RESULT = "sum by (service, result) (rate(circuit_breaker_requests_total[2m]))"
_STOPS = {
    "exchange": ("orders executed a minute", "sum(rate(cryptofunk_order_execution_latency_ms_count[5m])) * 60"),
    "llm": ("LLM decisions a minute", "sum(rate(cryptofunk_llm_decisions_total[5m])) * 60"),
    "database": ("rows written by statement a minute", 'sum(rate(cryptofunk_database_query_duration_ms_count{query_type=~"insert|update"}[5m])) * 60'),
}  # fmt: skip


def states(metrics: Metrics, window: Window) -> Finding:
    """Breaker states: closed, open or half-open, of every breaker around the alert's moment."""
    near = max(window.start, window.starts_at - timedelta(minutes=_NEAR_MINUTES))
    frame = metrics.range("max by (service) (circuit_breaker_state)", near, window.as_of, series=4).frame
    lanes = {
        name: rows.dropna(subset=["value"]).reset_index(drop=True) for name, rows in by_label(frame, "service").items()
    }
    lanes = {name: rows for name, rows in list(lanes.items())[:12] if len(rows)}
    if not lanes:
        return Finding("breakers.states", Status.UNKNOWN, "Breaker states: no metric circuit_breaker_state",
                       "Prometheus has no sample of it around the alert, so no breaker can be called closed.")  # fmt: skip
    rows = [_lane(name, frame, window) for name, frame in lanes.items()]
    rows.sort(key=lambda row: (row["now"] == "closed", row["first open"] is None))
    now_open = [row["breaker"] for row in rows if row["now"] in ("open", "half-open")]
    opened = [row["breaker"] for row in rows if row["times opened"]]
    table = pd.DataFrame(rows).drop(columns="last open")
    table["first open"] = pd.to_datetime(table["first open"], utc=True)
    stale = [row["breaker"] for row in rows if row["now"] == "no sample"]
    title = (
        f"Open now: {', '.join(now_open)}" if now_open
        else f"Opened and closed again: {', '.join(opened)}" if opened
        else f"No sample now of: {', '.join(stale)}" if stale else f"All {len(rows)} breakers are closed"
    )  # fmt: skip
    return Finding(
        "breakers.states",
        Status.CRITICAL if now_open else Status.WARNING if opened or stale else Status.OK,
        title,
        f"Seen from {near:%H:%M} UTC on, at a resolution of 15 s or more: an opening between two samples is not seen.",
        {"open": ", ".join(now_open), "opened": ", ".join(opened), "services": ", ".join(lanes),
         "first_open": {row["breaker"]: row["first open"] for row in rows if row["first open"]},
         "last_open": {row["breaker"]: row["last open"] for row in rows if row["last open"]},
         "state": {row["breaker"]: row["now"] for row in rows}, "times": {row["breaker"]: row["times opened"] for row in rows}},
        (Table("Breakers around the alert", table, {"first open": "time", "times opened": "", "share open": "%"}),),
        series={"states": lanes},
    )  # fmt: skip


def affected(alert: Alert, states: Finding, service: str = "", breaker_type: str = "") -> Finding:
    """The affected service: named by the alert's label `service` or `breaker_type`, else the breaker that opened first.

    A service that the alert names is known without the metric, its state is not.
    """
    first: Mapping[str, datetime] = states.figures["first_open"] if states.is_known else {}
    given = [service, breaker_type, alert.labels.get("service", ""), alert.labels.get("breaker_type", "")]
    named = next((word for word in given if word in SERVICES), "")
    chosen = named or min((name for name in first if name in SERVICES), key=lambda name: first[name], default="")
    halt = next(
        (word for word in (breaker_type, alert.labels.get("breaker_type", "")) if word and word not in SERVICES), ""
    )[:60]
    others = sorted(name for name in first if name != chosen)
    if not chosen and not states.is_known:
        return Finding("breakers.affected", Status.UNKNOWN, "The affected service is not known",
                       "Neither does the alert name it, nor does circuit_breaker_state have an answer.")  # fmt: skip
    if not chosen:
        return Finding(
            "breakers.affected", Status.WARNING if halt else Status.OK,
            f"A trading halt is meant ({halt}), not a service's breaker" if halt else "No service's breaker has opened around the alert",
            "Trading halts stop trading by a risk rule; their state is below." if halt else "Either it closed before, or the alert names another breaker.",
            {"service": "", "halt": halt, "others": ", ".join(others), "opened_at": None},
        )  # fmt: skip
    state = states.figures["state"].get(chosen, "unknown") if states.is_known else "unknown"
    how = "named by the alert" if named else "the first that opened"
    is_open, unsure = state in ("open", "half-open"), state in ("unknown", "no sample")
    return Finding(
        "breakers.affected",
        Status.CRITICAL if is_open else Status.WARNING if unsure or chosen in first else Status.OK,
        f"The {chosen} breaker is meant ({how}); " + ("its state now is not known" if unsure else f"it is {state} now")
        + (f", first opened {moment(first[chosen])}" if chosen in first else ""),
        f"While it is open {IMPACT[chosen]}." + (f" Also opened: {', '.join(others)}." if others else ""),
        {"service": chosen, "state": state, "halt": halt, "others": ", ".join(others), "opened_at": first.get(chosen), "how": how,
         "last_open": states.figures["last_open"].get(chosen) if states.is_known else None},
    )  # fmt: skip


def logs(affected_found: Finding, cluster: Cluster, window: Window) -> Finding:
    """Log patterns of the affected service's deployments, worst first."""
    apps = DEPLOYMENTS.get(str(affected_found.figures["service"]), ("order-executor-server", "bifrost", "postgres"))
    return platform.logs_of(cluster, window, apps)


def failures(metrics: Metrics, window: Window) -> Finding:
    """Failure ratio: failed of all requests by breaker, against the 60 % at which a breaker trips."""
    frame = metrics.range(_BY_RESULT, window.start, window.as_of, series=7).frame
    ratios: dict[str, pd.DataFrame] = {}
    volumes: dict[str, float] = {}
    for name, rows in frame.groupby("service") if "service" in frame and "result" in frame else ():
        if len(ratios) == 12:
            break
        table = rows.pivot_table(index="time", columns="result", values="value", aggfunc="sum")
        failed, good = (
            table.get(result, pd.Series(0.0, index=table.index)).fillna(0.0) for result in ("failure", "success")
        )
        total = failed + good
        ratio = (failed / total.where(total > 0)).rename("value").reset_index()
        if ratio["value"].notna().any():
            ratios[str(name)], volumes[str(name)] = ratio, float(total.median()) * TRIP_SECONDS
    if not ratios:
        return Finding("breakers.failures", Status.UNKNOWN, "Failure ratio: no usable sample of circuit_breaker_requests_total",
                       "No request of any breaker was counted in the window, so no ratio can be told.")  # fmt: skip
    levels = {name: level(rows, window, least=0.05) for name, rows in ratios.items()}
    worst = max(levels, key=lambda name: levels[name].peak if math.isfinite(levels[name].peak) else -1.0)
    top = levels[worst]
    over = [name for name, one in levels.items() if one.peak >= TRIP_RATIO]
    table = pd.DataFrame({
        "breaker": list(levels), "usual": [one.usual for one in levels.values()], "highest": [one.peak for one in levels.values()],
        "now": [one.now for one in levels.values()], "rose at": pd.to_datetime([one.rose_at for one in levels.values()], utc=True),
        "requests in 10 s": [round(volumes[name], 1) for name in levels],
    })  # fmt: skip
    return Finding(
        "breakers.failures",
        Status.CRITICAL if over else Status.WARNING if any(one.rose_at for one in levels.values()) else Status.OK,
        f"{worst}: {amount(top.peak, '%')} of its requests failed at the worst, {amount(top.now, '%')} now; a breaker trips at {amount(TRIP_RATIO, '%')}",
        f"Usually {amount(top.usual, '%')}." + (f" It rose at {moment(top.rose_at)}." if top.rose_at else " None rose against its usual level.")
        + " Ratios over 2 minutes; the breaker itself judges 10 s, so it trips on shorter bursts too.",
        {"worst": worst, "peak": top.peak, "now": top.now, "since": top.rose_at, "over": ", ".join(over), "usual": top.usual,
         "requests_in_10s": volumes[worst], "peaks": {name: one.peak for name, one in levels.items()}},
        (Table("Failure ratio by breaker", table, {"usual": "%", "highest": "%", "now": "%", "rose at": "time", "requests in 10 s": ""}),),
        series={"ratios": ratios},
    )  # fmt: skip


def recovery(affected_found: Finding, window: Window) -> Finding:
    """The next half-open try: when the breaker lets a request through again, from its open timeout."""
    figures = affected_found.figures
    service, state = str(figures["service"]), figures.get("state", "")
    if not service:
        return Finding(
            "breakers.recovery", Status.OK, "No service's breaker waits for a half-open try", "", {"waits": False}
        )
    wait = OPEN_SECONDS[service]
    how = f"The {service} breaker stays open for {wait} s, then lets a request through; one success closes it, a failure opens it again."
    if state == "half-open":
        return Finding(
            "breakers.recovery",
            Status.WARNING,
            f"The {service} breaker is half-open now: it is trying",
            how,
            {"waits": True, "state": state},
        )
    if state == "closed":
        return Finding(
            "breakers.recovery",
            Status.OK,
            f"The {service} breaker is closed now",
            how,
            {"waits": False, "state": state},
        )
    if state != "open":
        return Finding("breakers.recovery", Status.UNKNOWN, f"Whether the {service} breaker waits is not known", how)
    since = figures["last_open"]
    if since is None:
        return Finding(
            "breakers.recovery",
            Status.UNKNOWN,
            f"The next try of the {service} breaker is not known",
            how,
            {"waits": True},
        )
    due = since + timedelta(seconds=wait)
    overdue = (window.as_of - due).total_seconds()
    title = (
        f"The {service} breaker is due to try at about {due:%H:%M:%S} UTC, in {duration(-overdue)}" if overdue < 0
        else f"The {service} breaker has been due to try since {due:%H:%M:%S} UTC ({duration(overdue)})"
    )  # fmt: skip
    return Finding(
        "breakers.recovery", Status.WARNING, title,
        how + f" Last seen to open at {since:%H:%M:%S} UTC"
        + ("; its tries are shorter than the time between two samples, or nobody asks." if overdue >= 0 else "."),
        {"waits": True, "state": state, "due": due},
    )  # fmt: skip


def effects(affected_found: Finding, metrics: Metrics, window: Window) -> Finding:
    """What the open breaker stops: orders executed, decisions made, rows written, now against the usual."""
    frame = metrics.range(
        union({name: text for name, (_, text) in _STOPS.items()}), window.start, window.as_of, series=4
    ).frame
    levels = {name: level(part(frame, name), window) for name in _STOPS}
    known = {name: one for name, one in levels.items() if math.isfinite(one.now)}
    if not known:
        return Finding("breakers.effects", Status.UNKNOWN, "What the breaker stops: no current sample of orders, decisions or writes",
                       "Their counters are missing, so what is lost cannot be told.")  # fmt: skip
    service = str(affected_found.figures["service"])
    less = [name for name, one in known.items() if one.usual > 0 and one.now < 0.5 * one.usual]
    table = pd.DataFrame({"what": [_STOPS[name][0] for name in known], "breaker": list(known), "usual": [round(one.usual, 2) for one in known.values()],
                          "now": [round(one.now, 2) for one in known.values()], "of usual": [one.growth for one in known.values()]})  # fmt: skip
    if service in less:
        one = known[service]
        title = f"The open {service} breaker costs: {_STOPS[service][0]} {amount(round(one.now, 2))}, usually {amount(round(one.usual, 2))}"
    elif service in known:
        title = f"Not stopped: {_STOPS[service][0]} {amount(round(known[service].now, 2))}, usually {amount(round(known[service].usual, 2))}"
    else:
        title = (
            f"Fewer than half of usual: {', '.join(_STOPS[name][0] for name in less)}"
            if less
            else "Orders, decisions and writes go on"
        )
    return Finding(
        "breakers.effects", Status.CRITICAL if service in less else Status.WARNING if less else Status.OK, title,
        f"While it is open {IMPACT[service]}." if service else "",
        {"stopped": service in less, "less": ", ".join(less), "now": known[service].now if service in known else None,
         "usual": known[service].usual if service in known else None},
        (Table("What breakers protect, per minute", table, {"usual": "", "now": "", "of usual": "%"}),),
    )  # fmt: skip


def frequency(metrics: Metrics, window: Window) -> Finding:
    """Trips: how often each breaker opened in a day and a week, and for which share of the time it was open."""
    is_open = "(max by (service) (circuit_breaker_state) == bool 1)"
    frame = metrics.instant(
        union({"day": f"changes({is_open}[24h:15s])", "week": f"changes({is_open}[7d:2m])", "share": f"avg_over_time({is_open}[24h:15s])"}), window.as_of
    ).frame  # fmt: skip
    day, week, share = (
        {name: float(rows["value"].iloc[0]) for name, rows in by_label(frame, "service", what).items()}
        for what in ("day", "week", "share")
    )
    if not day:
        return Finding("breakers.frequency", Status.UNKNOWN, "Trips: no metric circuit_breaker_state in the last day",
                       "So it cannot be told how often breakers open.")  # fmt: skip
    times = {name: math.ceil(value / 2) for name, value in day.items()}
    table = pd.DataFrame({"breaker": list(day), "opened in 24 h": list(times.values()), "opened in 7 d": [max(times[name], math.ceil(week.get(name, 0) / 2)) for name in day],
                          "share of 24 h open": [share.get(name, float("nan")) for name in day],
                          "open timeout": [float(OPEN_SECONDS.get(name, float("nan"))) for name in day]})  # fmt: skip
    most = max(times, key=lambda name: times[name])
    return Finding(
        "breakers.frequency",
        Status.WARNING if times[most] > 3 else Status.OK,
        f"The {most} breaker opened {times[most]} times in 24 h" if times[most] else "No breaker opened in 24 h",
        "Openings shorter than 15 s (2 min for the week) may be missed.",
        {"most": most, "times": times[most], "by_breaker": times, "share": share.get(most)},
        (Table("How often breakers open", table, {"opened in 24 h": "", "opened in 7 d": "", "share of 24 h open": "%", "open timeout": "s"}),),
    )  # fmt: skip


def expressions() -> dict[str, str]:
    """The PromQL of this module, by name; a test parses all of it."""
    return {"by_result": _BY_RESULT, **{name: text for name, (_, text) in _STOPS.items()}}


def _lane(name: str, frame: pd.DataFrame, window: Window) -> dict[str, Any]:
    values, times = frame["value"].tolist(), frame["time"].tolist()
    entries = [times[i] for i, value in enumerate(values) if value == OPEN and (i == 0 or values[i - 1] != OPEN)]
    fresh = (pd.Timestamp(window.as_of) - times[-1]).total_seconds() <= 120
    words = {CLOSED: "closed", OPEN: "open", HALF_OPEN: "half-open"}
    return {
        "breaker": name, "now": words.get(values[-1], f"state {values[-1]:g}") if fresh else "no sample", "times opened": len(entries),
        "first open": entries[0].to_pydatetime() if entries else None, "last open": entries[-1].to_pydatetime() if entries else None,
        "share open": float((frame["value"] == OPEN).mean()),
    }  # fmt: skip
