"""The database server as it is now, and the services' pool of connections to it over the window."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database as DatabaseSource
from runbook.sources.metrics import Metrics, union
from runbook.sources.overlap import at_once
from runbook.steps.dependencies.figures import Database, Pool
from runbook.steps.dependencies.wording import (
    FULL_SHARE,
    FULL_VOLUME_SHARE,
    QUERY_HISTOGRAM,
    database_complaints,
    database_detail,
    database_title,
    pool_detail,
    pool_title,
)
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import quantile
from runbook.steps.shared.levels import last, level, or_zero, part, rise
from runbook.steps.shared.values import number

POOL_QUERIES = {
    "active": "max(cryptofunk_database_connections_active)",
    "idle": "min(cryptofunk_database_connections_idle)",
    "p95": quantile(0.95, QUERY_HISTOGRAM),
    "disk": "max(kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)",
}


def database(database: DatabaseSource) -> Finding[Database]:
    """The database server: does SELECT 1 answer, and how full are its connections, its locks and its disk now."""
    server, activity = at_once(lambda: database.ask("health/database"), lambda: database.ask("health/activity"))
    found = _database(server.frame.iloc[0])
    holders = activity.frame.rename(columns={"longest_seconds": "longest"})
    table = Table("Who holds the server's connections", holders, {"connections": "", "longest": "s"})
    return Finding(
        graded(found.full or found.in_recovery, database_complaints(found)),
        database_title(found),
        database_detail(found),
        found,
        (table,) if len(holders) else (),
    )


def _database(row: pd.Series) -> Database:
    connections, most = number(row["connections"]), number(row["max_connections"])
    share = connections / most if most > 0 else math.nan
    return Database(
        connections,
        most,
        share,
        full=share >= FULL_SHARE,
        active=number(row["active"]),
        idle_in_transaction=number(row["idle_in_transaction"]),
        waiting_for_locks=number(row["waiting_for_locks"]),
        oldest_transaction_seconds=number(row["oldest_transaction_seconds"]),
        in_recovery=bool(row["in_recovery"]),
        size_bytes=number(row["size_bytes"]),
    )


def pool(metrics: Metrics, window: Window) -> Finding[Pool]:
    """The connection pool of the services: active and idle connections, query time, and the volume's fill."""
    frame = metrics.range(union(POOL_QUERIES), window.start, window.as_of, series=4).frame
    active, idle = level(part(frame, "active"), window, factor=1.5), level(part(frame, "idle"), window)
    if not math.isfinite(active.now) and not math.isfinite(idle.now):
        return Finding(
            Status.UNKNOWN,
            "The connection pool: no current sample of its gauges",
            "cryptofunk_database_connections_active and _idle have no sample in the last 10 minutes.",
        )
    exhausted = math.isfinite(idle.now) and idle.now < 0.5 and active.now >= 1
    queries = level(part(frame, "p95"), window)
    found = Pool(
        active.now,
        idle.now,
        _pool_size(frame, active.now, idle.now),
        exhausted,
        since=_none_idle_since(frame) if exhausted else None,
        usual=active.usual,
        p95_ms=queries.now,
        usual_p95_ms=queries.usual,
        disk_share=last(frame, "disk"),
        active_curve=part(frame, "active"),
        idle_curve=part(frame, "idle"),
    )
    is_full = found.disk_share >= FULL_VOLUME_SHARE
    return Finding(graded(exhausted, is_full or found.idle <= 1), pool_title(found), pool_detail(found), found)


def _none_idle_since(frame: pd.DataFrame) -> datetime | None:
    upside_down = part(frame, "idle").assign(value=lambda rows: -rows["value"])
    return rise(upside_down, -0.5)


def _pool_size(frame: pd.DataFrame, active: float, idle: float) -> float:
    """How many connections the pool has: the most at one time, active or idle, as the gauges are not read at once."""
    sums = part(frame, "active").merge(part(frame, "idle"), on="time")
    both = (sums["value_x"] + sums["value_y"]).dropna()
    if both.empty:
        return max(0.0, or_zero(active) + or_zero(idle))
    return max(round(float(both.max())), or_zero(active))
