"""What a decision spends its time on: LLM, MCP tools and database by their metrics, and models by llm_decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps.latency import wording
from runbook.steps.latency.durations import medians, ratio_of
from runbook.steps.latency.figures import MOVED_RATIO, PARTS, ModelLatency, Part, PartLatency, Parts
from runbook.steps.latency.series import parts_expression
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import is_capped
from runbook.steps.shared.values import number, text
from runbook.words import amount

_CALLS_LEAST = 5
_MODEL_UNITS = {
    "calls_before": "",
    "p95_before_ms": "ms",
    "calls_now": "",
    "p95_now_ms": "ms",
    "tokens_now": "",
    "cached_now": "%",
    "cost_now_usd": "USD",
}


def parts(metrics: Metrics, window: Window) -> Finding[Parts]:
    """Parts of a decision: p95 of LLM, MCP tools and database, and what each adds to a decision."""
    frame = metrics.range(parts_expression(), window.start, window.as_of, series=6).frame.dropna(subset=["value"])
    if frame.empty:
        nothing = "LLM, MCP tools and database have no duration metric in the window."
        return Finding(Status.UNKNOWN, "Parts of a decision: no usable sample", nothing)
    found = tuple(_part(Part(name), rows, window) for name, rows in frame.groupby("part", sort=False))
    slowed_most_first = sorted(found, key=lambda part: (math.isnan(part.ratio), -part.ratio))
    figures = Parts(
        found,
        moved=tuple(part.part for part in slowed_most_first if part.ratio >= MOVED_RATIO),
        missing=tuple(part for part in PARTS if part not in {measured.part for measured in found}),
        untold=tuple(part.part for part in found if math.isnan(part.ratio)),
    )
    return Finding(
        graded(False, figures.moved, figures.missing or figures.untold),
        wording.parts_title(slowed_most_first),
        wording.parts_detail(figures),
        figures,
        (_parts_table(slowed_most_first),),
    )


def _part(part: Part, rows: pd.DataFrame, window: Window) -> PartLatency:
    series = {str(stat): found[["time", "value"]].reset_index(drop=True) for stat, found in rows.groupby("stat")}
    p95, share = medians(series.get("p95"), window), medians(series.get("share"), window)
    return PartLatency(
        part,
        p95_before_ms=p95.before,
        p95_ms=p95.now,
        ratio=ratio_of(share.now, share.before)
        if is_capped(p95.before, PARTS[part])
        else ratio_of(p95.now, p95.before),
        share_before_ms=share.before,
        share_ms=share.now,
        p95=series.get("p95"),
        share=series.get("share"),
    )


def _parts_table(parts: Sequence[PartLatency]) -> Table:
    frame = pd.DataFrame(
        {
            "part": [part.part.value for part in parts],
            "p95 before": [part.p95_before_ms for part in parts],
            "p95 now": [part.p95_ms for part in parts],
            "ratio": [part.ratio for part in parts],
            "per decision before": [part.share_before_ms for part in parts],
            "per decision now": [part.share_ms for part in parts],
        }
    )
    caption = "Parts of a decision; per decision: all the time spent there, for each decision made"
    return Table(caption, frame, dict.fromkeys(frame.columns[1:], "ms") | {"ratio": "ratio"})


def models(database: Database, window: Window) -> Finding[ModelLatency]:
    """LLM decisions: latency, tokens, cache and cost by model in llm_decisions, before the alert and since."""
    since = window.starts_at - timedelta(minutes=30)
    frame = database.ask("latency/models", start=window.start, since=since, as_of=window.as_of).frame
    if frame.empty:
        return Finding(Status.UNKNOWN, "LLM decisions: none in the window", "llm_decisions has no row in the window.")
    slowest = frame.iloc[0]
    p95_ms, p95_before_ms = number(slowest["p95_now_ms"]), number(slowest["p95_before_ms"])
    figures = ModelLatency(
        text(slowest["model"]),
        p95_ms,
        p95_before_ms,
        ratio_of(p95_ms, p95_before_ms),
        few=not number(slowest["calls_now"]) >= _CALLS_LEAST,
    )
    return Finding(
        graded(False, figures.ratio >= MOVED_RATIO and not figures.few),
        wording.models_title(figures),
        f"{amount(slowest['calls_now'])} calls, {amount(slowest['calls_before'])} before.",
        figures,
        (Table("LLM calls by model", frame, _MODEL_UNITS),),
    )
