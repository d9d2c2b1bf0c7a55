"""The alert among others: what else fires, and how often this one fired before."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.outcome import Finding, Status, Table
from runbook.sources.alerts import Alerts
from runbook.sources.metrics import Metrics, quote
from runbook.steps.platform import names
from runbook.tables import duration, moment

HISTORY_DAYS = 14
_BUCKET_SECONDS = 600


def firing(alerts: Alerts, alert: Alert, window: Window) -> Finding:
    """Other alerts: what else fires now in Alertmanager, and whether this one is silenced."""
    frame = alerts.active().frame
    frame = frame[frame["since"] <= window.as_of] if len(frame) else frame
    this = frame[frame["name"] == alert.name]
    others = frame[frame["name"] != alert.name]
    critical = others[others["severity"] == "critical"]
    silenced = bool(len(this)) and all(len(by) for by in this["silenced_by"])
    state = "silenced" if silenced else "firing" if len(this) else "no longer firing"
    shown = others.sort_values(["severity", "since"], ignore_index=True)
    table = pd.DataFrame({"alert": shown["name"], "severity": shown["severity"], "state": shown["state"], "since": shown["since"],
                          "labels": [", ".join(f"{k}={v}" for k, v in sorted(one.items()) if k not in ("alertname", "severity"))[:160] for one in shown["labels"]]})  # fmt: skip
    distinct = sorted(set(map(str, others["name"])))
    return Finding(
        "alerting.firing",
        Status.WARNING if len(critical) else Status.OK,
        f"{len(others)} other {'alert fires' if len(others) == 1 else 'alerts fire'}"
        + (f": {names(distinct)}" if distinct else ""),
        f"{alert.name} itself is {state} in Alertmanager.",
        {"others": len(others), "critical": len(critical), "names": ", ".join(distinct[:20]), "this": state},
        (Table("Other alerts, the most severe first", table, {"since": "time"}),) if len(table) else (),
    )


def history(metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """This alert's history: when it fired in the two weeks before, from the ALERTS series."""
    start = window.as_of - timedelta(days=HISTORY_DAYS)
    expression = f'max(ALERTS{{alertname={quote(alert.name)},alertstate="firing"}})'
    frame = metrics.range(
        f"max_over_time({expression}[{_BUCKET_SECONDS}s:60s])", start, window.as_of, series=1, step=_BUCKET_SECONDS
    ).frame
    spans = _spans(frame)
    earlier = [span for span in spans if span[1] < window.starts_at - timedelta(seconds=_BUCKET_SECONDS)]
    if not earlier:
        return Finding(
            "alerting.history",
            Status.OK,
            f"{alert.name} did not fire in the {HISTORY_DAYS} days before",
            "",
            {"times": 0},
        )
    table = pd.DataFrame(
        {
            "from": [a for a, _ in earlier],
            "to": [b for _, b in earlier],
            "for": [(b - a).total_seconds() for a, b in earlier],
        }
    )
    usual = float(table["for"].median())
    return Finding(
        "alerting.history",
        Status.WARNING if len(earlier) >= 3 else Status.OK,
        f"{alert.name} fired {len(earlier)} {'time' if len(earlier) == 1 else 'times'} before in {HISTORY_DAYS} days, last on {moment(earlier[-1][0])}",
        f"It fired for {duration(usual)} (median); seen at a resolution of {duration(_BUCKET_SECONDS)}.",
        {"times": len(earlier), "last": earlier[-1][0], "median_seconds": usual},
        (
            Table(
                "Earlier firings, newest first",
                table.iloc[::-1].reset_index(drop=True),
                {"from": "time", "to": "time", "for": "s"},
            ),
        ),
    )


def _spans(frame: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """(first bucket's start, last bucket's end) of each unbroken run of samples."""
    spans: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    bucket = pd.Timedelta(seconds=_BUCKET_SECONDS)
    for time in frame["time"]:
        if spans and time - spans[-1][1] <= bucket:
            spans[-1] = (spans[-1][0], time)
        else:
            spans.append((time - bucket, time))
    return spans
