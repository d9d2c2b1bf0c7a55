"""What trading depends on, each checked by itself: database, its pool, Redis, NATS, exchange, LLM, CoinGecko, health endpoints."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd

from runbook.alert import Alert, Window
from runbook.errors import QueryFailed
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, union
from runbook.sources.overlap import at_once
from runbook.steps.levels import Level, by_label, last, level, part, rise
from runbook.steps.verdicts import figures_of, kubectl, suspects, title_of, unknown_reasons
from runbook.tables import amount, duration, moment

ENDPOINTS = (
    ("api", "api-service", 80, "/api/v1/health"),
    ("orchestrator", "orchestrator-service", 8081, "/health"),
    ("bifrost", "bifrost-service", 8080, "/health"),
    ("nats", "nats-service", 8222, "/healthz"),
)
LLM_SLOW_MS = 10_000
_LONG_TRANSACTION_SECONDS = 300
_FULL = 0.9
_EXCHANGE = {
    "errors": "sum by (error_type) (rate(cryptofunk_exchange_api_errors_total[5m])) * 60",
    "requests": "sum by (endpoint) (rate(cryptofunk_exchange_api_latency_ms_count[5m])) * 60",
    "p95": "histogram_quantile(0.95, sum by (le, endpoint) (rate(cryptofunk_exchange_api_latency_ms_bucket[5m])))",
}
_LLM = {
    "p95": "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_llm_request_duration_ms_bucket[5m])))",
    "requests": "sum(rate(cryptofunk_llm_request_duration_ms_count[5m])) * 60",
    "decisions": "sum(rate(cryptofunk_llm_decisions_total[5m])) * 60",
    "errors": 'sum(rate(cryptofunk_errors_total{component="llm"}[5m])) * 60',
}
_POOL = {
    "active": "max(cryptofunk_database_connections_active)",
    "idle": "min(cryptofunk_database_connections_idle)",
    "p95": "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_database_query_duration_ms_bucket[5m])))",
    "disk": "max(kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)",
}
_NATS = {
    "published": "sum(rate(cryptofunk_nats_messages_published_total[5m])) * 60",
    "received": "sum(rate(cryptofunk_nats_messages_received_total[5m])) * 60",
}
QUERIES = {"exchange": _EXCHANGE, "llm": _LLM, "pool": _POOL, "nats": _NATS}
"""The PromQL of each check, by name and part; a test parses all of it."""


def database(database: Database) -> Finding:
    """The database server: does SELECT 1 answer, and how full are its connections, its locks and its disk now."""
    server, activity = at_once(lambda: database.ask("health/database"), lambda: database.ask("health/activity"))
    row, holders = server.frame.iloc[0], activity.frame.rename(columns={"longest_seconds": "longest"})
    connections, most = _number(row["connections"]), _number(row["max_connections"])
    waiting, oldest = _number(row["waiting_for_locks"]), _number(row["oldest_transaction_seconds"])
    share = connections / most if most > 0 else float("nan")
    bad = [
        words
        for is_bad, words in (
            (share >= _FULL, f"{connections:.0f} of {most:.0f} connections are taken"),
            (waiting > 0, f"{waiting:.0f} wait for a lock"),
            (oldest > _LONG_TRANSACTION_SECONDS, f"a transaction is open for {duration(oldest)}"),
            (bool(row["in_recovery"]), "it is in recovery: it takes no writes"),
        )
        if is_bad
    ]
    return Finding(
        "dependencies.database",
        Status.CRITICAL if share >= _FULL or bool(row["in_recovery"]) else Status.WARNING if bad else Status.OK,
        f"The database answers, but {', '.join(bad)}" if bad
        else f"The database answers; {connections:.0f} of {most:.0f} connections taken, nothing waits for a lock",
        f"Statements that run now: {amount(row['active'])}; connections idle in a transaction: {amount(row['idle_in_transaction'])}. The database is "
        f"{amount(row['size_bytes'], 'bytes')}. This is the server's state at the time of asking.",
        {"connections": connections, "max_connections": most, "share": share, "waiting_for_locks": waiting,
         "idle_in_transaction": _number(row["idle_in_transaction"]), "oldest_transaction_seconds": oldest,
         "size_bytes": _number(row["size_bytes"]), "full": bool(share >= _FULL)},
        (Table("Who holds the server's connections", holders, {"connections": "", "longest": "s"}),) if len(holders) else (),
    )  # fmt: skip


def pool(metrics: Metrics, window: Window) -> Finding:
    """The connection pool of the services: active and idle connections, query time, and the volume's fill, over the window."""
    frame = metrics.range(union(_POOL), window.start, window.as_of, series=4).frame
    active, idle = level(part(frame, "active"), window, factor=1.5), level(part(frame, "idle"), window)
    if not math.isfinite(active.now) and not math.isfinite(idle.now):
        return Finding("dependencies.pool", Status.UNKNOWN, "The connection pool: no current sample of its gauges",
                       "cryptofunk_database_connections_active and _idle have no sample in the last 10 minutes.")  # fmt: skip
    size = _pool_size(frame, active.now, idle.now)
    exhausted = math.isfinite(idle.now) and idle.now < 0.5 and active.now >= 1
    inverted = part(frame, "idle").assign(value=lambda rows: -rows["value"])
    since = rise(inverted.dropna(subset=["value"]).reset_index(drop=True), -0.5) if exhausted else None
    queries, disk = level(part(frame, "p95"), window), last(frame, "disk")
    full = disk >= 0.8
    return Finding(
        "dependencies.pool",
        Status.CRITICAL if exhausted else Status.WARNING if full or idle.now <= 1 else Status.OK,
        f"The connection pool is exhausted: {active.now:.0f} of {size:.0f} connections in use, none idle" + (f", since {since:%H:%M} UTC" if since else "")
        if exhausted
        else f"The connection pool is nearly full: {active.now:.0f} of {size:.0f} connections in use" if idle.now <= 1
        else f"The connection pool has room: {active.now:.0f} of {size:.0f} connections in use" + (f"; but the fullest volume is {amount(disk, '%')} full" if full else ""),
        f"Usually {amount(round(active.usual, 1))} are in use. Query time p95 {amount(queries.now, 'ms')}, usually {amount(queries.usual, 'ms')}. "
        f"The fullest volume is {amount(disk, '%')} full.",
        {"active": active.now, "idle": idle.now, "size": size, "exhausted": exhausted, "since": since, "usual": active.usual,
         "p95_ms": queries.now, "usual_p95_ms": queries.usual, "disk_share": disk},
        series={"active": part(frame, "active"), "idle": part(frame, "idle")},
    )  # fmt: skip


