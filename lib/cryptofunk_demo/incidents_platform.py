"""Incidents of the platform around trading: breakers, error rates, an alert nobody wrote a procedure for.

`incidents` lists them.
"""

from __future__ import annotations

from cryptofunk_demo.incident import AlertSpec, Audit, Event, Incident, LogLine, Override, PodState, Rollout

_STATE = "circuit_breaker_state"
_REQUESTS = "circuit_breaker_requests_total"
_FAILURES = "circuit_breaker_failures_total"
_API = "cryptofunk_http_requests_total"
_API_PATHS = (("GET", "/api/v1/positions", 20.0), ("GET", "/api/v1/agents", 9.0), ("POST", "/api/v1/orders", 2.5))


def _alert(
    name: str, severity: str, component: str, category: str, expression: str, summary: str, **labels: str
) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={
            "severity": severity,
            "component": component,
            "namespace": "cryptofunk",
            "category": category,
            **labels,
        },
        annotations={"summary": summary, "runbook_url": f"https://runbooks.example.com/{name}"},
        expression=expression,
    )


def _also(name: str, start_minute: int, severity: str, component: str, expression: str, **labels: str) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={"severity": severity, "component": component, "namespace": "cryptofunk", **labels},
        annotations={"summary": f"{name} on {component}"},
        expression=expression,
        start_minute=start_minute,
    )


