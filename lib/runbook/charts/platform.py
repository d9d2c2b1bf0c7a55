"""Charts of the platform: breakers, failure and error ratios, errors, requests, the pool, an alert's expression."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, states, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.findings import Finding
from runbook.steps.alerting import Evaluated
from runbook.steps.breakers import Failures, States
from runbook.steps.breakers.wording import worst_failures
from runbook.steps.dependencies import Exchange, Pool
from runbook.steps.error_rates import Api, Components
from runbook.words import amount

_STATES = {0.0: ("closed", "green"), 1.0: ("open", "alarm"), 2.0: ("half-open", "amber")}


def breaker_states(finding: Finding[States], window: Window) -> Chart | None:
    """Every breaker's state around the alert."""
    lanes = {lane.name: lane.samples for lane in finding.known.lanes}
    return states(finding.title, _near(window), lanes, _STATES)


def failure_ratio(finding: Finding[Failures], window: Window) -> Chart | None:
    """The share of failed requests by breaker, with the ratio at which it trips."""
    found, near = finding.known, _near(window)
    ratios = {breaker.breaker: breaker.ratio for breaker in found.breakers}
    limit = Threshold(found.trips_at, f"trips at {amount(found.trips_at, '%')}")
    return timeline(worst_failures(found), "%", near, _lines(ratios, near), thresholds=[limit])


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


def error_ratio(finding: Finding[Api], window: Window) -> Chart | None:
    """The share of API requests that fail with 5xx and 4xx, with the threshold."""
    found = finding.known
    lines = [Line("5xx", found.server_curve), Line("4xx", found.client_curve)]
    limit = Threshold(found.threshold, f"threshold {amount(found.threshold, '%')}")
    return timeline(finding.title, "%", window, lines, thresholds=[limit])


def errors_by_component(finding: Finding[Components], window: Window) -> Chart | None:
    """Errors a minute by component."""
    errors = {component.name: component.errors for component in finding.known.components}
    return timeline(finding.title, "errors a minute", window, _lines(errors, window))


def expression(finding: Finding[Evaluated], window: Window) -> Chart | None:
    """The measured side of an alert's expression, with its threshold."""
    found = finding.known
    limits = []
    if found.threshold is not None:
        limits.append(Threshold(found.threshold, f"{found.operator} {amount(found.threshold)}"))
    return timeline(finding.title, "", window, _lines(found.values, window), thresholds=limits)


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