def _pool_size(frame: pd.DataFrame, active: float, idle: float) -> float:
    """How many connections the pool has: the most that were active or idle at one time, as the two gauges are not read at once."""
    sums = part(frame, "active").merge(part(frame, "idle"), on="time")
    both = (sums["value_x"] + sums["value_y"]).dropna()
    return max(round(float(both.max())) if len(both) else 0.0, _plain(active) + (0.0 if len(both) else _plain(idle)))


def redis(metrics: Metrics, window: Window) -> Finding:
    """Redis: its cache's hit rate now against the usual one."""
    found = level(
        metrics.range("min(cryptofunk_redis_cache_hit_rate)", window.start, window.as_of, series=2).frame, window
    )
    if not math.isfinite(found.now):
        return Finding("dependencies.redis", Status.UNKNOWN, "Redis: no current sample of cryptofunk_redis_cache_hit_rate",
                       "So it cannot be said whether the cache serves; see the redis pod below.")  # fmt: skip
    fell = found.now < 0.7 * found.usual
    return Finding(
        "dependencies.redis",
        Status.WARNING if fell else Status.OK,
        f"Redis answers {amount(found.now, '%')} of requests from its cache" + (f"; usually {amount(found.usual, '%')}" if fell else ""),
        "What the cache does not answer falls on the exchange's and CoinGecko's APIs and on the database." if fell else "",
        {"hit_rate": found.now, "usual": found.usual, "fell": fell},
    )  # fmt: skip


