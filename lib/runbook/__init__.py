"""Executable runbooks for CryptoFunk. Notebooks import what they need from here, and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook import charts
    from runbook.session import Runbook

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
    "pressure",
    "resources",
    "sessions",
    "system",
]

_DOMAINS = frozenset(__all__) - {"Runbook", "charts"}
"""The domains of steps, a folder of runbook.steps each. `errors` is taken: the tree of exceptions has that name."""


def __getattr__(name: str) -> Any:
    """Imports on first use: the service half shares this package and needs no pandas."""
    if name == "Runbook":
        return importlib.import_module("runbook.session").Runbook
    if name == "charts":
        return importlib.import_module("runbook.charts")
    if name in _DOMAINS:
        return importlib.import_module(f"runbook.steps.{name}")
    raise AttributeError(f"module 'runbook' has no attribute {name!r}")
