"""What is behind the errors: what others depend on is judged before what depends on it; and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runbook.findings import Findings
from runbook.steps.dependencies import (
    Database,
    Exchange,
    HealthChecks,
    Llm,
    Nats,
    Pool,
    Redis,
    database,
    exchange,
    llm,
    nats,
    redis,
)
from runbook.steps.error_rates.figures import Components
from runbook.steps.platform import Pods
from runbook.steps.shared.histograms import reading
from runbook.steps.shared.levels import usually
from runbook.words import amount

_STORES = ("postgres", "nats", "redis")
"""What everything else rests on, the widest first."""
_QUERY_HISTOGRAM = "cryptofunk_database_query_duration_ms"
_HINTS = {"rate_limit": "check rate limits", "authentication": "verify credentials"}


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do, in the words of the decision. `deployment`: what is to be brought back, "" where nothing is down.

    `frees_connections`: who holds the database's connections has to be found for it. `is_idle`: there is nothing to do.
    """

    decision: str
    deployment: str = ""
    frees_connections: bool = False
    is_idle: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """What is behind the errors, "" where no check shows it; what to do, how it follows, since when it holds.

    `down` is the store whose pod is down, where that is the cause.
    """

    text: str
    remedy: Remedy
    reason: str
    since: datetime | None = None
    down: str = ""


def bring_back(deployment: str) -> Remedy:
    """The remedy for a deployment that is down."""
    return Remedy(f"bring {deployment} back", deployment)


def cause_of(findings: Findings) -> Cause:
    """The cause that lies deepest, of those that are known."""
    return (
        _store_down(findings)
        or _database_cause(findings)
        or _messages_cause(findings)
        or _outside_cause(findings)
        or _service_down(findings)
        or _cache_cause(findings)
        or _not_found(findings)
    )


def _store_down(findings: Findings) -> Cause | None:
    pods = findings.get(Pods)
    store = next((name for name in _STORES if pods and name in pods.not_ready), "")
    if not pods or not store:
        return None
    why = list(filter(None, [", ".join(pods.waiting)]))
    if store in pods.oom_killed:
        why.append("out of memory")
    waits = ", ".join(why)
    return Cause(
        f"{store} is down ({waits or 'not ready'})",
        bring_back(store),
        f"Its pod is not ready: {waits or 'see its events'}.",
        pods.last_exit_at,
        down=store,
    )


def _database_cause(findings: Findings) -> Cause | None:
    asked, server, pool = findings.of(database), findings.get(Database), findings.get(Pool)
    if pool and pool.exhausted:
        text = "the database's connection pool is exhausted"
        if server and not server.full:
            text += "; the server itself has room"
        return Cause(
            text,
            Remedy("free the pool: find what holds its connections", frees_connections=True),
            f"{_pool_use(pool)}. Errors elsewhere follow from waiting for a connection.",
            pool.since,
        )
    if asked and server and server.full:
        remedy = Remedy("free connections on the server", frees_connections=True)
        return Cause("the database server has no connections left", remedy, f"{asked.title}.")
    if asked and not server and _blames_database(findings):
        remedy = Remedy("restore the database", frees_connections=True)
        return Cause("the database does not answer", remedy, asked.detail, _components(findings).since)
    return None


def _pool_use(pool: Pool) -> str:
    active, size, usual = amount(round(pool.active, 0)), amount(round(pool.size, 0)), usually(pool.usual, digits=1)
    p95, usual_p95 = reading(pool.p95_ms, _QUERY_HISTOGRAM), reading(pool.usual_p95_ms, _QUERY_HISTOGRAM)
    return f"{active} of {size} connections in use, usually {usual}; queries take {p95} (p95), usually {usual_p95}"


def _blames_database(findings: Findings) -> bool:
    """Whether a component of the database has more errors than usual, or its own health check failed."""
    checks = findings.get(HealthChecks)
    if checks and any("database" in name for name in checks.failed):
        return True
    return any("database" in component.name for component in _components(findings).risen)


def _messages_cause(findings: Findings) -> Cause | None:
    messages = findings.get(Nats)
    if not messages or not messages.silent:
        return None
    return Cause("NATS carries no messages", bring_back("nats"), f"{findings.title(nats)}.")


def _outside_cause(findings: Findings) -> Cause | None:
    """The exchange or the LLM, which errors reach from outside."""
    market, models = findings.get(Exchange), findings.get(Llm)
    if market and market.trouble and market.errors_per_minute >= 1:
        text = f"the exchange answers {market.kind}"
        if market.endpoint:
            growth = amount(market.request_growth, "ratio")
            text += f", and we ask {market.endpoint} {growth} times as often as usual"
        remedy = Remedy(_HINTS.get(market.kind, "check the way to the exchange"))
        return Cause(text, remedy, f"{findings.title(exchange)}.", market.since)
    if models and models.failing:
        remedy = Remedy("check Bifrost and the provider")
        return Cause("the LLM gateway's requests fail", remedy, f"{findings.title(llm)}.", models.since)
    return None


def _service_down(findings: Findings) -> Cause | None:
    pods = findings.get(Pods)
    if not pods or not pods.not_ready:
        return None
    down = ", ".join(pods.not_ready)
    return Cause(f"not ready: {down}", bring_back(pods.not_ready[0]), "Its pods are not ready.", pods.last_exit_at)


def _cache_cause(findings: Findings) -> Cause | None:
    cache = findings.get(Redis)
    if not cache or not cache.fell or not _components(findings).risen:
        return None
    remedy = Remedy("check what changed in the cache's use")
    return Cause("the cache answers less", remedy, f"{findings.title(redis)}.")


def _not_found(findings: Findings) -> Cause:
    """No cause: the component whose errors rose first is the place to look."""
    parts = _components(findings)
    if not parts.first:
        return Cause("", Remedy("read the log patterns that rose"), "", parts.since)
    is_database = "database" in parts.first
    remedy = Remedy(f"look into {parts.first}", frees_connections=is_database)
    return Cause("", remedy, f"{parts.first} rose first.", parts.since)


def _components(findings: Findings) -> Components:
    """The components' errors; of none where they are not known."""
    return findings.get(Components) or Components(())
