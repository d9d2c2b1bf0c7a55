"""A verdict is never better than the findings it stands beside: seen to once, for every procedure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runbook.findings import Finding, Findings
from runbook.outcome import Status, Verdict
from runbook.words import capitalised, counted, plural

_HEALTHY = "Healthy: "
_NAMED_MAX = 10
_NAMED_CHARACTERS = 60
"""So much of a title in a reason names its finding: verdicts shorten and punctuate them."""


def honest(verdict: Verdict, findings: Findings) -> Verdict:
    """`verdict`, as bad as what was found, with every bad finding named in its reasons.

    - While a finding is critical, nothing is ok: an ok verdict becomes critical and says the finding first.
      One that is unknown becomes critical too, and keeps its sentence and decision. A warning stays: the
      procedure has weighed what it found and says why it is no worse ("the gauge is wrong").
    - While a check has no answer, nothing is ok: the verdict becomes unknown.
    - A critical verdict stays as it is.
    - Findings that warn leave ok as it is, because most are no fault of the present (a change, what fired
      last week, statistics that are off). But the sentence counts them and the reasons name each.
    """
    critical, warns = findings.with_status(Status.CRITICAL), findings.with_status(Status.WARNING)
    judged = _judged(verdict, findings, critical)
    if judged.status is Status.OK and warns:
        warn = f"{counted(len(warns), 'check')} {plural(len(warns), 'warns', 'warn')}."
        judged = replace(judged, summary=f"{judged.summary} {warn}")
    to_name = {Status.OK: (*critical, *warns), Status.CRITICAL: ()}.get(verdict.status, critical)
    return replace(judged, reasons=(*judged.reasons, *_unnamed(to_name, judged.reasons)))


def _judged(verdict: Verdict, findings: Findings, critical: Sequence[Finding[Any]]) -> Verdict:
    if critical and verdict.status is Status.OK:
        more = len(critical) - 1
        others = f" {counted(more, 'more check')} {plural(more, 'is', 'are')} critical." if more else ""
        beside = verdict.summary.removeprefix(_HEALTHY)
        summary = f"Not healthy: {critical[0].title}.{others} Beside it: {beside}"
        return replace(verdict, decision="look at what is critical", summary=summary, status=Status.CRITICAL)
    if critical and verdict.status is Status.UNKNOWN:
        return replace(verdict, status=Status.CRITICAL)
    if verdict.status is Status.OK and (findings.unknown or not len(findings)):
        return _not_fully_known(verdict, findings)
    return verdict


def _not_fully_known(verdict: Verdict, findings: Findings) -> Verdict:
    unknown = findings.unknown
    reason = f"{len(unknown)} of {len(findings)} checks have no answer, so this cannot be called healthy."
    summary = f"Not fully known; what answered is fine: {verdict.summary.removeprefix(_HEALTHY)}"
    if len(unknown) == len(findings):
        summary = "Not known: none of the checks has an answer."
    return replace(
        verdict,
        decision="investigate further",
        summary=summary,
        status=Status.UNKNOWN,
        reasons=(reason, *verdict.reasons),
    )


def _unnamed(found: Sequence[Finding[Any]], reasons: Sequence[str]) -> tuple[str, ...]:
    """A reason for each finding that `reasons` do not name, at most so many."""
    named = " ".join(reasons).lower()
    missing = [one for one in found if one.title[:_NAMED_CHARACTERS].lower() not in named]
    listed = [f"{capitalised(one.status.value)}: {one.title}." for one in missing[:_NAMED_MAX]]
    more = len(missing) - _NAMED_MAX
    return (*listed, f"And {counted(more, 'more check')} of that kind.") if more > 0 else tuple(listed)
