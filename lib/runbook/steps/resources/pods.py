"""Pods against their limits: which are near one, and which is the affected one."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, selector
from runbook.sources.overlap import at_once
from runbook.steps.resources.figures import RATE_MINUTES, THRESHOLD, Affected, Chosen, PodUsage
from runbook.steps.resources.wording import affected_detail, affected_title
from runbook.steps.shared.fleet import workload_of
from runbook.steps.shared.grading import graded
from runbook.words import amount, percent, plural

_ROWS_SHOWN = 8
_UNITS = {
    "memory": "bytes",
    "memory_limit": "bytes",
    "of memory limit": "%",
    "cpu": "cores",
    "cpu_limit": "cores",
    "of CPU limit": "%",
}
_OF_LIMIT = {"memory": "of memory limit", "cpu": "of CPU limit"}
_RESOURCES = {"HighMemoryUsage": "memory", "HighCPUUsage": "cpu"}
"""Which resource an alert is about."""


def top_pods(cluster: Cluster) -> Finding[PodUsage]:
    """Top pods: what each uses now by metrics-server, against its requests and limits."""
    used, pods = (answer.frame for answer in at_once(cluster.usage, cluster.pods))
    if used.empty:
        return Finding(
            Status.UNKNOWN,
            "Top pods: metrics-server knows of none",
            "It answers with no pod; is it running, and is KUBE_NAMESPACE right?",
        )
    rows = used.merge(pods, left_on="pod", right_on="name", how="left")
    rows = rows.rename(columns={"app": "deployment", "memory_bytes": "memory", "cpu_cores": "cpu"})
    return _ranked("metrics-server", rows.fillna({"deployment": "", "container": ""}))


def usage(metrics: Metrics, alert: Alert, window: Window) -> Finding[PodUsage]:
    """Usage against limits: every pod's memory and CPU by Prometheus at the report's moment."""
    where = selector(namespace=alert.labels.get("namespace"))
    inside = where[1:-1] + "," if where else ""
    containers = f'{{{inside}container!="",container!="POD"}}'
    cpu_rate = f"rate(container_cpu_usage_seconds_total{containers}[{RATE_MINUTES}m])"
    expressions = (
        f"max by (pod, container, resource) (kube_pod_container_resource_limits{where})",
        f"topk(100, sum by (pod, container) (container_memory_working_set_bytes{containers}))",
        f"topk(100, sum by (pod, container) ({cpu_rate}))",
    )
    answers = at_once(*(partial(metrics.instant, expression, window.as_of) for expression in expressions))
    limits, memory, cpu = (answer.frame for answer in answers)
    if memory.empty and cpu.empty:
        return Finding(
            Status.UNKNOWN,
            "Usage against limits: Prometheus has no container metrics",
            "Neither container_memory_working_set_bytes nor container_cpu_usage_seconds_total has a sample; "
            "is cAdvisor scraped?",
        )
    rows = _joined(memory, cpu, limits)
    rows["deployment"] = [workload_of(str(pod)) for pod in rows["pod"]]
    return _ranked("Prometheus", rows)


def _joined(memory: pd.DataFrame, cpu: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    """One row a pod and container: use and limit of memory and CPU; NaN where there is none."""
    kinds = limits.get("resource", pd.Series("", index=limits.index, dtype=object))
    rows = _keyed(memory, "memory").merge(_keyed(cpu, "cpu"), on=["pod", "container"], how="outer")
    for resource in ("memory", "cpu"):
        limit = _keyed(limits[kinds == resource], f"{resource}_limit")
        rows = rows.merge(limit, on=["pod", "container"], how="left")
    return rows


def _keyed(samples: pd.DataFrame, name: str) -> pd.DataFrame:
    """pod, container and the value under `name`, a row each."""
    keys = {key: samples.get(key, pd.Series("", index=samples.index, dtype=object)) for key in ("pod", "container")}
    return pd.DataFrame({**keys, name: samples["value"]}).drop_duplicates(["pod", "container"])


def _ranked(source: str, rows: pd.DataFrame) -> Finding[PodUsage]:
    """The finding about `rows` (pod, deployment, container, use and limits), the fullest pod first."""
    for resource, column in _OF_LIMIT.items():
        rows[column] = rows[resource] / rows[f"{resource}_limit"]
    rows["fullest"] = rows[[*_OF_LIMIT.values()]].max(axis=1)
    rows = rows[["pod", "deployment", "container", *_UNITS, "fullest"]]
    rows = rows.sort_values("fullest", ascending=False, ignore_index=True, na_position="last")
    found = PodUsage(rows, tuple(map(str, rows["pod"][rows["fullest"] > THRESHOLD])))
    unlimited = int(rows["memory_limit"].isna().sum())
    detail = f"By {source}."
    if unlimited:
        detail += f" {unlimited} pods have no memory limit: they can take the node's memory."
    shown = rows.head(_ROWS_SHOWN)[["pod", *_UNITS]].round({"cpu": 3})
    tables = (Table(f"The fullest of {len(rows)} pods", shown, _UNITS),)
    if not rows["fullest"].notna().any():
        return Finding(Status.UNKNOWN, f"{source} knows usage but no limit of any pod", detail, tables=tables)
    return Finding(graded(False, found.over), _ranked_title(found), detail, found, tables)


def _ranked_title(found: PodUsage) -> str:
    above = f"above {percent(THRESHOLD)} of a limit"
    if found.over:
        are = plural(len(found.over), "is", "are")
        return f"{len(found.over)} of {len(found.rows)} pods {are} {above}: {', '.join(found.over[:3])}"
    fullest = found.rows.iloc[0]
    return f"No pod is {above}; the fullest is {fullest['pod']} at {amount(fullest['fullest'], '%')}"


def affected(
    alert: Alert, by_metrics: Finding[PodUsage], by_cluster: Finding[PodUsage], pod: str = "", resource: str = ""
) -> Finding[Affected]:
    """Affected pod: the alert's, else the fullest, and which of memory and CPU is meant."""
    rows = [found.known.rows for found in (by_metrics, by_cluster) if found.is_known]
    if not rows:
        return Finding(
            Status.UNKNOWN,
            "Affected pod: neither Prometheus nor metrics-server says",
            f"The alert names {pod or 'no pod'}; its usage is not known.",
        )
    pods = pd.concat(rows, ignore_index=True)
    kind = resource or _RESOURCES.get(alert.name) or _fuller(pods)
    named = pod or alert.labels.get("pod", "")
    chosen, among = _candidates(pods, named)
    fullest = among.sort_values(_OF_LIMIT[kind], ascending=False, na_position="last").iloc[0]
    found = Affected(
        str(fullest["pod"]),
        str(fullest["container"]) or str(fullest["deployment"]),
        str(fullest["deployment"]),
        kind,
        used=float(fullest[kind]),
        limit=float(fullest[f"{kind}_limit"]),
        ratio=float(fullest[_OF_LIMIT[kind]]),
        named=named,
        chosen=chosen,
    )
    if math.isnan(found.used):
        return Finding(Status.UNKNOWN, f"Affected pod: the {kind} usage of {found.pod} has no sample")
    is_odd = found.is_over or found.is_other or math.isnan(found.ratio)
    return Finding(graded(False, is_odd), affected_title(found), affected_detail(found), found)


def _fuller(pods: pd.DataFrame) -> str:
    """The resource that a pod has most of its limit of."""
    return "cpu" if pods[_OF_LIMIT["cpu"]].max() > pods[_OF_LIMIT["memory"]].max() else "memory"


def _candidates(pods: pd.DataFrame, named: str) -> tuple[Chosen, pd.DataFrame]:
    """The pods of which the fullest is the affected one, and why: the named, else those of its deployment, else all."""
    mine = pods[pods["pod"] == named]
    if len(mine):
        return Chosen.NAMED, mine
    if not named:
        return Chosen.FULLEST, pods
    siblings = pods[pods["deployment"] == workload_of(named)]
    return (Chosen.SIBLING, siblings) if len(siblings) else (Chosen.STRANGER, pods)
