"""What deployments log more often since the trouble began, and what of it tells of trading that failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.logs import COMPLAINTS, UNKNOWN
from runbook.steps.error_rates import wording
from runbook.steps.error_rates.figures import Logs, RisenPattern
from runbook.steps.shared.grading import graded
from runbook.steps.shared.log_patterns import patterns

_LINES_MAX = 2_000
_RISE = timedelta(minutes=20)
_QUIET_SECONDS = 60
"""A shorter stretch before the trouble tells nothing about what is usual."""
_FAILING = re.compile(r"\b(fail|error|cannot|could not|timed out|timeout|deadline)")
_STORING = re.compile(r"\b(stor|sav|persist|insert|writ)(e|es|ing|ed)?\b")
_ORDER_TOOLS = ("place_order", "place_market_order", "place_limit_order", "cancel_order")


def logs(cluster: Cluster, window: Window, app: str = "api", since: datetime | None = None) -> Finding[Logs]:
    """Log patterns that rose: what a deployment logs more often since the trouble began than before it."""
    split = pd.Timestamp(since or window.starts_at - _RISE)
    lines = cluster.logs(app, window.start, window.as_of, tail=_LINES_MAX).frame
    if lines.empty:
        title = f"{app} logged nothing in the window"
        return Finding(Status.UNKNOWN, title, "A deployment that runs logs something: is it running?")
    quiet_seconds = max((split - lines["time"].min()).total_seconds(), 0.0)
    loud_seconds = max((pd.Timestamp(window.as_of) - split).total_seconds(), 1.0)
    notable = lines[lines["level"].isin((*COMPLAINTS, UNKNOWN))]
    is_later = notable["time"] > split
    later = notable[is_later]
    rose = tuple(_risen(notable[~is_later], later, quiet_seconds, loud_seconds))
    risen = tuple(pattern for pattern in rose if pattern.level != UNKNOWN)
    unlevelled = tuple(pattern for pattern in rose if pattern.level == UNKNOWN)
    found = Logs(app, risen, *_failures(later), unlevelled)
    status = graded(any(pattern.is_fatal for pattern in risen), risen)
    return Finding(
        Status.UNKNOWN if status is Status.OK and unlevelled else status,
        wording.logs_title(found, split),
        wording.logs_detail(found, split, quiet_seconds, loud_seconds, is_cut=len(lines) >= _LINES_MAX),
        found,
        tuple(_tables(found, split, patterns(lines))),
    )


def _risen(
    earlier: pd.DataFrame, later: pd.DataFrame, quiet_seconds: float, loud_seconds: float
) -> Iterator[RisenPattern]:
    """The patterns of `later` lines that come more than three times as often as in `earlier` ones, worst first."""
    counts = {(row.level, row.pattern): row.lines for row in patterns(earlier, limit=None).itertuples()}
    for row in patterns(later).itertuples():
        before = counts.get((row.level, row.pattern), 0)
        usual = before / quiet_seconds * 60 if quiet_seconds >= _QUIET_SECONDS else 0.0
        now = row.lines / loud_seconds * 60
        if now > 3 * usual:
            yield RisenPattern(row.level, row.pattern, row.lines, row.first, round(usual, 2), round(now, 2))


def _failures(lines: pd.DataFrame) -> tuple[int, int, int]:
    """How many log lines tell of decisions not stored, of orders that failed, of messages not published."""
    stores = orders = messages = 0
    for message, fields in zip(lines["message"], lines["fields"], strict=True):
        text, tool = str(message).lower(), str(fields.get("tool", "")).lower()
        is_failing = bool(_FAILING.search(text))
        stores += is_failing and bool(_STORING.search(text))
        orders += (is_failing and tool in _ORDER_TOOLS) or "order not placed" in text
        messages += is_failing and "publish" in text
    return stores, orders, messages


def _tables(found: Logs, split: pd.Timestamp, grouped: pd.DataFrame) -> Iterator[Table]:
    times = {"lines": "", "first": "time"}
    if rose := [*found.risen, *found.unlevelled]:
        names = {"usual": "usual, a minute", "now": "now, a minute"}
        risen = pd.DataFrame(rose).rename(columns=names)
        units = times | dict.fromkeys(names.values(), "")
        yield Table(f"What {found.app} logs more often since {split:%H:%M} UTC", risen, units)
    yield Table(f"All patterns of {found.app}, worst first", grouped, {**times, "last": "time"})
