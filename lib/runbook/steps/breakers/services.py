"""What stands behind each breaker: what is lost without it, who logs about it, how long its breaker stays open."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.steps.breakers.figures import Service

TRIP_RATIO = 0.6
"""The share of failed requests at which a breaker opens (internal/risk/circuit_breaker.go)."""
TRIP_SECONDS = 10
"""The time over which it counts them."""


@dataclass(frozen=True, slots=True)
class Protected:
    """One service behind a breaker.

    The breaker lets a request through again (half-open) after `open_seconds`. `impact` is what happens while it is
    open. `deployments` log about the service, the first is the written runbook's own choice. `work` is what is done
    with the service in a minute, counted by the PromQL of `counter`.
    """

    open_seconds: int
    impact: str
    deployments: tuple[str, ...]
    work: str
    counter: str


PROTECTED = {
    Service.EXCHANGE: Protected(
        open_seconds=30,
        impact="no new orders are placed; stops already at the exchange stay there",
        deployments=("order-executor-server", "market-data-server"),
        work="orders executed a minute",
        counter="sum(rate(cryptofunk_order_execution_latency_ms_count[5m])) * 60",
    ),
    Service.LLM: Protected(
        open_seconds=60,
        impact="agents decide without the LLM, or not at all",
        deployments=("bifrost",),
        work="LLM decisions a minute",
        counter="sum(rate(cryptofunk_llm_decisions_total[5m])) * 60",
    ),
    Service.DATABASE: Protected(
        open_seconds=15,
        impact="nothing is persisted: signals, fills and decisions are lost or delayed",
        deployments=("postgres",),
        work="rows written by statement a minute",
        counter='sum(rate(cryptofunk_database_query_duration_ms_count{query_type=~"insert|update"}[5m])) * 60',
    ),
}


def service_of(word: str) -> Service | None:
    """The service that goes by this name; None where none does."""
    return next((service for service in Service if service == word), None)
