"""What changed: deployments rolled out, pods that restarted, configuration updates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.platform.figures import ConfigChange, ConfigChanges, Restart, Rollout, Rollouts
from runbook.steps.platform.wording import (
    changes_detail,
    changes_title,
    ended_by,
    restarted,
    rolled_out,
    rollouts_detail,
    rollouts_title,
)
from runbook.steps.shared.grading import graded
from runbook.steps.shared.replicas import ends_within, replicas_of

_TEXT_MAX = 160


def config_changes(database: Database, window: Window) -> Finding[ConfigChanges]:
    """What changed: configuration updates, starts, stops and pauses in audit_logs, from a day before the alert."""
    rows = database.ask("platform/changes", since=window.start - timedelta(hours=24), as_of=window.as_of).frame
    if rows.empty:
        return Finding(Status.OK, "Nothing was changed since a day before the window", figures=ConfigChanges())
    updates = rows[rows["event_type"] == "CONFIG_UPDATED"]
    found = ConfigChanges(
        tuple(ConfigChange(row.at, _line(row.action), _line(row.user_id)) for row in updates.itertuples(index=False))
    )
    table = Table("Changes, newest first", rows, {"at": "time"})
    return Finding(graded(False, found.updates), changes_title(found), changes_detail(found), found, (table,))


def rollouts(cluster: Cluster, window: Window) -> Finding[Rollouts]:
    """Rollouts: deployments that were rolled out, and pods that restarted, within the window."""
    deployments, pods = (answer.frame for answer in at_once(cluster.deployments, cluster.pods))
    if deployments.empty:
        return Finding(
            Status.UNKNOWN,
            "Rollouts: the namespace holds no deployment",
            "Is KUBE_NAMESPACE right, and may this role list deployments?",
        )
    rolled = _within(deployments, "progressed_at", window)
    ended = ends_within(pods, window)
    ended = ended.sort_values("last_exit_at", ascending=False, kind="stable", ignore_index=True)
    stuck = deployments[(deployments["unavailable"] > 0) | (deployments["updated"] < deployments["desired"])]
    found = Rollouts(
        tuple(map(_rollout, rolled.itertuples(index=False))),
        tuple(map(_restart, ended.itertuples(index=False))),
        unavailable=tuple(map(str, stuck["name"])),
    )
    return Finding(
        graded(False, found.rollouts or found.restarts or found.unavailable),
        rollouts_title(found),
        rollouts_detail(found),
        found,
        _table(found, rolled, ended, pods),
    )


def _within(rows: pd.DataFrame, column: str, window: Window) -> pd.DataFrame:
    """The rows whose time in `column` lies in the window, newest first."""
    inside = rows[column].between(pd.Timestamp(window.start), pd.Timestamp(window.as_of))
    return rows[inside].sort_values(column, ascending=False)


def _rollout(row: Any) -> Rollout:
    return Rollout(row.progressed_at, str(row.name), str(row.revision or ""))


def _restart(row: Any) -> Restart:
    container = "" if row.kind == "main" else str(row.container)
    return Restart(
        row.last_exit_at, str(row.app), int(row.restarts), ended_by(row.last_exit, row.last_exit_code), container
    )


def _table(found: Rollouts, rolled: pd.DataFrame, ended: pd.DataFrame, pods: pd.DataFrame) -> tuple[Table, ...]:
    of_deployment = [f"{row.ready} of {row.desired}" for row in rolled.itertuples(index=False)]
    rows = [
        (rollout.at, rollout.deployment, rolled_out(rollout), image, ready)
        for rollout, image, ready in zip(found.rollouts, rolled["image"], of_deployment, strict=True)
    ]
    ready = {app: f"{of_app.ready} of {of_app.serving}" for app, of_app in replicas_of(pods).items()}
    rows += [
        (restart.at, restart.app, restarted(restart), image, ready[restart.app])
        for restart, image in zip(found.restarts, ended["image"], strict=True)
    ]
    if not rows:
        return ()
    table = pd.DataFrame(rows, columns=["at", "deployment", "what", "image", "ready"])
    table = table.sort_values("at", ascending=False, ignore_index=True)
    return (Table("Rollouts and restarts, newest first", table, {"at": "time"}),)


def _line(value: object) -> str:
    """`value` as one short line; empty where it was not recorded."""
    return " ".join(value.split())[:_TEXT_MAX] if isinstance(value, str) else ""
