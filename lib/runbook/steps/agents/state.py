"""How an agent is, by its row in agent_status and its pod together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.steps.shared.fleet import deployment_of, workload_of
from runbook.steps.shared.values import number

RUNNING = frozenset({"RUNNING", "ACTIVE"})
"""What agent_status.status says of a working agent: today's word, and the written runbook's."""
HEARTBEAT_STALE_SECONDS = 120


def shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's row as the table has it: the pod's parts in one."""
    pod = (
        []
        if "pod" not in row
        else ["ready" if row["ready"] == "yes" else "NOT ready", row["waits for"], row["last ended by"]]
    )
    return {
        "deployment": row["deployment"], "agent": row.get("agent", ""), "state": row["state"], "agent_status": row.get("agent_status", ""),
        "heartbeat": row.get("heartbeat"), "last error": row.get("last error", ""), "pod": ", ".join(str(one) for one in pod if one), "restarts": row.get("restarts"),
    }  # fmt: skip


def state_of(row: Mapping[str, Any], window: Window, has_status: bool, has_pods: bool) -> str:
    """down, unhealthy, unstable (restarted in the window), well, or not in agent_status."""
    ready = row.get("ready")
    silent = "agent" in row and not number(row.get("heartbeat")) <= HEARTBEAT_STALE_SECONDS
    if ready == "NO" or (has_pods and "pod" not in row) or (silent and row.get("agent_status") not in RUNNING):
        return "down"
    if silent or ("agent" in row and row.get("agent_status") not in RUNNING):
        return "unhealthy"
    if is_recent(row.get("ended at"), window):
        return "unstable"
    return "well" if "agent" in row or not has_status else "not in agent_status"


def meant_by(deployments: Sequence[str], agent_type: str, pod: str) -> list[str]:
    """The deployments that the alert's labels name, as far as there are such."""
    wanted = {workload_of(pod), pod} if pod else set()
    wanted |= {deployment_of(agent_type), agent_type} if agent_type else set()
    return [one for one in deployments if one in wanted]


def is_recent(value: Any, window: Window) -> bool:
    """Whether the time `value` lies in the window."""
    return not is_missing(value) and window.start <= value <= window.as_of


def is_missing(value: Any) -> bool:
    """Whether a table's cell holds nothing: none, NaN or no time."""
    return value is None or bool(pd.isna(value))