def nats(metrics: Metrics, window: Window) -> Finding:
    """NATS: messages published and received a minute, now against the usual."""
    frame = metrics.range(union(_NATS), window.start, window.as_of, series=2).frame
    out, came = level(part(frame, "published"), window), level(part(frame, "received"), window)
    if not math.isfinite(out.now) or not math.isfinite(came.now):
        return Finding("dependencies.nats", Status.UNKNOWN, "NATS: its message counters have no current sample",
                       "cryptofunk_nats_messages_published_total or _received_total is missing.")  # fmt: skip
    silent, lost = out.now < 0.2 * out.usual or (out.now == 0 and came.now == 0), came.now < 0.8 * out.now
    return Finding(
        "dependencies.nats",
        Status.CRITICAL if silent else Status.WARNING if lost else Status.OK,
        ("NATS carries almost nothing: " if silent else "NATS loses messages: " if lost else "NATS carries ")
        + f"{amount(round(out.now, 1))} messages published and {amount(round(came.now, 1))} received a minute",
        f"Usually {amount(round(out.usual, 1))} published and {amount(round(came.usual, 1))} received.",
        {"published": out.now, "received": came.now, "usual": out.usual, "silent": silent, "lost": lost},
    )  # fmt: skip


def exchange(metrics: Metrics, window: Window) -> Finding:
    """The exchange: errors by type, requests and latency by endpoint, now against the usual."""
    frame = metrics.range(union(_EXCHANGE), window.start, window.as_of, series=12).frame
    errors = {name: level(rows, window, least=0.5) for name, rows in by_label(frame, "error_type", "errors").items()}
    asked = {name: level(rows, window, factor=2.0) for name, rows in by_label(frame, "endpoint", "requests").items()}
    slow = {name: level(rows, window, factor=2.0) for name, rows in by_label(frame, "endpoint", "p95").items()}
    if not any(math.isfinite(one.now) for one in (*errors.values(), *asked.values())):
        return Finding("dependencies.exchange", Status.UNKNOWN, "The exchange: no current sample of its errors and latency",
                       "cryptofunk_exchange_api_errors_total and cryptofunk_exchange_api_latency_ms are missing.")  # fmt: skip
    total = sum(_plain(one.now) for one in errors.values())
    usual = sum(_plain(one.usual) for one in errors.values())
    kind = max(errors, key=lambda name: _plain(errors[name].now), default="")
    share = _plain(errors[kind].now) / total if total > 0 else 0.0
    grown = max(asked, key=lambda name: _plain(asked[name].growth), default="")
    slowest = max(slow, key=lambda name: _plain(slow[name].growth), default="")
    growth = asked[grown].growth if grown else float("nan")
    slowdown = slow[slowest].growth if slowest else float("nan")
    trouble = total > max(3 * usual, usual + 0.5)
    began = errors[kind].rose_at if trouble else None
    rows = [(f"errors: {name}", one) for name, one in errors.items()] + [
        (f"requests: {name}", one) for name, one in asked.items()
    ]
    tables = (
        _levels_table("Exchange, per minute", rows, ""),
        _levels_table("Exchange latency, p95", list(slow.items()), "ms"),
    )
    detail = f"Usually {amount(round(usual, 2))} errors a minute. "
    detail += (
        f"Requests to {grown} are {amount(growth, 'ratio')} times the usual, since {_clock(asked[grown].rose_at)}. "
        if growth >= 2
        else "Requests are as usual. "
    )
    detail += (
        f"Latency of {slowest} is {amount(slowdown, 'ratio')} times the usual."
        if slowdown >= 2
        else "Latency is as usual."
    )
    return Finding(
        "dependencies.exchange",
        Status.CRITICAL if trouble and total >= 6 else Status.WARNING if trouble or slowdown >= 2 or growth >= 2 else Status.OK,
        f"The exchange refuses {amount(round(total, 1))} requests a minute: {amount(share, '%')} of them {kind}" + (f", since {_clock(began)}" if began else "")
        if trouble
        else f"The exchange answers as usual ({amount(round(total, 2))} errors a minute)" if not slowdown >= 2
        else f"The exchange is slow: {slowest} takes {amount(slow[slowest].now, 'ms')} (p95), usually {amount(slow[slowest].usual, 'ms')}",
        detail,
        {"errors_per_minute": total, "usual_errors_per_minute": usual, "trouble": trouble, "kind": kind if trouble else "", "kind_share": share,
         "since": began, "endpoint": grown if growth >= 2 else "", "request_growth": growth, "requests_since": asked[grown].rose_at if grown else None,
         "requests_now": asked[grown].now if grown else None, "requests_usual": asked[grown].usual if grown else None,
         "slow_endpoint": slowest if slowdown >= 2 else "", "slowdown": slowdown},
        tuple(table for table in tables if len(table.frame)),
        series={"errors": by_label(frame, "error_type", "errors"), "requests": by_label(frame, "endpoint", "requests")},
    )  # fmt: skip


