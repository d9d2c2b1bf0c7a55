"""The affected container: its limits, its use over time, whether it was throttled or killed."""

from __future__ import annotations

import math
from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, quote, selector
from runbook.steps.resources.figures import (
    RATE_MINUTES,
    THRESHOLD,
    Affected,
    ContainerLimits,
    OomHistory,
    Throttling,
    UsageHistory,
)
from runbook.steps.resources.wording import history_title, limits_title, oom_title
from runbook.steps.shared.grading import graded
from runbook.words import amount, moment

_MEBI = 1024 * 1024
_TOO_MUCH = (
    "Above the memory limit the kernel kills the container (OOMKilled); "
    "above the CPU limit it is throttled, not killed."
)


def limits(subject: Finding[Affected], cluster: Cluster) -> Finding[ContainerLimits]:
    """Requests and limits: what the affected pod's container may use, and how the pod ends when it takes more."""
    pods = cluster.pods().frame
    pod = subject.known.pod
    mine = pods[pods["name"] == pod]
    if mine.empty:
        return Finding(Status.UNKNOWN, f"Requests and limits: there is no pod {pod}", "It was replaced.")
    row = mine.iloc[0]
    found = ContainerLimits(
        str(row["container"]),
        memory_request=float(row["memory_request"]),
        memory_limit=float(row["memory_limit"]),
        cpu_request=float(row["cpu_request"]),
        cpu_limit=float(row["cpu_limit"]),
    )
    rows = pd.DataFrame(
        [
            ("memory (MiB)", found.memory_request / _MEBI, found.memory_limit / _MEBI),
            ("CPU (cores)", found.cpu_request, found.cpu_limit),
        ],
        columns=["resource", "request", "limit"],
    )
    missing = f" Without a limit: {' and '.join(found.missing)}." if found.missing else ""
    table = Table("Resources of the container", rows, {"request": "", "limit": ""})
    return Finding(graded(False, found.missing), limits_title(found), f"{_TOO_MUCH}{missing}", found, (table,))


def history(subject: Finding[Affected], metrics: Metrics, alert: Alert, window: Window) -> Finding[UsageHistory]:
    """Usage over time: the affected container's memory or CPU in the window, with its limit."""
    pod, chosen = subject.known, _selector(subject.known, alert)
    expression = f"max(container_memory_working_set_bytes{chosen})"
    if pod.resource != "memory":
        expression = f"sum(rate(container_cpu_usage_seconds_total{chosen}[{RATE_MINUTES}m]))"
    samples = metrics.range(expression, window.start, window.as_of, series=4).frame.dropna(subset=["value"])
    if len(samples) < 2:
        return Finding(
            Status.UNKNOWN,
            f"Usage over time: no samples of {pod.pod} in the window",
            "Prometheus holds fewer than two; trend and forecast need them.",
        )
    values = samples["value"]
    found = UsageHistory(
        pod.pod,
        pod.resource,
        pod.limit,
        lowest=float(values.min()),
        highest=float(values.max()),
        highest_at=samples["time"][values.idxmax()],
        curve=samples[["time", "value"]],
    )
    detail = f"{len(samples)} samples since {moment(samples['time'].iloc[0])}."
    return Finding(graded(False, found.highest > THRESHOLD * found.limit), history_title(found), detail, found)


def throttling(subject: Finding[Affected], metrics: Metrics, alert: Alert, window: Window) -> Finding[Throttling]:
    """CPU throttling: the share of scheduler periods in which the container had to wait."""
    chosen = _selector(subject.known, alert)
    throttled = f"sum(rate(container_cpu_cfs_throttled_periods_total{chosen}[{RATE_MINUTES}m]))"
    periods = f"sum(rate(container_cpu_cfs_periods_total{chosen}[{RATE_MINUTES}m]))"
    answer = metrics.range(f"{throttled} / {periods}", window.start, window.as_of, series=4)
    shares = answer.frame.dropna(subset=["value"])
    if shares.empty:
        return Finding(
            Status.UNKNOWN,
            "CPU throttling: no sample in the window",
            "container_cpu_cfs_throttled_periods_total is not scraped, or the container has no CPU limit.",
        )
    values = shares["value"]
    found = Throttling(float(values.iloc[-1]), float(values.median()), shares[["time", "value"]])
    now, median = amount(found.now, "%"), amount(found.median, "%")
    title = f"Throttled in {now} of its CPU periods now, {median} in the window's middle"
    detail = "Above a quarter, latency suffers." if found.is_slow else ""
    return Finding(graded(False, found.is_slow), title, detail, found)


def oom_history(
    subject: Finding[Affected], cluster: Cluster, metrics: Metrics, alert: Alert, window: Window
) -> Finding[OomHistory]:
    """OOM history: was the pod killed for memory, and how often did it restart in the day before?"""
    pods = cluster.pods().frame
    pod = subject.known
    where = selector(namespace=alert.labels.get("namespace"), container=pod.container)
    increase = f"sum by (pod) (increase(kube_pod_container_status_restarts_total{where}[24h]))"
    restarts = metrics.instant(increase, window.as_of).frame
    killed = pods[(pods["name"] == pod.pod) & (pods["last_exit"] == "OOMKilled")]
    killed_at = killed["last_exit_at"].iloc[0] if len(killed) else None
    day_ago = window.as_of - timedelta(hours=24)
    found = OomHistory(
        pod.deployment,
        is_killed=bool(len(killed)),
        is_recent=killed_at is not None and killed_at >= day_ago,
        killed_at=killed_at,
        restarts=float(restarts["value"].sum()) if len(restarts) else math.nan,
    )
    detail = ""
    if math.isnan(found.restarts):
        detail = "kube_pod_container_status_restarts_total has no sample of it, so earlier restarts are not known."
    status = graded(found.is_recent, found.is_killed or found.restarts > 0.5)
    return Finding(status, oom_title(found), detail, found)


def _selector(pod: Affected, alert: Alert) -> str:
    """The selector of the affected container's series."""
    pairs = {"namespace": alert.labels.get("namespace", ""), "pod": pod.pod, "container": pod.container}
    chosen = ",".join(f"{name}={quote(value)}" for name, value in pairs.items() if value)
    return f"{{{chosen}}}"
