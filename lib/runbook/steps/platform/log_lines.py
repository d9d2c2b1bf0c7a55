"""What deployments log: one of them by pattern, and several as one finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.logs import ERRORS
from runbook.sources.overlap import at_once
from runbook.steps.platform.figures import Logs, MergedLog
from runbook.steps.platform.wording import logs_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.log_patterns import patterns, unlevelled, unlevelled_detail
from runbook.words import moment, status_rank


def logs(cluster: Cluster, window: Window, app: str = "") -> Finding[Logs]:
    """Log patterns: a deployment's lines in the window grouped by what they say, worst first."""
    lines = cluster.logs(app, window.start, window.as_of, tail=1000).frame
    if lines.empty:
        nothing = "A deployment that runs logs something: is it running?"
        return Finding(Status.UNKNOWN, f"{app} logged nothing in the window", nothing, Logs(app))
    grouped = patterns(lines)
    found = _logs(app, lines, grouped)
    first_error = f"The first error was at {moment(found.first_error_at)}." if found.errors else ""
    status = graded(found.panics, found.errors)
    return Finding(
        Status.UNKNOWN if status is Status.OK and found.unlevelled else status,
        logs_title(found),
        f"{first_error} {unlevelled_detail(grouped)}".strip(),
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
    errors = lines[lines["level"].isin(ERRORS)]
    if errors.empty:
        return Logs(app, len(lines), unlevelled=unlevelled(lines))
    worst = grouped.iloc[0]
    panics = int((errors["level"] == "panic").sum())
    first = errors["time"].min()
    return Logs(
        app,
        len(lines),
        len(errors),
        panics,
        first,
        str(worst["pattern"]),
        int(worst["lines"]),
        unlevelled(lines),
    )


def logs_of(cluster: Cluster, window: Window, apps: Sequence[str]) -> Finding[MergedLog]:
    """Log patterns of several deployments as one finding, the worst first; those without a pod are told apart."""

    def read(app: str) -> Finding[Logs] | str:
        try:
            return logs(cluster, window, app)
        except QueryFailed as error:
            return f"{app}: {error}."

    answers = at_once(*(partial(read, app) for app in apps))
    missing = [answer for answer in answers if isinstance(answer, str)]
    found = [answer for answer in answers if isinstance(answer, Finding)]
    if not found:
        return Finding(Status.UNKNOWN, f"What {' and '.join(apps)} log is not known", " ".join(missing))
    found.sort(key=lambda log: status_rank(log.status))
    # Unknown comes before ok and after all else, whether it is of a log that was not read or of lines without a level.
    is_unsure = missing and found[0].status is Status.OK
    figures = [log.figures for log in found if log.figures is not None]
    return Finding(
        Status.UNKNOWN if is_unsure else found[0].status,
        "; ".join(log.title for log in found),
        " ".join([*(log.detail for log in found), *missing]).strip(),
        MergedLog(
            tuple(apps),
            sum(log.errors for log in figures),
            next((log.worst for log in figures if log.worst), ""),
            sum(log.unlevelled for log in figures),
        ),
        tuple(table for log in found for table in log.tables),
    )
