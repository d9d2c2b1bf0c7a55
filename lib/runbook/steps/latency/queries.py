"""Slow queries: those that run now or are counted as slow on average, and those that postgres logged."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.latency import slow_statements, wording
from runbook.steps.latency.figures import SlowLog, SlowQueries, Statement
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import number
from runbook.words import is_missing

_SLOW_MS = 100
_CALLS_LEAST = 2
_LOGGED_MAX = 15
_STATEMENT_UNITS = {"calls": "", "mean_ms": "ms", "max_ms": "ms", "share_of_time": "%"}
_LOGGED_UNITS = {"times": "", "median": "ms", "slowest": "ms", "first": "time", "last": "time"}


def slow_queries(database: Database, window: Window, logged: Finding[SlowLog] | None = None) -> Finding[SlowQueries]:
    """Slow queries: the slowest statements by pg_stat_statements, or how to switch it on; and what runs now.

    `logged` is slow_log's finding: where postgres logged slow statements, statistics without any do not acquit it.
    """
    running, statements = at_once(
        lambda: database.ask("latency/running").frame, lambda: slow_statements.counted(database)
    )
    in_log = logged.figures.count if logged is not None and logged.figures is not None else 0
    figures = _counted(_running(running), statements, window)
    is_suspect = not figures.is_available or figures.slow or figures.running or figures.is_late or in_log
    return Finding(
        graded(False, is_suspect),
        wording.slow_queries_title(figures),
        wording.slow_queries_detail(figures, in_log),
        figures,
        (*_statements_table(figures, statements), *_running_table(running)),
    )


def _running(running: pd.DataFrame) -> SlowQueries:
    """The figures as far as they follow from what runs for over a second, the longest first."""
    if running.empty:
        return SlowQueries()
    waiting = running["waits_for"].astype(str).str.startswith("Lock")
    return SlowQueries(len(running), number(running["seconds"].iloc[0]), int(waiting.sum()))


def _counted(now: SlowQueries, statements: pd.DataFrame, window: Window) -> SlowQueries:
    """`now` with what pg_stat_statements counts; it counts nothing where `statements` has no columns."""
    if not len(statements):
        return replace(now, is_available=bool(len(statements.columns)))
    slow = statements[(statements["mean_ms"] >= _SLOW_MS) & (statements["calls"] >= _CALLS_LEAST)]
    slowest = [Statement(str(row.query), number(row.mean_ms), row.calls) for row in slow.head(1).itertuples()]
    since = statements["counted_since"].iloc[0]
    is_known = not is_missing(since)
    return replace(
        now,
        is_available=True,
        slow=len(slow),
        slowest=next(iter(slowest), None),
        counted_since=since if is_known else None,
        is_late=is_known and since > window.starts_at,
    )


def _statements_table(found: SlowQueries, statements: pd.DataFrame) -> tuple[Table, ...]:
    if not found.is_available:
        return ()
    caption = (
        f"Slowest statements by mean time, counted{wording.since_reset(found) or ' since the statistics were reset'}"
    )
    return (Table(caption, statements.drop(columns="counted_since"), _STATEMENT_UNITS),)


def _running_table(running: pd.DataFrame) -> tuple[Table, ...]:
    if running.empty:
        return ()
    caption = "Running for over a second at the time of asking, the longest first"
    return (Table(caption, running, {"seconds": "s"}),)


def slow_log(cluster: Cluster, window: Window) -> Finding[SlowLog]:
    """Slow query log: statements that postgres logged for their duration in the window, by statement."""
    frame = cluster.logs("postgres", window.start, window.as_of).frame
    logged = [
        (slow_statements.shape(line["statement"]), float(line["ms"]), time)
        for message, time in zip(frame["message"], frame["time"], strict=True)
        if (line := slow_statements.LOGGED.search(str(message)))
    ]
    if not logged:
        only = "It does so only where log_min_duration_statement is set."
        return Finding(Status.OK, "postgres logged no slow statement in the window", only, SlowLog(0))
    grouped = _by_statement(logged)
    top = grouped.iloc[0]
    figures = SlowLog(len(logged), top["statement"], int(top["times"]), float(top["median"]), top["first"])
    return Finding(
        Status.WARNING,
        wording.slow_log_title(figures),
        wording.slow_log_detail(figures),
        figures,
        (
            Table(
                "Slow statements in postgres' log (? stands for values)", grouped.drop(columns="total"), _LOGGED_UNITS
            ),
        ),
    )


def _by_statement(logged: list[tuple[str, float, pd.Timestamp]]) -> pd.DataFrame:
    """A row a statement, those first that most time went to."""
    rows = pd.DataFrame(logged, columns=["statement", "ms", "time"])
    grouped = rows.groupby("statement", as_index=False).agg(
        times=("ms", "size"),
        median=("ms", "median"),
        slowest=("ms", "max"),
        total=("ms", "sum"),
        first=("time", "min"),
        last=("time", "max"),
    )
    return grouped.sort_values("total", ascending=False, ignore_index=True).head(_LOGGED_MAX)
