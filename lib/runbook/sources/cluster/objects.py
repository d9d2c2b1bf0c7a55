"""Deployments, events, usage and volumes as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from runbook.sources.cluster.json_paths import COMPONENT, at, condition, label, main_container, name_of, typed
from runbook.sources.cluster.quantities import quantity

DEPLOYMENT_COLUMNS = [
    "name",
    "component",
    "desired",
    "ready",
    "updated",
    "unavailable",
    "revision",
    "created_at",
    "progressed_at",
    "image",
]
EVENT_COLUMNS = ["time", "type", "reason", "object", "message", "count"]
USAGE_COLUMNS = ["pod", "container", "cpu_cores", "memory_bytes"]
VOLUME_COLUMNS = ["name", "phase", "capacity_bytes", "storage_class"]
_REVISION = "deployment.kubernetes.io/revision"


def deployments(items: list[Any]) -> pd.DataFrame:
    """DataFrame with DEPLOYMENT_COLUMNS; `image` is that of the container that the deployment is named after."""
    frame = pd.DataFrame([_deployment(item) for item in items], columns=DEPLOYMENT_COLUMNS)
    return typed(frame, "created_at", "progressed_at")


def _deployment(item: Any) -> dict[str, Any]:
    status, template = at(item, "status") or {}, at(item, "spec", "template")
    desired = at(item, "spec", "replicas")
    main = main_container(template, name_of(item), list(at(template, "spec", "containers") or []))
    return {
        "name": at(item, "metadata", "name"),
        "component": label(item, COMPONENT),
        "desired": 1 if desired is None else int(desired),  # as the API defaults it
        "ready": int(status.get("readyReplicas") or 0),
        "updated": int(status.get("updatedReplicas") or 0),
        "unavailable": int(status.get("unavailableReplicas") or 0),
        "revision": (at(item, "metadata", "annotations") or {}).get(_REVISION, ""),
        "created_at": at(item, "metadata", "creationTimestamp"),
        "progressed_at": condition(item, "Progressing").get("lastUpdateTime"),
        "image": main.get("image", ""),
    }


def events(items: list[Any], since: datetime) -> pd.DataFrame:
    """Those that last happened at or after `since`, newest first: DataFrame with EVENT_COLUMNS."""
    frame = typed(pd.DataFrame([_event(item) for item in items], columns=EVENT_COLUMNS), "time")
    return frame[frame["time"] >= since].sort_values("time", ascending=False, ignore_index=True)


def _event(item: Any) -> dict[str, Any]:
    last = item.get("lastTimestamp") or at(item, "series", "lastObservedTime")
    return {
        "time": last or item.get("eventTime") or item.get("firstTimestamp"),
        "type": item.get("type", ""),
        "reason": item.get("reason", ""),
        "object": f"{at(item, 'involvedObject', 'kind') or ''}/{at(item, 'involvedObject', 'name') or ''}",
        "message": str(item.get("message", ""))[:500],
        "count": int(item.get("count") or at(item, "series", "count") or 1),
    }


def usage(items: list[Any]) -> pd.DataFrame:
    """What each container uses: DataFrame with USAGE_COLUMNS."""
    rows = [
        {
            "pod": at(item, "metadata", "name"),
            "container": container.get("name", ""),
            "cpu_cores": quantity(at(container, "usage", "cpu")),
            "memory_bytes": quantity(at(container, "usage", "memory")),
        }
        for item in items
        for container in item.get("containers") or []
    ]
    return typed(pd.DataFrame(rows, columns=USAGE_COLUMNS))


def volumes(items: list[Any]) -> pd.DataFrame:
    """DataFrame with VOLUME_COLUMNS: the size that was given, else the one that was asked for."""
    rows = [
        {
            "name": at(item, "metadata", "name"),
            "phase": at(item, "status", "phase") or "",
            "capacity_bytes": quantity(
                at(item, "status", "capacity", "storage") or at(item, "spec", "resources", "requests", "storage")
            ),
            "storage_class": at(item, "spec", "storageClassName") or "",
        }
        for item in items
    ]
    return typed(pd.DataFrame(rows, columns=VOLUME_COLUMNS))


def usage_upgraded(frame: pd.DataFrame) -> pd.DataFrame:
    """Usage as it was recorded once, a row a pod: of no container in particular."""
    return frame if "container" in frame else frame.assign(container="")[USAGE_COLUMNS]