def _flapping(service: str, start_minute: int, open_seconds: int) -> tuple[Override, ...]:
    """A breaker that opens and, every `open_seconds`, tries half-open for 15 seconds in vain."""
    labels, cycle = {"service": service}, open_seconds + 15
    tries = [start_minute + (open_seconds + number * cycle) / 60 for number in range((8 - start_minute) * 60 // cycle)]
    return (
        Override(_STATE, 1.0, labels=labels, start_minute=start_minute),
        *(Override(_STATE, 2.0, labels=labels, start_minute=at, end_minute=at + 0.25) for at in tries),
    )


def _failing(service: str, start_minute: int, failures: float, successes: float) -> tuple[Override, ...]:
    """A breaker's requests a minute from then on."""
    labels = {"service": service}
    return (
        Override(
            _REQUESTS, failures, labels={**labels, "result": "failure"}, start_minute=start_minute, ramp_minutes=2
        ),
        Override(
            _REQUESTS, successes, labels={**labels, "result": "success"}, start_minute=start_minute, ramp_minutes=2
        ),
        Override(_FAILURES, failures, labels=labels, start_minute=start_minute, ramp_minutes=2),
    )


_REFUSED = """
INSERT INTO orders (symbol, exchange, side, type, status, quantity, placed_at, error_message, created_at, updated_at)
SELECT 'BTCUSDT', 'binance', 'BUY', 'MARKET', 'REJECTED', 0.01, t, {error}, t, t
FROM generate_series(1, {count}) AS i,
     LATERAL (SELECT TIMESTAMPTZ '2026-01-15 14:02:00+00' + {start} * interval '1 minute'
                     + i * interval '{every} seconds' AS t) AS w"""

RATE_LIMITED = Incident(
    name="rate-limited",
    title=(
        "The exchange breaker opens, but the exchange is well: a rollout made us ask for candles twelve times as often"
    ),
    cause="own request rate",
    alert=_alert(
        "CircuitBreakerOpen",
        "warning",
        "circuit_breaker",
        "breakers",
        "circuit_breaker_state == 1",
        "Circuit breaker of the exchange is open",
        service="exchange",
    ),
    overrides=(
        *_flapping("exchange", -2, 30),
        *_failing("exchange", -10, 240.0, 130.0),
        Override(_REQUESTS, 40.0, labels={"service": "exchange", "result": "success"}, start_minute=-4),
        Override(
            "cryptofunk_exchange_api_latency_ms_count",
            360.0,
            labels={"endpoint": "klines"},
            start_minute=-13,
            ramp_minutes=1,
        ),
        Override(
            "cryptofunk_exchange_api_errors_total",
            236.0,
            labels={"error_type": "rate_limit"},
            start_minute=-10,
            ramp_minutes=2,
        ),
        Override("cryptofunk_exchange_api_errors_total", 1.2, labels={"error_type": "timeout"}, start_minute=-9),
        Override("cryptofunk_order_execution_latency_ms_count", 0.0, start_minute=-2),
    ),
    rollouts=(Rollout("market-data-server", -14, "cryptofunk/market-data-server:1.9.0"),),
    logs=(
        LogLine(
            "market-data-server",
            -13.9,
            "info",
            "Starting market-data-server",
            {"version": "1.9.0", "poll_interval": "5s"},
        ),
        LogLine(
            "market-data-server",
            -10,
            "warn",
            "Exchange rate limit, retrying at once",
            {"error": "binance: 429 too many requests, code -1003", "endpoint": "klines", "attempt": "{n}"},
            count=420,
            every_seconds=2.6,
        ),
        LogLine(
            "order-executor-server",
            -9,
            "warn",
            "Exchange request failed",
            {"error": "binance: 429 too many requests, code -1003", "endpoint": "account"},
            count=40,
            every_seconds=11,
        ),
        LogLine(
            "order-executor-server",
            -2,
            "error",
            "Circuit breaker state changed",
            {"breaker": "exchange", "from": "closed", "to": "open", "failure_ratio": 0.85},
        ),
        LogLine(
            "order-executor-server",
            -1.8,
            "error",
            "Order not placed",
            {"error": "circuit breaker exchange is open", "symbol": "{symbol}"},
            count=14,
            every_seconds=41,
            console=True,
        ),
    ),
    audits=(
        Audit(
            -15,
            "CONFIG_UPDATED",
            "market_data.poll_interval 60s -> 5s; image market-data-server 1.8.3 -> 1.9.0",
            "deployment/market-data-server",
            user="deploy-bot",
            metadata={"market_data.poll_interval": "5s"},
        ),
    ),
    statements=(_REFUSED.format(error="'circuit breaker exchange is open'", count=14, start=-1.8, every=41),),
    also_firing=(
        _also(
            "HighExchangeAPIErrors",
            -3,
            "warning",
            "exchange",
            "rate(cryptofunk_exchange_api_errors_total[5m]) > 0.1",
            exchange="binance",
            error_type="rate_limit",
        ),
        _also(
            "ExchangeConnectionIssues",
            -2,
            "critical",
            "exchange",
            "increase(cryptofunk_exchange_api_errors_total[5m]) > 20",
            exchange="binance",
        ),
    ),
)

POOL_EXHAUSTED = Incident(
    name="pool-exhausted",
    title="The API answers 5xx and exchange calls time out; the cause is a pool of connections that a new export holds",
    cause="database pool",
    alert=_alert(
        "HighErrorRate",
        "critical",
        "api",
        "system",
        'sum(rate(cryptofunk_http_requests_total{status_code=~"5.."}[5m])) / '
        "sum(rate(cryptofunk_http_requests_total[5m])) > 0.05",
        "More than 5% of API requests fail",
    ),
    overrides=(
        Override("cryptofunk_database_connections_active", 10.0, start_minute=-19, ramp_minutes=7),
        Override("cryptofunk_database_query_duration_ms", 640.0, start_minute=-16, ramp_minutes=6),
        *(
            Override(
                _API,
                per_minute * 0.22,
                labels={"method": method, "path": path, "status_code": "500"},
                start_minute=-11,
                ramp_minutes=2,
            )
            for method, path, per_minute in _API_PATHS
        ),
        *(
            Override(
                _API,
                per_minute * 0.14,
                labels={"method": method, "path": path, "status_code": "503"},
                start_minute=-11,
                ramp_minutes=2,
            )
            for method, path, per_minute in _API_PATHS
        ),
        Override("cryptofunk_api_request_duration_ms", scale=22, start_minute=-12, ramp_minutes=4),
        Override("cryptofunk_errors_total", 14.0, labels={"component": "database"}, start_minute=-11, ramp_minutes=2),
        Override("cryptofunk_errors_total", 6.0, labels={"component": "mcp", "type": "timeout"}, start_minute=-10),
        Override("cryptofunk_exchange_api_errors_total", 2.4, labels={"error_type": "timeout"}, start_minute=-10),
        Override("health_check_status", 0.5, labels={"component": "database"}, start_minute=-11),
        Override("health_check_latency_ms", 4_900.0, labels={"component": "database"}, start_minute=-11),
        *_failing("database", -11, 22.0, 120.0),
    ),
    rollouts=(Rollout("api", -20, "cryptofunk/api:1.8.4"),),
    logs=(
        LogLine("api", -19.8, "info", "Starting api", {"version": "1.8.4"}),
        LogLine(
            "api",
            -19,
            "info",
            "Export started",
            {"endpoint": "/api/v1/export/trades", "rows": "all", "transaction": "open"},
            count=8,
            every_seconds=48,
        ),
        LogLine(
            "api",
            -11,
            "error",
            "Request failed",
            {
                "error": "failed to acquire connection: context deadline exceeded",
                "path": "/api/v1/positions",
                "status": 500,
                "pool_in_use": 10,
            },
            count=130,
            every_seconds=8.7,
        ),
        LogLine(
            "orchestrator",
            -10.5,
            "error",
            "Failed to store decision",
            {"error": "failed to acquire connection: context deadline exceeded", "duration_ms": 5000},
            count=34,
            every_seconds=33,
            console=True,
        ),
        LogLine(
            "orchestrator",
            -10,
            "warn",
            "MCP tool call timed out",
            {"tool": "place_order", "error": "context deadline exceeded"},
            count=12,
            every_seconds=70,
        ),
        LogLine(
            "market-data-server",
            -9,
            "warn",
            "Exchange request slow",
            {"endpoint": "account", "duration_ms": "{ms}"},
            count=6,
            every_seconds=120,
        ),
    ),
    audits=(
        Audit(
            -21,
            "CONFIG_UPDATED",
            "image api 1.8.3 -> 1.8.4 (adds /api/v1/export/trades)",
            "deployment/api",
            user="deploy-bot",
            metadata={"image": "cryptofunk/api:1.8.4"},
        ),
    ),
    also_firing=(
        _also(
            "DatabaseErrors", 1, "critical", "database", 'rate(cryptofunk_errors_total{component="database"}[5m]) > 0.1'
        ),
        _also(
            "HighExchangeAPIErrors",
            3,
            "warning",
            "exchange",
            "rate(cryptofunk_exchange_api_errors_total[5m]) > 0.01",
            exchange="binance",
        ),
    ),
)

NATS_DOWN = Incident(
    name="nats-down",
    title="NATS runs out of memory and does not come back: messages stop, and every service logs errors",
    cause="nats",
    alert=_alert(
        "NATSConnectionIssues",
        "critical",
        "nats",
        "system",
        'rate(cryptofunk_errors_total{component="nats"}[5m]) > 0.05',
        "Errors talking to NATS",
    ),
    overrides=(
        Override("cryptofunk_nats_messages_published_total", 0.0, start_minute=-8),
        Override("cryptofunk_nats_messages_received_total", 0.0, start_minute=-8),
        Override("cryptofunk_errors_total", 36.0, labels={"component": "nats"}, start_minute=-8),
        Override("health_check_status", 0.0, labels={"component": "nats"}, start_minute=-8),
        Override("up", 0.0, labels={"job": "nats"}, start_minute=-8),
    ),
    pods=(
        PodState(
            "nats",
            ready=False,
            restarts=6,
            waiting="CrashLoopBackOff",
            terminated="OOMKilled",
            exit_code=137,
            minute=-8,
            message="back-off 2m40s restarting failed container=nats",
        ),
    ),
    events=(Event("nats", -1, "BackOff", "Back-off restarting failed container nats", count=31),),
    logs=(
        LogLine(
            "orchestrator",
            -8,
            "error",
            "Failed to publish",
            {"error": "nats: no servers available for connection", "subject": "signals.{symbol}"},
            count=180,
            every_seconds=5,
        ),
        LogLine(
            "api",
            -7.5,
            "error",
            "Event stream lost",
            {"error": "nats: no servers available for connection"},
            count=40,
            every_seconds=22,
        ),
    ),
)

COLD_CACHE = Incident(
    name="cold-cache",
    title="An alert on Redis that no procedure knows: Redis is well, a change set the cache's time to live to a second",
    cause="market-data-server",
    alert=_alert(
        "LowCacheHitRate",
        "warning",
        "cache",
        "system",
        "cryptofunk_redis_cache_hit_rate < 0.5",
        "Redis answers fewer than half of the requests",
        service="redis-service",
    ),
    overrides=(
        Override("cryptofunk_redis_cache_hit_rate", 0.17, start_minute=-9, ramp_minutes=3),
        Override(
            "cryptofunk_exchange_api_latency_ms_count",
            75.0,
            labels={"endpoint": "klines"},
            start_minute=-9,
            ramp_minutes=2,
        ),
        Override(
            "cryptofunk_mcp_tool_call_duration_ms",
            scale=2.6,
            labels={"server": "market-data"},
            start_minute=-9,
            ramp_minutes=2,
        ),
    ),
    rollouts=(Rollout("market-data-server", -10),),
    logs=(
        LogLine("market-data-server", -9.8, "info", "Configuration loaded", {"cache_ttl": "1s", "was": "60s"}),
        LogLine(
            "market-data-server",
            -9,
            "debug",
            "Cache miss",
            {"key": "candles:{symbol}:1m", "age_s": 2},
            count=200,
            every_seconds=5,
        ),
    ),
    audits=(
        Audit(
            -10.5,
            "CONFIG_UPDATED",
            "market_data.cache_ttl 60s -> 1s",
            "config/market_data",
            user="deploy-bot",
            metadata={"market_data.cache_ttl": "1s"},
        ),
    ),
)

INCIDENTS = (
    RATE_LIMITED,
    POOL_EXHAUSTED,
    NATS_DOWN,
    COLD_CACHE,
)
