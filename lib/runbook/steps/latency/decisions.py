"""How slow decisions are, agent by agent."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.latency import wording
from runbook.steps.latency.durations import medians
from runbook.steps.latency.figures import LIMIT_MS, AgentLatency, Decisions
from runbook.steps.latency.series import MS, SECONDS, by_agent, means_expression, named, quantiles_expression
from runbook.steps.shared.grading import graded

_OVER_SHARE = 0.05
_COLUMNS = {
    "agent": "agent",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "p95_before_ms": "p95 before",
    "mean_ms": "mean",
    "mean_before_ms": "mean before",
    "over_share": "over 5 s",
}


def agents(
    metrics: Metrics, window: Window, agent_type: str = "", threshold_ms: float = LIMIT_MS
) -> Finding[Decisions]:
    """Decision latency: p50, p95 and p99 by agent against the threshold, before the alert and now."""
    quantiles, means = (
        named(answer.frame)
        for answer in at_once(
            lambda: metrics.range(quantiles_expression(), window.start, window.as_of, series=21),
            lambda: metrics.range(means_expression(), window.start, window.as_of, series=14),
        )
    )
    if quantiles.empty:
        neither = f"Neither {MS} nor {SECONDS} has decisions in the window."
        return Finding(Status.UNKNOWN, "Decision latency: no usable sample", neither)
    series = by_agent(quantiles, means)
    measured = pd.DataFrame([_latency(agent, stats, window, threshold_ms) for agent, stats in series.items()])
    measured = measured.sort_values(["is_slow", "mean_ms"], ascending=False, ignore_index=True)
    figures = Decisions(tuple(AgentLatency(*row) for row in measured.itertuples(index=False)), threshold_ms, series)
    return Finding(
        graded(False, figures.slow),
        wording.agents_title(figures),
        wording.agents_detail(figures, agent_type),
        figures,
        (_table_of(measured),),
    )


def _latency(agent: str, stats: Mapping[str, pd.DataFrame], window: Window, threshold_ms: float) -> AgentLatency:
    p95, mean = medians(stats.get("p95"), window), medians(stats.get("mean"), window)
    over = medians(stats.get("over"), window).now
    # A histogram cannot read above its last bucket, so reaching the threshold counts as over it, and so does the share.
    is_slow = p95.now >= threshold_ms * 0.999 or (threshold_ms == LIMIT_MS and over > _OVER_SHARE)
    return AgentLatency(
        agent,
        is_slow,
        p50_ms=medians(stats.get("p50"), window).now,
        p95_ms=p95.now,
        p99_ms=medians(stats.get("p99"), window).now,
        p95_before_ms=p95.before,
        mean_ms=mean.now,
        mean_before_ms=mean.before,
        over_share=over,
    )


def _table_of(measured: pd.DataFrame) -> Table:
    shown = measured[list(_COLUMNS)].rename(columns=_COLUMNS)
    units = dict.fromkeys(shown.columns[1:], "ms") | {"over 5 s": "%"}
    return Table("Decision latency by agent: since 5 minutes before the alert, and the median before", shown, units)
