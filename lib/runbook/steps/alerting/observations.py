"""The alert among others: what else fires, how often it fired before; and of an alert without a procedure, what it says."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.errors import SourceError
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.alerts import Alerts
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, quote, union
from runbook.sources.overlap import at_once
from runbook.steps.alerting import expression as alert_expression
from runbook.steps.alerting import subject as alert_subject
from runbook.steps.platform import logs_of
from runbook.steps.shared.levels import part
from runbook.words import amount, duration, moment, names

HISTORY_DAYS = 14
_BUCKET_SECONDS = 600
_SERIES_MAX = 8
_APPS_MAX = 4
_FRESH_SECONDS = 600


def firing(alerts: Alerts, alert: Alert, window: Window) -> Finding:
    """Other alerts: what else fires now in Alertmanager, and whether this one is silenced."""
    frame = alerts.active().frame
    frame = frame[frame["since"] <= window.as_of] if len(frame) else frame
    this = frame[frame["name"] == alert.name]
    others = frame[frame["name"] != alert.name]
    critical = others[others["severity"] == "critical"]
    silenced = bool(len(this)) and all(len(by) for by in this["silenced_by"])
    state = "silenced" if silenced else "firing" if len(this) else "not firing"
    shown = others.sort_values(["severity", "since"], ignore_index=True)
    table = pd.DataFrame({"alert": shown["name"], "severity": shown["severity"], "state": shown["state"], "since": shown["since"],
                          "labels": [", ".join(f"{k}={v}" for k, v in sorted(one.items()) if k not in ("alertname", "severity"))[:160] for one in shown["labels"]]})  # fmt: skip
    distinct = sorted(set(map(str, others["name"])))
    return Finding(
        "alerting.firing",
        Status.WARNING if len(critical) else Status.OK,
        f"{len(others) or 'No'} other {'alert fires' if len(others) < 2 else 'alerts fire'}"
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


def rule(alert: Alert, metrics: Metrics) -> Finding:
    """The alert's expression: from its generatorURL, else from the rule of its name in Prometheus."""
    given = alert_expression.of_generator(alert.generator_url)
    try:
        rules = metrics.rules().frame
        failed = ""
    except SourceError as error:
        rules, failed = pd.DataFrame(), str(error)
    mine = rules[rules["name"] == alert.name] if len(rules) else rules
    fitting = [
        row for row in mine.to_dict("records") if dict(row["labels"]).items() <= dict(alert.labels).items()
    ] or mine.to_dict("records")
    found = fitting[0] if fitting else None
    expression = given or (str(found["expression"]) if found else "")
    if not expression:
        return Finding("alerting.rule", Status.UNKNOWN, "The alert's expression is not known",
                       failed or "Neither does its generatorURL hold one, nor has Prometheus a rule of this name.")  # fmt: skip
    measured, operator, limit = alert_expression.split(expression)
    differs = bool(given and found and " ".join(given.split()) != " ".join(str(found["expression"]).split()))
    held = f"It must hold for {duration(found['for_seconds'])}. " if found else ""
    return Finding(
        "alerting.rule", Status.WARNING if differs else Status.OK, f"The alert fires on: {expression[:240]}",
        held + ("From the alert's generatorURL" if given else f"From the rule {alert.name}")
        + ("; the rule of this name in Prometheus is another now." if differs else "." if found or not given else f"; Prometheus' rules are not known: {failed}" if failed
           else "; Prometheus lists no rule of this name now."),
        {"expression": expression, "measured": measured, "operator": operator, "limit": limit,
         "for_seconds": found["for_seconds"] if found else None, "health": str(found["health"]) if found else ""},
    )  # fmt: skip


def evaluated(rule_found: Finding, alert: Alert, metrics: Metrics, window: Window) -> Finding:
    """The expression around the moment: what it measures, against its threshold, and when it crossed it."""
    measured, operator, limit = (str(rule_found.figures[name]) for name in ("measured", "operator", "limit"))
    pick = "bottomk" if operator in ("<", "<=") else "topk"
    number = alert_expression.constant(limit)
    parts = {"value": f"{pick}({_SERIES_MAX}, {measured})"} | (
        {} if number is not None or not limit else {"limit": f"topk(1, {limit})"}
    )
    frame = metrics.range(union(parts), window.start, window.as_of, series=_SERIES_MAX).frame.dropna(subset=["value"])
    if len(limits := part(frame, "limit")):
        number = float(limits["value"].iloc[-1])
    series = _series(frame[frame["what"] == "value"] if "what" in frame else frame.iloc[:0], alert)
    if not series:
        return Finding("alerting.evaluated", Status.UNKNOWN, "The alert's expression has no sample in the window",
                       f"Asked for: {measured[:300]}.")  # fmt: skip
    name, rows = series[0]
    now, fresh = (
        float(rows["value"].iloc[-1]),
        (pd.Timestamp(window.as_of) - rows["time"].iloc[-1]).total_seconds() <= _FRESH_SECONDS,
    )
    holds = alert_expression.holds(now, operator, number) if fresh else None
    since = alert_expression.holds_since(rows, operator, number)
    shown = dict(series[:6])
    words = (
        f"it is {amount(now, 'ratio')}, {'' if holds else 'not '}{alert_expression.IN_WORDS.get(operator, operator)} {amount(number, 'ratio')}"
        if number is not None
        else f"it is {amount(now, 'ratio')}"
    )
    return Finding(
        "alerting.evaluated",
        Status.UNKNOWN if not fresh else Status.OK if holds is False else Status.CRITICAL if alert.severity == "critical" else Status.WARNING,
        (f"The alert's condition {'holds' if holds else 'does not hold'}: {words}" if fresh else f"The alert's condition has no sample for {duration((pd.Timestamp(window.as_of) - rows['time'].iloc[-1]).total_seconds())}")
        + (f", since {since:%H:%M} UTC" if since and holds else ""),
        f"{name or 'One series'}; {len(series)} {'series' if len(series) != 1 else 'series in all'}, the first {len(shown)} are drawn."
        if len(series) > 1 else (f"Series: {name}." if name else ""),
        {"now": now, "threshold": number, "operator": operator, "holds": holds, "since": since, "series": name},
        series={"values": shown},
    )  # fmt: skip


