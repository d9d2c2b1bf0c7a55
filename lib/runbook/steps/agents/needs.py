"""What agents need: MCP servers, LLM, tools and database, each asked or measured by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, selector
from runbook.sources.overlap import at_once
from runbook.steps.agents import wording
from runbook.steps.agents.figures import POOL_CONNECTIONS, McpServers, Need, Needed, Trouble
from runbook.steps.shared.endpoints import Health, heard
from runbook.steps.shared.fleet import MCP_SERVERS
from runbook.steps.shared.grading import graded

_ERRORS_PER_MINUTE = 1.0
_HISTOGRAMS = {
    Needed.LLM: "cryptofunk_llm_request_duration_ms",
    Needed.TOOLS: "cryptofunk_mcp_tool_call_duration_ms",
    Needed.DATABASE: "cryptofunk_database_query_duration_ms",
}
_SLOW_MS = {Needed.LLM: 10_000.0, Needed.TOOLS: 2_500.0, Needed.DATABASE: 500.0}
Samples = Mapping[tuple[str, str], float]
"""Finite samples by part and moment: ("errors", "now")."""


def mcp_servers(cluster: Cluster) -> Finding[McpServers]:
    """MCP servers: what each answers at /health, through the API server's proxy."""
    servers = MCP_SERVERS.items()
    # Side by side: four servers that hang must not take four time limits.
    answers = at_once(*(partial(heard, cluster, server, port, "/health") for server, port in servers))
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    of_each = dict(zip(MCP_SERVERS, answers, strict=True))
    found = McpServers(
        down=tuple(server for server, answer in of_each.items() if answer.health is Health.DOWN),
        unknown=tuple(server for server, answer in of_each.items() if answer.health is Health.UNKNOWN),
    )
    severity = graded(found.down)
    if found.unknown and not found.down:
        severity = Status.UNKNOWN
    columns = ["server", "port", "state", "answer"]
    rows = [
        (server, str(port), answer.health.value, answer.text)
        for (server, port), answer in zip(servers, answers, strict=True)
    ]
    return Finding(
        severity,
        wording.mcp_title(found, len(answers)),
        "; ".join(f"{server}: {answer.text}" for server, answer in of_each.items() if answer.health is not Health.WELL),
        found,
        (Table("MCP servers", pd.DataFrame(rows, columns=columns)),),
    )


def llm(metrics: Metrics, window: Window) -> Finding[Need]:
    """LLM: errors, breaker and latency of the gateway, now and before the alert."""
    return _measured(Needed.LLM, metrics, window)


def tools(metrics: Metrics, window: Window) -> Finding[Need]:
    """MCP tools: errors and latency of tool calls, now and before the alert."""
    return _measured(Needed.TOOLS, metrics, window)


def store(metrics: Metrics, window: Window) -> Finding[Need]:
    """Database connections: errors, breaker, pool and query latency, now and before the alert."""
    return _measured(Needed.DATABASE, metrics, window)


def expression_of(needed: Needed, minutes: int) -> str:
    """PromQL: errors a minute, p95 in ms and breaker of its component, now and before (labels `part`, `at`)."""
    errors = f"sum(rate(cryptofunk_errors_total{selector(component=needed.value)}"
    requests = f"histogram_quantile(0.95, sum by (le) (rate({_HISTOGRAMS[needed]}_bucket"
    parts = {
        ("errors", "now"): f"{errors}[5m])) * 60",
        ("errors", "before"): f"{errors}[{minutes}m] offset 30m)) * 60",
        ("p95", "now"): f"{requests}[5m])))",
        ("p95", "before"): f"{requests}[{minutes}m] offset 30m)))",
    }
    if needed is not Needed.TOOLS:
        parts["breaker", "now"] = f"max(circuit_breaker_state{selector(service=needed.value)})"
    if needed is Needed.DATABASE:
        parts["active", "now"] = "max(cryptofunk_database_connections_active)"
        parts["idle", "now"] = "max(cryptofunk_database_connections_idle)"
    return " or ".join(
        f'label_replace(label_replace({query}, "part", "{part}", "", ""), "at", "{at}", "", "")'
        for (part, at), query in parts.items()
    )


def _measured(needed: Needed, metrics: Metrics, window: Window) -> Finding[Need]:
    minutes = max(30, round((window.starts_at - window.start).total_seconds() / 60) - 30)
    samples = _samples(metrics.instant(expression_of(needed, minutes), window.as_of).frame)
    if ("errors", "now") not in samples and ("p95", "now") not in samples:
        nothing = (
            f"Neither cryptofunk_errors_total of {needed.value} nor {_HISTOGRAMS[needed]} has samples "
            "at the report's moment."
        )
        return Finding(Status.UNKNOWN, f"{wording.need_subject(needed)}: no usable sample", nothing)
    troubles = _troubles(needed, samples)
    found = Need(
        needed,
        troubles,
        errors_per_minute=_sample(samples, "errors"),
        errors_before=_sample(samples, "errors", "before"),
        p95_ms=_sample(samples, "p95"),
        p95_before_ms=_sample(samples, "p95", "before"),
        breaker=_sample(samples, "breaker"),
        connections=_sample(samples, "active"),
    )
    return Finding(
        graded(critical=False, warning=troubles), wording.need_title(found), wording.need_detail(found), found
    )


def _troubles(needed: Needed, samples: Samples) -> tuple[Trouble, ...]:
    """What is the matter. Samples that are missing are NaN: they prove neither trouble nor that it was so before."""
    errors, p95 = _sample(samples, "errors"), _sample(samples, "p95")
    is_usual_errors = errors <= 3 * _sample(samples, "errors", "before")
    is_usual_p95 = p95 <= 1.5 * _sample(samples, "p95", "before")
    holds = {
        Trouble.ERRORS: errors >= _ERRORS_PER_MINUTE and not is_usual_errors,
        Trouble.SLOW: p95 >= _SLOW_MS[needed] and not is_usual_p95,
        Trouble.BREAKER: _sample(samples, "breaker") >= 1,
        Trouble.POOL: _sample(samples, "active") >= POOL_CONNECTIONS * 0.95 and not _sample(samples, "idle") >= 1,
    }
    return tuple(trouble for trouble, is_so in holds.items() if is_so)


def _samples(frame: pd.DataFrame) -> Samples:
    rows = frame.to_dict("records") if "part" in frame else []
    samples = {(str(row["part"]), str(row["at"])): float(row["value"]) for row in rows}
    return {key: value for key, value in samples.items() if math.isfinite(value)}


def _sample(samples: Samples, part: str, at: str = "now") -> float:
    return samples.get((part, at), math.nan)
