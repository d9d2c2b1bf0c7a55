"""Pods as the API lists them, for tests: of an app, in one state or another, with one container or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from runbook.sources.cluster.pods import pods


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod: what it waits for, how it ended last, and its limits as Kubernetes writes them."""

    name: str = "main"
    waiting: str = ""
    ended: str = ""
    at: datetime | None = None
    restarts: int = 0
    memory: str = "512Mi"
    cpu: str = "500m"

    @property
    def code(self) -> int:
        return {"": 0, "Completed": 0, "OOMKilled": 137}.get(self.ended, 1)

    @property
    def spec(self) -> dict[str, Any]:
        limits = {name: text for name, text in (("memory", self.memory), ("cpu", self.cpu)) if text}
        return {"name": self.name, "image": f"{self.name}:1", "resources": {"limits": limits}}

    def status(self, ready: bool) -> dict[str, Any]:
        state: dict[str, Any] = {"running": {}}
        if self.waiting:
            state = {"waiting": {"reason": self.waiting}}
        last: dict[str, Any] = {}
        if self.ended:
            finished = self.at.strftime("%Y-%m-%dT%H:%M:%SZ") if self.at else None
            last = {"terminated": {"reason": self.ended, "exitCode": self.code, "finishedAt": finished}}
        return {
            "name": self.name,
            "ready": ready and not self.waiting,
            "restartCount": self.restarts or int(bool(self.ended)),
            "state": state,
            "lastState": last,
        }


def pod(
    app: str,
    *containers: Container,
    code: str = "x2x9k",
    ready: bool = True,
    phase: str = "Running",
    reason: str = "",
    owner: str = "ReplicaSet",
    deleted: bool = False,
    **condition: str,
) -> dict[str, Any]:
    """`reason` is the pod's own ("Evicted"); `condition` is added to its condition Ready."""
    several: Sequence[Container] = containers or (Container(),)
    is_over = phase in ("Succeeded", "Failed")
    metadata = {
        "name": f"{app}-7d9c5b8f6-{code}",
        "uid": f"{app}-{code}",
        "labels": {"app.kubernetes.io/name": app},
        "ownerReferences": [{"kind": owner, "name": app}] if owner else [],
    }
    return {
        "metadata": metadata | ({"deletionTimestamp": "2026-01-15T14:00:00Z"} if deleted else {}),
        "spec": {"containers": [container.spec for container in several]},
        "status": {
            "phase": phase,
            "startTime": "2026-01-15T10:00:00Z",
            "conditions": [{"type": "Ready", "status": str(ready and not is_over), **condition}],
            **({"reason": reason} if reason else {}),
            **({} if is_over else {"containerStatuses": [container.status(ready) for container in several]}),
        },
    }


def rows(*items: dict[str, Any]) -> pd.DataFrame:
    """The pods as the source has them."""
    return pods(list(items))
