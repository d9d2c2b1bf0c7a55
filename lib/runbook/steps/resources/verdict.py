"""HighResourceUsage: the limit that the affected pod needs, and the decision. Its steps are those of usage and leaks too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from runbook.alert import Alert
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.resources.observations import (
    THRESHOLD,
    shown,
)
from runbook.steps.shared.quotas import next_limit, patch_body, quantity_text
from runbook.steps.shared.verdicts import checklist, figures_of, known, kubectl, silence, unknown_reasons
from runbook.words import amount, duration, moment


def proposal(subject: Finding, past: Finding, shape: Finding) -> Finding:
    """New limit: the next step at which the highest usage stays below 70 %, and how long it lasts."""
    kind, limit = subject.figures["resource"], subject.figures["limit"]
    peak = past.figures["highest"]
    new = next_limit(peak, kind)
    rate = shape.figures["per_hour"] / 3600 if shape.figures["shape"] in ("leak", "climbing") else 0.0
    lasts = (new - shape.figures["level"]) / rate if rate > 0 else math.inf
    if math.isfinite(limit) and new <= limit:
        return Finding("resources.proposal", Status.OK, f"The limit of {shown(limit, kind)} is enough: the peak was {shown(peak, kind)}", "",
                       {"needed": False, "new": limit, "text": quantity_text(limit, kind)})  # fmt: skip
    return Finding(
        "resources.proposal",
        Status.WARNING,
        f"A limit of {shown(new, kind)} would hold the peak of {shown(peak, kind)} at {amount(peak / new, '%')} (now {shown(limit, kind)})",
        (
            f"With the growth going on it lasts {duration(lasts)}: time to repair, no repair. "
            if math.isfinite(lasts)
            else ""
        )
        + "Changing it restarts the pod. Check that a node has the room: only requests are reserved.",
        {
            "needed": True,
            "new": new,
            "text": quantity_text(new, kind),
            "lasts_seconds": lasts if math.isfinite(lasts) else None,
        },
    )


def decide(findings: Mapping[str, Finding], alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of HighResourceUsage: raise the limit, repair a leak, wait a burst out, or nothing; and why."""
    subject, shape = figures_of(findings, "resources.affected"), figures_of(findings, "resources.leak_or_burst")
    heap_top, rise = figures_of(findings, "resources.heap_profile"), figures_of(findings, "resources.at_the_rise")
    new, oom = figures_of(findings, "resources.proposal"), figures_of(findings, "resources.oom_history")
    slow = figures_of(findings, "resources.throttling")
    began = _began(shape, rise, figures_of(findings, "platform.config_changes"))
    status, decision, summary = _choice(subject, shape, heap_top, began, oom, slow)
    return Verdict(
        decision,
        summary,
        status,
        tuple(_reasons(findings)) + unknown_reasons(findings),
        tuple(_actions(subject, shape, new, bool(heap_top), alert, namespace)),
        checklist(findings, _CHECKLIST),
    )


_CHECKLIST = (
    ("Which pod, and how full?", "resources.affected"),
    ("Leak or burst?", "resources.leak_or_burst"),
    ("What holds the memory?", "resources.heap_profile"),
    ("What began with the rise?", "resources.at_the_rise"),
    ("Was it killed or throttled?", "resources.oom_history"),
    ("Which limit does it need?", "resources.proposal"),
    ("What was changed before?", "platform.config_changes"),
)


