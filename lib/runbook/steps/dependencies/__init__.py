"""What trading depends on: PostgreSQL, its pool, Redis, NATS, exchange, LLM, health; and whether it goes on."""

from __future__ import annotations

from runbook.steps.dependencies.figures import (
    Database,
    Exchange,
    Flow,
    HealthChecks,
    Llm,
    Nats,
    Pool,
    Redis,
)
from runbook.steps.dependencies.health import endpoints, health_checks
from runbook.steps.dependencies.language_models import llm, llm_cost
from runbook.steps.dependencies.market_access import coingecko, exchange
from runbook.steps.dependencies.middleware import nats, redis
from runbook.steps.dependencies.postgresql import database, pool
from runbook.steps.dependencies.trading_flow import flow

__all__ = [
    "Database",
    "Exchange",
    "Flow",
    "HealthChecks",
    "Llm",
    "Nats",
    "Pool",
    "Redis",
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
