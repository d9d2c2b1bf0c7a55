"""AnyAlert: the decision about an alert without a procedure, and what follows from it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.shared.verdicts import (
    checklist,
    figures_of,
    known,
    kubectl,
    silence,
    unknown_reasons,
)
from runbook.words import names


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion for an alert without a procedure: does it hold, what is it about, and what changed just before."""
    measured, it = figures_of(findings, "alerting.evaluated"), figures_of(findings, "alerting.about")
    apps = [app for app in str(it.get("apps", "")).split(", ") if app]
    near = suspects(findings, measured.get("since") or window.starts_at)
    # What this alert itself shows is not a second fault.
    broken = [
        one
        for one in findings.values()
        if one.status is Status.CRITICAL and not one.id.startswith("alerting.evaluated")
    ]
    shown = findings["alerting.evaluated"].title if measured else "The alert's condition could not be evaluated"
    if measured.get("holds") is False:
        status = Status.CRITICAL if broken else Status.OK
        decision = "fix what else is broken" if broken else "no action, watch"
        summary = f"{shown}." if broken else f"Healthy: {shown[:1].lower()}{shown[1:]}."
    elif not measured:
        status, decision, summary = Status.UNKNOWN, "evaluate the alert by hand", f"{shown}."
    else:
        status = Status.CRITICAL if alert.severity == "critical" or broken else Status.WARNING
        decision = (
            "fix what is broken first" if broken
            else "undo or correct the change before it" if near
            else f"look into {names(apps)}" if apps else "read the logs"
        )  # fmt: skip
        summary = f"{shown}."
    if it and not it["not_ready"] and apps and measured.get("holds"):
        errors = figures_of(findings, "alerting.logs").get("errors")
        summary += f" {names(apps, 2)} " + (
            f"is ready, but logs {errors} error lines."
            if errors
            else "itself shows no fault: ready" + (", no error logged." if errors == 0 else ".")
        )
    if broken:
        summary += f" Broken: {broken[0].title}."
    if near and measured.get("holds") is not False:
        summary += f" Just before: {'; '.join(one.text for one in near[:2])}."
    reasons = [*(f"{one.title}." for one in broken[:5]), *(f"Just before: {one.text}." for one in near[:4])]
    reasons += [f"{one.title}." for one in known(findings, ("alerting.about", "alerting.logs", "alerting.history"))]
    questions = (
        ("Does the condition hold?", "alerting.evaluated"), ("What is it about?", "alerting.about"), ("What is logged?", "alerting.logs"),
        ("What was rolled out before?", "platform.rollouts"), ("What was configured before?", "platform.config_changes"), ("Does trading go on?", "dependencies.flow"),
    )  # fmt: skip
    return Verdict(decision, summary, status, tuple(reasons) + unknown_reasons(findings), tuple(_actions(apps, near, findings, alert, namespace)),
                   (*checklist(findings, questions), ("Does this alert deserve a procedure?", "See CONTRIBUTING: a notebook, a parameters file, a catalog line")))  # fmt: skip


def _actions(
    apps: Sequence[str], near: Sequence[Suspect], findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    expression = str(figures_of(findings, "alerting.rule").get("expression", ""))
    if deployment := next((one.deployment for one in near if one.deployment), ""):
        yield Action(
            f"See what changed in {deployment}",
            kubectl(namespace, "rollout", "history", f"deployment/{deployment}"),
            f"Just before: {near[0].text}.",
        )
        yield Action(
            f"Roll back {deployment}",
            kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
            "Only when the change explains the alert.",
            changes=True,
        )
    for app in apps[:2]:
        yield Action(
            f"Follow the log of {app}", kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=100"), ""
        )
    if expression:
        yield Action(
            "Evaluate the expression again",
            f'curl -sG "$PROMETHEUS_URL/api/v1/query" --data-urlencode {shlex.quote("query=" + " ".join(expression.split()))}',
            "No result: it does not hold.",
        )
    yield silence(alert)
