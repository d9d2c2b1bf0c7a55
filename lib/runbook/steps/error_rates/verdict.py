"""The decision point of HighErrorRate: which dependency or change is behind the errors, and what to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import dependencies, platform
from runbook.steps.error_rates import trading
from runbook.steps.error_rates.api_requests import THRESHOLD, api, paths
from runbook.steps.error_rates.causes import Cause, Remedy, cause_of
from runbook.steps.error_rates.component_errors import components
from runbook.steps.error_rates.figures import Api, Components
from runbook.steps.error_rates.log_lines import logs
from runbook.steps.error_rates.subject import Subject, subject_of
from runbook.steps.platform import Pods, known_limits
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.shared.quotas import raise_limit
from runbook.steps.shared.verdicts import checklist, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, moment

_APPS = ("orchestrator", "api")
_NAME_LENGTH = 60
_NO_COUNTERS = "neither the API's nor the components' counters gave an answer"
_DEPENDENCIES = (
    dependencies.database,
    dependencies.pool,
    dependencies.redis,
    dependencies.nats,
    dependencies.exchange,
    dependencies.coingecko,
    dependencies.health_checks,
    dependencies.endpoints,
    dependencies.llm,
    dependencies.flow,
)
_HOLDERS = (
    "SELECT pid, application_name, state, wait_event_type, now() - xact_start AS open_for FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;"
)


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What the verdict comes to, and what to do."""

    status: Status
    remedy: Remedy
    summary: str


def decide(
    findings: Findings,
    alert: Alert,
    window: Window,
    namespace: str = "cryptofunk",
    component: str = "",
    exchange: str = "",
) -> Verdict:
    """The decision point of HighErrorRate: what the alert itself is about, then what is behind the errors."""
    cause = cause_of(findings)
    since = _since(findings)
    # The restart of what is down is the trouble itself, not a change before it.
    before = suspects(findings, cause.since or since or window.starts_at)
    near = [suspect for suspect in before if not cause.down or suspect.subject != cause.down]
    affected = trading.affected(findings)
    about = subject_of(findings, alert, component)
    judged = _own_first(about, _judged(findings, cause, near, affected))
    reasons = (
        f"The alert is about {about.text}." if about else "",
        cause.reason,
        *(f"Just before: {suspect.text}." for suspect in near[:3]),
        *_facts(findings, since),
        affected,
        _named(findings, component, exchange),
    )
    return Verdict(
        judged.remedy.decision,
        judged.summary,
        judged.status,
        tuple(filter(None, reasons)) + unknown_reasons(findings),
        tuple(_actions(judged, near, alert, namespace, findings)),
        _checklist(findings, affected),
    )


def _own_first(about: Subject | None, judged: _Judgement) -> _Judgement:
    """`judged`, what the alert itself is about first: what is behind several errors comes second."""
    if about is None:
        return judged
    own = about.text[:1].upper() + about.text[1:]
    rest = judged.summary
    if judged.status is Status.OK:
        rest = rest.removeprefix("Healthy: ")
        if about.in_trouble:
            return _Judgement(Status.WARNING, Remedy(f"look into {about.name}"), f"{own}. Beside it: {rest}")
        if about.in_trouble is None:
            remedy = Remedy(f"find out how {about.name} fares")
            return _Judgement(Status.UNKNOWN, remedy, f"{own}. Beside it: {rest}")
        return replace(judged, summary=f"Healthy: {about.text}. Beside it: {rest}")
    return replace(judged, summary=f"{own}. {rest}")


def _since(findings: Findings) -> datetime | None:
    """When errors rose at first, in the API or in a component."""
    known = (findings.get(Api), findings.get(Components))
    return min((found.since for found in known if found and found.since), default=None)


def _judged(findings: Findings, cause: Cause, near: Sequence[Suspect], affected: str) -> _Judgement:
    trouble = _trouble(findings)
    http = findings.get(Api)
    if trouble or cause.text:
        status = Status.CRITICAL if trouble else Status.WARNING
        summary = f"{trouble or 'A dependency is in trouble'}. Cause: {cause.text or 'not found by these checks'}."
        follows = f" It follows {near[0].text}." if near else ""
        return _Judgement(status, cause.remedy, f"{summary}{follows} {affected}")
    if not http and not findings.get(Components):
        risen = "".join(f" {log.title}." for log in _risen_logs(findings))
        summary = f"Whether errors are high cannot be told: {_NO_COUNTERS}.{risen}"
        return _Judgement(Status.UNKNOWN, Remedy("find out whether requests fail"), summary)
    rate = "no component has more errors than usual"
    if http:
        rate = f"{amount(http.server.now, '%')} of API requests fail with 5xx"
    if http and http.was_over:
        return _Judgement(Status.WARNING, Remedy("watch", is_idle=True), f"The errors have gone: {rate}.")
    return _Judgement(Status.OK, Remedy("no action, watch", is_idle=True), f"Healthy: {rate}.")


