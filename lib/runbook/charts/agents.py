"""Charts of agents: when they were online, what they signalled, how long they took, and what slowed with them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, heatmap, states, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.legacy import Finding
from runbook.words import amount

_LINES_MAX = 6
_NOTABLE = 0.05
_ONLINE = {1.0: ("online", "green"), 0.0: ("offline", "alarm"), 0.5: ("degraded", "amber")}


def agents_online(finding: Finding, window: Window) -> Chart | None:
    """One lane an agent: online or not, by its own metric."""
    return states(finding.title, window, finding.series["online"], _ONLINE)


def signals(finding: Finding, window: Window) -> Chart | None:
    """Signals by agent and time: an empty stretch is an agent that said nothing."""
    grid: pd.DataFrame | None = finding.series.get("grid")
    return None if grid is None else heatmap(finding.title, "signals", window, grid)


def latency(finding: Finding, window: Window) -> Chart | None:
    """p50, p95 and p99 of the slowest agent, with its mean, against the threshold."""
    name = finding.figures["slowest"]
    stats = finding.series["agents"].get(name, {})
    limit = finding.figures["threshold_ms"]
    lines = [Line(label, stats[label]) for label in ("p50", "p95", "p99", "mean") if label in stats]
    cap = " (p95 and p99 cannot read above the last bucket, 5,000 ms)" if finding.figures["capped"] else ""
    return timeline(f"{name}: mean {amount(finding.figures['mean_ms'], 'ms')}, {amount(finding.figures['mean_before_ms'], 'ms')} before the alert{cap}", "ms", window, lines,
                    thresholds=[Threshold(limit, f"threshold {amount(limit, 'ms')}")])  # fmt: skip


def latency_by_agent(finding: Finding, window: Window) -> Chart | None:
    """p95 by agent and time against the threshold."""
    series: Mapping[str, Mapping[str, pd.DataFrame]] = finding.series["agents"]
    rows = {name: stats["p95"].set_index("time")["value"] for name, stats in series.items()}
    limit = finding.figures["threshold_ms"]
    grid = pd.DataFrame(rows).T
    # A histogram reads at most its last bucket's bound: reaching the threshold counts as over it.
    return heatmap(f"p95 by agent; over {amount(limit, 'ms')}: {finding.figures['slow'] or 'none'}", "ms", window, grid,
                   threshold=Threshold(limit * 0.999, amount(limit, "ms")))  # fmt: skip


def latency_parts(finding: Finding, window: Window) -> Chart | None:
    """The time spent in LLM, MCP tools and database for each decision."""
    series: Mapping[str, Mapping[str, pd.DataFrame]] = finding.series["parts"]
    lines = [Line(part, stats["share"]) for part, stats in series.items() if "share" in stats]
    said = ", ".join(f"{line.label} {amount(line.frame['value'].tail(5).median(), 'ms')}" for line in lines)
    return timeline(f"Time for each decision now: {said}", "ms", window, lines)


def latency_throttling(finding: Finding, window: Window) -> Chart | None:
    """Share of CPU periods throttled, the three pods that are throttled most; none where nothing is throttled to speak of."""
    if not finding.figures["highest"] >= _NOTABLE:
        return None
    series: Mapping[str, pd.DataFrame] = finding.series["throttling"]
    most = sorted(series.items(), key=lambda item: -float(item[1]["value"].tail(20).median()))[:3]
    return timeline(finding.title, "%", window, [Line(pod, one) for pod, one in most])


def flow(finding: Finding, window: Window) -> Chart | None:
    """Signals, orders and fills over the window: whether trading flows."""
    lines = [Line(name, one, step=True) for name, one in finding.series.get("flow", {}).items()]
    if not lines:
        return None
    return timeline(finding.title, f"rows in {finding.figures['bucket_minutes']} min", window, lines[:_LINES_MAX])
