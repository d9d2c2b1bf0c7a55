"""The decision of HighResourceUsage: raise the limit, repair a leak, wait a burst out, or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import platform
from runbook.steps.resources.container import history, oom_history, throttling
from runbook.steps.resources.figures import (
    Affected,
    Chosen,
    HeapProfile,
    OomHistory,
    Proposal,
    Rise,
    Shape,
    Throttling,
    UsageTrend,
)
from runbook.steps.resources.pods import affected
from runbook.steps.resources.profiles import heap_profile
from runbook.steps.resources.proposals import proposal
from runbook.steps.resources.rises import at_the_rise
from runbook.steps.resources.trends import leak_or_burst
from runbook.steps.resources.wording import hourly, name_of
from runbook.steps.shared.quotas import patch_body
from runbook.steps.shared.verdicts import checklist, kubectl, silence, unknown_reasons
from runbook.words import amount, clock, duration, moment

_REASONS = (affected, history, leak_or_burst, heap_profile, at_the_rise, throttling, oom_history, proposal)
_CHECKLIST = (
    ("Which pod, and how full?", affected),
    ("Leak or burst?", leak_or_burst),
    ("What holds the memory?", heap_profile),
    ("What began with the rise?", at_the_rise),
    ("Was it killed or throttled?", oom_history),
    ("Which limit does it need?", proposal),
    ("What was changed before?", platform.config_changes),
)
_PROFILES = "http://localhost:6060/debug/pprof"


def decide(findings: Findings, alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of HighResourceUsage: raise the limit, repair a leak, wait a burst out, or nothing; and why."""
    pod = findings.get(Affected)
    if pod is None:
        status, decision = Status.UNKNOWN, "look at the pods by hand"
        summary = "Usage is not known: neither Prometheus nor metrics-server gave an answer."
    else:
        status, decision, summary = _by_trend(pod, findings) or _by_use(pod, findings)
    return Verdict(
        decision,
        summary,
        status,
        (*_reasons(findings), *unknown_reasons(findings)),
        (*_actions(findings, namespace), silence(alert)),
        checklist(findings, _CHECKLIST),
    )


def _by_trend(pod: Affected, findings: Findings) -> tuple[Status, str, str] | None:
    """(status, decision, summary) where usage moves; None where it is steady, its trend not known, or its level low."""
    found, killed = findings.get(UsageTrend), _killed(findings)
    if found is None:
        return None
    where, began = _fullness(pod), _began(found, findings)
    match found.shape:
        case Shape.LEAK:
            is_memory = pod.resource == "memory"
            leak = "A memory leak" if is_memory else "CPU use grows"
            decision = "raise the limit for time, repair the leak" if is_memory else "raise the limit, find the load"
            status = Status.CRITICAL if found.is_urgent or killed else Status.WARNING
            details = f"{hourly(found)}{_time_left(found)}{_holder(findings)}{killed}"
            return status, decision, f"{leak} in {where}, {details}."
        case Shape.CLIMBING:
            summary = f"Climbing, too short to call it a leak: {where}{began}{killed}."
            return Status.WARNING, "watch it closely", summary
        case Shape.BURST if pod.is_over:
            status = Status.CRITICAL if killed else Status.WARNING
            details = f"level since it rose{began}{_main_holder(findings)}{killed}"
            decision = "no leak: raise the limit one step, or undo what filled it"
            return status, decision, f"A burst, not a leak: {where}, {details}."
        case Shape.STEP if pod.is_over:
            decision = "stop what keeps it busy; raise the limit only if the work is wanted"
            summary = f"The CPU is saturated since a step: {where}{began}{_waits(findings)}."
            return Status.WARNING, decision, summary
    return None


def _by_use(pod: Affected, findings: Findings) -> tuple[Status, str, str]:
    """(status, decision, summary) where no trend decides."""
    where, killed = _fullness(pod), _killed(findings)
    if killed:
        return Status.CRITICAL, "raise the limit", f"Killed for memory: {where}{killed}."
    if math.isnan(pod.ratio):
        return Status.WARNING, "set a limit", f"{pod.pod} has no {pod.resource} limit: it can starve its node."
    if pod.is_over:
        summary = f"Steady, but near its limit: {where}."
        if findings.get(UsageTrend) is None:
            summary = f"Near its limit, the trend is not known: {where}."
        return Status.WARNING, "raise the limit one step", summary
    gone = f"{pod.named}, which the alert names, is not there now"
    match pod.chosen:
        case Chosen.SIBLING:
            summary = f"{gone}; what runs in its place is not near its limit: {where}."
            return Status.WARNING, "find out why the pod was replaced", summary
        case Chosen.STRANGER:
            summary = f"{gone}, nor any pod of its deployment; no other pod is near its limit."
            return Status.UNKNOWN, "find the alert's pod by hand", summary
    return Status.OK, "nothing to do", f"No longer near its limit: {where}."