def _trouble(findings: Findings) -> str:
    """What is wrong, in words; "" where nothing is."""
    http, parts = findings.get(Api), findings.get(Components)
    if http and http.is_over:
        return f"{amount(http.server.now, '%')} of API requests fail"
    if parts and parts.risen:
        risen = ", ".join(component.name for component in parts.risen)
        return f"Errors rose in {risen}"
    for found in findings.known(_DEPENDENCIES):
        if found.status is Status.CRITICAL:
            return found.title
    if http and http.client.now > max(THRESHOLD, 3 * http.client.usual):
        return f"{amount(http.client.now, '%')} of API requests are answered 4xx"
    return ""


def _risen_logs(findings: Findings) -> list[Finding[Any]]:
    """The log findings whose patterns rose."""
    return [found for found in findings.known((logs,)) if found.known.risen]


def _facts(findings: Findings, since: datetime | None) -> Iterator[str]:
    if since:
        yield f"The errors rose at {moment(since)}."
    steps = (api, paths, components, dependencies.database, dependencies.exchange)
    yield from (f"{found.title}." for found in (*findings.known(steps), *_risen_logs(findings)))


def _named(findings: Findings, component: str, exchange: str) -> str:
    """What the alert's labels name, with its present errors; empty where they name nothing."""
    parts = findings.get(Components)
    known = parts and parts.of(component)
    named = []
    if component and known:
        rate = amount(round(known.level.now, 1))
        named.append(f"component {component[:_NAME_LENGTH]}, {rate} errors a minute now")
    elif component:
        named.append(f"component {component[:_NAME_LENGTH]}")
    if exchange:
        named.append(f"exchange {exchange[:_NAME_LENGTH]}")
    return f"The alert names {' and '.join(named)}." if named else ""


def _actions(
    judged: _Judgement, near: Sequence[Suspect], alert: Alert, namespace: str, findings: Findings
) -> Iterator[Action]:
    remedy = judged.remedy
    rolled_out = next((suspect for suspect in near if suspect.deployment), None)
    if rolled_out and not remedy.is_idle:
        yield Action(
            f"Roll back {rolled_out.deployment}",
            kubectl(namespace, "rollout", "undo", f"deployment/{rolled_out.deployment}"),
            f"The last change before the errors: {rolled_out.text}. See kubectl rollout history first.",
            changes=True,
        )
    if remedy.deployment:
        yield from _bring_back(remedy.deployment, namespace, findings)
    if remedy.frees_connections:
        yield Action("See who holds the connections", psql(namespace, _HOLDERS), "The longest open first.")
    if not remedy.is_idle:
        yield _announcement(alert, judged.summary)
    for app in _APPS:
        follow = kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=50")
        yield Action(f"Follow the errors of {app}", f"{follow} | grep -i error", "Are they still coming?")
    yield silence(alert)


def _bring_back(deployment: str, namespace: str, findings: Findings) -> Iterator[Action]:
    pods = findings.get(Pods)
    yield Action(
        f"See why {deployment} does not start",
        kubectl(namespace, "logs", f"deployment/{deployment}", "--previous", "--tail=50"),
        "The end of the container that died.",
    )
    if pods and deployment in pods.oom_killed:
        note = "That is a restart already. If it is killed again, look for what fills its memory."
        yield from raise_limit(deployment, "memory", known_limits(findings), namespace, note)
    else:
        yield Action(
            f"Restart {deployment}",
            kubectl(namespace, "rollout", "restart", f"deployment/{deployment}"),
            "Only when its log shows nothing that would end it again.",
            changes=True,
        )


def _announcement(alert: Alert, summary: str) -> Action:
    text = json.dumps({"text": f"{alert.name}: {summary}"}, ensure_ascii=False)
    post = f"curl -s -X POST -H 'Content-Type: application/json' --data {shlex.quote(text)}"
    return Action(
        "Tell #cryptofunk-critical",
        f'{post} "$SLACK_WEBHOOK_URL"',
        "The channel wants the status; tell the stakeholders when trading is affected.",
    )


def _checklist(findings: Findings, affected: str) -> tuple[tuple[str, str], ...]:
    questions = (
        ("How many requests failed, since when?", api),
        ("Which component was first?", components),
        ("Did the database have connections?", dependencies.pool),
        ("Did NATS carry messages?", dependencies.nats),
        ("Did the exchange answer?", dependencies.exchange),
        ("What was rolled out before?", platform.rollouts),
        ("What was configured before?", platform.config_changes),
    )
    return (*checklist(findings, questions), ("Was trading affected?", affected))
