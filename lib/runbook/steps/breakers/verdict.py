"""The decision point of CircuitBreakerOpen: what opened the breaker, and what to do about the cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.sources.metrics import quote
from runbook.steps.platform.suspects import suspects
from runbook.steps.shared.verdicts import (
    checklist,
    figures_of,
    known,
    kubectl,
    psql,
    silence,
    unknown_reasons,
)
from runbook.words import amount

TRIP_RATIO = 0.6
DEPLOYMENTS = {
    "exchange": ("order-executor-server", "market-data-server"),
    "llm": ("bifrost",),
    "database": ("postgres",),
}
"""Whose logs tell about a breaker's service, the first the runbook's own choice."""


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision point of CircuitBreakerOpen: what opened the breaker, and what to do about the cause."""
    which, known = figures_of(findings, "breakers.affected"), figures_of(findings, "breakers.states")
    service = str(which.get("service", ""))
    cause, decision, detail, since = _cause(service, findings)
    near = suspects(findings, since or which.get("opened_at") or window.starts_at)
    halted = str(figures_of(findings, "sessions.breakers").get("tripped", ""))
    is_open = which.get("state") in ("open", "half-open")
    unsure = which.get("state") in ("unknown", "no sample")
    if not known and not service:
        status, decision = Status.UNKNOWN, "find out which breaker is open"
        summary = "Which breaker is open cannot be told: circuit_breaker_state gave no answer."
    elif service and unsure:
        status = Status.UNKNOWN
        summary = f"Whether the {service} breaker is still open is not known; the alert says so. Cause: {cause}."
    elif not service and not halted:
        status, decision = Status.OK, "no action, watch"
        summary = "Healthy: no service's breaker opened around the alert, and no trading halt is tripped."
    elif not service:
        status, decision = Status.CRITICAL, "follow the halt's own procedure"
        summary = f"No service's breaker is open: a trading halt is tripped ({halted[:80]})."
    elif not is_open and not which.get("opened_at"):
        status, decision = Status.OK, "no action, watch"
        summary = f"Healthy: the {service} breaker, which the alert names, is closed and did not open around the alert."
    else:
        status = Status.CRITICAL if is_open else Status.WARNING
        state = (
            f"The {service} breaker is {which['state']}"
            if is_open
            else f"The {service} breaker opened and is {which['state']} again"
        )
        summary = f"{state}. Cause: {cause}." + (f" It follows {near[0].text}." if near else "")
    reasons = [
        line for line in (detail, *(f"Just before: {one.text}." for one in near[:3]), *_facts(findings, which)) if line
    ]
    return Verdict(
        decision, summary, status, tuple(reasons) + unknown_reasons(findings),
        tuple(_actions(service, decision, near, alert, namespace, is_open)), _checklist(findings),
    )  # fmt: skip


def _cause(service: str, findings: Mapping[str, Finding]) -> tuple[str, str, str, datetime | None]:
    """(cause, decision, how it follows, since when) for the breaker of `service`, from what is known."""
    if service == "exchange":
        return _exchange_cause(findings)
    if service == "llm":
        llm = figures_of(findings, "dependencies.llm")
        if llm.get("failing"):
            return ("the LLM gateway's requests fail", "check Bifrost and the provider, keep agents on their fallback",
                    f"{amount(llm['failures_per_minute'])} failures a minute; see Bifrost's log for the provider's answer.", llm.get("since"))  # fmt: skip
        if llm.get("slow"):
            return ("the LLM answers too slowly", "switch to a faster model or wait for the provider",
                    f"p95 {amount(llm['p95_ms'], 'ms')}, usually {amount(llm['usual_p95_ms'], 'ms')}.", llm.get("since"))  # fmt: skip
    if service == "database":
        pool, server = figures_of(findings, "dependencies.pool"), figures_of(findings, "dependencies.database")
        if pool.get("exhausted") and not server.get("full"):
            return ("the connection pool is exhausted, not the server", "free the pool: find what holds its connections",
                    f"All {amount(pool['active'])} connections of the pool are in use; the server itself answers.", pool.get("since"))  # fmt: skip
        if server.get("full"):
            return ("the server has no connections left", "free connections on the server",
                    f"{amount(server['connections'])} of {amount(server['max_connections'])} are taken.", None)  # fmt: skip
        if server.get("waiting_for_locks", 0) > 0:
            return (
                "statements wait for locks",
                "end the transaction that holds the locks",
                f"{amount(server['waiting_for_locks'])} wait.",
                None,
            )
        if not server and "dependencies.database" in findings:
            return (
                "the database does not answer",
                "restore the database",
                findings["dependencies.database"].detail,
                None,
            )
        if pool.get("disk_share", 0) >= 0.9:
            return (
                "the database's volume is nearly full",
                "free disk space",
                f"It is {amount(pool['disk_share'], '%')} full.",
                None,
            )
    since = figures_of(findings, "breakers.failures").get("since")
    return (
        "not found by these checks",
        "read the logs, hold the rest",
        "None of the checks of the service explains it." if service else "",
        since,
    )


