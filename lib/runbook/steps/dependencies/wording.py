"""What is said of the dependencies: titles and details from figures."""

from __future__ import annotations

import math

from runbook.steps.dependencies.figures import Database, Endpoints, Exchange, Flow, HealthChecks, Llm, Nats, Pool
from runbook.steps.shared.histograms import is_capped, reading
from runbook.steps.shared.levels import or_zero, usually
from runbook.words import amount, capitalised, clock, counted, duration

QUERY_HISTOGRAM = "cryptofunk_database_query_duration_ms"
EXCHANGE_HISTOGRAM = "cryptofunk_exchange_api_latency_ms"
LLM_HISTOGRAM = "cryptofunk_llm_request_duration_ms"
FULL_SHARE = 0.9
"""Of the server's connections."""
FULL_VOLUME_SHARE = 0.8
LONG_TRANSACTION_SECONDS = 300


def database_complaints(server: Database) -> list[str]:
    taken = f"{server.connections:.0f} of {server.max_connections:.0f} connections are taken"
    complaints = (
        (server.full, taken),
        (server.waiting_for_locks > 0, f"{server.waiting_for_locks:.0f} wait for a lock"),
        (
            server.oldest_transaction_seconds > LONG_TRANSACTION_SECONDS,
            f"a transaction is open for {duration(server.oldest_transaction_seconds)}",
        ),
        (server.in_recovery, "it is in recovery: it takes no writes"),
    )
    return [complaint for is_so, complaint in complaints if is_so]


def database_title(server: Database) -> str:
    complaints = database_complaints(server)
    if complaints:
        return f"The database answers, but {', '.join(complaints)}"
    taken = f"{server.connections:.0f} of {server.max_connections:.0f} connections taken"
    return f"The database answers; {taken}, nothing waits for a lock"


def database_detail(server: Database) -> str:
    return (
        f"Statements that run now: {amount(server.active)}; "
        f"connections idle in a transaction: {amount(server.idle_in_transaction)}. "
        f"The database is {amount(server.size_bytes, 'bytes')}. This is the server's state at the time of asking."
    )


def pool_title(pool: Pool) -> str:
    use = f"{pool.active:.0f} of {pool.size:.0f} connections in use"
    if pool.exhausted:
        since = f", since {clock(pool.since)}" if pool.since else ""
        return f"The connection pool is exhausted: {use}, none idle{since}"
    if pool.idle <= 1:
        return f"The connection pool is nearly full: {use}"
    disk = amount(pool.disk_share, "%")
    but = f"; but the fullest volume is {disk} full" if pool.disk_share >= FULL_VOLUME_SHARE else ""
    return f"The connection pool has room: {use}{but}"


def pool_detail(pool: Pool) -> str:
    return (
        f"{_usual_use(pool)} "
        f"Query time p95 {reading(pool.p95_ms, QUERY_HISTOGRAM)}, "
        f"usually {_usual_reading(pool.usual_p95_ms, QUERY_HISTOGRAM)}. "
        f"The fullest volume is {amount(pool.disk_share, '%')} full."
    )


def _usual_use(pool: Pool) -> str:
    if math.isfinite(pool.usual):
        return f"Usually {_rounded(pool.usual)} are in use."
    return f"How many are in use usually is {usually(pool.usual)}."


def nats_title(nats: Nats) -> str:
    flow = f"{_rounded(nats.published)} messages published and {_rounded(nats.received)} received a minute"
    if nats.silent:
        return f"NATS carries almost nothing: {flow}"
    return f"NATS loses messages: {flow}" if nats.lost else f"NATS carries {flow}"


def exchange_title(exchange: Exchange) -> str:
    if exchange.trouble:
        share = amount(exchange.kind_share, "%")
        since = f", since {clock(exchange.since)}" if exchange.since else ""
        refused = _rounded(exchange.errors_per_minute)
        return f"The exchange refuses {refused} requests a minute: {share} of them {exchange.kind}{since}"
    if exchange.slow_endpoint:
        now, usual = reading(exchange.slow_ms, EXCHANGE_HISTOGRAM), amount(exchange.usual_slow_ms, "ms")
        return f"The exchange is slow: {exchange.slow_endpoint} takes {now} (p95), usually {usual}"
    errors = f"{_rounded(exchange.errors_per_minute, 2)} errors a minute"
    if not exchange.asked:
        return f"Nothing is asked of the exchange now, so how it answers is not known ({errors})"
    if exchange.untold:
        return f"Whether the exchange answers as usual cannot be told ({errors})"
    return f"The exchange answers as usual ({errors})"