def llm(metrics: Metrics, window: Window) -> Finding:
    """The LLM gateway: request latency, requests, decisions and failures a minute, now against the usual."""
    frame = metrics.range(union(_LLM), window.start, window.as_of, series=4).frame
    parts = {
        name: level(part(frame, name), window, factor=2.0, least=0.2 if name == "errors" else 0.0) for name in _LLM
    }
    slow, asked, failed = parts["p95"], parts["requests"], parts["errors"]
    if not math.isfinite(asked.now):
        return Finding("dependencies.llm", Status.UNKNOWN, "The LLM: no current sample of its requests",
                       "cryptofunk_llm_request_duration_ms is missing.")  # fmt: skip
    is_slow = slow.now > LLM_SLOW_MS or slow.growth >= 2
    failing = failed.now > max(3 * _plain(failed.usual), _plain(failed.usual) + 0.5)
    silent = asked.now < 0.1 * _plain(asked.usual)
    state = "fails" if failing else "is hardly asked" if silent else "is slow" if is_slow else "answers as usual"
    return Finding(
        "dependencies.llm",
        Status.CRITICAL if failing else Status.WARNING if is_slow or silent else Status.OK,
        f"The LLM {state}: p95 {amount(slow.now, 'ms')}, {amount(round(_plain(failed.now), 1))} failures in {amount(round(asked.now, 1))} requests a minute",
        f"Usually p95 {amount(slow.usual, 'ms')} and {amount(round(_plain(failed.usual), 2))} failures in {amount(round(asked.usual, 1))} requests a minute; "
        f"{amount(round(_plain(parts['decisions'].now), 1))} decisions a minute, usually {amount(round(_plain(parts['decisions'].usual), 1))}.",
        {"p95_ms": slow.now, "usual_p95_ms": slow.usual, "failures_per_minute": failed.now, "requests_per_minute": asked.now, "failing": failing,
         "slow": is_slow, "silent": silent, "growth": asked.growth, "since": failed.rose_at if failing else slow.rose_at if is_slow else None},
        series={"p95": part(frame, "p95")},
    )  # fmt: skip


def llm_cost(database: Database, window: Window) -> Finding:
    """What the LLM costs: decisions, tokens and USD by model in the window, and in the same span before it."""
    before = window.start - (window.as_of - window.start)
    frame = database.ask("health/llm", before=before, since=window.start, as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "dependencies.llm_cost",
            Status.OK,
            "No LLM decision is recorded in the window, nor before it",
            "",
            {"cost_usd": 0.0},
        )
    cost, earlier = (
        float(pd.to_numeric(frame[name], errors="coerce").sum()) for name in ("cost_usd", "cost_usd_before")
    )
    count = int(frame["decisions"].sum())
    dear = cost > 3 * earlier and cost > 1
    return Finding(
        "dependencies.llm_cost",
        Status.WARNING if dear else Status.OK,
        f"{count:,} LLM {'decision' if count == 1 else 'decisions'} cost {amount(cost, 'USD')} in {duration(window.seconds)}; {amount(earlier, 'USD')} in the span before",
        "",
        {"cost_usd": cost, "cost_usd_before": earlier, "decisions": count},
        (Table("LLM decisions by model", frame, {"decisions": "", "cost_usd": "USD", "mean_latency_ms": "ms", "tokens": "", "decisions_before": "",
                                                 "cost_usd_before": "USD"}),),
    )  # fmt: skip


