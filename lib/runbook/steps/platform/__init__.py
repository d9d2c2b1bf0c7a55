"""The platform around trading: logs, pods, events, rollouts and configuration changes, whatever the procedure."""

from __future__ import annotations

from runbook.steps.platform.observations import config_changes, events, logs, logs_of, pods, rollouts

__all__ = [
    "config_changes",
    "events",
    "logs",
    "logs_of",
    "pods",
    "rollouts",
]
