"""The series that latency is read from: their PromQL, whichever spelling is exported, and their rows by agent."""

from __future__ import annotations

import numpy as np
import pandas as pd

from runbook.sources.metrics import selector
from runbook.steps.latency.figures import PARTS
from runbook.steps.shared.histograms import quantile

_NAMES = ("agent_type", "agent_name", "agent")
_BY = "agent_type, agent_name, agent"
MS, SECONDS = "cryptofunk_agent_processing_duration_ms", "agent_decision_duration_seconds"


def quantiles_expression() -> str:
    """PromQL: p50, p95 and p99 of decisions by agent in ms (label `stat`), whichever spelling is exported."""
    return " or ".join(
        _labelled(f"{quantile(q, metric, by=_BY)}{scale}", stat=f"p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
        for metric, scale in ((MS, ""), (SECONDS, " * 1000"))
    )


def means_expression() -> str:
    """PromQL: mean of decisions by agent in ms, and the share that took over 5 s (label `stat`)."""
    parts = []
    for metric, scale, bound in ((MS, "", "5000(.0)?"), (SECONDS, " * 1000", "5(.0)?")):
        count = f"sum by ({_BY}) (rate({metric}_count[5m]))"
        parts.append(_labelled(f"sum by ({_BY}) (rate({metric}_sum[5m])) / ({count} > 0){scale}", stat="mean"))
        below = f'sum by ({_BY}) (rate({metric}_bucket{{le=~"{bound}"}}[5m]))'
        parts.append(_labelled(f"1 - {below} / ({count} > 0)", stat="over"))
    return " or ".join(parts)


def parts_expression() -> str:
    """PromQL: p95 of LLM, MCP tools and database in ms, and their ms for each decision (labels `part`, `stat`)."""
    decisions = f"(sum(rate({MS}_count[5m])) or sum(rate({SECONDS}_count[5m])))"
    found = []
    for part, metric in PARTS.items():
        found.append(_labelled(quantile(0.95, metric), part=part, stat="p95"))
        found.append(_labelled(f"sum(rate({metric}_sum[5m])) / ({decisions} > 0)", part=part, stat="share"))
    return " or ".join(found)


def throttling_expression(namespace: str) -> str:
    """PromQL: share of CPU periods in which a pod was throttled; without the count of periods, 10 a second."""
    where = selector(namespace=namespace)
    throttled = f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{where}[5m]))"
    return f"{throttled} / (sum by (pod) (rate(container_cpu_cfs_periods_total{where}[5m])) > 0) or {throttled} / 10"


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with its rows' agent, from whichever label says it, without NaN and infinite values."""
    frame = frame[np.isfinite(frame["value"])] if len(frame) else frame
    if frame.empty:
        return frame.assign(agent="")
    labels = [frame[name] for name in _NAMES if name in frame]
    agent = pd.Series("", index=frame.index, dtype="object")
    for label in labels:
        agent = agent.where(agent != "", label)
    return frame.assign(agent=agent.where(agent != "", "all agents"))


def by_agent(*frames: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """agent -> stat -> (time, value)."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for frame in frames:
        if len(frame):
            for (agent, stat), one in frame.groupby(["agent", "stat"], sort=False):
                found.setdefault(str(agent), {})[str(stat)] = one[["time", "value"]].reset_index(drop=True)
    return {agent: stats for agent, stats in found.items() if "p95" in stats}


def _labelled(expression: str, **labels: str) -> str:
    for name, value in labels.items():
        expression = f'label_replace({expression}, "{name}", "{value}", "", "")'
    return expression
