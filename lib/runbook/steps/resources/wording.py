"""What is said of memory and CPU: titles and details from figures."""

from __future__ import annotations

import math

from runbook.steps.resources.figures import (
    Affected,
    Chosen,
    ContainerLimits,
    HeapProfile,
    OomHistory,
    Shape,
    UsageHistory,
    UsageTrend,
)
from runbook.steps.shared import trend
from runbook.steps.shared.fleet import workload_of
from runbook.words import amount, clock, duration, moment


def quantity(value: float, resource: str, *, signed: bool = False) -> str:
    """`value` of memory or CPU with its unit: "446.0 MiB", "0.468 cores"; with its sign where `signed`."""
    text = amount(value, "bytes")
    if resource != "memory":
        text = amount(round(value, 3), "cores") if math.isfinite(value) else "n/a"
    return f"+{text}" if signed and value > 0 else text


def name_of(resource: str) -> str:
    return "memory" if resource == "memory" else "CPU"


def affected_title(found: Affected) -> str:
    limit = "and has no limit"
    if not math.isnan(found.ratio):
        limit = f"{amount(found.ratio, '%')} of its limit of {quantity(found.limit, found.resource)}"
    gone = f"{found.named} is not there now; " if found.is_other else ""
    return f"{gone}{found.pod} uses {quantity(found.used, found.resource)} of {name_of(found.resource)}, {limit}"


def affected_detail(found: Affected) -> str:
    deployment = workload_of(found.named)
    gone = f"{found.named}, which the alert names, is not among the pods now; this is the fullest pod"
    match found.chosen:
        case Chosen.NAMED:
            return "As the alert names it."
        case Chosen.FULLEST:
            return "The alert names no pod; this is the fullest."
        case Chosen.SIBLING:
            return f"{gone} of {deployment}."
        case Chosen.STRANGER:
            return f"{gone} there is; {deployment} has none."


def limits_title(limits: ContainerLimits) -> str:
    memory = f"{amount(limits.memory_request, 'bytes')} requested, {amount(limits.memory_limit, 'bytes')} at most"
    cpu = f"{amount(limits.cpu_request, 'cores')} and {amount(limits.cpu_limit, 'cores')}"
    return f"{limits.container}: memory {memory}; CPU {cpu}"


def history_title(history: UsageHistory) -> str:
    lowest, highest = quantity(history.lowest, history.resource), quantity(history.highest, history.resource)
    peak = f"highest at {clock(history.highest_at)}, {amount(history.highest / history.limit, '%')} of the limit"
    return f"Between {lowest} and {highest} in the window, {peak}"


def oom_title(history: OomHistory) -> str:
    if history.is_killed:
        return f"{history.app} was OOM-killed at {moment(history.killed_at)}"
    if math.isfinite(history.restarts):
        return f"{history.app} was not OOM-killed; {amount(round(history.restarts))} restarts in 24 h"
    return f"{history.app} was not OOM-killed"


def hourly(found: UsageTrend) -> str:
    return f"{quantity(found.per_hour, found.resource, signed=True)} an hour"


def trend_title(found: UsageTrend) -> str:
    low = quantity(found.per_hour_low, found.resource, signed=True)
    high = quantity(found.per_hour_high, found.resource, signed=True)
    pace, lasts = f"{hourly(found)} (95 %: {low} to {high})", duration(found.stretch_seconds)
    began = f" from about {clock(found.onset)} on" if found.onset is not None else ""
    risen = f"it rose by {quantity(found.level - found.base, found.resource)}{began}"
    match found.shape:
        case Shape.LEAK:
            leak = ", a leak by its shape" if found.resource == "memory" else ""
            return f"It grows without end: {pace} over {lasts}{leak}"
        case Shape.CLIMBING:
            return f"It climbs: {pace}, for {lasts} only: too short to tell a leak from a burst"
        case Shape.BURST:
            return f"A burst, not a leak: {risen} and has been level for {lasts}: {pace}"
        case Shape.STEP:
            return f"A step: {risen} and has stayed there for {lasts}: {pace}"
        case Shape.STEADY:
            return f"Steady: {pace}"


def trend_detail(found: UsageTrend) -> str:
    sentences = ["The trend is Theil and Sen's over the last stretch without a bend."]
    likely = found.seconds_to_limit
    if math.isfinite(likely):
        sure = trend.spread(likely, found.earliest_seconds, found.latest_seconds)
        sentences.insert(0, f"At this rate the limit is reached in {duration(likely)} ({sure}).")
    if found.restarted_at is not None:
        sentences.append(f"Counted since the restart at {moment(found.restarted_at)}.")
    return " ".join(sentences)


def heap_title(heap: HeapProfile) -> str:
    share = amount(heap.share, "%")
    return f"{heap.function} holds {amount(heap.size_bytes, 'bytes')}, {share} of the live heap"


def heap_detail(heap: HeapProfile, working_set: float) -> str:
    """`working_set`: the memory that the pod uses, NaN where it is not known."""
    in_use = amount(heap.heap_in_use, "bytes")
    allocated = f"{amount(round(heap.objects))} objects, allocated at {heap.place}. Heap in use {in_use}."
    if not math.isfinite(working_set):
        return allocated
    other = max(working_set - heap.heap_in_use, 0.0)
    not_heap = (
        f"{amount(other, 'bytes')} of it is not Go's heap in use (stacks, freed pages not yet returned, page cache)"
    )
    return f"{allocated} The working set is {amount(working_set, 'bytes')}: {not_heap}."
