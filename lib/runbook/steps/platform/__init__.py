"""The platform around trading: logs, pods, events, rollouts and configuration changes, whatever the procedure."""

from __future__ import annotations

from runbook.steps.platform.changes import config_changes, rollouts
from runbook.steps.platform.figures import (
    ConfigChange,
    ConfigChanges,
    Events,
    Logs,
    MergedLog,
    Pods,
    Restart,
    Rollout,
    Rollouts,
)
from runbook.steps.platform.log_lines import logs, logs_of
from runbook.steps.platform.pod_health import events, known_limits, pods

__all__ = [
    "ConfigChange",
    "ConfigChanges",
    "Events",
    "Logs",
    "MergedLog",
    "Pods",
    "Restart",
    "Rollout",
    "Rollouts",
    "config_changes",
    "events",
    "known_limits",
    "logs",
    "logs_of",
    "pods",
    "rollouts",
]
