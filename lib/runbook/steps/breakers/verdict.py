"""The decision point of CircuitBreakerOpen: what opened the breaker, and what to do about the cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.alert import Alert, Window
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.sources.metrics import quote
from runbook.steps import dependencies, platform, sessions
from runbook.steps.breakers import wording
from runbook.steps.breakers.causes import Cause, Decision, cause_of
from runbook.steps.breakers.figures import Affected, Failures, Service, States
from runbook.steps.breakers.openings import affected, frequency, recovery
from runbook.steps.breakers.requests import effects, failures
from runbook.steps.breakers.services import PROTECTED
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.sessions import TradingBreakers
from runbook.steps.shared.verdicts import checklist, kubectl, psql, silence, unknown_reasons

_HALTS_LENGTH = 80
_HOLDERS = (
    "SELECT pid, usename, application_name, state, now() - xact_start AS open_for FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;"
)
_NOT_AFFECTED = Affected(None)


def decide(findings: Findings, alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision point of CircuitBreakerOpen: what opened the breaker, and what to do about the cause."""
    meant = findings.get(Affected) or _NOT_AFFECTED
    cause = cause_of(meant.service, findings)
    near = suspects(findings, cause.since or meant.opened_at or window.starts_at)
    if meant.service:
        status, decision, summary = _judged(meant, cause, near)
    else:
        status, decision, summary = _without_service(findings)
    before = (f"Just before: {suspect.text}." for suspect in near[:3])
    reasons = (cause.reason, *before, *_facts(findings, meant))
    return Verdict(
        decision,
        summary,
        status,
        tuple(filter(None, reasons)) + unknown_reasons(findings),
        tuple(_actions(meant.service, decision, near, alert, namespace)),
        _checklist(findings),
    )


def _without_service(findings: Findings) -> tuple[Status, Decision, str]:
    """(status, decision, summary) where no service's breaker is meant, which the states may not tell."""
    halts = findings.get(TradingBreakers)
    if not findings.get(States):
        summary = "Which breaker is open cannot be told: circuit_breaker_state gave no answer."
        return Status.UNKNOWN, Decision.FIND_BREAKER, summary
    if halts and halts.tripped:
        tripped = ", ".join(halts.tripped)[:_HALTS_LENGTH]
        summary = f"No service's breaker is open: a trading halt is tripped ({tripped})."
        return Status.CRITICAL, Decision.FOLLOW_HALT, summary
    summary = "Healthy: no service's breaker opened around the alert, and no trading halt is tripped."
    return Status.OK, Decision.WATCH, summary


def _judged(meant: Affected, cause: Cause, near: Sequence[Suspect]) -> tuple[Status, Decision, str]:
    """(status, decision, summary) for the breaker of a service."""
    breaker = f"the {meant.service} breaker"
    if not meant.lane or not meant.state.is_known:
        summary = f"Whether {breaker} is still open is not known; the alert says so. Cause: {cause.text}."
        return Status.UNKNOWN, cause.decision, summary
    if not meant.state.is_open and not meant.opened_at:
        summary = f"Healthy: {breaker}, which the alert names, is closed and did not open around the alert."
        return Status.OK, Decision.WATCH, summary
    state = wording.state_of(meant.lane)
    follows = f" It follows {near[0].text}." if near else ""
    if meant.state.is_open:
        summary = f"The {meant.service} breaker is {state}. Cause: {cause.text}.{follows}"
        return Status.CRITICAL, cause.decision, summary
    summary = f"The {meant.service} breaker opened and is {state} again. Cause: {cause.text}.{follows}"
    return Status.WARNING, cause.decision, summary


def _facts(findings: Findings, meant: Affected) -> Iterator[str]:
    if failed := findings.get(Failures):
        yield wording.failures_fact(failed)
    steps = (effects, recovery, sessions.breakers, frequency)
    yield from (f"{found.title}." for found in findings.known(steps))
    if meant.others:
        yield f"Other breakers that opened: {', '.join(meant.others)}."


def _actions(
    service: Service | None, decision: Decision, near: Sequence[Suspect], alert: Alert, namespace: str
) -> Iterator[Action]:
    deployment = next((suspect.deployment for suspect in near if suspect.deployment), "")
    if service and deployment and decision is not Decision.WATCH:
        history = f"kubectl rollout history deployment/{deployment}"
        yield Action(
            f"Roll back {deployment}",
            kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
            f"Just before: {near[0].text}. First read what changed: {history}.",
            changes=True,
        )
    if service:
        for app in PROTECTED[service].deployments:
            follow = kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=100")
            yield Action(f"Follow the log of {app}", follow, "What each try is answered.")
    if decision is Decision.RESTORE_KEYS:
        yield Action(
            "Look at when the secret changed",
            kubectl(namespace, "get", "secrets", "--sort-by=.metadata.creationTimestamp"),
            "A rotated key that the pods have not read yet needs a restart of order-executor-server.",
        )
    if service is Service.DATABASE or decision is Decision.FREE_POOL:
        yield Action("See who holds the connections", psql(namespace, _HOLDERS), "The longest open first.")
    if service:
        yield _watch_recovery(service)
    yield silence(alert)


def _watch_recovery(service: Service) -> Action:
    selector = f"circuit_breaker_requests_total{{service={quote(service)}}}"
    query = f"query=sum by (result) (rate({selector}[1m]))"
    return Action(
        "Watch the breaker recover",
        f"curl -sG \"$PROMETHEUS_URL/api/v1/query\" --data-urlencode '{query}'",
        "It closes by itself after a success; do not force it before the cause is gone.",
    )


def _checklist(findings: Findings) -> tuple[tuple[str, str], ...]:
    threshold = "Does a threshold need another value (internal/risk/circuit_breaker.go)?"
    questions = (
        ("Which breaker, since when?", affected),
        ("How many requests failed?", failures),
        ("Was the service itself at fault?", dependencies.exchange),
        ("And the database behind it?", dependencies.pool),
        ("What was rolled out before?", platform.rollouts),
        ("What was configured before?", platform.config_changes),
        ("What did it cost?", effects),
        (f"How often does it trip? {threshold}", frequency),
    )
    return checklist(findings, questions)
