"""Whether the affected agents are short of memory or CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, quote, quote_pattern
from runbook.steps.agents import wording
from runbook.steps.agents.figures import Fleet, Resources
from runbook.steps.shared.fleet import workload_of
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import number
from runbook.words import names

_PARTS = ("memory", "throttled", "restarts")
_MEMORY_HIGH, _THROTTLED = 0.9, 0.25


def resources(side: Finding[Fleet], metrics: Metrics, cluster: Cluster, window: Window) -> Finding[Resources]:
    """Resources: memory against its limit, CPU throttling and OOM kills of the affected agents' pods."""
    fleet = side.known
    agents = fleet.affected or fleet.named[:1]
    minutes = max(10, round(window.seconds / 60))
    expression = resources_expression(agents[:7], cluster.namespace, minutes)
    frame = metrics.instant(expression, window.as_of).frame.dropna(subset=["value"])
    if frame.empty or "pod" not in frame:
        if not fleet.oom_killed:
            return Finding(Status.UNKNOWN, "Resources: no usable sample", "Is cAdvisor scraped?")
        frame = pd.DataFrame(columns=["pod", "container", "part", "value"])
    containers = frame["container"] if "container" in frame else pd.Series("", index=frame.index, dtype="object")
    parts = frame.assign(container=containers.fillna(""))
    by_container = parts.pivot_table(index=["pod", "container"], columns="part", values="value", aggfunc="max")
    table = by_container.reindex(columns=list(_PARTS)).reset_index()
    throttled = table[table["throttled"] >= _THROTTLED]
    found = Resources(
        oom_killed=fleet.oom_killed,
        memory_high=_workloads(table.loc[table["memory"] >= _MEMORY_HIGH, "pod"]),
        throttled=_workloads(throttled["pod"]),
        memory_share=number(table["memory"].max()),
        containers=_most_throttled(throttled),
    )
    looked_at = names(agents) if agents else "all agents"
    shown = Table("Resources of the affected pods", table, {"memory": "%", "throttled": "%", "restarts": "ratio"})
    return Finding(
        graded(found.oom_killed, found.memory_high or found.throttled),
        wording.resources_title(found),
        f"Looked at: {looked_at}; memory is the highest of the window.",
        found,
        (shown,) if len(table) else (),
    )


def resources_expression(agents: Sequence[str], namespace: str, minutes: int) -> str:
    """PromQL: the highest memory as a share of its limit, CPU throttling and restarts by container (label `part`).

    Of all agents where none is named.
    """
    pattern = quote("|".join(f"{_literally(agent)}-.*" for agent in agents) or ".*-agent-.*")
    where = f'namespace={quote(namespace)},pod=~{pattern},container!=""'
    each = "by (pod, container)"
    memory = f"max {each} (max_over_time(container_memory_working_set_bytes{{{where}}}[{minutes}m]))"
    limit = f'max {each} (kube_pod_container_resource_limits{{{where},resource="memory"}})'
    throttled = f"sum {each} (rate(container_cpu_cfs_throttled_periods_total{{{where}}}[10m]))"
    periods = f"sum {each} (rate(container_cpu_cfs_periods_total{{{where}}}[10m]))"
    restarts = f"sum {each} (increase(kube_pod_container_status_restarts_total{{{where}}}[{minutes}m]))"
    queries = (f"{memory} / {limit}", f"{throttled} / ({periods} > 0)", restarts)
    return " or ".join(
        f'label_replace({query}, "part", "{part}", "", "")' for part, query in zip(_PARTS, queries, strict=True)
    )


def _literally(name: str) -> str:
    """`name` as a pattern that matches itself only, not yet quoted."""
    return str(json.loads(quote_pattern(name)))


def _workloads(pods: pd.Series[str]) -> tuple[str, ...]:
    """The deployments of pods, each once."""
    return tuple(dict.fromkeys(workload_of(str(pod)) for pod in pods))


def _most_throttled(rows: pd.DataFrame) -> dict[str, str]:
    """Of each deployment the container that is throttled most, whichever pod it is of."""
    ordered = rows.sort_values("throttled")
    return {
        workload_of(str(pod)): str(container)
        for pod, container in zip(ordered["pod"], ordered["container"], strict=True)
    }
