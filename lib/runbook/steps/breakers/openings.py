"""When breakers open: their states, which of them is meant, when it tries again, how often they open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.metrics import Metrics, union
from runbook.steps.breakers import wording
from runbook.steps.breakers.figures import Affected, Frequency, Lane, Recovery, State, States, Trips
from runbook.steps.breakers.services import PROTECTED, service_of
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import by_label, part
from runbook.words import duration

_NEAR_MINUTES = 45
_HOUR_SECONDS, _DAY_SECONDS = 3_600.0, 86_400.0
_LANES_MAX = 12
_FRESH_SECONDS = 120
_OFTEN = 3
_HALT_LENGTH = 60
_IS_OPEN = 1.0
_STATES = {0.0: State.CLOSED, _IS_OPEN: State.OPEN, 2.0: State.HALF_OPEN}
_OPEN_NOW = "(max by (service) (circuit_breaker_state) == bool 1)"
STATES_QUERY = "max by (service) (circuit_breaker_state)"
FREQUENCY_QUERY = union(
    {
        "day": f"changes({_OPEN_NOW}[24h:15s])",
        "week": f"changes({_OPEN_NOW}[7d:2m])",
        "share": f"avg_over_time({_OPEN_NOW}[24h:15s])",
        "first": "min by (service) (min_over_time(timestamp(circuit_breaker_state)[24h:5m]))",
    }
)


def states(metrics: Metrics, window: Window) -> Finding[States]:
    """Breaker states: closed, open or half-open, of every breaker around the alert's moment."""
    near = max(window.start, window.starts_at - timedelta(minutes=_NEAR_MINUTES))
    frame = metrics.range(STATES_QUERY, near, window.as_of, series=4).frame
    series = {name: rows.dropna(subset=["value"]) for name, rows in by_label(frame, "service").items()}
    lanes = tuple(_lane(name, rows, window) for name, rows in list(series.items())[:_LANES_MAX] if len(rows))
    if not lanes:
        return Finding(
            Status.UNKNOWN,
            "Breaker states: no metric circuit_breaker_state",
            "Prometheus has no sample of it around the alert, so no breaker can be called closed.",
        )
    found = States(lanes)
    is_open = any(lane.state.is_open for lane in lanes)
    is_odd = any(lane.openings or not lane.state.is_known for lane in lanes)
    return Finding(
        graded(is_open, is_odd),
        wording.states_title(found),
        f"Seen from {near:%H:%M} UTC on, at a resolution of 15 s or more: an opening between two samples is not seen.",
        found,
        (_table(found),),
    )


def _lane(name: str, rows: pd.DataFrame, window: Window) -> Lane:
    values, times = rows["value"].tolist(), rows["time"].tolist()
    before = [None, *values[:-1]]
    opened = [
        time
        for time, value, earlier in zip(times, values, before, strict=True)
        if value == _IS_OPEN and earlier != _IS_OPEN
    ]
    is_fresh = (pd.Timestamp(window.as_of) - times[-1]).total_seconds() <= _FRESH_SECONDS
    return Lane(
        name,
        _STATES.get(values[-1], State.UNDOCUMENTED) if is_fresh else State.NO_SAMPLE,
        value=values[-1],
        openings=len(opened),
        first_open=opened[0].to_pydatetime() if opened else None,
        last_open=opened[-1].to_pydatetime() if opened else None,
        share_open=float((rows["value"] == _IS_OPEN).mean()),
        samples=rows.reset_index(drop=True),
    )


def _table(found: States) -> Table:
    lanes = found.worst_first
    shown = pd.DataFrame(
        {
            "breaker": [lane.name for lane in lanes],
            "now": [wording.state_of(lane) for lane in lanes],
            "times opened": [lane.openings for lane in lanes],
            "first open": pd.to_datetime([lane.first_open for lane in lanes], utc=True),
            "share open": [lane.share_open for lane in lanes],
        }
    )
    return Table("Breakers around the alert", shown, {"first open": "time", "times opened": "", "share open": "%"})


def affected(alert: Alert, states: Finding[States], service: str = "", breaker_type: str = "") -> Finding[Affected]:
    """The affected service: named by the alert's label `service` or `breaker_type`, else the breaker that opened first.

    A service that the alert names is known without the metric, its state is not.
    """
    seen = (states.is_known and states.figures) or States(())
    opened = [lane.name for lane in seen.opened]
    types = (breaker_type, alert.labels.get("breaker_type", ""))
    given = (service, breaker_type, alert.labels.get("service", ""), alert.labels.get("breaker_type", ""))
    named = next(filter(None, map(service_of, given)), None)
    chosen = named or next(filter(None, map(service_of, opened)), None)
    halt = next((word for word in types if word and not service_of(word)), "")[:_HALT_LENGTH]
    others = tuple(sorted(name for name in opened if name != chosen))
    if not chosen and not states.is_known:
        return Finding(
            Status.UNKNOWN,
            "The affected service is not known",
            "Neither does the alert name it, nor does circuit_breaker_state have an answer.",
        )
    if not chosen:
        title, detail = wording.no_service(halt)
        return Finding(graded(False, halt), title, detail, Affected(None, others=others, halt=halt))
    lane = next((lane for lane in seen.lanes if lane.name == chosen), None)
    found = Affected(chosen, named is not None, lane, others, halt)
    also = f" Also opened: {', '.join(others)}." if others else ""
    return Finding(
        graded(found.state.is_open, found.opened_at or not found.state.is_known),
        wording.affected_title(found),
        f"While it is open {PROTECTED[chosen].impact}.{also}",
        found,
    )


