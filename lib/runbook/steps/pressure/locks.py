"""Locks: who waited for whom, by postgres' own log. What waits now is told by the server's state."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.pressure.figures import LockWaits
from runbook.steps.shared.grading import graded
from runbook.words import amount, clock, counted

_TAIL = 1_000
_WAITING = re.compile(r"process \d+ still waiting for (?P<lock>\w+ on .+?) after (?P<ms>[0-9.]+) ms")
"""What postgres logs of a wait that outlasts deadlock_timeout, where log_lock_waits is on."""
_HOLDING = re.compile(r"Process(?:es)? holding the lock: (?P<holders>\d+(?:, \d+)*)")
_DEADLOCK = "deadlock detected"
_LISTED = 15


def lock_waits(cluster: Cluster, window: Window) -> Finding[LockWaits]:
    """Waits for locks: what postgres logged of them in the window, and which process held the lock."""
    frame = cluster.logs("postgres", window.start, window.as_of, tail=_TAIL).frame
    messages = frame["message"].astype(str)
    waits = messages.str.extract(_WAITING).assign(time=frame["time"]).dropna(subset=["lock"])
    figures = _figures(waits, messages)
    if not figures.waits and not figures.deadlocks:
        only = "It logs them only where log_lock_waits is on, and a wait outlasts deadlock_timeout."
        return Finding(Status.OK, "postgres logged no wait for a lock", only, figures)
    return Finding(graded(False, True), _title(figures), _detail(figures), figures, _table(waits))


def _figures(waits: pd.DataFrame, messages: pd.Series[str]) -> LockWaits:
    held: Counter[int] = Counter()
    for holders in messages.str.extract(_HOLDING)["holders"].dropna():
        held.update(int(process) for process in str(holders).split(", "))
    deadlocks = int(messages.str.contains(_DEADLOCK, regex=False).sum())
    if waits.empty:
        return LockWaits(deadlocks=deadlocks)
    return LockWaits(
        waits=len(waits),
        longest_ms=float(waits["ms"].astype(float).max()),
        lock=str(waits["lock"].mode().iloc[0]),
        holders=tuple(process for process, _ in held.most_common(3)),
        first_at=waits["time"].min(),
        deadlocks=deadlocks,
    )


def _title(found: LockWaits) -> str:
    broken = f"{counted(found.deadlocks, 'deadlock')} broken up"
    if not found.waits:
        return f"postgres logged {broken}"
    waits = f"{counted(found.waits, 'wait')} for locks since {clock(found.first_at)}, most for {found.lock}"
    return f"{waits}; {broken}" if found.deadlocks else waits


def _detail(found: LockWaits) -> str:
    if not found.waits:
        return ""
    longest = f"The longest was logged after {amount(found.longest_ms, 'ms')}, and went on."
    if not found.holders:
        return f"{longest} Which process held the lock is not logged."
    processes = ", ".join(map(str, found.holders))
    return f"{longest} The lock was held by process {processes}."


def _table(waits: pd.DataFrame) -> tuple[Table, ...]:
    if waits.empty:
        return ()
    timed = waits.assign(ms=waits["ms"].astype(float))
    aggregated: dict[str, Any] = {"waits": ("ms", "size"), "longest": ("ms", "max"), "first": ("time", "min")}
    grouped = timed.groupby("lock", as_index=False).agg(**aggregated, last=("time", "max"))
    shown = grouped.sort_values("waits", ascending=False).head(_LISTED)
    units = {"waits": "", "longest": "ms", "first": "time", "last": "time"}
    return (Table("What was waited for, by postgres' log", shown, units),)
