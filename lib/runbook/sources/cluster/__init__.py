"""Kubernetes, read only: pods, deployments, events, logs, usage, and health through the API server's proxy."""

from __future__ import annotations

from runbook.sources.cluster.objects import DEPLOYMENT_COLUMNS, EVENT_COLUMNS, USAGE_COLUMNS, VOLUME_COLUMNS
from runbook.sources.cluster.pods import CONTAINER_COLUMNS, POD_COLUMNS, containers_of
from runbook.sources.cluster.quantities import quantity
from runbook.sources.cluster.source import NAME, Cluster

__all__ = [
    "CONTAINER_COLUMNS",
    "DEPLOYMENT_COLUMNS",
    "EVENT_COLUMNS",
    "NAME",
    "POD_COLUMNS",
    "USAGE_COLUMNS",
    "VOLUME_COLUMNS",
    "Cluster",
    "containers_of",
    "quantity",
]