def _began(shape: Mapping[str, Any], rise: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """What began with the rise, in words: a change in the hour before it, a new pattern in the log; empty for neither."""
    onset, changed = shape.get("onset"), changes.get("last_at")
    told = f", with “{rise['pattern'][:80]}” in its log" if rise.get("pattern") else ""
    if onset is None or changed is None or not pd.Timedelta(0) <= onset - changed <= pd.Timedelta(hours=1):
        return told
    return f", after the change “{changes['last'][:80]}” at {changed:%H:%M} UTC{told}"


def _choice(
    subject: Mapping[str, Any], shape: Mapping[str, Any], heap_top: Mapping[str, Any], began: str,
    oom: Mapping[str, Any], slow: Mapping[str, Any],
) -> tuple[Status, str, str]:  # fmt: skip
    """(status, decision, summary) from what is known."""
    if not subject:
        return (
            Status.UNKNOWN,
            "look at the pods by hand",
            "Usage is not known: neither Prometheus nor metrics-server gave an answer.",
        )
    kind, ratio = subject["resource"], subject["ratio"]
    where = f"{subject['pod']}: {'memory' if kind == 'memory' else 'CPU'} at {amount(ratio, '%')} of its limit"
    killed = f"; it was OOM-killed at {moment(oom['at'])}" if oom.get("recent") else ""
    match shape.get("shape"):
        case "leak":
            holder = f"; {heap_top['function']} holds {amount(heap_top['share'], '%')} of the heap" if heap_top else ""
            left = shape["seconds_to_limit"]
            time = f", the limit is reached in about {duration(left)}" if left is not None else ""
            urgent = (left is not None and left < 2 * 3600) or bool(killed)
            word = "A memory leak" if kind == "memory" else "CPU use grows"
            return (Status.CRITICAL if urgent else Status.WARNING, "raise the limit for time, repair the leak" if kind == "memory" else "raise the limit, find the load",
                    f"{word} in {where}, {shown(shape['per_hour'], kind, signed=True)} an hour{time}{holder}{killed}.")  # fmt: skip
        case "climbing":
            return (Status.WARNING, "watch it closely",
                    f"Climbing, too short to call it a leak: {where}{began}{killed}.")  # fmt: skip
        case "burst" if ratio > THRESHOLD:
            holder = f"; {heap_top['function']} holds it" if heap_top.get("share", 0) > 0.4 else ""
            return (Status.CRITICAL if killed else Status.WARNING, "no leak: raise the limit one step, or undo what filled it",
                    f"A burst, not a leak: {where}, level since it rose{began}{holder}{killed}.")  # fmt: skip
        case "step" if ratio > THRESHOLD:
            waits = f"; throttled in {amount(slow['now'], '%')} of its periods" if slow.get("now", 0) > 0.25 else ""
            return (Status.WARNING, "stop what keeps it busy; raise the limit only if the work is wanted",
                    f"The CPU is saturated since a step: {where}{began}{waits}.")  # fmt: skip
    if killed:
        return Status.CRITICAL, "raise the limit", f"Killed for memory: {where}{killed}."
    if math.isnan(ratio):
        return Status.WARNING, "set a limit", f"{subject['pod']} has no {kind} limit: it can starve its node."
    gone, is_sibling = subject.get("gone"), subject.get("is_sibling")
    if ratio <= THRESHOLD and gone and is_sibling:
        return (Status.WARNING, "find out why the pod was replaced",
                f"{gone}, which the alert names, is not there now; what runs in its place is not near its limit: {where}.")  # fmt: skip
    if ratio <= THRESHOLD and gone:
        return (Status.UNKNOWN, "find the alert's pod by hand",
                f"{gone}, which the alert names, is not there now, nor any pod of its deployment; no other pod is near its limit.")  # fmt: skip
    if ratio <= THRESHOLD:
        return Status.OK, "nothing to do", f"No longer near its limit: {where}."
    if not shape:
        return Status.WARNING, "raise the limit one step", f"Near its limit, the trend is not known: {where}."
    return Status.WARNING, "raise the limit one step", f"Steady, but near its limit: {where}."


def _reasons(findings: Mapping[str, Finding]) -> Iterator[str]:
    names = ("resources.affected", "resources.history", "resources.leak_or_burst", "resources.heap_profile", "resources.at_the_rise",
             "resources.throttling", "resources.oom_history", "resources.proposal")  # fmt: skip
    for found in known(findings, names):
        if found.status is not Status.OK or found.id == "resources.oom_history":
            yield f"{found.title}."


def _actions(
    subject: Mapping[str, Any],
    shape: Mapping[str, Any],
    new: Mapping[str, Any],
    has_heap: bool,
    alert: Alert,
    namespace: str,
) -> Iterator[Action]:
    if subject:
        deployment, kind = f"deployment/{subject['deployment']}", subject["resource"]
        text = new.get("text") if new.get("needed") else ""
        if text and subject["ratio"] > THRESHOLD:
            patch = ["patch", deployment, "-p", patch_body(subject["container"], kind, str(text))]
            yield Action(f"Try the new {kind} limit without changing anything", kubectl(namespace, *patch, "--dry-run=server"), "The API server checks it and forgets it.")  # fmt: skip
            yield Action(f"Raise the {kind} limit to {text}", kubectl(namespace, *patch), "It restarts the pod, which also empties what leaked." if shape.get("shape") == "leak" else "It restarts the pod.",
                         changes=True)  # fmt: skip
        if shape.get("shape") in ("burst", "step"):
            yield Action("Read what the last change set", kubectl(namespace, "get", "configmap", "cryptofunk-config", "-o", "yaml"), "Undo it, if that filled the memory or keeps the CPU busy.")  # fmt: skip
        if shape.get("shape") == "leak":
            yield Action("Restart it before the kernel kills it", kubectl(namespace, "rollout", "restart", deployment), "Choose the moment yourself, when trading is quiet; the leak stays.",
                         changes=True)  # fmt: skip
        if kind == "memory" and has_heap:
            yield Action("Fetch the heap profile for go tool pprof",
                         f"{kubectl(namespace, 'port-forward', 'pod/' + subject['pod'], '6060:6060')} & sleep 2; go tool pprof http://localhost:6060/debug/pprof/heap",
                         "Two profiles an hour apart, compared with -base, show what grows.")  # fmt: skip
        elif kind == "cpu":
            yield Action("Take a CPU profile for 30 s",
                         f"{kubectl(namespace, 'port-forward', 'pod/' + subject['pod'], '6060:6060')} & sleep 2; go tool pprof 'http://localhost:6060/debug/pprof/profile?seconds=30'",
                         "Shows which function the CPU is spent in.")  # fmt: skip
        yield Action(
            "Watch it",
            kubectl(namespace, "top", "pod", subject["pod"], "--containers"),
            "metrics-server is a minute behind.",
        )
    else:
        yield Action(
            "See usage by hand", kubectl(namespace, "top", "pods", "--sort-by=memory"), "The sources gave no answer."
        )
    yield silence(alert)
