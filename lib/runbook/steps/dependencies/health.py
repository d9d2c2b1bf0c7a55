"""What the platform says of its own health: its health checks, and what its health endpoints answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, union
from runbook.sources.overlap import at_once
from runbook.steps.dependencies.figures import Endpoints, HealthChecks
from runbook.steps.dependencies.wording import endpoints_title, health_checks_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import quantile, reading
from runbook.steps.shared.levels import by_label

ENDPOINTS = (
    ("api", "api-service", 80, "/api/v1/health"),
    ("orchestrator", "orchestrator-service", 8081, "/health"),
    ("bifrost", "bifrost-service", 8080, "/health"),
    ("nats", "nats-service", 8222, "/healthz"),
)
_LATENCY = "health_check_latency_ms"
_QUERIES = {
    "status": "min by (component) (health_check_status)",
    "ms": quantile(0.95, _LATENCY, by="component"),
}


def health_checks(metrics: Metrics, window: Window) -> Finding[HealthChecks]:
    """The platform's own health checks: health_check_status of each component, 1 healthy, 0.5 degraded, 0 failed."""
    frame = metrics.instant(union(_QUERIES), window.as_of).frame
    states = _by_component(frame, "status")
    if not any(math.isfinite(value) for value in states.values()):
        return Finding(
            Status.UNKNOWN,
            "The platform's health checks: no metric health_check_status",
            "Nothing is exported at the report's moment, so they say nothing.",
        )
    found = HealthChecks(
        len(states),
        failed=tuple(sorted(name for name, value in states.items() if value == 0)),
        degraded=tuple(sorted(name for name, value in states.items() if not value >= 1 and value != 0)),
    )
    latency = _by_component(frame, "ms")
    table = pd.DataFrame(
        {
            "component": list(states),
            "status": [_judgement(value) for value in states.values()],
            "p95": [reading(latency.get(name, math.nan), _LATENCY) for name in states],
        }
    )
    return Finding(
        graded(found.failed, found.degraded),
        health_checks_title(found),
        figures=found,
        tables=(Table("The platform's own health checks", table),),
    )


def _by_component(frame: pd.DataFrame, what: str) -> dict[str, float]:
    return {name: float(rows["value"].iloc[0]) for name, rows in by_label(frame, "component", what).items()}


def _judgement(value: float) -> str:
    if value >= 1:
        return "passes"
    if value == 0:
        return "FAILED"
    return "degraded" if value > 0 else "no value"


def endpoints(cluster: Cluster) -> Finding[Endpoints]:
    """Health endpoints: what api, orchestrator, bifrost and NATS answer through the API server's proxy."""
    rows = at_once(*(partial(_ask, cluster, *endpoint) for endpoint in ENDPOINTS))
    found = Endpoints(
        len(rows),
        down=tuple(row["service"] for row in rows if row["state"] == "down"),
        unknown=tuple(row["service"] for row in rows if row["state"] == "unknown"),
    )
    is_unsure = found.unknown and not found.down
    return Finding(
        Status.UNKNOWN if is_unsure else graded(found.down),
        endpoints_title(found),
        figures=found,
        tables=(Table("Health endpoints through the API server's proxy", pd.DataFrame(rows)),),
    )


def _ask(cluster: Cluster, name: str, service: str, port: int, path: str) -> dict[str, str]:
    """A row of the table: "state" is "ok", "down" or "unknown"."""
    try:
        answer = cluster.health(service, port, path).data
    except QueryFailed as error:
        return {"service": name, "path": path, "answer": str(error)[:160], "state": "unknown"}
    body = " ".join(str(answer.get("body", "")).split())[:120]
    return {"service": name, "path": path, "answer": f"{answer.get('code')} {body}".strip(), "state": _state(answer)}


def _state(answer: Mapping[str, Any]) -> str:
    if not 200 <= int(answer.get("code", 0)) < 300:
        return "down"
    try:
        word = str(json.loads(answer.get("body", "")).get("status", "ok")).lower()
    except (ValueError, AttributeError):
        return "ok"
    return "ok" if word in ("ok", "healthy", "up", "pass") else "down"
