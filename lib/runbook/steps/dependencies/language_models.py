"""The LLM gateway: how it answers, and what it costs."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, union
from runbook.steps.dependencies.figures import Llm, LlmCost
from runbook.steps.dependencies.wording import LLM_HISTOGRAM, llm_detail, llm_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import ENDS_MS, is_capped, quantile
from runbook.steps.shared.levels import Level, level, or_zero, part
from runbook.words import amount, counted, duration

LLM_SLOW_MS = ENDS_MS[LLM_HISTOGRAM]
"""Where its histogram ends: from there on it is slow, however slow."""
LLM_QUERIES = {
    "p95": quantile(0.95, LLM_HISTOGRAM),
    "requests": "sum(rate(cryptofunk_llm_request_duration_ms_count[5m])) * 60",
    "decisions": "sum(rate(cryptofunk_llm_decisions_total[5m])) * 60",
    "errors": 'sum(rate(cryptofunk_errors_total{component="llm"}[5m])) * 60',
}
_COST_UNITS = {
    "decisions": "",
    "cost_usd": "USD",
    "mean_latency_ms": "ms",
    "tokens": "",
    "decisions_before": "",
    "cost_usd_before": "USD",
}


def llm(metrics: Metrics, window: Window) -> Finding[Llm]:
    """The LLM gateway: request latency, requests, decisions and failures a minute, now against the usual."""
    frame = metrics.range(union(LLM_QUERIES), window.start, window.as_of, series=4).frame
    latency, requests, decisions = (
        level(part(frame, name), window, factor=2.0) for name in ("p95", "requests", "decisions")
    )
    failures = level(part(frame, "errors"), window, factor=2.0, least=0.2)
    if not math.isfinite(requests.now):
        return Finding(
            Status.UNKNOWN,
            "The LLM: no current sample of its requests",
            "cryptofunk_llm_request_duration_ms is missing.",
        )
    usual_failures = or_zero(failures.usual)
    failing = failures.now > max(3 * usual_failures, usual_failures + 0.5)
    slow = is_capped(latency.now, LLM_HISTOGRAM) or latency.now > LLM_SLOW_MS or latency.growth >= 2
    found = Llm(
        latency.now,
        latency.usual,
        failures.now,
        failures.usual,
        requests.now,
        requests.usual,
        decisions.now,
        decisions.usual,
        growth=requests.growth,
        failing=failing,
        slow=slow,
        silent=requests.now < 0.1 * or_zero(requests.usual),
        untold=not requests.has_history or requests.now == 0,
        since=_since(failing, failures, slow, latency),
    )
    return Finding(graded(failing, slow or found.silent, found.untold), llm_title(found), llm_detail(found), found)


def _since(failing: bool, failures: Level, slow: bool, latency: Level) -> datetime | None:
    if failing:
        return failures.rose_at
    return latency.rose_at if slow else None


def llm_cost(database: Database, window: Window) -> Finding[LlmCost]:
    """What the LLM costs: decisions, tokens and USD by model in the window, and in the same span before it."""
    before = window.start - (window.as_of - window.start)
    rows = database.ask("health/llm", before=before, since=window.start, as_of=window.as_of).frame
    if rows.empty:
        return Finding(Status.OK, "No LLM decision is recorded in the window, nor before it", figures=LlmCost())
    found = LlmCost(_sum(rows, "cost_usd"), _sum(rows, "cost_usd_before"), int(rows["decisions"].sum()))
    dear = found.cost_usd > 3 * found.cost_usd_before and found.cost_usd > 1
    cost, earlier = amount(found.cost_usd, "USD"), amount(found.cost_usd_before, "USD")
    decisions = counted(found.decisions, "LLM decision")
    return Finding(
        graded(False, dear),
        f"{decisions} cost {cost} in {duration(window.seconds)}; {earlier} in the span before",
        figures=found,
        tables=(Table("LLM decisions by model", rows, _COST_UNITS),),
    )


def _sum(rows: pd.DataFrame, column: str) -> float:
    return float(pd.to_numeric(rows[column], errors="coerce").sum())
