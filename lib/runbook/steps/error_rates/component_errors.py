"""The errors that components report, and the orders that were refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, union
from runbook.sources.overlap import at_once
from runbook.steps.error_rates import wording
from runbook.steps.error_rates.figures import Component, Components, Refused
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import by_label, counted_from_start, level, part

_SHOWN = 20
_TYPES_SHOWN = 5
_TYPE_LENGTH = 40
_LEAST = 0.5
ERRORS_QUERY = union(
    {
        "component": "sum by (component) (rate(cryptofunk_errors_total[5m])) * 60",
        "mcp": "sum(rate(mcp_tool_errors_total[5m])) * 60",
    }
)
TYPES_QUERY = f"topk({_SHOWN}, sum by (component, type) (increase(cryptofunk_errors_total[15m])))"


def components(metrics: Metrics, window: Window) -> Finding[Components]:
    """Errors by component: how many a minute now, against the usual, and when each rose."""
    frame, kinds = (
        answer.frame
        for answer in at_once(
            lambda: metrics.range(ERRORS_QUERY, window.start, window.as_of, series=9),
            lambda: metrics.instant(TYPES_QUERY, window.as_of),
        )
    )
    series = {name or "(none)": rows for name, rows in by_label(frame, "component", "component").items()}
    tools = part(frame, "mcp")
    if len(tools):
        series["MCP tools"] = tools
    series = counted_from_start(series)
    judged = (Component(name, level(rows, window, least=_LEAST), rows) for name, rows in series.items())
    current = [component for component in judged if math.isfinite(component.level.now)]
    if not current:
        return Finding(
            Status.UNKNOWN,
            "Errors by component: no current sample of cryptofunk_errors_total",
            "So no component can be said to work without errors.",
        )
    found = Components(tuple(sorted(current, key=lambda component: -component.level.now)))
    is_loud = any(component.level.now >= 1 for component in found.risen)
    return Finding(
        graded(is_loud, found.risen, found.untold),
        wording.components_title(found),
        wording.components_detail(found),
        found,
        (_table(found.components[:_SHOWN], kinds),),
    )


def _table(rows: Sequence[Component], kinds: pd.DataFrame) -> Table:
    levels = [component.level for component in rows]
    shown = pd.DataFrame(
        {
            "component": [component.name for component in rows],
            "usual, a minute": [round(errors.usual, 3) for errors in levels],
            "now, a minute": [round(errors.now, 2) for errors in levels],
            "rose at": pd.to_datetime([errors.rose_at for errors in levels], utc=True),
            "types in 15 min": [_types(kinds, component.name) for component in rows],
        }
    )
    units = {"usual, a minute": "", "now, a minute": "", "rose at": "time"}
    return Table("Errors by component, the most first", shown, units)


def _types(kinds: pd.DataFrame, component: str) -> str:
    """The types of a component's errors, the most frequent first: "12 timeout, 3 tool_error"."""
    if "component" not in kinds or "type" not in kinds:
        return ""
    own = kinds[(kinds["component"] == component) & (kinds["value"] >= 0.5)]
    most = own.sort_values("value", ascending=False).head(_TYPES_SHOWN)
    types = zip(most["value"], map(str, most["type"]), strict=True)
    return ", ".join(f"{count:.0f} {name[:_TYPE_LENGTH]}" for count, name in types)


def refused(database: Database, window: Window) -> Finding[Refused]:
    """Refused orders: which orders were rejected or failed around the alert, and what they say."""
    since = window.starts_at - timedelta(hours=1)
    frame = database.ask("errors/refused", since=since, as_of=window.as_of).frame
    orders = int(frame["orders"].sum()) if len(frame) else 0
    if not orders:
        return Finding(Status.OK, f"No order was refused since {since:%H:%M} UTC", figures=Refused(0))
    most = str(frame["message"].iloc[0])
    units = {"orders": "", "first_at": "time", "last_at": "time"}
    return Finding(
        Status.WARNING,
        f"{orders} orders were refused since {since:%H:%M} UTC: {most[:120]}",
        figures=Refused(orders),
        tables=(Table("Refused orders, by what they say", frame, units),),
    )
