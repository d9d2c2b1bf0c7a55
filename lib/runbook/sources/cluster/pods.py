"""Pods as rows, and their containers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.sources.cluster import pod_status
from runbook.sources.cluster.json_paths import (
    APP,
    COMPONENT,
    at,
    condition,
    label,
    line,
    main_container,
    typed,
)
from runbook.sources.cluster.quantities import quantity

POD_COLUMNS = [
    "name",
    "app",
    "component",
    "owner_kind",
    "phase",
    "status",
    "ready",
    "containers_ready",
    "leaving",
    "restarts",
    "started_at",
    "waiting",
    "message",
    "last_exit",
    "last_exit_code",
    "last_exit_at",
    "last_exit_container",
    "node",
    "container",
    "cpu_request",
    "cpu_limit",
    "memory_request",
    "memory_limit",
    "image",
    "containers",
]
"""A row a pod.

`status` and `containers_ready` are kubectl's columns STATUS and READY; `ready` is the pod's own condition; `leaving`:
it ended for good or is being deleted, so that it is not meant to serve. `waiting` is what keeps it from starting and
`message` why. The last exit is that of whichever container ended last. From `container` on: the container that the app
is, CPU in cores, memory in bytes, NaN for none; `containers` are all of them, for `containers_of`.
"""
CONTAINER_COLUMNS = [
    "pod",
    "app",
    "container",
    "kind",
    "leaving",
    "ready",
    "restarts",
    "waiting",
    "last_exit",
    "last_exit_code",
    "last_exit_at",
    "cpu_request",
    "cpu_limit",
    "memory_request",
    "memory_limit",
    "image",
]
"""A row a container. `kind`: "main" is the one that the app is, else "sidecar" or "init"."""
_OF_CONTAINER = CONTAINER_COLUMNS[5:]
_AMOUNTS = ("last_exit_code", "cpu_request", "cpu_limit", "memory_request", "memory_limit")


def pods(items: list[Any]) -> pd.DataFrame:
    """The pods as rows: DataFrame with POD_COLUMNS."""
    return typed(pd.DataFrame([_pod(item) for item in items], columns=POD_COLUMNS), "started_at", "last_exit_at")


def containers_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Every container of the pods that are `rows`, with POD_COLUMNS: DataFrame with CONTAINER_COLUMNS."""
    found = [container for row in rows.to_dict("records") for container in _containers_of(row)]
    frame = typed(pd.DataFrame(found, columns=CONTAINER_COLUMNS), "last_exit_at")
    return frame.astype(dict.fromkeys(_AMOUNTS, "float64"))


def upgraded(frame: pd.DataFrame) -> pd.DataFrame:
    """Pods as they were recorded once, with columns added since: as far as the others tell."""
    if set(POD_COLUMNS) <= set(frame.columns):
        return frame
    phases, waiting = frame["phase"].tolist(), frame["waiting"].tolist()
    known = {
        "owner_kind": "",
        "status": [reason or _WORDS.get(phase, phase) for reason, phase in zip(waiting, phases, strict=True)],
        "containers_ready": "",
        "leaving": [phase in ("Succeeded", "Failed") for phase in phases],
        "message": "",
        "last_exit_container": frame["container"],
        "containers": None,
    }
    missing = {name: values for name, values in known.items() if name not in frame}
    return frame.assign(**missing)[POD_COLUMNS]


_WORDS = {"Succeeded": "Completed", "Failed": "Error"}


def _containers_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    of_pod = {"pod": row["name"], "app": row["app"], "leaving": row["leaving"]}
    containers = row["containers"]
    if isinstance(containers, list) and containers:
        return [{**of_pod, **container, "container": container["name"]} for container in containers]
    # Recorded before all were: the first one's limits, and what is known of the pod as a whole.
    return [{**of_pod, "container": row["container"], "kind": "main", **{name: row[name] for name in _OF_CONTAINER}}]


