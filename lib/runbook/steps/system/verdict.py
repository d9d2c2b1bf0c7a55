"""SystemHealth: the conclusion, and where to look next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.shared.verdicts import checklist, figures_of, kubectl, suspects, unknown_reasons


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion of SystemHealth: what is broken now, the worst first, and where to look next."""
    critical = [one for one in findings.values() if one.status is Status.CRITICAL]
    warned = [one for one in findings.values() if one.status is Status.WARNING]
    unknown = [one for one in findings.values() if not one.is_known]
    near = suspects(findings, window.starts_at, minutes=60)
    status, decision, summary = _judged(len(findings), len(unknown), critical, warned)
    reasons = [
        *(f"{one.title}." for one in (critical + warned)[:10]),
        *(f"Shortly before: {one.text}." for one in near[:3]),
    ]
    others = str(figures_of(findings, "alerting.firing").get("names", ""))
    actions = [
        *(
            [
                Action(
                    "Run the procedure of what fires",
                    f"runbook run {shlex.quote(others.split(', ', 1)[0])}",
                    f"Firing: {others[:200]}.",
                )
            ]
            if others
            else []
        ),
        Action(
            "Watch the pods", kubectl(namespace, "get", "pods", "--watch"), "Those not ready, waiting or restarting."
        ),
    ]
    questions = (
        ("Are the pods well?", "platform.pods"), ("Does the database answer?", "dependencies.database"), ("Does trading go on?", "dependencies.flow"),
        ("Is trading paused?", "sessions.paused"), ("Is a breaker open?", "breakers.states"), ("What fires?", "alerting.firing"),
    )  # fmt: skip
    return Verdict(decision, summary, status, tuple(reasons) + unknown_reasons(findings), tuple(actions),
                   checklist(findings, questions))  # fmt: skip


def _judged(
    count: int, unknown: int, critical: Sequence[Finding], warned: Sequence[Finding]
) -> tuple[Status, str, str]:
    """(status, decision, summary): what has no answer is neither fine nor broken, and is said beside what answered."""
    answered = count - unknown
    of = f"{count} checks" if not unknown else f"the {answered} check{_s(answered)} that answered"
    rest = f" {unknown} {'has' if unknown == 1 else 'have'} no answer." if unknown else ""
    if critical:
        are = "is" if len(critical) == 1 else "are"
        summary = f"{len(critical)} of {of} {are} critical: {_titles(critical)}.{rest}"
        return Status.CRITICAL, "act on what is broken", summary
    if warned:
        warn = f"{len(warned)} warn{'s' if len(warned) == 1 else ''}: {_titles(warned)}.{rest}"
        mostly = unknown <= answered  # with more silence than answers nothing can be said of the platform
        decision = "look at the warnings" + (", restore the sources that did not answer" if unknown else "")
        return Status.WARNING if mostly else Status.UNKNOWN, decision, f"Of {of} none is critical, {warn}"
    if not answered:
        return (
            Status.UNKNOWN,
            "restore the sources, then check again",
            "Nothing is known: none of the checks has an answer.",
        )
    if unknown:
        return Status.UNKNOWN, "restore the sources, then check again", f"Of {of} none warns.{rest}"
    return Status.OK, "no action", f"Healthy: all {count} checks pass."


def _titles(findings: Sequence[Finding]) -> str:
    more = len(findings) - 3
    return "; ".join(one.title for one in findings[:3]) + (f"; and {more} more" if more > 0 else "")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
