"""Incidents of resources and limits: positions, memory, CPU, disk. `incidents` lists them."""

from __future__ import annotations

from cryptofunk_demo.incident import (
    AlertSpec,
    Allocation,
    Audit,
    Behaviour,
    Event,
    Incident,
    Limits,
    LogLine,
    Override,
)
from cryptofunk_demo.workloads import BY_NAME, MEBI

_WORKING_SET = "container_memory_working_set_bytes"
_CPU = "container_cpu_usage_seconds_total"
_THROTTLED = "container_cpu_cfs_throttled_periods_total"
_USED = "kubelet_volume_stats_used_bytes"


def _alert(name: str, component: str, category: str, expression: str, summary: str, **labels: str) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={
            "severity": "warning",
            "component": component,
            "namespace": "cryptofunk",
            "category": category,
            **labels,
        },
        annotations={"summary": summary, "runbook_url": f"https://runbooks.example.com/{name}"},
        expression=expression,
    )


def _pod(workload: str) -> dict[str, str]:
    return {"pod": BY_NAME[workload].pod}


def _memory_alert(workload: str) -> AlertSpec:
    return _alert(
        "HighMemoryUsage",
        "resources",
        "system",
        "container_memory_working_set_bytes / on (namespace, pod, container) "
        'kube_pod_container_resource_limits{resource="memory"} > 0.8',
        f"Memory of {BY_NAME[workload].pod} is above 80% of its limit",
        pod=BY_NAME[workload].pod,
        container=workload,
    )


def _limit_alert(symbol: str) -> AlertSpec:
    return _alert(
        "PositionLimitExceeded",
        "risk",
        "trading",
        "cryptofunk_position_value_by_symbol / on () group_left () (10000 + cryptofunk_total_pnl) > 0.1",
        f"Exposure in {symbol} is above its limit",
        symbol=symbol,
    )


OVERSIZED_POSITION = Incident(
    name="oversized-position",
    title="One agent opens positions of a third of the portfolio: a change switched its size check off",
    cause="sentiment-analyst",
    alert=_limit_alert("SOLUSDT"),
    calm=0.55,
    behaviours=(
        Behaviour(
            "sentiment-analyst",
            -8,
            -3,
            entries_per_hour=60,
            hold_minutes=(300, 400),
            long_share=1,
            size=0.34,
            stops=0.0,
            ignores_limits=True,
            symbols=("SOLUSDT",),
            reasons=("Social volume up 180 %, sizing by conviction",),
        ),
    ),
    logs=(
        LogLine(
            "risk-agent",
            -7.1,
            "warn",
            "Position size above limit, approved by strategy override",
            {"agent": "sentiment-analyst", "size": 0.34, "limit": 0.1, "symbol": "SOLUSDT"},
        ),
        LogLine(
            "risk-analyzer-server",
            -7.1,
            "warn",
            "Position limit check skipped",
            {"limit": 0.1, "requested": 0.34, "reason": "risk_override"},
        ),
    ),
    audits=(
        Audit(
            -21,
            "CONFIG_UPDATED",
            "strategies.sentiment.sizing fixed -> conviction; risk_override = true",
            "config/strategies/sentiment",
            user="deploy-bot",
            metadata={"strategies.sentiment.sizing": "conviction", "strategies.sentiment.risk_override": True},
        ),
    ),
)

_STACKED = ("technical-analyst", "orderbook-analyst", "sentiment-analyst", "trend-follower", "mean-reversion")
STACKED_POSITIONS = Incident(
    name="stacked-positions",
    title="No position is too large: five agents each opened a permitted one in the same symbol",
    cause="stacked",
    alert=_limit_alert("SOLUSDT"),
    calm=0.55,
    limits=Limits(max_positions=8),
    behaviours=tuple(
        Behaviour(
            agent,
            -17 + 3 * number,
            -1,
            entries_per_hour=60,
            hold_minutes=(300, 400),
            long_share=1,
            size=0.094,
            ignores_limits=True,
            symbols=("SOLUSDT",),
        )
        for number, agent in enumerate(_STACKED)
    ),
    logs=(
        LogLine(
            "risk-analyzer-server",
            -16.1,
            "info",
            "Position limit check passed",
            {"scope": "position", "share": 0.094, "limit": 0.1, "symbol": "SOLUSDT"},
            count=5,
            every_seconds=180,
        ),
        LogLine(
            "risk-agent",
            -16,
            "info",
            "Trade approved",
            {"symbol": "SOLUSDT", "share": 0.094, "limit": 0.1},
            count=5,
            every_seconds=180,
        ),
    ),
    audits=(
        Audit(
            -2900,
            "CONFIG_UPDATED",
            "trading.max_positions 3 -> 8",
            "config/trading",
            metadata={"trading.max_positions": 8},
        ),
    ),
)

