"""What the alert itself is about, where that is not the agents' decisions: its own histogram against its rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runbook.alert import Alert, Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.metrics import Metrics
from runbook.steps.latency.durations import medians
from runbook.steps.latency.figures import OwnLatency
from runbook.steps.shared.grading import graded
from runbook.words import amount


@dataclass(frozen=True, slots=True)
class _Histogram:
    """What an alert measures: in words, its metric and what the metric is split by, its rule's limit, its last bucket.

    A quantile reads no higher than the last bucket ends.
    """

    what: str
    metric: str
    split_by: tuple[str, ...]
    limit_ms: float
    last_bucket_ms: float


_OF_ALERT = {
    "HighOrchestratorLatency": _Histogram(
        "the orchestrator's decisions", "cryptofunk_orchestrator_latency_ms", (), 2_000.0, 5_000.0
    ),
    "HighAPILatency": _Histogram(
        "API requests", "cryptofunk_api_request_duration_ms", ("method", "path"), 1_000.0, 5_000.0
    ),
    "HighOrderExecutionLatency": _Histogram(
        "order executions", "cryptofunk_order_execution_latency_ms", (), 5_000.0, 5_000.0
    ),
    "HighLLMRequestLatency": _Histogram("LLM requests", "cryptofunk_llm_request_duration_ms", (), 10_000.0, 10_000.0),
}
"""The alerts on latency that are not about agents, by the platform's rules."""
_REACHED = 0.999


def subject(metrics: Metrics, window: Window, alert: Alert) -> Finding[OwnLatency]:
    """The alert's own latency: p95 of what it measures against its rule, before the alert and now."""
    asked = _OF_ALERT.get(alert.name)
    if asked is None:
        return Finding(Status.OK, "The alert is about the agents' decisions, which are measured below")
    by = ", ".join(("le", *asked.split_by))
    expression = f"max(histogram_quantile(0.95, sum by ({by}) (rate({asked.metric}_bucket[5m]))))"
    frame = metrics.range(expression, window.start, window.as_of, series=1).frame.dropna(subset=["value"])
    p95 = medians(frame[["time", "value"]] if len(frame) else None, window)
    if not math.isfinite(p95.now):
        title = f"The alert is about {asked.what}: no usable sample"
        return Finding(Status.UNKNOWN, title, f"{asked.metric} has no sample since the alert.")
    figures = OwnLatency(
        what=asked.what,
        p95_ms=p95.now,
        p95_before_ms=p95.before,
        limit_ms=asked.limit_ms,
        is_slow=p95.now >= asked.limit_ms * _REACHED,
        is_capped=p95.now >= asked.last_bucket_ms * _REACHED,
    )
    detail = f"By {asked.metric}; the slowest of its {' and '.join(asked.split_by)}." if asked.split_by else ""
    return Finding(graded(False, figures.is_slow), f"The alert is about {_title(figures)}", detail, figures)


def _title(found: OwnLatency) -> str:
    least = "at least " if found.is_capped else ""
    now, before, limit = (amount(value, "ms") for value in (found.p95_ms, found.p95_before_ms, found.limit_ms))
    return f"{found.what}: p95 {least}{now}, {before} before; its rule allows {limit}"
