"""The CPU: how often its limit holds each pod back."""

from __future__ import annotations

from collections.abc import Iterator

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
from runbook.steps.shared.quotas import Quotas, limits_of
from runbook.steps.shared.values import number

_UNITS = {"throttled before": "%", "throttled now": "%"}


def throttling(metrics: Metrics, cluster: Cluster, window: Window) -> Finding[Throttling]:
    """CPU throttling: the share of CPU periods in which each pod wanted more than its limit."""
    frame = metrics.range(throttling_expression(cluster.namespace), window.start, window.as_of, series=20).frame
    frame = frame.dropna(subset=["value"])
    if frame.empty or "pod" not in frame:
        unscraped = "container_cpu_cfs_throttled_periods_total has no sample: is cAdvisor scraped?"
        return Finding(Status.UNKNOWN, "CPU throttling: no usable sample", unscraped)
    series = {
        (str(pod), str(container)): rows[["time", "value"]].reset_index(drop=True)
        for (pod, container), rows in _by_container(frame)
    }
    shares = pd.DataFrame([(workload_of(key[0]), *key, *medians(rows, window)) for key, rows in series.items()])
    shares.columns = pd.Index(["deployment", "pod", "container", *_UNITS])
    shares = shares.sort_values("throttled now", ascending=False, ignore_index=True, na_position="last")
    # Of several pods of a deployment, and of their containers, the one that is throttled most is meant.
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
        containers={deployment: of_each["container"][deployment] for deployment in held},
        series={
            deployment: series[pod, container]
            for deployment, pod, container in zip(of_each.index, of_each["pod"], of_each["container"], strict=True)
        },
    )
    return Finding(
        graded(False, held),
        wording.throttling_title(figures, most=of_each.index[0]),
        wording.throttling_detail(figures, unread),
        figures,
        (Table("Share of CPU periods throttled", shares.head(12), _UNITS),),
    )


def _by_container(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The samples of each pod's containers; of a pod as a whole where the metric does not tell them apart."""
    containers = frame["container"] if "container" in frame else pd.Series("", index=frame.index, dtype="object")
    yield from frame.assign(container=containers.fillna("")).groupby(["pod", "container"])


def _limits(cluster: Cluster) -> tuple[Quotas, str]:
    """(the limits by deployment, why they are not known): throttling is known without them."""
    try:
        return limits_of(cluster.pods().frame), ""
    except SourceError as error:
        return {}, str(error)
