"""The alert among others: what else fires, and how often this one fired before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.alerts import Alerts
from runbook.sources.metrics import Metrics, quote
from runbook.steps.alerting import wording
from runbook.steps.alerting.figures import Firing, History, Standing
from runbook.steps.shared.grading import graded
from runbook.words import duration

HISTORY_DAYS = 14
_BUCKET_SECONDS = 600
_BUCKET = timedelta(seconds=_BUCKET_SECONDS)
_NAMES_MAX = 20
_LABELS_LENGTH = 160
_OFTEN = 3
Span = tuple[datetime, datetime]


def firing(alerts: Alerts, alert: Alert, window: Window) -> Finding[Firing]:
    """Other alerts: what else fires now in Alertmanager, and whether this one is silenced."""
    frame = alerts.active().frame
    active = frame[frame["since"] <= window.as_of] if len(frame) else frame
    others = active[active["name"] != alert.name]
    critical = int((others["severity"] == "critical").sum())
    distinct = sorted(set(map(str, others["name"])))
    standing = _standing(active[active["name"] == alert.name])
    return Finding(
        graded(False, critical),
        wording.firing_title(len(others), distinct),
        f"{alert.name} itself is {standing} in Alertmanager.",
        Firing(len(others), critical, tuple(distinct[:_NAMES_MAX]), standing),
        (_table_of(others),) if len(others) else (),
    )


def _standing(active: pd.DataFrame) -> Standing:
    """How an alert stands, by its rows: silenced only where each of them is."""
    if not len(active):
        return Standing.NOT_FIRING
    return Standing.SILENCED if all(map(len, active["silenced_by"])) else Standing.FIRING


def _table_of(alerts: pd.DataFrame) -> Table:
    ordered = alerts.sort_values(["severity", "since"], ignore_index=True)
    shown = ordered[["name", "severity", "state", "since"]].rename(columns={"name": "alert"})
    shown["labels"] = [_labels_text(labels) for labels in ordered["labels"]]
    return Table("Other alerts, the most severe first", shown, {"since": "time"})


def _labels_text(labels: Mapping[str, str]) -> str:
    distinguishing = (
        f"{name}={value}" for name, value in sorted(labels.items()) if name not in ("alertname", "severity")
    )
    return ", ".join(distinguishing)[:_LABELS_LENGTH]


def history(metrics: Metrics, alert: Alert, window: Window) -> Finding[History]:
    """This alert's history: when it fired in the two weeks before, from the ALERTS series."""
    start = window.as_of - timedelta(days=HISTORY_DAYS)
    series = f'max(ALERTS{{alertname={quote(alert.name)},alertstate="firing"}})'
    expression = f"max_over_time({series}[{_BUCKET_SECONDS}s:60s])"
    frame = metrics.range(expression, start, window.as_of, series=1, step=_BUCKET_SECONDS, may_end=True).frame
    earlier = [(began, ended) for began, ended in _spans(frame) if ended < window.starts_at - _BUCKET]
    if not earlier:
        found = History(times=0)
        return Finding(Status.OK, wording.history_title(alert.name, found, HISTORY_DAYS), "", found)
    spans = pd.DataFrame(earlier, columns=["from", "to"])
    spans["for"] = (spans["to"] - spans["from"]).dt.total_seconds()
    usual = float(spans["for"].median())
    found = History(len(earlier), earlier[-1][0], usual)
    newest_first = spans.iloc[::-1].reset_index(drop=True)
    return Finding(
        graded(False, found.times >= _OFTEN),
        wording.history_title(alert.name, found, HISTORY_DAYS),
        f"It fired for {duration(usual)} (median); seen at a resolution of {duration(_BUCKET_SECONDS)}.",
        found,
        (Table("Earlier firings, newest first", newest_first, {"from": "time", "to": "time", "for": "s"}),),
    )


def _spans(frame: pd.DataFrame) -> list[Span]:
    """(first bucket's start, last bucket's end) of each unbroken run of samples."""
    spans: list[Span] = []
    for time in frame["time"]:
        if spans and time - spans[-1][1] <= _BUCKET:
            spans[-1] = (spans[-1][0], time)
        else:
            spans.append((time - _BUCKET, time))
    return spans
