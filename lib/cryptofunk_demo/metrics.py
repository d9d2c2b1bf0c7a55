"""All metrics of the platform during an incident, as its exporters, cAdvisor and kube-state-metrics give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import numpy as np

from cryptofunk_demo.agents import AGENTS
from cryptofunk_demo.decisions import halted_at
from cryptofunk_demo.market import NAMES, Floats
from cryptofunk_demo.moment import AS_OF, MOMENT
from cryptofunk_demo.patches import quantity
from cryptofunk_demo.rules import EARLIER_FIRINGS
from cryptofunk_demo.series import COARSE, FINE, Recorder, Series, spans
from cryptofunk_demo.simulation import Simulation
from cryptofunk_demo.workloads import MEBI, WORKLOADS, Workload

NAMESPACE = {"namespace": "cryptofunk"}
_POOL_SIZE = 10
_API_MS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
_TOOL_MS = (10, 25, 50, 100, 250, 500, 1000, 2500)
_EXCHANGE_MS = (50, 100, 250, 500, 1000, 2500, 5000)
_AGENT_MS = (50, 100, 250, 500, 1000, 2500, 5000)
_LLM_MS = (100, 250, 500, 1000, 2500, 5000, 10000)
_ORDER_MS = (100, 250, 500, 1000, 2500, 5000)
_QUERY_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
_HEALTH_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000)
_PATHS = (
    ("GET", "/api/v1/health", 12.0, 6),
    ("GET", "/api/v1/positions", 20.0, 38),
    ("GET", "/api/v1/agents", 9.0, 31),
    ("POST", "/api/v1/orders", 2.5, 120),
)
_TOOLS = (
    ("get_ticker", "market-data", 40.0, 55),
    ("get_candlesticks", "market-data", 25.0, 90),
    ("calculate_rsi", "technical-indicators", 22.0, 18),
    ("validate_trade", "risk-analyzer", 4.0, 24),
    ("place_order", "order-executor", 1.5, 210),
)


def every(simulation: Simulation) -> Iterator[Series]:
    """Every series of the incident, up to the time of the report."""
    recorder = Recorder(simulation.incident.overrides, simulation.facts, simulation.seed)
    return chain(
        _trading(recorder, simulation),
        _breakers(recorder, simulation),
        _services(recorder),
        _agents(recorder, simulation),
        _stores(recorder, simulation),
        chain.from_iterable(_pod(recorder, workload, simulation) for workload in WORKLOADS),
        _alerts(simulation),
    )


def _trading(recorder: Recorder, simulation: Simulation) -> Iterator[Series]:
    now = _Sampled(simulation)
    gauges: dict[str, Floats | float] = {
        "cryptofunk_total_pnl": now("total_pnl"),
        "cryptofunk_win_rate": now("win_rate"),
        "cryptofunk_open_positions": now("open_positions"),
        "cryptofunk_current_drawdown": now("drawdown"),
        "cryptofunk_max_drawdown_threshold": simulation.session.limits.max_drawdown,
        "cryptofunk_sharpe_ratio": now("daily_sharpe"),
        "cryptofunk_daily_return": now("total_pnl") / 10_000.0,
        "cryptofunk_active_sessions": 1.0,
        "cryptofunk_total_trades": now("closed"),
    }
    for name, values in gauges.items():
        yield from recorder.gauge(name, values)
    won, lost = now.outcomes()
    yield from recorder.gauge("cryptofunk_winning_trades_value", won)
    yield from recorder.gauge("cryptofunk_losing_trades_value", lost)
    by_symbol = now("value_by_symbol")
    for column, symbol in enumerate(NAMES):
        yield from recorder.gauge("cryptofunk_position_value_by_symbol", by_symbol[:, column], {"symbol": symbol})


class _Sampled:
    """The open session's account as a scrape sees it; before the session began, the session before it."""

    def __init__(self, simulation: Simulation) -> None:
        self._accounts = simulation.accounts[-2:]
        self._positions = simulation.session.positions
        self._stamps = [np.array([t.timestamp() for t in a.times]) for a in self._accounts]

    def __call__(self, name: str) -> Floats:
        parts = [
            np.asarray(getattr(account, name))[np.maximum(np.searchsorted(stamps, FINE, side="right") - 1, 0)]
            for account, stamps in zip(self._accounts, self._stamps, strict=True)
        ]
        later = self._stamps[1][0] <= FINE
        return np.where(later if parts[0].ndim == 1 else later[:, None], parts[1], parts[0])

    def outcomes(self) -> tuple[Floats, Floats]:
        """Profit of winning and loss of losing trades since the open session began, USDT."""
        won, lost = np.zeros(FINE.shape), np.zeros(FINE.shape)
        for position in self._positions:
            if position.exit_at:
                target = won if position.realized_pnl > 0 else lost
                target[np.searchsorted(FINE, position.exit_at.timestamp()) :] += abs(position.realized_pnl)
        return won, lost


