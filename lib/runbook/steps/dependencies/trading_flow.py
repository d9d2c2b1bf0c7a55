"""What still flows: rows written since the alert, against the day before, and whether chance explains fewer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.dependencies.figures import Flow
from runbook.steps.dependencies.wording import flow_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import or_zero
from runbook.words import clock, duration

_REFUSED = "orders refused"
"""The kind of row of which more is worse."""
_DAY_SECONDS = 86_400
_HISTORY_SECONDS = 3_600
"""For how long something must have been written before what is usual can be told."""


def flow(database: Database, window: Window) -> Finding[Flow]:
    """What still flows: orders, fills, signals, decisions and rows since the alert, against the day before."""
    since = _since(window)
    frame = database.ask("health/flow", before=since - timedelta(hours=24), since=since, as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            Status.UNKNOWN,
            "What still flows: nothing was written since a day before",
            "Orders, signals, decisions and candles are all absent, so there is nothing to compare with.",
        )
    span_seconds = (window.as_of - since).total_seconds()
    rows = frame.set_index("what")
    expected = _expected(rows, since, span_seconds)
    counts = {str(name): int(rows["rows_now"][name]) for name in rows.index}
    found = _flow(since, span_seconds, counts, expected)
    span = duration(span_seconds)
    caption = f"Rows in the {span} since {clock(since)}"
    return Finding(
        graded(False, found.stopped or found.refusing, not found.told),
        flow_title(found),
        f"Expected is what the 24 hours before, or what there is of them, would give in {span}; "
        "fewer counts only where chance gives it less than once in a hundred.",
        found,
        (Table(caption, _table(rows, counts, expected, found), {"since": "", "expected": "", "last": "time"}),),
    )


def _since(window: Window) -> datetime:
    """The alert's moment; where that is too new to have rows yet, an hour ago."""
    is_old_enough = window.as_of - window.starts_at >= timedelta(minutes=5)
    return window.starts_at if is_old_enough else window.as_of - timedelta(hours=1)


def _expected(rows: pd.DataFrame, since: datetime, span_seconds: float) -> dict[str, float]:
    """What each kind would get in the span by its rate before; NaN where nothing has been written for long enough."""
    history_seconds = min((since - rows["first_at"].min()).total_seconds(), _DAY_SECONDS)
    if not history_seconds >= _HISTORY_SECONDS:
        return dict.fromkeys(map(str, rows.index), math.nan)
    return {str(name): float(rows["rows_before"][name]) * span_seconds / history_seconds for name in rows.index}


def _flow(since: datetime, span_seconds: float, counts: Mapping[str, int], expected: Mapping[str, float]) -> Flow:
    flows = [name for name in counts if name != _REFUSED]
    refused = counts.get(_REFUSED, 0)
    return Flow(
        since,
        span_seconds,
        stopped=tuple(name for name in flows if expected[name] > 0 and fewer(counts[name], expected[name])),
        refused=refused,
        refusing=refused > 3 * or_zero(expected.get(_REFUSED, 0.0)),
        orders=counts.get("orders", 0),
        orders_expected=expected.get("orders", 0.0),
        told=tuple(name for name in flows if _tells(expected[name])),
    )


def _table(rows: pd.DataFrame, counts: Mapping[str, int], expected: Mapping[str, float], found: Flow) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "what": list(counts),
            "since": list(counts.values()),
            "expected": [round(expected[name], 1) for name in counts],
            "last": list(rows["last_at"]),
            "judgement": [_judgement(name, counts[name], expected[name], found) for name in counts],
        }
    )


def _judgement(name: str, count: int, expected: float, found: Flow) -> str:
    if name in found.stopped:
        return "far fewer than usual"
    if name == _REFUSED and found.refusing:
        return "more than usual"
    if not math.isfinite(expected):
        return "too little history to tell"
    return "" if count > expected or _tells(expected) else "too few to tell"


def fewer(count: int, expected: float) -> bool:
    """Whether a Poisson count of `expected` would be as low as `count` less than once in a hundred."""
    if count >= expected:
        return False
    if expected > 500:
        return (expected - count) / math.sqrt(expected) > 2.33
    term = total = math.exp(-expected)
    for k in range(1, count + 1):
        term *= expected / k
        total += term
    return total < 0.01


def _tells(expected: float) -> bool:
    return expected >= 4.7  # then even no row at all is expected less than once in a hundred