def health_checks(metrics: Metrics, window: Window) -> Finding:
    """The platform's own health checks: health_check_status of each component, 1 healthy, 0.5 degraded, 0 failed."""
    frame = metrics.instant(
        union(
            {"status": "min by (component) (health_check_status)", "ms": "max by (component) (health_check_latency_ms)"}
        ),
        window.as_of,
    ).frame
    states = {name: float(rows["value"].iloc[0]) for name, rows in by_label(frame, "component", "status").items()}
    if not any(math.isfinite(value) for value in states.values()):
        return Finding("dependencies.health_checks", Status.UNKNOWN, "The platform's health checks: no metric health_check_status",
                       "Nothing is exported at the report's moment, so they say nothing.")  # fmt: skip
    latency = {name: float(rows["value"].iloc[0]) for name, rows in by_label(frame, "component", "ms").items()}
    failed = sorted(name for name, value in states.items() if value == 0)
    unsure = sorted(name for name, value in states.items() if not value >= 1 and value != 0)
    words = [f"failed: {', '.join(failed)}"] * bool(failed) + [f"degraded: {', '.join(unsure)}"] * bool(unsure)
    table = pd.DataFrame({"component": list(states), "status": [_check(value) for value in states.values()],
                          "latency": [latency.get(name, float("nan")) for name in states]})  # fmt: skip
    return Finding(
        "dependencies.health_checks",
        Status.CRITICAL if failed else Status.WARNING if unsure else Status.OK,
        f"Health checks {'; '.join(words)}" if words else f"All {len(states)} health checks of the platform pass",
        "",
        {"failed": ", ".join(failed), "degraded": ", ".join(unsure)},
        (Table("The platform's own health checks", table, {"latency": "ms"}),),
    )


def coingecko(cluster: Cluster, window: Window) -> Finding:
    """CoinGecko: what market-data-server logs about it; the platform has no metric of its own for it."""
    frame = cluster.logs("market-data-server", window.start, window.as_of, tail=2000).frame
    if frame.empty:
        return Finding("dependencies.coingecko", Status.UNKNOWN, "CoinGecko: market-data-server logged nothing in the window",
                       "Its log is the only place that tells how CoinGecko answers.")  # fmt: skip
    texts = [
        f"{message} {' '.join(fields.values())}".lower()
        for message, fields in zip(frame["message"], frame["fields"], strict=True)
    ]
    named = frame[["coingecko" in text for text in texts]]
    bad = named[named["level"].isin(["warning", "error", "fatal", "panic"])]
    return Finding(
        "dependencies.coingecko",
        Status.WARNING if len(bad) else Status.OK,
        f"CoinGecko: {len(bad)} {'complaint' if len(bad) == 1 else 'complaints'} in the log of market-data-server" if len(bad)
        else "No complaint about CoinGecko in the log of market-data-server",
        f"Last at {moment(bad['time'].max())}: {str(bad['message'].iloc[-1])[:160]}" if len(bad)
        else f"{len(frame):,} lines read, {len(named) or 'none'} of them name it; there is no metric for it.",
        {"complaints": len(bad)},
    )  # fmt: skip


def endpoints(cluster: Cluster) -> Finding:
    """Health endpoints: what api, orchestrator, bifrost and NATS answer through the API server's proxy."""

    def ask(name: str, service: str, port: int, path: str) -> dict[str, Any]:
        try:
            answer = cluster.health(service, port, path).data
            return {"service": name, "path": path, "answer": _answer(answer), "state": _state(answer)}
        except QueryFailed as error:
            return {"service": name, "path": path, "answer": str(error)[:160], "state": "unknown"}

    rows = at_once(*(partial(ask, *endpoint) for endpoint in ENDPOINTS))
    down = [str(row["service"]) for row in rows if row["state"] == "down"]
    unsure = [str(row["service"]) for row in rows if row["state"] == "unknown"]
    words = [f"no healthy answer: {', '.join(down)}"] * bool(down) + [f"not known: {', '.join(unsure)}"] * bool(unsure)
    return Finding(
        "dependencies.endpoints",
        Status.CRITICAL if down else Status.UNKNOWN if unsure else Status.OK,
        f"Health endpoints, {'; '.join(words)}" if words else f"All {len(rows)} health endpoints answer healthy",
        "",
        {"down": ", ".join(down), "unknown": ", ".join(unsure)},
        (Table("Health endpoints through the API server's proxy", pd.DataFrame(rows)),),
    )