def _pod(item: Any) -> dict[str, Any]:
    app = label(item, APP)
    containers = _containers(item, app)
    main: dict[str, Any] = next((known for known in containers if known["kind"] == "main"), {})
    last = max(containers, key=lambda known: (str(known["last_exit_at"] or ""), _is_bad_exit(known)), default={})
    status, is_leaving = pod_status.status_word(item), pod_status.is_leaving(item)
    is_ready = pod_status.is_ready(item) and not is_leaving
    waiting, message = _held_up(item, status, is_ready)
    return {
        "name": at(item, "metadata", "name"),
        "app": app,
        "component": label(item, COMPONENT),
        "owner_kind": next((str(owner.get("kind", "")) for owner in at(item, "metadata", "ownerReferences") or []), ""),
        "phase": at(item, "status", "phase") or "",
        "status": status,
        "ready": is_ready,
        "containers_ready": pod_status.ready_share(item),
        "leaving": is_leaving,
        "restarts": sum(known["restarts"] for known in containers if known["kind"] != "init" or known["waiting"]),
        "started_at": at(item, "status", "startTime"),
        "waiting": waiting,
        "message": message,
        "last_exit": last.get("last_exit", ""),
        "last_exit_code": _number(last.get("last_exit_code")),
        "last_exit_at": last.get("last_exit_at"),
        "last_exit_container": last.get("name", "") if last.get("last_exit_at") else "",
        "node": at(item, "spec", "nodeName") or "",
        "container": main.get("name", ""),
        **{name: _number(main.get(name)) for name in _AMOUNTS[1:]},
        "image": main.get("image", ""),
        "containers": containers,
    }


def _held_up(item: Any, status: str, is_ready: bool) -> tuple[str, str]:
    """(what keeps the pod from starting, in a word; why it is not ready, in the cluster's words); empty for neither."""
    scheduled = condition(item, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason") or "Unschedulable"), line(scheduled.get("message"))
    if is_ready:
        return "", ""
    statuses = (*pod_status.init_statuses(item), *pod_status.statuses(item))
    held: list[Mapping[str, Any]] = [at(container, "state", "waiting") or {} for container in statuses]
    waiting = next((state for state in held if state.get("reason")), {})
    reason = status if status.startswith("Init:") else str(waiting.get("reason") or "")
    message = line(waiting.get("message") or at(item, "status", "message"))
    if not message:
        ready = condition(item, "Ready")
        message = line(": ".join(str(part) for part in (ready.get("reason"), ready.get("message")) if part))
    return reason, message


def _containers(item: Any, app: str) -> list[dict[str, Any]]:
    """All containers, JSON-ready; those that only prepare the pod come last."""
    regular, initial = pod_status.containers(item), pod_status.init_containers(item)
    main = main_container(item, app, regular).get("name")
    states = {status.get("name"): status for status in pod_status.statuses(item)}
    states |= {status.get("name"): status for status in pod_status.init_statuses(item)}
    # Without a specification, which no server gives, what the status tells of stands for it.
    regular = regular or [{"name": name} for name in states]
    main = main if main is not None else next(iter(states), None)
    found = [_container(one, "main" if one.get("name") == main else "sidecar", states) for one in regular]
    found += [_container(one, "sidecar" if pod_status.is_lasting(one) else "init", states) for one in initial]
    return found


def _container(spec: Mapping[str, Any], kind: str, states: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    status = states.get(spec.get("name"), {})
    ended = at(status, "state", "terminated") or at(status, "lastState", "terminated") or {}
    if kind == "init" and not ended.get("exitCode"):
        ended = {}  # it did its work
    requests, limits = at(spec, "resources", "requests") or {}, at(spec, "resources", "limits") or {}
    return {
        "name": spec.get("name") or "",
        "kind": kind,
        "ready": bool(status.get("ready")),
        "restarts": int(status.get("restartCount") or 0),
        "waiting": at(status, "state", "waiting", "reason") or "",
        "last_exit": ended.get("reason") or "",
        "last_exit_code": ended.get("exitCode"),
        "last_exit_at": ended.get("finishedAt"),
        "cpu_request": _amount(requests.get("cpu")),
        "cpu_limit": _amount(limits.get("cpu")),
        "memory_request": _amount(requests.get("memory")),
        "memory_limit": _amount(limits.get("memory")),
        "image": spec.get("image") or "",
    }


def _is_bad_exit(container: Mapping[str, Any]) -> bool:
    return bool(container["last_exit_code"])


def _amount(text: Any) -> float | None:
    """A quantity as JSON has it: none for NaN."""
    value = quantity(text)
    return None if math.isnan(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
