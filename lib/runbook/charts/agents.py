"""Charts of agents: when they were online, what they signalled, how long they took, and what slowed with them."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.charts.figure import Line, heatmap, states, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.findings import Finding
from runbook.steps.agents import Online, Signals
from runbook.steps.latency import Decisions, Parts, Throttling
from runbook.steps.sessions import Flow
from runbook.words import amount

_LINES_MAX = 6
_NOTABLE = 0.05
_ONLINE = {1.0: ("online", "green"), 0.0: ("offline", "alarm"), 0.5: ("degraded", "amber")}


def agents_online(finding: Finding[Online], window: Window) -> Chart | None:
    """One lane an agent: online or not, by its own metric."""
    return states(finding.title, window, finding.known.lanes, _ONLINE)


def signals(finding: Finding[Signals], window: Window) -> Chart | None:
    """Signals by agent and time: an empty stretch is an agent that said nothing."""
    grid = finding.known.grid
    return None if grid is None else heatmap(finding.title, "signals", window, grid)


def latency(finding: Finding[Decisions], window: Window) -> Chart | None:
    """p50, p95 and p99 of the slowest agent, with its mean, against the threshold."""
    found, slowest = finding.known, finding.known.slowest
    stats = found.series.get(slowest.agent, {})
    lines = [Line(name, stats[name]) for name in ("p50", "p95", "p99", "mean") if name in stats]
    mean, before = amount(slowest.mean_ms, "ms"), amount(slowest.mean_before_ms, "ms")
    cap = " (p95 and p99 cannot read above the last bucket, 5,000 ms)" if found.is_capped else ""
    title = f"{slowest.agent}: mean {mean}, {before} before the alert{cap}"
    threshold = Threshold(found.threshold_ms, f"threshold {amount(found.threshold_ms, 'ms')}")
    return timeline(title, "ms", window, lines, thresholds=[threshold])


def latency_by_agent(finding: Finding[Decisions], window: Window) -> Chart | None:
    """p95 by agent and time against the threshold."""
    found = finding.known
    grid = pd.DataFrame({agent: stats["p95"].set_index("time")["value"] for agent, stats in found.series.items()}).T
    limit = amount(found.threshold_ms, "ms")
    over = ", ".join(found.slow) or "none"
    # A histogram reads at most its last bucket's bound: reaching the threshold counts as over it.
    threshold = Threshold(found.threshold_ms * 0.999, limit)
    return heatmap(f"p95 by agent; over {limit}: {over}", "ms", window, grid, threshold=threshold)


def latency_parts(finding: Finding[Parts], window: Window) -> Chart | None:
    """The time spent in LLM, MCP tools and database for each decision."""
    lines = [Line(part.part, part.share) for part in finding.known.parts if part.share is not None]
    latest = {line.label: line.frame["value"].tail(5).median() for line in lines}
    now = ", ".join(f"{part} {amount(share_ms, 'ms')}" for part, share_ms in latest.items())
    return timeline(f"Time for each decision now: {now}", "ms", window, lines)


def latency_throttling(finding: Finding[Throttling], window: Window) -> Chart | None:
    """Share of CPU periods throttled, the three deployments throttled most; none where hardly any is."""
    found = finding.known
    if not found.highest >= _NOTABLE:
        return None
    most = sorted(found.series.items(), key=lambda series: -float(series[1]["value"].tail(20).median()))[:3]
    return timeline(finding.title, "%", window, [Line(deployment, rows) for deployment, rows in most])


def flow(finding: Finding[Flow], window: Window) -> Chart | None:
    """Signals, orders and fills over the window: whether trading flows."""
    trading = finding.known
    lines = [Line(kind, counts, step=True) for kind, counts in trading.rows.items()]
    if not lines:
        return None
    return timeline(finding.title, f"rows in {trading.bucket_minutes} min", window, lines[:_LINES_MAX])