def exchange_detail(exchange: Exchange) -> str:
    requests = "Whether requests are as usual cannot be told." if exchange.untold else "Requests are as usual."
    if exchange.endpoint:
        growth = amount(exchange.request_growth, "ratio")
        since = clock(exchange.requests_since) if exchange.requests_since else "before the window"
        requests = f"Requests to {exchange.endpoint} are {growth} times the usual, since {since}."
    latency = "Whether latency is as usual cannot be told." if exchange.untold else "Latency is as usual."
    if exchange.slow_endpoint:
        least = "at least " if is_capped(exchange.slow_ms, EXCHANGE_HISTOGRAM) else ""
        latency = f"Latency of {exchange.slow_endpoint} is {least}{amount(exchange.slowdown, 'ratio')} times the usual."
    return f"Usually {_rounded(exchange.usual_errors_per_minute, 2)} errors a minute. {requests} {latency}"


def llm_title(llm: Llm) -> str:
    failures, requests = _rounded(or_zero(llm.failures_per_minute)), _rounded(llm.requests_per_minute)
    p95 = reading(llm.p95_ms, LLM_HISTOGRAM)
    return f"The LLM {_llm_state(llm)}: p95 {p95}, {failures} failures in {requests} requests a minute"


def _llm_state(llm: Llm) -> str:
    if llm.failing:
        return "fails"
    if llm.silent:
        return "is hardly asked"
    if llm.slow:
        return "is slow"
    if not llm.untold:
        return "answers as usual"
    return "answers" if llm.requests_per_minute > 0 else "is not asked, so how it answers is not known"


def llm_detail(llm: Llm) -> str:
    failures = _rounded(or_zero(llm.usual_failures_per_minute), 2)
    requests = usually(llm.usual_requests_per_minute, digits=1)
    decisions = _rounded(or_zero(llm.decisions_per_minute))
    usual_decisions = _rounded(or_zero(llm.usual_decisions_per_minute))
    p95 = _usual_reading(llm.usual_p95_ms, LLM_HISTOGRAM)
    return (
        f"Usually p95 {p95} and {failures} failures in {requests} requests a minute; "
        f"{decisions} decisions a minute, usually {usual_decisions}."
    )


def _usual_reading(value_ms: float, metric: str) -> str:
    return reading(value_ms, metric) if math.isfinite(value_ms) else usually(value_ms)


def health_checks_title(checks: HealthChecks) -> str:
    bad = _listed(("failed", checks.failed), ("degraded", checks.degraded))
    return f"Health checks {bad}" if bad else f"All {checks.count} health checks of the platform pass"


def endpoints_title(endpoints: Endpoints) -> str:
    bad = _listed(("no healthy answer", endpoints.down), ("not known", endpoints.unknown))
    return f"Health endpoints, {bad}" if bad else f"All {endpoints.count} health endpoints answer healthy"


def flow_title(flow: Flow) -> str:
    changes = [f"far fewer than usual: {', '.join(flow.stopped)}"] if flow.stopped else []
    if flow.refusing:
        changes.append(f"{flow.refused} orders refused")
    if changes:
        span = duration(flow.span_seconds)
        return f"{capitalised('; '.join(changes))}, in the {span} since {clock(flow.since)}"
    since = clock(flow.since)
    if not flow.told:
        return f"Whether what is written since {since} is as usual cannot be told: {_orders(flow)}"
    if "orders" in flow.told:
        return f"What is written since {since} is as usual: {counted(flow.orders, 'order')}"
    return f"As usual since {since}: {', '.join(flow.told)}; {_orders(flow)}"


def _orders(flow: Flow) -> str:
    """How many orders came where too few, or for too short a time, are usual to judge them by."""
    if not math.isfinite(flow.orders_expected):
        return f"{counted(flow.orders, 'order')}, what is usual is {usually(flow.orders_expected)}"
    usual = f"{_rounded(flow.orders_expected)} in that time are too few to tell"
    return f"{counted(flow.orders, 'order')}, and the usual {usual}"


def _listed(*groups: tuple[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in groups if names)


def _rounded(value: float, digits: int = 1) -> str:
    return amount(round(value, digits))
