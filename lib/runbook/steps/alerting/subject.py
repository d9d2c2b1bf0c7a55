"""What the alert is about: deployments and tables, their pods, what they log and how large they are."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.alerting import naming, wording
from runbook.steps.alerting.figures import About, Rule, Tables
from runbook.steps.platform import MergedLog, logs_of
from runbook.steps.shared.grading import graded
from runbook.steps.shared.replicas import replicas_of, with_shares

_APPS_MAX = 4
_LOGS_MAX = 3
_DEAD_ROWS_LEAST = 10_000
_UNITS = {"bytes": "bytes", "live_rows": "", "dead_rows": "", "last_vacuum": "time", "last_analyze": "time"}


def about(alert: Alert, cluster: Cluster, rule: Finding[Rule] | None = None) -> Finding[About]:
    """What the alert is about: its labels and its expression's metrics, resolved to pods, deployments and tables."""
    pods, deployments = (answer.frame for answer in at_once(cluster.pods, cluster.deployments))
    expression = rule.figures.expression if rule is not None and rule.figures is not None else ""
    found_by = _found_by(alert, expression, pods, deployments)
    own = pods[pods["app"].isin(list(found_by)[:_APPS_MAX])]
    replicas = replicas_of(own)
    figures = About(
        apps=tuple(found_by)[:_APPS_MAX],
        tables=naming.tables_of(f"{alert.name} {expression} {' '.join(alert.labels.values())}"),
        not_ready=tuple(app for app, together in replicas.items() if together.down or together.is_gone),
    )
    return Finding(
        graded(figures.not_ready, not figures.apps),
        wording.about_title(figures, with_shares(figures.not_ready, replicas)),
        wording.about_detail(figures),
        figures,
        (_table_of(own, found_by),) if len(own) else (),
    )


def _found_by(alert: Alert, expression: str, pods: pd.DataFrame, deployments: pd.DataFrame) -> dict[str, str]:
    """The deployments that the alert names, those named most narrowly first, by what names them."""
    found: dict[str, str] = {}
    for label in naming.LABELS:
        for app in naming.deployments_of(alert.labels.get(label, ""), pods, deployments):
            found.setdefault(app, f"label {label}")
    present = set(map(str, [*pods["app"], *deployments["name"]]))
    for app in naming.makers_of(expression):
        if app in present:
            found.setdefault(app, "the metric's name")
    return found


def _table_of(pods: pd.DataFrame, found_by: Mapping[str, str]) -> Table:
    shown = pd.DataFrame(
        {
            "deployment": pods["app"],
            "pod": pods["name"],
            "status": pods["status"],
            "ready": pods["ready"].astype(bool).map({True: "yes", False: "NO"}),
            "restarts": pods["restarts"],
            "last ended by": pods["last_exit"],
            "ended at": pods["last_exit_at"],
            "found by": [found_by[str(app)] for app in pods["app"]],
        }
    )
    return Table("Pods the alert is about", shown, {"restarts": "", "ended at": "time"})


def logs(about_found: Finding[About], cluster: Cluster, window: Window) -> Finding[MergedLog]:
    """What the alert's deployments log, by pattern, worst first."""
    apps = about_found.known.apps
    if not apps:
        title = "The alert names no deployment whose log to read"
        return Finding(Status.OK, title, "Neither its labels nor its metrics do.", MergedLog())
    return logs_of(cluster, window, apps[:_LOGS_MAX])


def tables(about_found: Finding[About], database: Database) -> Finding[Tables]:
    """The tables the alert is about: size, live and dead rows, last cleaning."""
    wanted = about_found.known.tables
    if not wanted:
        return Finding(Status.OK, "The alert names no table", "Neither its labels nor its metrics do.", Tables(0))
    frame = database.ask("health/tables", names=list(wanted)).frame
    if frame.empty:
        return Finding(Status.UNKNOWN, f"The tables {', '.join(wanted)} are not visible to this role")
    dead = frame[frame["dead_rows"] > frame["live_rows"].clip(lower=_DEAD_ROWS_LEAST)]
    first = frame.iloc[0]
    return Finding(
        graded(False, len(dead)),
        wording.tables_title(first["table_name"], first["bytes"], int(first["live_rows"]), dead["table_name"]),
        "",
        Tables(len(frame)),
        (Table("Tables the alert is about", frame, _UNITS),),
    )
