"""The platform's alerting rules, and when some of them fired before."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting rule: expression, time it must hold, labels."""

    name: str
    expression: str
    held: str
    severity: str
    component: str


RULES = (
    Rule(
        "MaxDrawdownExceeded",
        "cryptofunk_current_drawdown > cryptofunk_max_drawdown_threshold",
        "2m",
        "critical",
        "risk",
    ),
    Rule("HighDrawdown", "cryptofunk_current_drawdown > 0.15", "1m", "warning", "risk"),
    Rule(
        "CriticalDrawdown",
        "cryptofunk_current_drawdown > 0.9 * cryptofunk_max_drawdown_threshold",
        "1m",
        "critical",
        "risk",
    ),
    Rule("CircuitBreakerOpen", "circuit_breaker_state == 1", "1m", "warning", "circuit_breaker"),
    Rule("CircuitBreakerTripped", "cryptofunk_circuit_breaker_status == 1", "0m", "critical", "circuit_breaker"),
    Rule(
        "FrequentCircuitBreakerTrips",
        "increase(cryptofunk_circuit_breaker_trips_total[1h]) > 3",
        "0m",
        "warning",
        "circuit_breaker",
    ),
    Rule(
        "HighErrorRate",
        'sum(rate(cryptofunk_http_requests_total{status_code=~"5.."}[5m])) / '
        "sum(rate(cryptofunk_http_requests_total[5m])) > 0.05",
        "5m",
        "critical",
        "api",
    ),
    Rule(
        "DatabaseErrors", 'rate(cryptofunk_errors_total{component="database"}[5m]) > 0.1', "5m", "critical", "database"
    ),
    Rule("HighExchangeAPIErrors", "rate(cryptofunk_exchange_api_errors_total[5m]) > 0.1", "5m", "warning", "exchange"),
    Rule("NoActiveSessions", "cryptofunk_active_sessions == 0", "5m", "critical", "orchestrator"),
    Rule("NoActiveAgents", "cryptofunk_active_agents == 0", "2m", "critical", "agents"),
    Rule("TooManyOpenPositions", "cryptofunk_open_positions > 3", "5m", "warning", "trading"),
    Rule("LargePositionValue", "cryptofunk_position_value_by_symbol > 5000", "5m", "warning", "trading"),
    Rule("AgentDown", "cryptofunk_agent_status == 0", "2m", "warning", "agents"),
    # The platform's rule says "> 5000", which never holds: the histogram's last finite bucket ends at 5000, and
    # histogram_quantile gives that for whatever lies above it.
    Rule(
        "AgentHighProcessingTime",
        "histogram_quantile(0.95, sum by (le, agent_type) "
        "(rate(cryptofunk_agent_processing_duration_ms_bucket[5m]))) >= 5000",
        "5m",
        "warning",
        "agents",
    ),
    Rule(
        "HighLLMRequestLatency",
        "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_llm_request_duration_ms_bucket[5m]))) > 10000",
        "5m",
        "warning",
        "llm",
    ),
    Rule(
        "HighMemoryUsage",
        "container_memory_working_set_bytes / on (namespace, pod, container) "
        'kube_pod_container_resource_limits{resource="memory"} > 0.8',
        "5m",
        "warning",
        "resources",
    ),
    Rule(
        "HighCPUUsage",
        "rate(container_cpu_usage_seconds_total[5m]) / on (namespace, pod, container) "
        'kube_pod_container_resource_limits{resource="cpu"} > 0.8',
        "5m",
        "warning",
        "resources",
    ),
    Rule(
        "DiskSpaceWarning",
        "kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes > 0.8",
        "5m",
        "warning",
        "storage",
    ),
)
BY_NAME = {rule.name: rule for rule in RULES}

# (alert, labels, ((days before the moment, minutes it fired), …))
EARLIER_FIRINGS = (
    (
        "MaxDrawdownExceeded",
        {"severity": "critical", "component": "risk", "namespace": "cryptofunk"},
        ((11.31, 23), (4.86, 9)),
    ),
    ("CriticalDrawdown", {"severity": "critical", "component": "risk"}, ((11.32, 41), (4.87, 20), (2.2, 6))),
    (
        "CircuitBreakerOpen",
        {"severity": "warning", "component": "circuit_breaker", "service": "exchange"},
        ((12.6, 4), (9.1, 7), (9.05, 3), (3.4, 5)),
    ),
    (
        "HighMemoryUsage",
        {"severity": "warning", "component": "resources", "namespace": "cryptofunk"},
        ((8.2, 55), (1.4, 30)),
    ),
    (
        "AgentHighProcessingTime",
        {"severity": "warning", "component": "agents", "agent_type": "sentiment"},
        ((6.7, 18),),
    ),
)


def rules_file() -> str:
    """The rules as a Prometheus rule file (JSON, which is YAML too)."""
    rules = [
        {
            "alert": rule.name,
            "expr": rule.expression,
            "for": rule.held,
            "labels": {"severity": rule.severity, "component": rule.component},
            "annotations": {"summary": f"{rule.name} on {rule.component}"},
        }
        for rule in RULES
    ]
    return json.dumps({"groups": [{"name": "cryptofunk", "rules": rules}]}, indent=1)