def flow(database: Database, window: Window) -> Finding:
    """What still flows: orders, fills, signals, decisions and rows since the alert, against the day before."""
    since = (
        window.starts_at
        if window.as_of - window.starts_at >= timedelta(minutes=5)
        else window.as_of - timedelta(hours=1)
    )
    span = (window.as_of - since).total_seconds()
    frame = database.ask("health/flow", before=since - timedelta(hours=24), since=since, as_of=window.as_of).frame
    if frame.empty:
        return Finding("dependencies.flow", Status.UNKNOWN, "What still flows: nothing was written since a day before",
                       "Orders, signals, decisions and candles are all absent, so there is nothing to compare with.")  # fmt: skip
    rows = frame.set_index("what")
    expected = {name: float(rows["rows_before"][name]) * span / 86_400 for name in rows.index}
    counts = {name: int(rows["rows_now"][name]) for name in rows.index}
    flows = [name for name in rows.index if name != "orders refused"]
    stopped = [name for name in flows if expected[name] > 0 and _fewer(counts[name], expected[name])]
    refused = counts.get("orders refused", 0)
    refusing = refused > 0 and refused > 3 * expected.get("orders refused", 0.0)
    table = pd.DataFrame({"what": list(rows.index), "since": [counts[name] for name in rows.index], "expected": [round(expected[name], 1) for name in rows.index],
                          "last": list(rows["last_at"]),
                          "judgement": ["far fewer than usual" if name in stopped else "more than usual" if refusing and name not in flows
                                        else "" if counts[name] >= expected[name] or _tells(expected[name]) else "too few to tell" for name in rows.index]})  # fmt: skip
    words = [f"far fewer than usual: {', '.join(stopped)}"] * bool(stopped) + [f"{refused} orders refused"] * refusing
    title = "; ".join(words)
    return Finding(
        "dependencies.flow",
        Status.WARNING if words else Status.OK,
        f"{title[0].upper()}{title[1:]}, in the {duration(span)} since {since:%H:%M} UTC" if words
        else f"What is written since {since:%H:%M} UTC is as usual: {_orders(counts.get('orders', 0), expected.get('orders', 0.0))}",
        f"Expected is what the 24 hours before would give in {duration(span)}; fewer counts only where chance gives it less than once in a hundred.",
        {"stopped": ", ".join(stopped), "refused": refused, "orders": counts.get("orders", 0), "orders_expected": expected.get("orders", 0.0), "since": since},
        (Table(f"Rows in the {duration(span)} since {since:%H:%M} UTC", table, {"since": "", "expected": "", "last": "time"}),),
    )  # fmt: skip


def _levels_table(caption: str, rows: list[tuple[str, Level]], unit: str) -> Table:
    order = sorted(rows, key=lambda row: -_plain(row[1].now))[:15]
    frame = pd.DataFrame({
        "what": [name for name, _ in order], "usual": [_rounded(one.usual) for _, one in order], "now": [_rounded(one.now) for _, one in order],
        "times usual": [one.growth for _, one in order], "rose at": [one.rose_at for _, one in order],
    })  # fmt: skip
    frame["rose at"] = pd.to_datetime(frame["rose at"], utc=True)
    return Table(caption, frame, {"usual": unit, "now": unit, "times usual": "ratio", "rose at": "time"})


def _fewer(count: int, expected: float) -> bool:
    """Whether a Poisson count of `expected` would be as low as `count` less than once in a hundred."""
    if count >= expected:
        return False
    if expected > 500:
        return (expected - count) / math.sqrt(expected) > 2.33
    term = total = math.exp(-expected)
    for k in range(1, count + 1):
        term *= expected / k
        total += term
    return total < 0.01


def _orders(count: int, expected: float) -> str:
    """ "3 orders"; of none, how many are usual: none at all is news only where some were to be expected."""
    return f"{count} order{'' if count == 1 else 's'}" + (
        "" if count else f", usual {amount(round(expected, 1))} in that time"
    )


def _tells(expected: float) -> bool:
    return expected >= 4.7  # then even no row at all is expected less than once in a hundred


