"""What deployments log: one of them by pattern, and several as one finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.errors import SourceError
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.overlap import at_once
from runbook.steps.platform.figures import Logs, MergedLog
from runbook.steps.platform.wording import logs_detail, logs_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.log_patterns import patterns
from runbook.words import status_rank


def logs(cluster: Cluster, window: Window, app: str = "") -> Finding[Logs]:
    """Log patterns: a deployment's lines in the window grouped by what they say, worst first."""
    lines = cluster.logs(app, window.start, window.as_of).frame
    if lines.empty:
        return Finding(Status.OK, f"{app} logged nothing in the window", figures=Logs(app))
    grouped = patterns(lines)
    found = _logs(app, lines, grouped)
    return Finding(
        graded(found.panics, found.errors),
        logs_title(found),
        logs_detail(found),
        found,
        (
            Table(
                f"What {app} logged, by pattern (# stands for what varies)",
                grouped,
                {"lines": "", "first": "time", "last": "time"},
            ),
        ),
    )


def _logs(app: str, lines: pd.DataFrame, grouped: pd.DataFrame) -> Logs:
    errors = lines[lines["level"].isin(["panic", "fatal", "error"])]
    if errors.empty:
        return Logs(app, len(lines))
    worst = grouped.iloc[0]
    return Logs(
        app,
        len(lines),
        len(errors),
        panics=int((errors["level"] == "panic").sum()),
        first_error_at=errors["time"].min(),
        worst=str(worst["pattern"]),
        worst_lines=int(worst["lines"]),
        errors_by_container=_by_container(lines, errors),
    )


def _by_container(lines: pd.DataFrame, errors: pd.DataFrame) -> dict[str, int]:
    """How many error lines each container logged; empty where all lines are of one."""
    if "container" not in lines or lines["container"].nunique() < 2:
        return {}
    return {str(container): int(count) for container, count in errors["container"].value_counts().items()}


def logs_of(cluster: Cluster, window: Window, apps: Sequence[str]) -> Finding[MergedLog]:
    """Log patterns of several deployments as one finding, the worst first; those without a pod are told apart."""

    def read(app: str) -> Finding[Logs] | str:
        try:
            return logs(cluster, window, app)
        except SourceError as error:
            return f"{app}: {error}."

    answers = at_once(*(partial(read, app) for app in apps))
    missing = [answer for answer in answers if isinstance(answer, str)]
    found = [answer for answer in answers if isinstance(answer, Finding)]
    if not found:
        return Finding(Status.UNKNOWN, f"What {' and '.join(apps)} log is not known", " ".join(missing))
    found.sort(key=lambda log: status_rank(log.status))
    is_unsure = missing and found[0].status is Status.OK
    figures = [log.known for log in found]
    return Finding(
        Status.UNKNOWN if is_unsure else found[0].status,
        "; ".join(log.title for log in found),
        " ".join([*(log.detail for log in found), *missing]).strip(),
        MergedLog(
            tuple(apps), sum(log.errors for log in figures), next((log.worst for log in figures if log.worst), "")
        ),
        tuple(table for log in found for table in log.tables),
    )
