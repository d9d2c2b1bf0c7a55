"""Memory and CPU use: which pods are near their limits, the affected one over time, and whether it was killed."""

from __future__ import annotations

import math
import re
from functools import partial

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, quote, selector
from runbook.sources.overlap import at_once
from runbook.words import amount, moment, percent

THRESHOLD = 0.8
_RATE_MINUTES = 5
_ROWS_SHOWN = 8
_MEBI = 1024 * 1024
_POD = re.compile(r"^(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}$")


def top_pods(cluster: Cluster) -> Finding:
    """Top pods: what each uses now by metrics-server, against its requests and limits."""
    usage, pods = (answer.frame for answer in at_once(cluster.usage, cluster.pods))
    if usage.empty:
        return Finding("resources.top_pods", Status.UNKNOWN, "Top pods: metrics-server knows of none",
                       "It answers with no pod; is it running, and is KUBE_NAMESPACE right?")  # fmt: skip
    frame = usage.merge(pods, left_on="pod", right_on="name", how="left")
    rows = pd.DataFrame({
        "pod": frame["pod"], "deployment": frame["app"].fillna(""), "container": frame["container"].fillna(""),
        "memory": frame["memory_bytes"], "memory_limit": frame["memory_limit"], "of memory limit": frame["memory_bytes"] / frame["memory_limit"],
        "cpu": frame["cpu_cores"], "cpu_limit": frame["cpu_limit"], "of CPU limit": frame["cpu_cores"] / frame["cpu_limit"],
    })  # fmt: skip
    return _ranked("resources.top_pods", "metrics-server", rows)