def about(alert: Alert, cluster: Cluster, rule: Finding | None = None) -> Finding:
    """What the alert is about: its labels and its expression's metrics, resolved to pods, deployments and tables."""
    pods, deployments = (answer.frame for answer in at_once(cluster.pods, cluster.deployments))
    expression = str(rule.figures.get("expression", "")) if rule is not None else ""
    why: dict[str, str] = {}
    for label in alert_subject.LABELS:
        for app in alert_subject.deployments_of(alert.labels.get(label, ""), pods, deployments):
            why.setdefault(app, f"label {label}")
    named = set(map(str, [*pods["app"], *deployments["name"]]))
    for word, makers in alert_subject.METRIC_APPS.items():
        if word in expression:
            for app in makers:
                if app in named:
                    why.setdefault(app, "the metric's name")
    text = f"{alert.name} {expression} {' '.join(alert.labels.values())}".lower()
    tables = [table for word, held_in in alert_subject.TABLES.items() if word in text for table in held_in][:6]
    apps = list(why)[:_APPS_MAX]
    mine = pods[pods["app"].isin(apps)]
    down = mine[~mine["ready"].astype(bool)] if len(mine) else mine
    shown = pd.DataFrame({"deployment": mine["app"], "pod": mine["name"], "ready": ["yes" if one else "NO" for one in mine["ready"]], "restarts": mine["restarts"],
                          "last ended by": mine["last_exit"], "ended at": mine["last_exit_at"], "found by": [why[str(app)] for app in mine["app"]]})  # fmt: skip
    return Finding(
        "alerting.about",
        Status.CRITICAL if len(down) else Status.WARNING if not apps else Status.OK,
        f"It is about {names(apps)}" + (f"; not ready: {names(list(map(str, down['app'])))}" if len(down) else "; ready") if apps
        else "Nothing in the cluster is named by the alert's labels or metrics",
        (f"Tables: {', '.join(dict.fromkeys(tables))}. " if tables else "") + "Labels that name a pod, deployment or component count first, then the metric's name.",
        {"apps": ", ".join(apps), "tables": ", ".join(dict.fromkeys(tables)), "not_ready": ", ".join(map(str, down["app"]))},
        (Table("Pods the alert is about", shown, {"restarts": "", "ended at": "time"}),) if len(shown) else (),
    )  # fmt: skip


def logs(about_found: Finding, cluster: Cluster, window: Window) -> Finding:
    """What the alert's deployments log, by pattern, worst first."""
    apps = [app for app in str(about_found.figures["apps"]).split(", ") if app]
    if not apps:
        return Finding(
            "alerting.logs",
            Status.OK,
            "The alert names no deployment whose log to read",
            "Neither its labels nor its metrics do.",
            {"errors": 0, "worst": ""},
        )
    return logs_of(cluster, window, apps[:3])


def tables(about_found: Finding, database: Database) -> Finding:
    """The tables the alert is about: size, live and dead rows, last cleaning."""
    wanted = [table for table in str(about_found.figures["tables"]).split(", ") if table]
    if not wanted:
        return Finding(
            "alerting.tables",
            Status.OK,
            "The alert names no table",
            "Neither its labels nor its metrics do.",
            {"tables": 0},
        )
    frame = database.ask("health/tables", names=wanted).frame
    if frame.empty:
        return Finding(
            "alerting.tables", Status.UNKNOWN, f"The tables {', '.join(wanted)} are not visible to this role", ""
        )
    dead = frame[frame["dead_rows"] > frame["live_rows"].clip(lower=10_000)]
    return Finding(
        "alerting.tables",
        Status.WARNING if len(dead) else Status.OK,
        f"{frame['table_name'].iloc[0]} is {amount(frame['bytes'].iloc[0], 'bytes')} with about {int(frame['live_rows'].iloc[0]):,} rows"
        + (f"; more dead than live rows in {', '.join(dead['table_name'])}" if len(dead) else ""),
        "",
        {"tables": len(frame)},
        (Table("Tables the alert is about", frame, {"bytes": "bytes", "live_rows": "", "dead_rows": "", "last_vacuum": "time", "last_analyze": "time"}),),
    )  # fmt: skip


def _series(frame: pd.DataFrame, alert: Alert) -> list[tuple[str, pd.DataFrame]]:
    """(name, rows) of each series: those with the alert's labels first, and only those where there are any."""
    labels = [name for name in frame.columns if name not in ("time", "value", "what", "__name__")]
    groups = list(frame.groupby(labels, sort=False)) if labels else ([((), frame)] if len(frame) else [])
    found = []
    for key, rows in groups:
        mine = {
            name: str(value)
            for name, value in zip(labels, key if isinstance(key, tuple) else (key,), strict=True)
            if value
        }
        fits = all(alert.labels.get(name, value) == value for name, value in mine.items())
        text = ", ".join(f"{name}={value}" for name, value in mine.items() if name != "namespace")[:120]
        found.append((fits, text, rows[["time", "value"]].reset_index(drop=True)))
    kept = [one for one in found if one[0]] or found
    return [(text, rows) for _, text, rows in kept]
