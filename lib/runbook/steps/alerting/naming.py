"""What an alert is about: the deployments and tables that its labels and metrics name."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

# Labels that may name something in the cluster, those that name it most narrowly first.
LABELS = (
    "pod",
    "deployment",
    "container",
    "app",
    "app_kubernetes_io_name",
    "service",
    "job",
    "agent_type",
    "persistentvolumeclaim",
    "exchange",
    "component",
)
_ALIASES = {
    "agents": ("orchestrator",),
    "binance": ("order-executor-server", "market-data-server"),
    "cache": ("redis",),
    "database": ("postgres",),
    "exchange": ("order-executor-server", "market-data-server"),
    "llm": ("bifrost",),
    "messaging": ("nats",),
    "postgres-pvc": ("postgres",),
    "risk": ("risk-agent", "risk-analyzer-server"),
    "storage": ("postgres",),
    "technical": ("technical-agent",),
    "trading": ("orchestrator", "order-executor-server"),
}
"""What a label's value calls deployments whose own names are others."""

_MAKERS_BY_METRIC = {
    "_redis_": ("redis",),
    "_nats_": ("nats",),
    "_database_": ("postgres",),
    "_llm_": ("bifrost",),
    "_http_": ("api",),
    "_api_request": ("api",),
    "_exchange_api_": ("order-executor-server", "market-data-server"),
    "_order_execution_": ("order-executor-server",),
    "_orchestrator_": ("orchestrator",),
    "_mcp_tool_": ("market-data-server",),
    "kubelet_volume_": ("postgres",),
}
"""A part of a metric's name -> the deployments it measures, those most to the point first."""

_TABLES_BY_WORD = {
    "candle": ("candlesticks",),
    "order": ("orders",),
    "position": ("positions",),
    "session": ("trading_sessions",),
    "trade": ("trades",),
    "fill": ("trades",),
    "agent": ("agent_status", "agent_signals"),
    "signal": ("agent_signals",),
    "llm": ("llm_decisions",),
    "audit": ("audit_logs",),
    "drawdown": ("performance_metrics",),
    "pnl": ("performance_metrics",),
    "sharpe": ("performance_metrics",),
}
_TABLES_MAX = 6


def makers_of(expression: str) -> Iterator[str]:
    """The deployments that the metrics of an expression are of, whether or not the cluster has them."""
    return (app for word, makers in _MAKERS_BY_METRIC.items() if word in expression for app in makers)


def tables_of(text: str) -> tuple[str, ...]:
    """The tables of the trading database that `text` is about by its words, each once."""
    named = [table for word, held_in in _TABLES_BY_WORD.items() if word in text.lower() for table in held_in]
    return tuple(dict.fromkeys(named[:_TABLES_MAX]))


def deployments_of(value: str, pods: pd.DataFrame, deployments: pd.DataFrame) -> list[str]:
    """The deployments that a label's value names: as a pod, an app, a service, a component, or by an alias."""
    value = value.strip().lower()
    if not value or len(value) > 253:
        return []
    apps = [str(app) for app in dict.fromkeys([*pods["app"], *deployments["name"]]) if app]
    if value in set(map(str, pods["name"])):
        return [str(app) for app in pods[pods["name"] == value]["app"] if app]
    exact = [app for app in apps if _is_called(app, value)]
    if exact:
        return exact
    aliases = [app for app in _ALIASES.get(value, ()) if app in apps]
    return aliases or _of_component(value, deployments)


def _is_called(app: str, value: str) -> bool:
    """Whether `value` is the deployment's name, that without its ending, or begins with it as a pod's name does."""
    stem = value.removesuffix("-service")
    return app in (value, stem, f"{stem}-server", f"{stem}-agent") or ("-" in app and value.startswith(f"{app}-"))


def _of_component(value: str, deployments: pd.DataFrame) -> list[str]:
    if not len(deployments):
        return []
    return [str(name) for name in deployments[deployments["component"] == value]["name"]]