def usage(metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """Usage against limits: every pod's memory and CPU by Prometheus at the report's moment."""
    where = selector(namespace=alert.labels.get("namespace"))
    inside = where[1:-1] + "," if where else ""
    expressions = (
        f"max by (pod, container, resource) (kube_pod_container_resource_limits{where})",
        f'topk(100, sum by (pod, container) (container_memory_working_set_bytes{{{inside}container!="",container!="POD"}}))',
        f'topk(100, sum by (pod, container) (rate(container_cpu_usage_seconds_total{{{inside}container!="",container!="POD"}}[{_RATE_MINUTES}m])))',
    )
    answers = at_once(*(partial(metrics.instant, expression, window.as_of) for expression in expressions))
    limits, memory, cpu = (answer.frame for answer in answers)
    if memory.empty and cpu.empty:
        return Finding("resources.usage", Status.UNKNOWN, "Usage against limits: Prometheus has no container metrics",
                       "Neither container_memory_working_set_bytes nor container_cpu_usage_seconds_total has a sample; is cAdvisor scraped?")  # fmt: skip
    rows = _joined(memory, cpu, limits)
    return _ranked("resources.usage", "Prometheus", rows)


def _joined(memory: pd.DataFrame, cpu: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    """One row a pod and container: use and limit of memory and CPU; NaN where there is none."""

    def keyed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
        keys = {key: frame.get(key, pd.Series("", index=frame.index, dtype=object)) for key in ("pod", "container")}
        return pd.DataFrame({**keys, name: frame["value"]}).drop_duplicates(["pod", "container"])

    kinds = limits.get("resource", pd.Series("", index=limits.index, dtype=object))
    parts = (
        keyed(memory, "memory"), keyed(limits[kinds == "memory"], "memory_limit"),
        keyed(cpu, "cpu"), keyed(limits[kinds == "cpu"], "cpu_limit"),
    )  # fmt: skip
    rows = parts[0].merge(parts[2], on=["pod", "container"], how="outer")
    for part in (parts[1], parts[3]):
        rows = rows.merge(part, on=["pod", "container"], how="left")
    rows["of memory limit"] = rows["memory"] / rows["memory_limit"]
    rows["of CPU limit"] = rows["cpu"] / rows["cpu_limit"]
    rows["deployment"] = [deployment_of(str(pod)) for pod in rows["pod"]]
    return rows[
        [
            "pod",
            "deployment",
            "container",
            "memory",
            "memory_limit",
            "of memory limit",
            "cpu",
            "cpu_limit",
            "of CPU limit",
        ]
    ]


def _ranked(name: str, source: str, rows: pd.DataFrame) -> Finding:
    """The finding about `rows`, the fullest pod first."""
    fullest = rows[["of memory limit", "of CPU limit"]].max(axis=1)
    rows = rows.assign(fullest=fullest).sort_values("fullest", ascending=False, ignore_index=True, na_position="last")
    over = rows[rows["fullest"] > THRESHOLD]
    unlimited = rows[rows["memory_limit"].isna()]
    title = (
        f"{len(over)} of {len(rows)} pods {'is' if len(over) == 1 else 'are'} above {percent(THRESHOLD)} of a limit: {', '.join(map(str, over['pod'][:3]))}"
        if len(over)
        else f"No pod is above {percent(THRESHOLD)} of a limit; the fullest is {rows['pod'].iloc[0]} at {amount(rows['fullest'].iloc[0], '%')}"
    )
    units = {
        "memory": "bytes",
        "memory_limit": "bytes",
        "of memory limit": "%",
        "cpu": "cores",
        "cpu_limit": "cores",
        "of CPU limit": "%",
    }
    known = rows["fullest"].notna().any()
    shown_rows = rows.head(_ROWS_SHOWN).drop(columns=["fullest", "deployment", "container"]).round({"cpu": 3})
    return Finding(
        name,
        (Status.WARNING if len(over) else Status.OK) if known else Status.UNKNOWN,
        title if known else f"{source} knows usage but no limit of any pod",
        f"By {source}. {len(unlimited)} pods have no memory limit: they can take the node's memory."
        if len(unlimited)
        else f"By {source}.",
        {"pods": len(rows), "over": len(over)},
        (Table(f"The fullest of {len(rows)} pods", shown_rows, units),),
        series={"rows": rows},
    )


def deployment_of(pod: str) -> str:
    """The deployment that a pod's name tells of (name-hash-suffix); the name itself where it has another form."""
    match = _POD.match(pod)
    return match[1] if match else pod


def affected(alert: Alert, by_metrics: Finding, by_cluster: Finding, pod: str = "", resource: str = "") -> Finding:
    """Affected pod: the alert's, else the fullest, and which of memory and CPU is meant."""
    known = [one for one in (by_metrics, by_cluster) if one.is_known]
    if not known:
        return Finding("resources.affected", Status.UNKNOWN, "Affected pod: neither Prometheus nor metrics-server says",
                       f"The alert names {pod or 'no pod'}; its usage is not known.")  # fmt: skip
    rows = pd.concat([one.series["rows"] for one in known], ignore_index=True)
    kind = resource or {"HighMemoryUsage": "memory", "HighCPUUsage": "cpu"}.get(alert.name, "")
    if not kind:
        kind = "cpu" if rows["of CPU limit"].max() > rows["of memory limit"].max() else "memory"
    column = "of CPU limit" if kind == "cpu" else "of memory limit"
    wanted = pod or alert.labels.get("pod", "")
    mine = rows[rows["pod"] == wanted]
    gone = bool(wanted) and mine.empty
    siblings = rows[rows["deployment"] == deployment_of(wanted)] if gone else mine
    among = siblings if len(siblings) else rows
    choice = among.sort_values([column], ascending=False, na_position="last").iloc[0]
    ratio, limit, used = float(choice[column]), float(choice[f"{kind}_limit"]), float(choice[kind])
    if math.isnan(used):
        return Finding("resources.affected", Status.UNKNOWN, f"Affected pod: the {kind} usage of {choice['pod']} has no sample", "")  # fmt: skip
    over = ratio > THRESHOLD
    whose = f"of {deployment_of(wanted)}" if len(siblings) else f"there is; {deployment_of(wanted)} has none"
    note = (
        f"{wanted}, which the alert names, is not among the pods now; this is the fullest pod {whose}." if gone
        else "As the alert names it." if len(mine) else "The alert names no pod; this is the fullest."
    )  # fmt: skip
    return Finding(
        "resources.affected",
        Status.WARNING if over or gone or math.isnan(ratio) else Status.OK,
        (f"{wanted} is not there now; " if gone else "")
        + f"{choice['pod']} uses {shown(used, kind)} of {kind if kind == 'memory' else 'CPU'}, "
        + (f"{amount(ratio, '%')} of its limit of {shown(limit, kind)}" if not math.isnan(ratio) else "and has no limit"),
        note,
        {"pod": str(choice["pod"]), "container": str(choice["container"]) or str(choice["deployment"]), "deployment": str(choice["deployment"]),
         "resource": kind, "used": used, "limit": limit, "ratio": ratio, "gone": wanted if gone else "", "is_sibling": gone and bool(len(siblings))},
    )  # fmt: skip


def limits(subject: Finding, cluster: Cluster) -> Finding:
    """Requests and limits: what the affected pod's container may use, and how the pod ends when it takes more."""
    frame = cluster.pods().frame
    mine = frame[frame["name"] == subject.figures["pod"]]
    if mine.empty:
        return Finding("resources.limits", Status.UNKNOWN, f"Requests and limits: there is no pod {subject.figures['pod']}", "It was replaced.")  # fmt: skip
    row = mine.iloc[0]
    bare = [kind for kind in ("memory", "cpu") if math.isnan(row[f"{kind}_limit"])]
    table = pd.DataFrame({"resource": ["memory (MiB)", "CPU (cores)"],
                          "request": [row["memory_request"] / _MEBI, row["cpu_request"]], "limit": [row["memory_limit"] / _MEBI, row["cpu_limit"]]})  # fmt: skip
    title = f"{row['container']}: memory {amount(row['memory_request'], 'bytes')} requested, {amount(row['memory_limit'], 'bytes')} at most; CPU {amount(row['cpu_request'], 'cores')} and {amount(row['cpu_limit'], 'cores')}"
    return Finding(
        "resources.limits",
        Status.WARNING if bare else Status.OK,
        title,
        "Above the memory limit the kernel kills the container (OOMKilled); above the CPU limit it is throttled, not killed."
        + (f" Without a limit: {' and '.join(bare)}." if bare else ""),
        {"memory_request": float(row["memory_request"]), "memory_limit": float(row["memory_limit"]), "cpu_request": float(row["cpu_request"]),
         "cpu_limit": float(row["cpu_limit"]), "container": str(row["container"]), "app": str(row["app"])},
        (Table("Resources of the container", table, {"request": "", "limit": ""}),),
    )  # fmt: skip


def history(subject: Finding, metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """Usage over time: the affected container's memory or CPU in the window, with its limit."""
    kind, chosen = subject.figures["resource"], _container(subject, alert)
    expression = (
        f"max(container_memory_working_set_bytes{chosen})" if kind == "memory"
        else f"sum(rate(container_cpu_usage_seconds_total{chosen}[{_RATE_MINUTES}m]))"
    )  # fmt: skip
    frame = metrics.range(expression, window.start, window.as_of, series=4).frame.dropna(subset=["value"])
    if len(frame) < 2:
        return Finding("resources.history", Status.UNKNOWN, f"Usage over time: no samples of {subject.figures['pod']} in the window",
                       "Prometheus holds fewer than two; trend and forecast need them.")  # fmt: skip
    limit = subject.figures["limit"]
    lowest, highest = frame["value"].min(), frame["value"].max()
    peak = frame["time"][frame["value"].idxmax()]
    return Finding(
        "resources.history",
        Status.WARNING if highest > THRESHOLD * limit else Status.OK,
        f"Between {shown(lowest, kind)} and {shown(highest, kind)} in the window, highest at {peak:%H:%M} UTC, {amount(highest / limit, '%')} of the limit",
        f"{len(frame)} samples since {moment(frame['time'].iloc[0])}.",
        {"lowest": float(lowest), "highest": float(highest), "highest_at": peak, "limit": limit, "resource": kind, "pod": subject.figures["pod"]},
        series={"usage": frame[["time", "value"]]},
    )  # fmt: skip


def throttling(subject: Finding, metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """CPU throttling: the share of scheduler periods in which the container had to wait."""
    chosen = _container(subject, alert)
    expression = (
        f"sum(rate(container_cpu_cfs_throttled_periods_total{chosen}[{_RATE_MINUTES}m])) / sum(rate(container_cpu_cfs_periods_total{chosen}[{_RATE_MINUTES}m]))"
    )  # fmt: skip
    frame = metrics.range(expression, window.start, window.as_of, series=4).frame.dropna(subset=["value"])
    if frame.empty:
        return Finding("resources.throttling", Status.UNKNOWN, "CPU throttling: no sample in the window",
                       "container_cpu_cfs_throttled_periods_total is not scraped, or the container has no CPU limit.")  # fmt: skip
    now, before = float(frame["value"].iloc[-1]), float(frame["value"].median())
    return Finding(
        "resources.throttling",
        Status.WARNING if now > 0.25 else Status.OK,
        f"Throttled in {amount(now, '%')} of its CPU periods now, {amount(before, '%')} in the window's middle",
        "Above a quarter, latency suffers." if now > 0.25 else "",
        {"now": now, "median": before},
        series={"throttled": frame[["time", "value"]]},
    )


def oom_history(subject: Finding, cluster: Cluster, metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """OOM history: was the pod killed for memory, and how often did it restart in the day before?"""
    pods = cluster.pods().frame
    mine = pods[pods["name"] == subject.figures["pod"]]
    app = subject.figures["deployment"]
    where = selector(namespace=alert.labels.get("namespace"), container=subject.figures["container"])
    restarts = metrics.instant(
        f"sum by (pod) (increase(kube_pod_container_status_restarts_total{where}[24h]))", window.as_of
    ).frame
    count = float(restarts["value"].sum()) if len(restarts) else float("nan")
    ended = mine.iloc[0] if len(mine) else None
    killed = ended is not None and ended["last_exit"] == "OOMKilled"
    recent = (
        ended is not None
        and killed
        and not pd.isna(ended["last_exit_at"])
        and ended["last_exit_at"] >= pd.Timestamp(window.as_of) - pd.Timedelta(hours=24)
    )
    return Finding(
        "resources.oom_history",
        Status.CRITICAL if recent else Status.WARNING if count > 0.5 or killed else Status.OK,
        f"{app} was OOM-killed at {moment(ended['last_exit_at'])}" if killed and ended is not None
        else f"{app} was not OOM-killed; {amount(round(count))} restarts in 24 h" if math.isfinite(count) else f"{app} was not OOM-killed",
        "" if math.isfinite(count) else "kube_pod_container_status_restarts_total has no sample of it, so earlier restarts are not known.",
        {"oom_killed": bool(killed), "recent": bool(recent), "restarts_24h": count if math.isfinite(count) else None,
         "at": ended["last_exit_at"] if killed and ended is not None else None},
    )  # fmt: skip


def _container(subject: Finding, alert: Alert) -> str:
    """The selector of the affected container's series."""
    pairs = {
        "namespace": alert.labels.get("namespace", ""),
        "pod": subject.figures["pod"],
        "container": subject.figures["container"],
    }
    return "{" + ",".join(f"{name}={quote(value)}" for name, value in pairs.items() if value) + "}"


def shown(value: float, kind: str, *, signed: bool = False) -> str:
    """`value` of memory or CPU with its unit: "446.0 MiB", "0.468 cores"; with its sign where `signed`."""
    text = (
        amount(value, "bytes")
        if kind == "memory"
        else amount(round(value, 3), "cores")
        if math.isfinite(value)
        else "n/a"
    )
    return f"+{text}" if signed and value > 0 else text