def _answer(data: Any) -> str:
    body = " ".join(str(data.get("body", "")).split())[:120]
    return f"{data.get('code')} {body}".strip()


def _state(data: Any) -> str:
    if not 200 <= int(data.get("code", 0)) < 300:
        return "down"
    try:
        word = str(json.loads(data.get("body", "")).get("status", "ok")).lower()
    except (ValueError, AttributeError):
        return "ok"
    return "ok" if word in ("ok", "healthy", "up", "pass") else "down"


def _check(value: float) -> str:
    return "passes" if value >= 1 else "FAILED" if value == 0 else "degraded" if value > 0 else "no value"


def _clock(at: datetime | None) -> str:
    return f"{at:%H:%M} UTC" if at else "before the window"


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _plain(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _rounded(value: float) -> float:
    return round(value, 2 if abs(value) < 100 else 0) if math.isfinite(value) else value


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion of SystemHealth: what is broken now, the worst first, and where to look next."""
    critical = [one for one in findings.values() if one.status is Status.CRITICAL]
    warned = [one for one in findings.values() if one.status is Status.WARNING]
    unknown = [one for one in findings.values() if not one.is_known]
    near = suspects(findings, window.starts_at, minutes=60)
    status, decision, summary = _judged(len(findings), len(unknown), critical, warned)
    reasons = [
        *(f"{one.title}." for one in (critical + warned)[:10]),
        *(f"Shortly before: {one.text}." for one in near[:3]),
    ]
    others = str(figures_of(findings, "alerting.firing").get("names", ""))
    actions = [
        *(
            [
                Action(
                    "Run the procedure of what fires",
                    f"runbook run {shlex.quote(others.split(', ', 1)[0])}",
                    f"Firing: {others[:200]}.",
                )
            ]
            if others
            else []
        ),
        Action(
            "Watch the pods", kubectl(namespace, "get", "pods", "--watch"), "Those not ready, waiting or restarting."
        ),
    ]
    questions = (
        ("Are the pods well?", "platform.pods"), ("Does the database answer?", "dependencies.database"), ("Does trading go on?", "dependencies.flow"),
        ("Is trading paused?", "sessions.paused"), ("Is a breaker open?", "breakers.states"), ("What fires?", "alerting.firing"),
    )  # fmt: skip
    return Verdict(decision, summary, status, tuple(reasons) + unknown_reasons(findings), tuple(actions),
                   tuple((question, title_of(findings, name)) for question, name in questions))  # fmt: skip


def _judged(
    count: int, unknown: int, critical: Sequence[Finding], warned: Sequence[Finding]
) -> tuple[Status, str, str]:
    """(status, decision, summary): what has no answer is neither fine nor broken, and is said beside what answered."""
    answered = count - unknown
    of = f"{count} checks" if not unknown else f"the {answered} check{_s(answered)} that answered"
    rest = f" {unknown} {'has' if unknown == 1 else 'have'} no answer." if unknown else ""
    if critical:
        are = "is" if len(critical) == 1 else "are"
        summary = f"{len(critical)} of {of} {are} critical: {_titles(critical)}.{rest}"
        return Status.CRITICAL, "act on what is broken", summary
    if warned:
        warn = f"{len(warned)} warn{'s' if len(warned) == 1 else ''}: {_titles(warned)}.{rest}"
        mostly = unknown <= answered  # with more silence than answers nothing can be said of the platform
        decision = "look at the warnings" + (", restore the sources that did not answer" if unknown else "")
        return Status.WARNING if mostly else Status.UNKNOWN, decision, f"Of {of} none is critical, {warn}"
    if not answered:
        return (
            Status.UNKNOWN,
            "restore the sources, then check again",
            "Nothing is known: none of the checks has an answer.",
        )
    if unknown:
        return Status.UNKNOWN, "restore the sources, then check again", f"Of {of} none warns.{rest}"
    return Status.OK, "no action", f"Healthy: all {count} checks pass."


def _titles(findings: Sequence[Finding]) -> str:
    more = len(findings) - 3
    return "; ".join(one.title for one in findings[:3]) + (f"; and {more} more" if more > 0 else "")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
