"""What an alert is about: the deployments and tables that its labels and metrics name."""

from __future__ import annotations

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
    "database": ("postgres",), "postgres-pvc": ("postgres",), "storage": ("postgres",), "cache": ("redis",), "messaging": ("nats",), "llm": ("bifrost",),
    "exchange": ("order-executor-server", "market-data-server"), "binance": ("order-executor-server", "market-data-server"), "risk": ("risk-agent", "risk-analyzer-server"),
    "agents": ("orchestrator",), "trading": ("orchestrator", "order-executor-server"), "technical": ("technical-agent",),
}  # fmt: skip
METRIC_APPS = {
    "_redis_": ("redis",), "_nats_": ("nats",), "_database_": ("postgres",), "_llm_": ("bifrost",), "_http_": ("api",), "_api_request": ("api",),
    "_exchange_api_": ("order-executor-server", "market-data-server"), "_order_execution_": ("order-executor-server",), "_orchestrator_": ("orchestrator",),
    "_mcp_tool_": ("market-data-server",), "kubelet_volume_": ("postgres",),
}  # fmt: skip
TABLES = {
    "candle": ("candlesticks",), "order": ("orders",), "position": ("positions",), "session": ("trading_sessions",), "trade": ("trades",), "fill": ("trades",),
    "agent": ("agent_status", "agent_signals"), "signal": ("agent_signals",), "llm": ("llm_decisions",), "audit": ("audit_logs",),
    "drawdown": ("performance_metrics",), "pnl": ("performance_metrics",), "sharpe": ("performance_metrics",),
}  # fmt: skip


def deployments_of(value: str, pods: pd.DataFrame, deployments: pd.DataFrame) -> list[str]:
    """The deployments that a label's value names: as a pod, an app, a service, a component, or by another name of it."""
    value = value.strip().lower()
    if not value or len(value) > 253:
        return []
    apps = [str(app) for app in dict.fromkeys([*pods["app"], *deployments["name"]]) if app]
    if value in set(map(str, pods["name"])):
        return [str(app) for app in pods[pods["name"] == value]["app"] if app]
    stem = value.removesuffix("-service")
    exact = [
        app
        for app in apps
        if app in (value, stem, f"{stem}-server", f"{stem}-agent") or (app.count("-") and value.startswith(f"{app}-"))
    ]
    if exact:
        return exact
    component = (
        [str(name) for name in deployments[deployments["component"] == value]["name"]] if len(deployments) else []
    )
    return [app for app in _ALIASES.get(value, ()) if app in apps] or component
