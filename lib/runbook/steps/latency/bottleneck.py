"""The bottleneck: which part of a decision became slow with the agents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from runbook.findings import Finding, Table
from runbook.steps.latency import wording
from runbook.steps.latency.durations import ratio_of
from runbook.steps.latency.figures import (
    LIMIT_MS,
    THROTTLED,
    Bottleneck,
    Candidate,
    Decisions,
    Part,
    PartLatency,
    Parts,
    Throttling,
)
from runbook.steps.shared.fleet import deployment_of
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import or_zero

_LOOKS_SLOW_RATIO = 1.25
_LOOKS_SLOW_MS = {Part.LLM: LIMIT_MS / 2, Part.DATABASE: 500}
_NEWLY_THROTTLED = 0.15
_EXPLAINS_ENOUGH = 0.3
_EXPLAINS_MOST = 0.5
_POINTS_LEAST = 8


def cause(seen: Finding[Decisions], split_up: Finding[Parts], throttled: Finding[Throttling]) -> Finding[Bottleneck]:
    """Bottleneck: which of LLM, MCP tools, database and CPU moved with the slow agents."""
    decisions = seen.known
    slow, slowest = decisions.slow, decisions.slowest
    stats = decisions.series.get(slowest.agent, {})
    yardstick = stats.get("mean", stats.get("p95"))
    added_ms = slowest.mean_ms - slowest.mean_before_ms
    shared = [_candidate(part, yardstick, added_ms) for part in split_up.known.parts]
    cpu, held = Candidate(Part.CPU), frozenset[str]()
    if throttled.figures is not None:
        held = _newly_throttled(decisions, throttled.figures)
        cpu = _cpu(decisions, throttled.figures, held, yardstick)
    spared = () if held.intersection(decisions.fast) else decisions.fast
    moved = _moved(shared)
    if slow and held.issuperset(slow) and (spared or not (moved and moved.explains >= _EXPLAINS_MOST)):
        moved = cpu
    figures = Bottleneck(moved.part if slow and moved else None, slow, added_ms, (*shared, cpu))
    return Finding(
        graded(False, slow),
        wording.bottleneck_title(figures),
        wording.bottleneck_detail(figures, moved, spared, is_cpu_known=throttled.is_known),
        figures,
        (_table_of(figures.candidates),),
    )


def together(one: pd.DataFrame | None, other: pd.DataFrame | None) -> float:
    """Pearson's correlation of the logarithms of two series at the nearest times; NaN for under 8 common points."""
    if one is None or other is None or one.empty or other.empty:
        return math.nan
    left = one.rename(columns={"value": "a"}).sort_values("time").dropna()
    right = other.rename(columns={"value": "b"}).sort_values("time").dropna()
    joined = pd.merge_asof(left, right, on="time", direction="nearest", tolerance=pd.Timedelta(minutes=5)).dropna()
    joined = joined[(joined["a"] > 0) & (joined["b"] > 0)]
    if len(joined) < _POINTS_LEAST:
        return math.nan
    a, b = np.log(joined["a"].to_numpy()), np.log(joined["b"].to_numpy())
    if not (a.std() > 1e-9 and b.std() > 1e-9):
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _candidate(part: PartLatency, yardstick: pd.DataFrame | None, added_ms: float) -> Candidate:
    """A part that all agents share."""
    looks_slow_ms = _LOOKS_SLOW_MS.get(part.part, math.inf)
    return Candidate(
        part.part,
        part.p95_before_ms,
        part.p95_ms,
        part.ratio,
        together(part.share if part.p95 is None else part.p95, yardstick),
        (part.share_ms - part.share_before_ms) / added_ms if added_ms > 0 else math.nan,
        looks_slow=part.ratio >= _LOOKS_SLOW_RATIO or part.p95_ms >= looks_slow_ms,
    )


def _newly_throttled(decisions: Decisions, throttling: Throttling) -> frozenset[str]:
    """The agents whose own pods are throttled, and were so less before."""
    found = set()
    for agent in (*decisions.slow, *decisions.fast):
        deployment = deployment_of(agent)
        now = throttling.now.get(deployment, math.nan)
        before = or_zero(throttling.before.get(deployment, math.nan))
        if now >= THROTTLED and now - before >= _NEWLY_THROTTLED:
            found.add(agent)
    return frozenset(found)


def _cpu(
    decisions: Decisions, throttling: Throttling, held: frozenset[str], yardstick: pd.DataFrame | None
) -> Candidate:
    """The CPU, by the slow agent that it holds back most."""
    slow = [deployment_of(agent) for agent in decisions.slow]
    lead = max(slow, key=lambda deployment: throttling.now.get(deployment, -1.0), default="")
    before, now = throttling.before.get(lead, math.nan), throttling.now.get(lead, math.nan)
    return Candidate(
        Part.CPU,
        before,
        now,
        ratio_of(now, before),
        together(throttling.series.get(lead), yardstick),
        looks_slow=bool(held),
    )


def _moved(shared: Sequence[Candidate]) -> Candidate | None:
    """Of the parts that moved with the agents the one that explains most, if it is enough or no other did."""
    moved = [candidate for candidate in shared if candidate.has_slowed and candidate.is_in_step]
    most = max(moved, key=lambda candidate: or_zero(candidate.explains), default=None)
    if most is not None and (most.explains >= _EXPLAINS_ENOUGH or len(moved) == 1):
        return most
    return None


def _table_of(candidates: Sequence[Candidate]) -> Table:
    texts = [wording.before_and_now(candidate) for candidate in candidates]
    frame = pd.DataFrame(
        {
            "part": [candidate.part.value for candidate in candidates],
            "before": [before for before, _ in texts],
            "now": [now for _, now in texts],
            "ratio": [candidate.ratio for candidate in candidates],
            "moves with agents": [candidate.together for candidate in candidates],
            "explains": [candidate.explained for candidate in candidates],
        }
    )
    caption = (
        "Which part moved with the slow agents (1: in step, 0: unrelated);"
        " explains: share of the added time, at most all of it"
    )
    return Table(caption, frame, {"ratio": "ratio", "moves with agents": "ratio", "explains": "%"})
