"""What opened a breaker: the cause that the service's own checks show, and the decision it asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from runbook.findings import Findings
from runbook.steps.breakers.figures import Failures, Service
from runbook.steps.dependencies import Database, Exchange, Llm, Pool, database
from runbook.words import amount

_FULL_SHARE = 0.9
_GREW = 2


class Decision(StrEnum):
    """What to do about an open breaker, in the words of the verdict."""

    CHECK_GATEWAY = "check Bifrost and the provider, keep agents on their fallback"
    FASTER_MODEL = "switch to a faster model or wait for the provider"
    FREE_POOL = "free the pool: find what holds its connections"
    FREE_SERVER = "free connections on the server"
    FREE_DISK = "free disk space"
    END_TRANSACTION = "end the transaction that holds the locks"
    RESTORE_DATABASE = "restore the database"
    RESTORE_KEYS = "restore the API keys"
    ASK_LESS = "reduce our request rate"
    ASK_LESS_ONLY = "reduce our request rate, leave the breaker alone"
    WAIT_FOR_NETWORK = "check network and exchange status, wait"
    WAIT_FOR_EXCHANGE = "wait for the exchange, keep the breaker"
    CORRECT_REQUESTS = "read the logs, correct the requests"
    READ_LOGS = "read the logs, hold the rest"
    FIND_BREAKER = "find out which breaker is open"
    FOLLOW_HALT = "follow the halt's own procedure"
    WATCH = "no action, watch"


@dataclass(frozen=True, slots=True)
class Cause:
    """What opened a breaker, the decision it asks for, how it follows, and since when it holds."""

    text: str
    decision: Decision
    reason: str = ""
    since: datetime | None = None


def cause_of(service: Service | None, findings: Findings) -> Cause:
    """The cause for the breaker of `service`, from what is known."""
    match service:
        case Service.EXCHANGE:
            return _exchange_cause(findings) or _unexplained_exchange(findings)
        case Service.LLM:
            cause = _llm_cause(findings)
        case Service.DATABASE:
            cause = _database_cause(findings)
        case _:
            cause = _not_found("", findings)
    return cause or _not_found("None of the checks of the service explains it.", findings)


def _not_found(reason: str, findings: Findings) -> Cause:
    failures = findings.get(Failures)
    since = failures.since if failures else None
    return Cause("not found by these checks", Decision.READ_LOGS, reason, since)


def _llm_cause(findings: Findings) -> Cause | None:
    llm = findings.get(Llm)
    if llm and llm.failing:
        failures = amount(llm.failures_per_minute)
        reason = f"{failures} failures a minute; see Bifrost's log for the provider's answer."
        return Cause("the LLM gateway's requests fail", Decision.CHECK_GATEWAY, reason, llm.since)
    if llm and llm.slow:
        reason = f"p95 {amount(llm.p95_ms, 'ms')}, usually {amount(llm.usual_p95_ms, 'ms')}."
        return Cause("the LLM answers too slowly", Decision.FASTER_MODEL, reason, llm.since)
    return None


def _database_cause(findings: Findings) -> Cause | None:
    pool, server = findings.get(Pool), findings.get(Database)
    is_full = server is not None and server.full
    if pool and pool.exhausted and not is_full:
        text = "the connection pool is exhausted, not the server"
        reason = f"All {amount(pool.active)} connections of the pool are in use; the server itself answers."
        return Cause(text, Decision.FREE_POOL, reason, pool.since)
    if server and is_full:
        reason = f"{amount(server.connections)} of {amount(server.max_connections)} are taken."
        return Cause("the server has no connections left", Decision.FREE_SERVER, reason)
    if server and server.waiting_for_locks > 0:
        reason = f"{amount(server.waiting_for_locks)} wait."
        return Cause("statements wait for locks", Decision.END_TRANSACTION, reason)
    asked = findings.of(database)
    if asked and not server:
        return Cause("the database does not answer", Decision.RESTORE_DATABASE, asked.detail)
    if pool and pool.disk_share >= _FULL_SHARE:
        reason = f"It is {amount(pool.disk_share, '%')} full."
        return Cause("the database's volume is nearly full", Decision.FREE_DISK, reason)
    return None


def _exchange_cause(findings: Findings) -> Cause | None:
    """What the exchange's own metrics show, else what holds up our requests to it."""
    found, pool = findings.get(Exchange), findings.get(Pool)
    if found and found.kind:
        return _refusals_cause(found)
    if found and found.slow_endpoint:
        reason = f"{found.slow_endpoint} takes {amount(found.slowdown, 'ratio')} times as long as usual."
        return Cause("the exchange is slow", Decision.WAIT_FOR_NETWORK, reason, found.since)
    if found and pool and pool.exhausted:
        text = "the database's connection pool is exhausted; the exchange answers as usual"
        reason = f"All {amount(pool.active)} connections are in use."
        return Cause(text, Decision.FREE_POOL, reason, pool.since)
    return None


def _unexplained_exchange(findings: Findings) -> Cause:
    if findings.get(Exchange):
        return _not_found("The exchange answers as usual by its own metrics.", findings)
    text = "not known: the exchange's metrics gave no answer"
    return replace(_not_found("", findings), text=text)


def _refusals_cause(found: Exchange) -> Cause:
    """The kind of errors that the exchange answers decides what is behind them."""
    rate, share = amount(round(found.errors_per_minute, 1)), amount(found.kind_share, "%")
    refusals = f"{rate} refusals a minute, {share} of them {found.kind}"
    match found.kind:
        case "rate_limit" if found.request_growth >= _GREW:
            return _own_rate_cause(found, refusals)
        case "rate_limit":
            text = "the exchange limits our rate although we ask as usual"
            return Cause(text, Decision.ASK_LESS, f"{refusals}; was the account's limit lowered?", found.since)
        case "authentication":
            text = "the exchange does not accept our credentials"
            return Cause(text, Decision.RESTORE_KEYS, f"{refusals}; the exchange itself answers.", found.since)
        case "network" | "timeout":
            text, decision = "the way to the exchange is broken or slow", Decision.WAIT_FOR_NETWORK
        case "server_error":
            text, decision = "the exchange itself fails", Decision.WAIT_FOR_EXCHANGE
        case _:
            text, decision = f"requests fail as {found.kind}", Decision.CORRECT_REQUESTS
    return Cause(text, decision, f"{refusals}.", found.since)


def _own_rate_cause(found: Exchange, refusals: str) -> Cause:
    growth = amount(found.request_growth, "ratio")
    usual, now = amount(round(found.requests_usual, 1)), amount(round(found.requests_now, 1))
    return Cause(
        f"our own request rate, not the exchange: {found.endpoint} is asked {growth} times as often as usual",
        Decision.ASK_LESS_ONLY,
        f"{refusals}, after requests to {found.endpoint} rose from {usual} to {now} a minute.",
        found.requests_since or found.since,
    )