def _exchange_cause(findings: Mapping[str, Finding]) -> tuple[str, str, str, datetime | None]:
    found = figures_of(findings, "dependencies.exchange")
    since, kind = found.get("since"), found.get("kind", "")
    rate = (
        f"{amount(round(found['errors_per_minute'], 1))} refusals a minute, {amount(found['kind_share'], '%')} of them {kind}"
        if kind
        else ""
    )
    if kind == "rate_limit" and found.get("request_growth", 0) >= 2:
        return (f"our own request rate, not the exchange: {found['endpoint']} is asked {amount(found['request_growth'], 'ratio')} times as often as usual",
                "reduce our request rate, leave the breaker alone",
                f"{rate}, after requests to {found['endpoint']} rose from {amount(round(found['requests_usual'], 1))} to {amount(round(found['requests_now'], 1))} a minute.",
                found.get("requests_since") or since)  # fmt: skip
    if kind == "rate_limit":
        return (
            "the exchange limits our rate although we ask as usual",
            "reduce our request rate",
            f"{rate}; was the account's limit lowered?",
            since,
        )
    if kind == "authentication":
        return (
            "the exchange does not accept our credentials",
            "restore the API keys",
            f"{rate}; the exchange itself answers.",
            since,
        )
    if kind in ("network", "timeout"):
        return (
            "the way to the exchange is broken or slow",
            "check network and exchange status, wait",
            f"{rate}.",
            since,
        )
    if kind == "server_error":
        return "the exchange itself fails", "wait for the exchange, keep the breaker", f"{rate}.", since
    if kind:
        return f"requests fail as {kind}", "read the logs, correct the requests", f"{rate}.", since
    if found.get("slow_endpoint"):
        return (
            "the exchange is slow",
            "check network and exchange status, wait",
            f"{found['slow_endpoint']} takes {amount(found['slowdown'], 'ratio')} times as long as usual.",
            since,
        )
    pool = figures_of(findings, "dependencies.pool")
    if found and pool.get("exhausted"):
        return ("the database's connection pool is exhausted; the exchange answers as usual", "free the pool: find what holds its connections",
                f"All {amount(pool['active'])} connections are in use.", pool.get("since"))  # fmt: skip
    return ("not found by these checks" if found else "not known: the exchange's metrics gave no answer", "read the logs, hold the rest",
            "The exchange answers as usual by its own metrics." if found else "", figures_of(findings, "breakers.failures").get("since"))  # fmt: skip


def _facts(findings: Mapping[str, Finding], which: Mapping[str, Any]) -> Iterator[str]:
    failed = figures_of(findings, "breakers.failures")
    if failed:
        yield f"{failed['worst']}: {amount(failed['peak'], '%')} of requests failed at the worst, {amount(failed['now'], '%')} now; breakers trip at {amount(TRIP_RATIO, '%')}."
    names = ("breakers.effects", "breakers.recovery", "sessions.breakers", "breakers.frequency")
    yield from (f"{found.title}." for found in known(findings, names))
    if which.get("others"):
        yield f"Other breakers that opened: {which['others']}."


def _actions(
    service: str, decision: str, near: list[Any], alert: Alert, namespace: str, is_open: bool
) -> Iterator[Action]:
    deployment = next((one.deployment for one in near if one.deployment), "")
    if service and deployment and decision != "no action, watch":
        yield Action(f"Roll back {deployment}", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                     f"Just before: {near[0].text}. First read what changed: kubectl rollout history deployment/{deployment}.", changes=True)  # fmt: skip
    for app in DEPLOYMENTS.get(service, ()):
        yield Action(
            f"Follow the log of {app}",
            kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=100"),
            "What each try is answered.",
        )
    if decision.startswith("restore the API keys"):
        yield Action("Look at when the secret changed", kubectl(namespace, "get", "secrets", "--sort-by=.metadata.creationTimestamp"),
                     "A rotated key that the pods have not read yet needs a restart of order-executor-server.")  # fmt: skip
    if service == "database" or decision.startswith("free"):
        yield Action("See who holds the connections",
                     psql(namespace, "SELECT pid, usename, application_name, state, now() - xact_start AS open_for FROM pg_stat_activity "
                     "WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;"), "The longest open first.")  # fmt: skip
    if service:
        selector = f"circuit_breaker_requests_total{{service={quote(service)}}}"
        yield Action("Watch the breaker recover", f"curl -sG \"$PROMETHEUS_URL/api/v1/query\" --data-urlencode 'query=sum by (result) (rate({selector}[1m]))'",
                     "It closes by itself after a success; do not force it before the cause is gone.")  # fmt: skip
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    questions = (
        ("Which breaker, since when?", "breakers.affected"),
        ("How many requests failed?", "breakers.failures"),
        ("Was the service itself at fault?", "dependencies.exchange"),
        ("And the database behind it?", "dependencies.pool"),
        ("What was rolled out before?", "platform.rollouts"),
        ("What was configured before?", "platform.config_changes"),
        ("What did it cost?", "breakers.effects"),
        (
            "How often does it trip? Does a threshold need another value (internal/risk/circuit_breaker.go)?",
            "breakers.frequency",
        ),
    )
    return checklist(findings, questions)
