"""What trading depends on, each checked by itself: database, its pool, Redis, NATS, exchange, LLM, CoinGecko, health endpoints."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from functools import partial
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, union
from runbook.sources.overlap import at_once
from runbook.steps.dependencies import connection_pool, exchange_health, trading_flow
from runbook.steps.shared.levels import by_label, level, or_zero, part
from runbook.steps.shared.values import number
from runbook.words import amount, counted, duration, moment

ENDPOINTS = (
    ("api", "api-service", 80, "/api/v1/health"),
    ("orchestrator", "orchestrator-service", 8081, "/health"),
    ("bifrost", "bifrost-service", 8080, "/health"),
    ("nats", "nats-service", 8222, "/healthz"),
)
LLM_SLOW_MS = 10_000
_LONG_TRANSACTION_SECONDS = 300
_FULL = 0.9
_LLM = {
    "p95": "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_llm_request_duration_ms_bucket[5m])))",
    "requests": "sum(rate(cryptofunk_llm_request_duration_ms_count[5m])) * 60",
    "decisions": "sum(rate(cryptofunk_llm_decisions_total[5m])) * 60",
    "errors": 'sum(rate(cryptofunk_errors_total{component="llm"}[5m])) * 60',
}
_NATS = {
    "published": "sum(rate(cryptofunk_nats_messages_published_total[5m])) * 60",
    "received": "sum(rate(cryptofunk_nats_messages_received_total[5m])) * 60",
}
QUERIES = {"exchange": exchange_health.QUERIES, "llm": _LLM, "pool": connection_pool.QUERIES, "nats": _NATS}
"""The PromQL of each check, by name and part; a test parses all of it."""


def database(database: Database) -> Finding:
    """The database server: does SELECT 1 answer, and how full are its connections, its locks and its disk now."""
    server, activity = at_once(lambda: database.ask("health/database"), lambda: database.ask("health/activity"))
    row, holders = server.frame.iloc[0], activity.frame.rename(columns={"longest_seconds": "longest"})
    connections, most = number(row["connections"]), number(row["max_connections"])
    waiting, oldest = number(row["waiting_for_locks"]), number(row["oldest_transaction_seconds"])
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
         "idle_in_transaction": number(row["idle_in_transaction"]), "oldest_transaction_seconds": oldest,
         "size_bytes": number(row["size_bytes"]), "full": bool(share >= _FULL)},
        (Table("Who holds the server's connections", holders, {"connections": "", "longest": "s"}),) if len(holders) else (),
    )  # fmt: skip


def pool(metrics: Metrics, window: Window) -> Finding:
    """The connection pool of the services: active and idle connections, query time, and the volume's fill, over the window."""
    frame = metrics.range(union(connection_pool.QUERIES), window.start, window.as_of, series=4).frame
    return connection_pool.judged(frame, window)


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
    frame = metrics.range(union(exchange_health.QUERIES), window.start, window.as_of, series=12).frame
    return exchange_health.judged(frame, window)


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
    failing = failed.now > max(3 * or_zero(failed.usual), or_zero(failed.usual) + 0.5)
    silent = asked.now < 0.1 * or_zero(asked.usual)
    state = "fails" if failing else "is hardly asked" if silent else "is slow" if is_slow else "answers as usual"
    return Finding(
        "dependencies.llm",
        Status.CRITICAL if failing else Status.WARNING if is_slow or silent else Status.OK,
        f"The LLM {state}: p95 {amount(slow.now, 'ms')}, {amount(round(or_zero(failed.now), 1))} failures in {amount(round(asked.now, 1))} requests a minute",
        f"Usually p95 {amount(slow.usual, 'ms')} and {amount(round(or_zero(failed.usual), 2))} failures in {amount(round(asked.usual, 1))} requests a minute; "
        f"{amount(round(or_zero(parts['decisions'].now), 1))} decisions a minute, usually {amount(round(or_zero(parts['decisions'].usual), 1))}.",
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
        f"{counted(count, 'LLM decision')} cost {amount(cost, 'USD')} in {duration(window.seconds)}; {amount(earlier, 'USD')} in the span before",
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
    frame = database.ask("health/flow", before=since - timedelta(hours=24), since=since, as_of=window.as_of).frame
    if frame.empty:
        return Finding("dependencies.flow", Status.UNKNOWN, "What still flows: nothing was written since a day before",
                       "Orders, signals, decisions and candles are all absent, so there is nothing to compare with.")  # fmt: skip
    return trading_flow.judged(frame, since, window)


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