def _breakers(recorder: Recorder, simulation: Simulation) -> Iterator[Series]:
    for service, per_minute in (("exchange", 55.0), ("llm", 14.0), ("database", 160.0)):
        labels = {"service": service}
        yield from recorder.gauge("circuit_breaker_state", 0.0, labels)
        for result, share in (("success", 0.999), ("failure", 0.001)):
            name = "circuit_breaker_requests_total"
            yield from recorder.counter(name, per_minute * share, {**labels, "result": result}, start=51_000 * share)
        yield from recorder.counter("circuit_breaker_failures_total", per_minute * 0.001, labels, start=51)
    paused, _ = halted_at(simulation.session, simulation.incident)
    breaker = "manual_halt" if simulation.incident.pause else "max_drawdown"
    for kind in ("max_drawdown", "high_volatility", "rate_limit", "manual_halt"):
        tripped = np.zeros(FINE.shape)
        if paused and kind == breaker:
            tripped[paused.timestamp() <= FINE] = 1.0
        yield from recorder.gauge("cryptofunk_circuit_breaker_status", tripped, {"breaker_type": kind})
        before = 1.0 if kind == "max_drawdown" else 0.0
        labels = {"breaker_type": kind, "reason": kind}
        yield from recorder.gauge("cryptofunk_circuit_breaker_trips_total", before + tripped, labels)


def _services(recorder: Recorder) -> Iterator[Series]:
    for method, path, per_minute, typical in _PATHS:
        labels = {"method": method, "path": path}
        for code, share in (("200", 0.995), ("400", 0.003), ("500", 0.0012), ("503", 0.0008)):
            yield from recorder.counter(
                "cryptofunk_http_requests_total",
                per_minute * share,
                {**labels, "status_code": code},
                start=90_000 * share,
            )
        yield from recorder.histogram(
            "cryptofunk_api_request_duration_ms", per_minute, typical, _API_MS, {**labels, "status_code": "200"}
        )
    for kind, component, per_minute in (
        ("timeout", "mcp", 0.02),
        ("tool_error", "mcp", 0.03),
        ("publish", "nats", 0.004),
        ("query", "database", 0.005),
        ("validation", "api", 0.03),
        ("request", "llm", 0.02),
    ):
        labels = {"type": kind, "component": component}
        yield from recorder.counter("cryptofunk_errors_total", per_minute, labels, start=40)
    for tool, server, per_minute, typical in _TOOLS:
        labels = {"tool_name": tool, "server": server}
        yield from recorder.histogram("cryptofunk_mcp_tool_call_duration_ms", per_minute, typical, _TOOL_MS, labels)
    for kind in ("timeout", "rate_limit", "authentication", "network", "server_error"):
        labels = {"exchange": "binance", "error_type": kind}
        yield from recorder.counter("cryptofunk_exchange_api_errors_total", 0.004, labels, start=11)
    for endpoint, per_minute, typical in (("klines", 30.0, 74), ("order", 1.5, 130), ("account", 4.0, 92)):
        labels = {"exchange": "binance", "endpoint": endpoint}
        yield from recorder.histogram("cryptofunk_exchange_api_latency_ms", per_minute, typical, _EXCHANGE_MS, labels)
    yield from recorder.histogram("cryptofunk_order_execution_latency_ms", 1.5, 260, _ORDER_MS)
    yield from recorder.histogram("cryptofunk_orchestrator_latency_ms", 6.0, 480, _AGENT_MS)


def _agents(recorder: Recorder, simulation: Simulation) -> Iterator[Series]:
    yield from recorder.gauge("cryptofunk_active_agents", float(len(AGENTS)))
    for number, agent in enumerate(AGENTS):
        labels = {"agent_type": agent.metric_type}
        yield from recorder.gauge("cryptofunk_agent_status", 1.0, labels)
        yield from recorder.gauge("cryptofunk_agent_signal_confidence", 0.52 + 0.03 * number, labels, noise=0.05)
        for signal, per_minute in (("HOLD", 0.1), ("BUY", 0.012), ("SELL", 0.010)):
            name = "cryptofunk_agent_signals_total"
            yield from recorder.counter(name, per_minute, {**labels, "signal_type": signal}, start=2_400 * per_minute)
        yield from recorder.histogram(
            "cryptofunk_agent_processing_duration_ms",
            60 / agent.decides_every_seconds,
            620 + 90 * number,
            _AGENT_MS,
            labels,
        )
    yield from recorder.histogram("cryptofunk_llm_request_duration_ms", 14.0, 1150, _LLM_MS)
    for kind, per_minute in (("signal", 5.0), ("risk_approval", 0.4)):
        labels = {"model": "claude-sonnet-4", "decision_type": kind}
        yield from recorder.counter("cryptofunk_llm_decisions_total", per_minute, labels, start=9_000)
    for decision, per_minute in (("approved", 0.02), ("rejected", 0.05), ("no_consensus", 0.4)):
        yield from recorder.counter("cryptofunk_voting_results_total", per_minute, {"decision": decision}, start=700)


