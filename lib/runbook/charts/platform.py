"""Charts of the platform: breakers, failure and error ratios, errors, requests, the pool, an alert's expression."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, states, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.findings import Finding
from runbook.steps.dependencies import Exchange, Pool
from runbook.words import amount

_STATES = {0.0: ("closed", "green"), 1.0: ("open", "alarm"), 2.0: ("half-open", "amber")}


def breaker_states(finding: Any, window: Window) -> Chart | None:
    """Every breaker's state around the alert."""
    return states(finding.title, _near(window), finding.series["states"], _STATES)


def failure_ratio(finding: Any, window: Window) -> Chart | None:
    """The share of failed requests by breaker, with the ratio at which it trips."""
    trip = 0.6
    return timeline(finding.title.split(";")[0], "%", _near(window), _lines(finding.series["ratios"], _near(window)),
                    thresholds=[Threshold(trip, f"trips at {amount(trip, '%')}")])  # fmt: skip


def exchange_errors(finding: Finding[Exchange], window: Window) -> Chart | None:
    """Errors of the exchange a minute by type."""
    return timeline(finding.title, "errors a minute", window, _lines(finding.known.errors, window))


def exchange_requests(finding: Finding[Exchange], window: Window) -> Chart | None:
    """Requests to the exchange a minute by endpoint."""
    exchange = finding.known
    title = "We ask the exchange as often as usual"
    if exchange.endpoint:
        growth = amount(exchange.request_growth, "ratio")
        title = f"We ask {exchange.endpoint} {growth} times as often as usual"
    return timeline(title, "requests a minute", window, _lines(exchange.requests, window))


def pool(finding: Finding[Pool], window: Window) -> Chart | None:
    """Connections of the pool in use and idle."""
    found = finding.known
    size = round(found.size)
    lines = [Line("in use", found.active_curve), Line("idle", found.idle_curve)]
    limit = Threshold(size, f"the pool holds {amount(size)}")
    return timeline(finding.title, "connections", window, lines, thresholds=[limit])


def error_ratio(finding: Any, window: Window) -> Chart | None:
    """The share of API requests that fail with 5xx and 4xx, with the threshold."""
    limit = finding.figures["threshold"]
    return timeline(finding.title, "%", window, [Line(name, rows) for name, rows in finding.series["ratios"].items()],
                    thresholds=[Threshold(limit, f"threshold {amount(limit, '%')}")])  # fmt: skip


def errors_by_component(finding: Any, window: Window) -> Chart | None:
    """Errors a minute by component."""
    return timeline(finding.title, "errors a minute", window, _lines(finding.series["errors"], window))


def expression(finding: Any, window: Window) -> Chart | None:
    """The measured side of an alert's expression, with its threshold."""
    limit = finding.figures["threshold"]
    limits = [Threshold(limit, f"{finding.figures['operator']} {amount(limit)}")] if limit is not None else []
    return timeline(finding.title, "", window, _lines(finding.series["values"], window), thresholds=limits)


def _lines(series: Mapping[str, pd.DataFrame], window: Window) -> list[Line]:
    """At most six lines: those that reach highest, and none that stays at the bottom, where it cannot be read."""
    shown = {name: rows[rows["time"] >= pd.Timestamp(window.start)] for name, rows in series.items()}
    highest = sorted(shown, key=lambda name: -_top(shown[name]))[:6]
    least = 0.02 * _top(shown[highest[0]]) if highest else 0.0
    return [Line(name or "value", shown[name]) for name in highest if _top(shown[name]) >= least]


def _top(rows: pd.DataFrame) -> float:
    """The greatest value of a series; less than any where it has none."""
    top = rows["value"].max() if len(rows) else float("nan")
    return float(top) if top == top else float("-inf")


def _near(window: Window) -> Window:
    """The last 45 minutes before the alert, and what follows."""
    return Window(max(window.start, window.starts_at - timedelta(minutes=45)), window.starts_at, window.as_of)