def _fullness(pod: Affected) -> str:
    return f"{pod.pod}: {name_of(pod.resource)} at {amount(pod.ratio, '%')} of its limit"


def _time_left(found: UsageTrend) -> str:
    left = found.seconds_to_limit
    return f", the limit is reached in about {duration(left)}" if math.isfinite(left) else ""


def _killed(findings: Findings) -> str:
    oom = findings.get(OomHistory)
    return f"; it was OOM-killed at {moment(oom.killed_at)}" if oom and oom.is_recent else ""


def _waits(findings: Findings) -> str:
    slow = findings.get(Throttling)
    return f"; throttled in {amount(slow.now, '%')} of its periods" if slow and slow.is_slow else ""


def _holder(findings: Findings) -> str:
    heap = findings.get(HeapProfile)
    return f"; {heap.function} holds {amount(heap.share, '%')} of the heap" if heap and heap.is_read else ""


def _main_holder(findings: Findings) -> str:
    heap = findings.get(HeapProfile)
    return f"; {heap.function} holds it" if heap and heap.is_concentrated else ""


def _began(found: UsageTrend, findings: Findings) -> str:
    """What began with the rise: a change in the hour before it, a new pattern in the log; empty for neither."""
    rise, changes = findings.get(Rise), findings.get(platform.ConfigChanges)
    logged = f", with “{rise.pattern[:80]}” in its log" if rise and rise.pattern else ""
    change = changes.last if changes else None
    if found.onset is None or change is None:
        return logged
    if not timedelta(0) <= found.onset - change.at <= timedelta(hours=1):
        return logged
    what = change.action or "unknown"
    return f", after the change “{what[:80]}” at {clock(change.at)}{logged}"


def _reasons(findings: Findings) -> Iterator[str]:
    history_of_kills = findings.of(oom_history)
    for found in findings.known(_REASONS):
        if found.status is not Status.OK or found is history_of_kills:
            yield f"{found.title}."


def _actions(findings: Findings, namespace: str) -> Iterator[Action]:
    pod, found, heap = findings.get(Affected), findings.get(UsageTrend), findings.get(HeapProfile)
    if pod is None:
        by_memory = kubectl(namespace, "top", "pods", "--sort-by=memory")
        yield Action("See usage by hand", by_memory, "The sources gave no answer.")
        return
    shape = found.shape if found else Shape.STEADY
    new = findings.get(Proposal)
    if new and new.is_needed and new.quantity and pod.is_over:
        yield from _raise(pod, new, shape, namespace)
    if shape in (Shape.BURST, Shape.STEP):
        yield Action(
            "Read what the last change set",
            kubectl(namespace, "get", "configmap", "cryptofunk-config", "-o", "yaml"),
            "Undo it, if that filled the memory or keeps the CPU busy.",
        )
    if shape is Shape.LEAK:
        yield Action(
            "Restart it before the kernel kills it",
            kubectl(namespace, "rollout", "restart", f"deployment/{pod.deployment}"),
            "Choose the moment yourself, when trading is quiet; the leak stays.",
            changes=True,
        )
    if pod.resource == "cpu" or (heap and heap.is_read):
        yield _profile(pod, namespace)
    watch = kubectl(namespace, "top", "pod", pod.pod, "--containers")
    yield Action("Watch it", watch, "metrics-server is a minute behind.")


def _raise(pod: Affected, new: Proposal, shape: Shape, namespace: str) -> Iterator[Action]:
    body = patch_body(pod.container, pod.resource, new.quantity)
    patch = ("patch", f"deployment/{pod.deployment}", "-p", body)
    yield Action(
        f"Try the new {pod.resource} limit without changing anything",
        kubectl(namespace, *patch, "--dry-run=server"),
        "The API server checks it and forgets it.",
    )
    why = "It restarts the pod."
    if shape is Shape.LEAK:
        why = "It restarts the pod, which also empties what leaked."
    yield Action(f"Raise the {pod.resource} limit to {new.quantity}", kubectl(namespace, *patch), why, changes=True)


def _profile(pod: Affected, namespace: str) -> Action:
    forward = kubectl(namespace, "port-forward", f"pod/{pod.pod}", "6060:6060")
    if pod.resource == "cpu":
        return Action(
            "Take a CPU profile for 30 s",
            f"{forward} & sleep 2; go tool pprof '{_PROFILES}/profile?seconds=30'",
            "Shows which function the CPU is spent in.",
        )
    return Action(
        "Fetch the heap profile for go tool pprof",
        f"{forward} & sleep 2; go tool pprof {_PROFILES}/heap",
        "Two profiles an hour apart, compared with -base, show what grows.",
    )