MEMORY_LEAK = Incident(
    name="memory-leak",
    title="The order executor keeps every order's history: its memory grows by the hour",
    cause="leak",
    alert=_memory_alert("order-executor-server"),
    overrides=(
        Override(
            _WORKING_SET,
            446.0 * MEBI,
            labels=_pod("order-executor-server"),
            start_minute=-560,
            ramp_minutes=568,
            noise=0.012,
        ),
    ),
    allocations=(
        Allocation(
            "order-executor-server",
            size_bytes=231 * MEBI,
            objects=412_000,
            frames=(
                (
                    "github.com/example/cryptofunk/internal/exchange.(*History).Append",
                    "/src/internal/exchange/history.go:57",
                ),
                (
                    "github.com/example/cryptofunk/internal/exchange.(*Service).PlaceOrder",
                    "/src/internal/exchange/service.go:214",
                ),
            ),
        ),
    ),
    logs=(
        LogLine(
            "order-executor-server",
            -420,
            "debug",
            "Order history appended",
            {"entries": "{n}"},
            count=42,
            every_seconds=600,
        ),
    ),
)

CACHE_WARMUP = Incident(
    name="cache-warmup",
    title="Memory jumps to 84 % and stays: a cache was filled once, nothing leaks",
    cause="burst",
    alert=_memory_alert("market-data-server"),
    overrides=(
        Override(
            _WORKING_SET,
            430.0 * MEBI,
            labels=_pod("market-data-server"),
            start_minute=-38,
            ramp_minutes=22,
            noise=0.012,
        ),
        Override(_CPU, 60 * 0.31, labels=_pod("market-data-server"), start_minute=-38, end_minute=-16),
    ),
    allocations=(
        Allocation(
            "market-data-server",
            size_bytes=214 * MEBI,
            objects=1_880_000,
            frames=(
                (
                    "github.com/example/cryptofunk/internal/market.(*CandleCache).Fill",
                    "/src/internal/market/cache.go:132",
                ),
                (
                    "github.com/example/cryptofunk/internal/market.(*CandleCache).WarmUp",
                    "/src/internal/market/cache.go:88",
                ),
            ),
        ),
    ),
    logs=(
        LogLine("market-data-server", -38, "info", "Candle cache warm-up started", {"symbols": 40, "days": 90}),
        LogLine(
            "market-data-server", -16, "info", "Candle cache warm-up finished", {"entries": 5184000, "took_s": 1312}
        ),
    ),
    audits=(
        Audit(
            -39,
            "CONFIG_UPDATED",
            "market_data.cache.days 7 -> 90",
            "config/market_data",
            metadata={"market_data.cache.days": 90},
        ),
    ),
)

CPU_RETRIES = Incident(
    name="cpu-retries",
    title="The sentiment agent parses the same answer in a tight loop and is throttled",
    cause="saturated",
    alert=_alert(
        "HighCPUUsage",
        "resources",
        "system",
        "rate(container_cpu_usage_seconds_total[5m]) / on (namespace, pod, container) "
        'kube_pod_container_resource_limits{resource="cpu"} > 0.8',
        f"CPU of {BY_NAME['sentiment-agent'].pod} is above 80% of its limit",
        pod=BY_NAME["sentiment-agent"].pod,
        container="sentiment-agent",
    ),
    overrides=(
        Override(_CPU, 60 * 0.468, labels=_pod("sentiment-agent"), start_minute=-52, ramp_minutes=4),
        Override(_THROTTLED, 235.0, labels=_pod("sentiment-agent"), start_minute=-52, ramp_minutes=4),
        Override(
            "cryptofunk_agent_processing_duration_ms", scale=3.2, labels={"agent_type": "sentiment"}, start_minute=-52
        ),
    ),
    logs=(
        LogLine(
            "sentiment-agent",
            -52,
            "warn",
            "Retrying without backoff",
            {"error": "coingecko: 429 too many requests", "attempt": "{n}"},
            count=600,
            every_seconds=5.5,
        ),
    ),
    events=(Event("sentiment-agent", -21, "Unhealthy", "Liveness probe failed: context deadline exceeded", count=4),),
)

