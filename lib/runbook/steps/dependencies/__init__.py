"""What trading depends on: PostgreSQL, its pool, Redis, NATS, exchange, LLM, health checks, endpoints; and whether it goes on."""

from __future__ import annotations

from runbook.steps.dependencies.observations import (
    coingecko,
    database,
    endpoints,
    exchange,
    flow,
    health_checks,
    llm,
    llm_cost,
    nats,
    pool,
    redis,
)

__all__ = [
    "coingecko",
    "database",
    "endpoints",
    "exchange",
    "flow",
    "health_checks",
    "llm",
    "llm_cost",
    "nats",
    "pool",
    "redis",
]
