"""AnyAlert: the decision about an alert without a procedure, and what follows from it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import dependencies, platform
from runbook.steps.alerting.condition import evaluated
from runbook.steps.alerting.figures import About, Evaluated, Rule
from runbook.steps.alerting.occurrences import history
from runbook.steps.alerting.subject import about, logs
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.shared.verdicts import checklist, kubectl, silence, unknown_reasons
from runbook.words import names

_QUESTIONS = (
    ("Does the condition hold?", evaluated),
    ("What is it about?", about),
    ("What is logged?", logs),
    ("What was rolled out before?", platform.rollouts),
    ("What was configured before?", platform.config_changes),
    ("Does trading go on?", dependencies.flow),
)
_PROCEDURE = ("Does this alert deserve a procedure?", "See CONTRIBUTING: a notebook, a parameters file, a catalog line")
_NOWHERE = About()


def decide(findings: Findings, alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion for an alert without a procedure: does it hold, what is it about, and what changed just before."""
    condition = findings.get(Evaluated)
    apps = (findings.get(About) or _NOWHERE).apps
    since = condition.since if condition else None
    near = suspects(findings, since or window.starts_at)
    # What this alert itself shows is not a second fault.
    own = findings.of(evaluated)
    broken = [found for found in findings.with_status(Status.CRITICAL) if found is not own]
    status, decision = _decided(condition, alert, apps, near, is_broken=bool(broken))
    reasons = (
        *(f"{found.title}." for found in broken[:5]),
        *(f"Just before: {suspect.text}." for suspect in near[:4]),
        *(f"{found.title}." for found in findings.known((about, logs, history))),
        *unknown_reasons(findings),
    )
    return Verdict(
        decision,
        " ".join(_summary(findings, condition, broken, near)),
        status,
        reasons,
        tuple(_actions(findings, apps, near, alert, namespace)),
        (*checklist(findings, _QUESTIONS), _PROCEDURE),
    )


def _decided(
    condition: Evaluated | None, alert: Alert, apps: Sequence[str], near: Sequence[Suspect], *, is_broken: bool
) -> tuple[Status, str]:
    if condition is None:
        return Status.UNKNOWN, "evaluate the alert by hand"
    if not condition.holds:
        return (Status.CRITICAL, "fix what else is broken") if is_broken else (Status.OK, "no action, watch")
    if is_broken:
        return Status.CRITICAL, "fix what is broken first"
    status = Status.CRITICAL if alert.severity == "critical" else Status.WARNING
    if near:
        return status, "undo or correct the change before it"
    return status, f"look into {names(apps)}" if apps else "read the logs"


def _summary(
    findings: Findings, condition: Evaluated | None, broken: Sequence[Finding[Any]], near: Sequence[Suspect]
) -> Iterator[str]:
    """The sentences of the summary."""
    if condition is None:
        yield "The alert's condition could not be evaluated."
    elif condition.holds:
        yield f"{findings.title(evaluated)}."
        yield from _own_state(findings)
    elif broken:
        yield f"{findings.title(evaluated)}."
    else:
        title = findings.title(evaluated)
        yield f"Healthy: {title[:1].lower()}{title[1:]}."
    if broken:
        yield f"Broken: {broken[0].title}."
    if near and (condition is None or condition.holds):
        yield f"Just before: {'; '.join(suspect.text for suspect in near[:2])}."


def _own_state(findings: Findings) -> Iterator[str]:
    """How what it is about fares itself, where it is ready."""
    subject, logged = findings.get(About), findings.get(platform.MergedLog)
    if subject is None or not subject.apps or subject.not_ready:
        return
    apps = names(subject.apps, 2)
    if logged is None:
        yield f"{apps} itself shows no fault: ready."
    elif logged.errors:
        yield f"{apps} is ready, but logs {logged.errors} error lines."
    else:
        yield f"{apps} itself shows no fault: ready, no error logged."


def _actions(
    findings: Findings, apps: Sequence[str], near: Sequence[Suspect], alert: Alert, namespace: str
) -> Iterator[Action]:
    rolled_out = next((suspect.deployment for suspect in near if suspect.deployment), "")
    if rolled_out:
        deployment = f"deployment/{rolled_out}"
        yield Action(
            f"See what changed in {rolled_out}",
            kubectl(namespace, "rollout", "history", deployment),
            f"Just before: {near[0].text}.",
        )
        yield Action(
            f"Roll back {rolled_out}",
            kubectl(namespace, "rollout", "undo", deployment),
            "Only when the change explains the alert.",
            changes=True,
        )
    for app in apps[:2]:
        command = kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=100")
        yield Action(f"Follow the log of {app}", command, "")
    rule = findings.get(Rule)
    if rule is not None:
        query = shlex.quote(f"query={' '.join(rule.expression.split())}")
        yield Action(
            "Evaluate the expression again",
            f'curl -sG "$PROMETHEUS_URL/api/v1/query" --data-urlencode {query}',
            "No result: it does not hold.",
        )
    yield silence(alert)