_FLOOD_HOURS = 34
_CANDLES = """
INSERT INTO candlesticks (symbol, exchange, interval, open_time, close_time, open, high, low, close, volume,
                          quote_volume, trades_count, created_at)
SELECT s, 'binance', '1m', t, t + interval '59.999 seconds', 100 + i % 7, 108, 99, 101 + i % 7,
       12.5 + i % 90, 1262.5 + i % 900, 40 + i % 60, t + interval '61 seconds'
FROM unnest(ARRAY['BTCUSDT', 'ETHUSDT', 'SOLUSDT', 'BNBUSDT', 'XRPUSDT']) AS s, generate_series(1, 50000) AS i,
     LATERAL (SELECT TIMESTAMPTZ '2026-01-10 06:00:00+00' - i * interval '1 minute' AS t) AS w
ON CONFLICT DO NOTHING"""
_FLOOD = """
INSERT INTO audit_logs (id, timestamp, event_type, severity, user_id, ip_address, resource, action, success, metadata,
                        request_id, duration_ms)
SELECT md5('flood' || i)::uuid, TIMESTAMPTZ '2026-01-15 14:10:00+00' - interval '34 hours' * (1 - i / 32000.0),
       'DECISION_VIEWED', 'INFO', 'technical-analyst', '10.42.0.31', 'decisions', 'decision viewed', true,
       jsonb_build_object('arguments', jsonb_build_object('symbol', 'BTCUSDT', 'period', 14,
                                                          'closes', repeat(md5(i::text), 12)),
                          'trace', md5('t' || i)), 'req-' || md5('r' || i), i % 40
FROM generate_series(1, 32000) AS i"""
_OLD_SESSIONS = """
INSERT INTO trading_sessions (mode, symbol, exchange, started_at, stopped_at, initial_capital, final_capital,
                              total_trades, winning_trades, losing_trades, total_pnl, max_drawdown,
                              created_at, updated_at)
SELECT 'PAPER', 'BTCUSDT', 'binance', t, t + interval '20 hours', 10000, 10000 + i, 12, 7, 5, i, 0.02, t, t
FROM generate_series(1, 40) AS i,
     LATERAL (SELECT TIMESTAMPTZ '2025-10-10 06:00:00+00' - i * interval '1 day' AS t) AS w"""
AUDIT_FLOOD = Incident(
    name="audit-flood",
    title="The disk fills although its biggest table hardly grows: every look at a decision is written to audit_logs",
    cause="audit_logs",
    alert=_alert(
        "DiskSpaceWarning",
        "storage",
        "system",
        "kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes > 0.8",
        "Volume postgres-pvc is above 80%",
        persistentvolumeclaim="postgres-pvc",
    ),
    volume="256Mi",
    overrides=(
        Override(_USED, 178.0 * MEBI),
        Override(
            _USED, 205.6 * MEBI, start_minute=-60 * _FLOOD_HOURS + 8, ramp_minutes=60 * _FLOOD_HOURS, noise=0.0004
        ),
    ),
    statements=(_CANDLES, _FLOOD, _OLD_SESSIONS),
    logs=(
        LogLine(
            "postgres",
            -300,
            "warn",
            "checkpoints are occurring too frequently (24 seconds apart)",
            count=9,
            every_seconds=1900,
        ),
    ),
    audits=(
        Audit(
            -60 * _FLOOD_HOURS + 8,
            "CONFIG_UPDATED",
            "audit.level info -> debug (every look at a decision is recorded)",
            "config/audit",
            user="deploy-bot",
            metadata={"audit.level": "debug"},
        ),
    ),
)

INCIDENTS = (OVERSIZED_POSITION, STACKED_POSITIONS, MEMORY_LEAK, CACHE_WARMUP, CPU_RETRIES, AUDIT_FLOOD)
