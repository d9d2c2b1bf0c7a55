"""The CPU: how often its limit holds each pod back."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.errors import SourceError
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics
from runbook.steps.latency import wording
from runbook.steps.latency.durations import medians
from runbook.steps.latency.figures import THROTTLED, Throttling
from runbook.steps.latency.series import throttling_expression
from runbook.steps.shared.fleet import workload_of
from runbook.steps.shared.grading import graded
from runbook.steps.shared.quotas import Limits, limits_of
from runbook.steps.shared.values import number

_UNITS = {"throttled before": "%", "throttled now": "%"}


def throttling(metrics: Metrics, cluster: Cluster, window: Window) -> Finding[Throttling]:
    """CPU throttling: the share of CPU periods in which each pod wanted more than its limit."""
    frame = metrics.range(throttling_expression(cluster.namespace), window.start, window.as_of, series=20).frame
    frame = frame.dropna(subset=["value"])
    if frame.empty or "pod" not in frame:
        unscraped = "container_cpu_cfs_throttled_periods_total has no sample: is cAdvisor scraped?"
        return Finding(Status.UNKNOWN, "CPU throttling: no usable sample", unscraped)
    series = {str(pod): rows[["time", "value"]].reset_index(drop=True) for pod, rows in frame.groupby("pod")}
    shares = pd.DataFrame([(workload_of(pod), pod, *medians(rows, window)) for pod, rows in series.items()])
    shares.columns = pd.Index(["deployment", "pod", *_UNITS])
    shares = shares.sort_values("throttled now", ascending=False, ignore_index=True, na_position="last")
    # Of several pods of a deployment, the one that is throttled most is meant.
    of_each = shares.drop_duplicates("deployment").set_index("deployment")
    held = tuple(of_each.index[of_each["throttled now"] >= THROTTLED])
    limits, unread = _limits(cluster) if held else ({}, "")
    figures = Throttling(
        held,
        highest=number(of_each["throttled now"].iloc[0]),
        highest_before=number(of_each["throttled before"].iloc[0]),
        now=of_each["throttled now"].to_dict(),
        before=of_each["throttled before"].to_dict(),
        limits=limits,
        series={deployment: series[pod] for deployment, pod in of_each["pod"].items()},
    )
    return Finding(
        graded(False, held),
        wording.throttling_title(figures, most=of_each.index[0]),
        wording.throttling_detail(figures, unread),
        figures,
        (Table("Share of CPU periods throttled", shares.head(12), _UNITS),),
    )


def _limits(cluster: Cluster) -> tuple[dict[str, Limits], str]:
    """(the limits by deployment, why they are not known): throttling is known without them."""
    try:
        return limits_of(cluster.pods().frame), ""
    except SourceError as error:
        return {}, str(error)