def recovery(affected: Finding[Affected], window: Window) -> Finding[Recovery]:
    """The next half-open try: when the breaker lets a request through again, from its open timeout."""
    service, state, lane = affected.known.service, affected.known.state, affected.known.lane
    if not service:
        return Finding(Status.OK, "No service's breaker waits for a half-open try", figures=Recovery(waits=False))
    wait = PROTECTED[service].open_seconds
    how = (
        f"The {service} breaker stays open for {wait} s, then lets a request through; "
        "one success closes it, a failure opens it again."
    )
    if state is State.HALF_OPEN:
        title = f"The {service} breaker is half-open now: it is trying"
        return Finding(Status.WARNING, title, how, Recovery(waits=True))
    if state is State.CLOSED:
        return Finding(Status.OK, f"The {service} breaker is closed now", how, Recovery(waits=False))
    if state is not State.OPEN or not lane or not lane.last_open:
        return Finding(Status.UNKNOWN, f"Whether the {service} breaker waits is not known", how)
    due = lane.last_open + timedelta(seconds=wait)
    overdue_seconds = (window.as_of - due).total_seconds()
    seen = f"Last seen to open at {lane.last_open:%H:%M:%S} UTC"
    if overdue_seconds < 0:
        title = f"The {service} breaker is due to try at about {due:%H:%M:%S} UTC, in {duration(-overdue_seconds)}"
        detail = f"{how} {seen}."
    else:
        title = f"The {service} breaker has been due to try since {due:%H:%M:%S} UTC ({duration(overdue_seconds)})"
        detail = f"{how} {seen}; its tries are shorter than the time between two samples, or nobody asks."
    return Finding(Status.WARNING, title, detail, Recovery(waits=True, due=due))


def frequency(metrics: Metrics, window: Window) -> Finding[Frequency]:
    """Trips: how often each breaker opened in a day and a week, and for which share of the time it was open."""
    known = metrics.instant(FREQUENCY_QUERY, window.as_of).frame.dropna(subset=["value"])
    day, week, share = (
        {name: float(rows["value"].iloc[0]) for name, rows in by_label(known, "service", what).items()}
        for what in ("day", "week", "share")
    )
    if not day:
        return Finding(
            Status.UNKNOWN,
            "Trips: no metric circuit_breaker_state in the last day",
            "So it cannot be told how often breakers open.",
        )
    # Each opening changes the series twice, but for one that was open when the day began or is now.
    in_day = {name: math.ceil(changes / 2) for name, changes in day.items()}
    trips = tuple(
        Trips(name, times, max(times, math.ceil(week.get(name, 0) / 2)), share.get(name, math.nan))
        for name, times in in_day.items()
    )
    most = max(trips, key=lambda breaker: breaker.in_day)
    watched_seconds = _watched_seconds(part(known, "first"), window)
    span = "24 h"
    if watched_seconds < _DAY_SECONDS - _HOUR_SECONDS:
        span = f"the {duration(watched_seconds)} since they are measured"
    title = f"No breaker opened in {span}"
    if most.in_day:
        title = f"The {most.breaker} breaker opened {most.in_day} times in {span}"
    return Finding(
        graded(False, most.in_day > _OFTEN, watched_seconds < _HOUR_SECONDS),
        title,
        "Openings shorter than 15 s (2 min for the week) may be missed.",
        Frequency(trips, most),
        (_trips_table(trips),),
    )


def _watched_seconds(first: pd.DataFrame, window: Window) -> float:
    """For how long every breaker is measured, a day at most; where that is not told, a day."""
    if first.empty:
        return _DAY_SECONDS
    return min(window.as_of.timestamp() - float(first["value"].max()), _DAY_SECONDS)


def _trips_table(trips: Sequence[Trips]) -> Table:
    names = {"in_day": "opened in 24 h", "in_week": "opened in 7 d", "share_open": "share of 24 h open"}
    shown = pd.DataFrame(list(trips)).rename(columns=names)
    services = [service_of(breaker.breaker) for breaker in trips]
    shown["open timeout"] = [float(PROTECTED[service].open_seconds) if service else math.nan for service in services]
    units = {"opened in 24 h": "", "opened in 7 d": "", "share of 24 h open": "%", "open timeout": "s"}
    return Table("How often breakers open", shown, units)
