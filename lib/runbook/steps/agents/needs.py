"""What agents need: MCP servers, LLM, tools and database, each asked or measured by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from runbook.alert import Window
from runbook.errors import SourceError
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, selector
from runbook.sources.overlap import at_once
from runbook.steps.agents import wording
from runbook.steps.agents.figures import HISTOGRAMS, POOL_CONNECTIONS, McpServers, Need, Needed, Trouble
from runbook.steps.shared.fleet import MCP_SERVERS
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import is_capped, quantile

_ERRORS_PER_MINUTE = 1.0
_SLOW_MS = {Needed.LLM: 10_000.0, Needed.TOOLS: 2_500.0, Needed.DATABASE: 500.0}
Samples = Mapping[tuple[str, str], float]
"""Finite samples by part and moment: ("errors", "now")."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an MCP server answers, a row of the table, and why it could not be asked."""

    server: str
    port: int
    state: Literal["well", "down", "unknown"]
    text: str
    error: SourceError | None = None


def mcp_servers(cluster: Cluster) -> Finding[McpServers]:
    """MCP servers: what each answers at /health, through the API server's proxy."""

    def ask(server: str, port: int) -> _Answer:
        try:
            answer = cluster.health(server, port, "/health").data
        except SourceError as error:
            return _Answer(server, port, "unknown", str(error), error)
        code, message = int(answer["code"]), message_of(str(answer["body"]))
        return _Answer(server, port, "well" if code < 300 else "down", f"{code} {message}")

    # Side by side: four servers that hang must not take four time limits.
    answers = at_once(*(partial(ask, server, port) for server, port in MCP_SERVERS.items()))
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    found = McpServers(
        down=tuple(answer.server for answer in answers if answer.state == "down"),
        unknown=tuple(answer.server for answer in answers if answer.state == "unknown"),
    )
    severity = graded(found.down)
    if found.unknown and not found.down:
        severity = Status.UNKNOWN
    columns = ["server", "port", "state", "answer"]
    rows = [(answer.server, str(answer.port), answer.state, answer.text) for answer in answers]
    return Finding(
        severity,
        wording.mcp_title(found, len(answers)),
        "; ".join(f"{answer.server}: {answer.text[:120]}" for answer in answers if answer.state != "well"),
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


def message_of(body: str) -> str:
    """What an answer says on one line: of a Kubernetes Status its message, else the text, at most 160 characters."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    message = content.get("message") if isinstance(content, dict) and content.get("kind") == "Status" else None
    return " ".join(str(message or body).split())[:160]


def expression_of(needed: Needed, minutes: int) -> str:
    """PromQL: errors a minute, p95 in ms and breaker of its component, now and before (labels `part`, `at`)."""
    errors = f"sum(rate(cryptofunk_errors_total{selector(component=needed.value)}"
    histogram = HISTOGRAMS[needed]
    parts = {
        ("errors", "now"): f"{errors}[5m])) * 60",
        ("errors", "before"): f"{errors}[{minutes}m] offset 30m)) * 60",
        ("p95", "now"): quantile(0.95, histogram),
        ("p95", "before"): quantile(0.95, histogram, over=f"{minutes}m", offset="30m"),
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
            f"Neither cryptofunk_errors_total of {needed.value} nor {HISTOGRAMS[needed]} has samples "
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
    is_untold = found.is_capped and found.was_capped
    return Finding(graded(False, troubles, is_untold), wording.need_title(found), wording.need_detail(found), found)


def _troubles(needed: Needed, samples: Samples) -> tuple[Trouble, ...]:
    """What is the matter. Samples that are missing are NaN: they prove neither trouble nor that it was so before."""
    errors, p95 = _sample(samples, "errors"), _sample(samples, "p95")
    is_usual_errors = errors <= 3 * _sample(samples, "errors", "before")
    p95_before = _sample(samples, "p95", "before")
    # At the end of the histogram it may be any multiple of what it was; where it was there before, nothing is told.
    was_capped = is_capped(p95_before, HISTOGRAMS[needed])
    is_usual_p95 = was_capped or (p95 <= 1.5 * p95_before and not is_capped(p95, HISTOGRAMS[needed]))
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