def _stores(recorder: Recorder, simulation: Simulation) -> Iterator[Series]:
    (active,) = recorder.gauge("cryptofunk_database_connections_active", 3.2, noise=0.2)
    (idle,) = recorder.gauge("cryptofunk_database_connections_idle", 6.8, noise=0.1)
    # Connections are whole, and what is not in use is idle: overrides of `active` tell both.
    used = np.clip(np.round(active.values), 0, _POOL_SIZE)
    yield replace(active, values=used)
    yield replace(idle, values=_POOL_SIZE - used)
    for kind, per_minute, typical in (("select", 110.0, 3.1), ("insert", 45.0, 4.4), ("update", 8.0, 3.7)):
        labels = {"query_type": kind}
        yield from recorder.histogram("cryptofunk_database_query_duration_ms", per_minute, typical, _QUERY_MS, labels)
    yield from recorder.gauge("cryptofunk_redis_cache_hit_rate", 0.93, noise=0.01)
    yield from recorder.counter("cryptofunk_nats_messages_published_total", 85.0, start=120_000)
    yield from recorder.counter("cryptofunk_nats_messages_received_total", 84.9, start=119_870)
    for component in ("database", "nats", "agents"):
        yield from recorder.gauge("health_check_status", 1.0, {"component": component})
        labels = {"component": component}
        yield from recorder.histogram(
            "health_check_latency_ms", 6.0, 4.5, _HEALTH_MS, labels, times=FINE, is_regular=True
        )
    volume = {**NAMESPACE, "persistentvolumeclaim": "postgres-pvc"}
    used = 27.4e9 + (FINE - FINE[0]) * 40.0
    yield from recorder.gauge("kubelet_volume_stats_used_bytes", used, volume)
    yield from recorder.gauge(
        "kubelet_volume_stats_capacity_bytes", float(quantity(simulation.incident.volume)), volume
    )


def _pod(recorder: Recorder, workload: Workload, simulation: Simulation) -> Iterator[Series]:
    pod = {**NAMESPACE, "pod": workload.pod, "container": workload.name}
    memory = workload.memory_used * MEBI
    yield from recorder.gauge("container_memory_working_set_bytes", memory, pod, times=COARSE, noise=0.015)
    cpu = 60 * workload.cpu_used / 1000
    yield from recorder.counter("container_cpu_usage_seconds_total", cpu, pod, start=9_000, times=COARSE, whole=False)
    yield from recorder.counter("container_cpu_cfs_periods_total", 600, pod, times=COARSE)
    yield from recorder.counter("container_cpu_cfs_throttled_periods_total", 1.2, pod, times=COARSE)
    for resource, unit, limit, request in (
        ("memory", "byte", workload.memory_limit * MEBI, workload.memory_request * MEBI),
        ("cpu", "core", workload.cpu_limit / 1000, workload.cpu_request / 1000),
    ):
        labels = {**pod, "resource": resource, "unit": unit}
        yield from recorder.gauge("kube_pod_container_resource_limits", limit, labels, times=COARSE)
        yield from recorder.gauge("kube_pod_container_resource_requests", request, labels, times=COARSE)
    restarts = np.zeros(COARSE.shape)
    for state in simulation.incident.pods:
        if state.workload == workload.name:
            restarts[MOMENT.timestamp() + 60 * state.minute <= COARSE] = state.restarts
    yield from recorder.gauge("kube_pod_container_status_restarts_total", restarts, pod, times=COARSE)
    yield from recorder.gauge("up", 1.0, {**NAMESPACE, "job": workload.name, "pod": workload.pod}, times=COARSE)


def _alerts(simulation: Simulation) -> Iterator[Series]:
    for name, labels, firings in EARLIER_FIRINGS:
        earlier = [(MOMENT - timedelta(days=d), MOMENT - timedelta(days=d) + timedelta(minutes=m)) for d, m in firings]
        yield from spans("ALERTS", {"alertname": name, "alertstate": "firing", **labels}, earlier)
    for spec in (simulation.incident.alert, *simulation.incident.also_firing):
        if not spec.firing:  # its expression never held: there is nothing that Prometheus would have kept
            continue
        starts = MOMENT + timedelta(minutes=spec.start_minute)
        waited = (starts - timedelta(minutes=2), starts - timedelta(minutes=1))
        for state, times in (("pending", waited), ("firing", (starts, AS_OF))):
            labels = {"alertname": spec.name, "alertstate": state, **spec.labels}
            yield from spans("ALERTS", labels, [times])
