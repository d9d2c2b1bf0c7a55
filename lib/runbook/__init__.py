"""Executable runbooks for CryptoFunk. Notebooks import what they need from here, and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook import charts
    from runbook.session import Runbook
    from runbook.steps import (
        agents,
        alerting,
        breakers,
        dependencies,
        disk,
        drawdown,
        error_rates,
        exposure,
        latency,
        platform,
        resources,
        sessions,
        system,
    )

__all__ = [
    "Runbook",
    "agents",
    "alerting",
    "breakers",
    "charts",
    "dependencies",
    "disk",
    "drawdown",
    "error_rates",
    "exposure",
    "latency",
    "platform",
    "resources",
    "sessions",
    "system",
]

_STEPS = frozenset(__all__) - {"Runbook", "charts"}


def __getattr__(name: str) -> Any:
    """Imports on first use: the service half shares this package and needs no pandas."""
    if name == "Runbook":
        return importlib.import_module("runbook.session").Runbook
    if name == "charts":
        return importlib.import_module("runbook.charts")
    if name in _STEPS:
        return importlib.import_module(f"runbook.steps.{name}")
    raise AttributeError(f"module 'runbook' has no attribute {name!r}")
