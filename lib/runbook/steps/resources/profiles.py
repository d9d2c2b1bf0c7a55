"""What holds the memory of the affected program, by its heap profile."""

from __future__ import annotations

import math

import pandas as pd

from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.resources import heap
from runbook.steps.resources.figures import Affected, HeapProfile
from runbook.steps.resources.wording import heap_detail, heap_title
from runbook.steps.shared.grading import graded

_NO_GO = ("postgres", "redis", "grafana")
_SITES_SHOWN = 8


def heap_profile(subject: Finding[Affected], cluster: Cluster) -> Finding[HeapProfile]:
    """Heap profile: where the affected Go program's live memory was allocated, from its pprof port."""
    affected = subject.known
    if affected.deployment in _NO_GO:
        return Finding(
            Status.OK,
            f"{affected.deployment} is no Go program: there is no heap profile to read",
            "Look at its own figures: connections and work_mem for PostgreSQL, INFO memory for Redis.",
            HeapProfile(),
        )
    answer = cluster.pod_port(affected.pod, heap.PORT, "/debug/pprof/heap?debug=1").data
    if answer["code"] >= 300:
        return Finding(
            Status.UNKNOWN,
            f"Heap profile: port {heap.PORT} of {affected.pod} does not answer",
            "Nothing with net/http/pprof listens there: is profiling switched on in this program?",
        )
    try:
        sites, stats = heap.parse(answer["body"])
    except ValueError:
        title = f"Heap profile: {affected.pod} answers with something else"
        return Finding(Status.UNKNOWN, title, f"Port {heap.PORT} is used by another server.")
    if not sites:
        title = "Heap profile: it holds no samples"
        return Finding(Status.UNKNOWN, title, "The program just started, or profiling is switched off.")
    rows = heap.top(sites)
    in_use = stats.get("HeapInuse", stats.get("HeapAlloc", float(rows["bytes"].sum())))
    found = _profile(rows, in_use)
    working_set = affected.used if affected.resource == "memory" else math.nan
    shown = rows.head(_SITES_SHOWN).assign(function=rows["function"].map(heap.short)).round({"objects": 0})
    units = {"bytes": "bytes", "objects": "", "share": "%"}
    table = Table("Live memory by where it was allocated", shown, units)
    return Finding(
        graded(False, found.is_concentrated), heap_title(found), heap_detail(found, working_set), found, (table,)
    )


def _profile(rows: pd.DataFrame, heap_in_use: float) -> HeapProfile:
    holder, top = rows.iloc[0], rows.head(_SITES_SHOWN)
    return HeapProfile(
        heap.short(holder["function"]),
        str(holder["at"]),
        size_bytes=float(holder["bytes"]),
        share=float(holder["share"]),
        objects=float(holder["objects"]),
        heap_in_use=heap_in_use,
        by_function=dict(zip(top["function"].map(heap.short), top["bytes"], strict=True)),
    )
