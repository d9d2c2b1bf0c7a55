"""SystemHealth: the conclusion, and where to look next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from runbook.alert import Window
from runbook.findings import Finding, Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import alerting, breakers, dependencies, platform, sessions
from runbook.steps.platform.suspects import suspects
from runbook.steps.shared.verdicts import checklist, kubectl, unknown_reasons
from runbook.words import plural

_QUESTIONS = (
    ("Are the pods well?", platform.pods),
    ("Does the database answer?", dependencies.database),
    ("Does trading go on?", dependencies.flow),
    ("Is trading paused?", sessions.paused),
    ("Is a breaker open?", breakers.states),
    ("What fires?", alerting.firing),
)
_SUSPECT_MINUTES = 60
_TITLES_MAX = 3
_REASONS_MAX = 10


def decide(findings: Findings, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion of SystemHealth: what is broken now, the worst first, and where to look next."""
    critical, warned = findings.with_status(Status.CRITICAL), findings.with_status(Status.WARNING)
    near = suspects(findings, window.starts_at, _SUSPECT_MINUTES)
    status, decision, summary = _judged(len(findings), len(findings.unknown), critical, warned)
    reasons = (
        *(f"{found.title}." for found in (critical + warned)[:_REASONS_MAX]),
        *(f"Shortly before: {suspect.text}." for suspect in near[:3]),
        *unknown_reasons(findings),
    )
    return Verdict(decision, summary, status, reasons, _actions(findings, namespace), checklist(findings, _QUESTIONS))


def _judged(
    count: int, unknown: int, critical: Sequence[Finding[Any]], warned: Sequence[Finding[Any]]
) -> tuple[Status, str, str]:
    """(status, decision, summary): what has no answer is neither fine nor broken, and is said beside what answered."""
    answered = count - unknown
    checks, rest = f"{count} checks", ""
    if unknown:
        checks = f"the {answered} {plural(answered, 'check')} that answered"
        rest = f" {unknown} {plural(unknown, 'has', 'have')} no answer."
    if critical:
        are = plural(len(critical), "is", "are")
        summary = f"{len(critical)} of {checks} {are} critical: {_titles(critical)}.{rest}"
        return Status.CRITICAL, "act on what is broken", summary
    if warned:
        warn = plural(len(warned), "warns", "warn")
        summary = f"Of {checks} none is critical, {len(warned)} {warn}: {_titles(warned)}.{rest}"
        if not unknown:
            return Status.WARNING, "look at the warnings", summary
        # With more silence than answers nothing can be said of the platform.
        status = Status.WARNING if unknown <= answered else Status.UNKNOWN
        return status, "look at the warnings, restore the sources that did not answer", summary
    if answered and not unknown:
        return Status.OK, "no action", f"Healthy: all {count} checks pass."
    silence = f"Of {checks} none warns.{rest}" if answered else "Nothing is known: none of the checks has an answer."
    return Status.UNKNOWN, "restore the sources, then check again", silence


def _titles(findings: Sequence[Finding[Any]]) -> str:
    titles = "; ".join(found.title for found in findings[:_TITLES_MAX])
    more = len(findings) - _TITLES_MAX
    return f"{titles}; and {more} more" if more > 0 else titles


def _actions(findings: Findings, namespace: str) -> tuple[Action, ...]:
    watch = Action(
        "Watch the pods", kubectl(namespace, "get", "pods", "--watch"), "Those not ready, waiting or restarting."
    )
    firing = findings.get(alerting.Firing)
    if firing is None or not firing.names:
        return (watch,)
    listed = ", ".join(firing.names)[:200]
    procedure = Action(
        "Run the procedure of what fires", f"runbook run --any {shlex.quote(firing.names[0])}", f"Firing: {listed}."
    )
    return procedure, watch
