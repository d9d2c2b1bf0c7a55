"""The services' connection pool: how many connections are in use and idle, query time, and the volume's fill."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.shared.levels import last, level, or_zero, part, rise
from runbook.words import amount

QUERIES = {
    "active": "max(cryptofunk_database_connections_active)",
    "idle": "min(cryptofunk_database_connections_idle)",
    "p95": "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_database_query_duration_ms_bucket[5m])))",
    "disk": "max(kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)",
}


def judged(frame: pd.DataFrame, window: Window) -> Finding:
    """The finding "dependencies.pool" from the answers to QUERIES over the window."""
    active, idle = level(part(frame, "active"), window, factor=1.5), level(part(frame, "idle"), window)
    if not math.isfinite(active.now) and not math.isfinite(idle.now):
        return Finding("dependencies.pool", Status.UNKNOWN, "The connection pool: no current sample of its gauges",
                       "cryptofunk_database_connections_active and _idle have no sample in the last 10 minutes.")  # fmt: skip
    size = _pool_size(frame, active.now, idle.now)
    exhausted = math.isfinite(idle.now) and idle.now < 0.5 and active.now >= 1
    inverted = part(frame, "idle").assign(value=lambda rows: -rows["value"])
    since = rise(inverted, -0.5) if exhausted else None
    queries, disk = level(part(frame, "p95"), window), last(frame, "disk")
    full = disk >= 0.8
    return Finding(
        "dependencies.pool",
        Status.CRITICAL if exhausted else Status.WARNING if full or idle.now <= 1 else Status.OK,
        f"The connection pool is exhausted: {active.now:.0f} of {size:.0f} connections in use, none idle" + (f", since {since:%H:%M} UTC" if since else "")
        if exhausted
        else f"The connection pool is nearly full: {active.now:.0f} of {size:.0f} connections in use" if idle.now <= 1
        else f"The connection pool has room: {active.now:.0f} of {size:.0f} connections in use" + (f"; but the fullest volume is {amount(disk, '%')} full" if full else ""),
        f"Usually {amount(round(active.usual, 1))} are in use. Query time p95 {amount(queries.now, 'ms')}, usually {amount(queries.usual, 'ms')}. "
        f"The fullest volume is {amount(disk, '%')} full.",
        {"active": active.now, "idle": idle.now, "size": size, "exhausted": exhausted, "since": since, "usual": active.usual,
         "p95_ms": queries.now, "usual_p95_ms": queries.usual, "disk_share": disk},
        series={"active": part(frame, "active"), "idle": part(frame, "idle")},
    )  # fmt: skip


def _pool_size(frame: pd.DataFrame, active: float, idle: float) -> float:
    """How many connections the pool has: the most that were active or idle at one time, as the two gauges are not read at once."""
    sums = part(frame, "active").merge(part(frame, "idle"), on="time")
    both = (sums["value_x"] + sums["value_y"]).dropna()
    return max(round(float(both.max())) if len(both) else 0.0, or_zero(active) + (0.0 if len(both) else or_zero(idle)))
