"""The bottleneck: which part of a decision became slow with the agents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.latency.durations import LIMIT_MS, MOVED_RATIO, THROTTLED, ratio_of, split
from runbook.steps.shared.fleet import deployment_of, workload_of
from runbook.steps.shared.values import number
from runbook.words import amount, names

_MOVED_TOGETHER = 0.5


def cause(seen: Finding, split_up: Finding, throttled: Finding, window: Window) -> Finding:
    """Bottleneck: which of LLM, MCP tools, database and CPU moved with the slow agents."""
    slow = [one for one in seen.figures["slow"].split(", ") if one]
    fast = [one for one in seen.figures["fast"].split(", ") if one]
    reference = seen.series["agents"].get(seen.figures["slowest"], {})
    yardstick = reference.get("mean", reference.get("p95"))
    added = seen.figures["mean_ms"] - seen.figures["mean_before_ms"]
    rows = [_candidate(part, stats, yardstick, added, window) for part, stats in split_up.series["parts"].items()]
    cpu = _cpu_candidate(slow, fast, throttled, yardstick, window)
    rows.append(cpu)
    table = pd.DataFrame(rows)
    # Parts overlap and are measured apart from the whole, so their sum may exceed it; nothing explains more than all.
    table["explains"] = pd.to_numeric(table["explains"]).clip(upper=1.0)
    kind, why = _chosen(rows, slow, fast, known_cpu=throttled.is_known)
    if not slow:
        kind, title = "none", "No agent is over the threshold, so there is no bottleneck to name"
        status = Status.OK
    else:
        title = {"unknown": "None of the four parts moved with the slow agents"}.get(
            kind, f"The bottleneck is {_title_of(kind)}"
        )
        status = Status.WARNING
    innocent = [row for row in rows if row["part"] != kind and row["looks slow"]]
    return Finding(
        "latency.cause",
        status,
        title,
        why + (" " + " ".join(_acquitted(row) for row in innocent) if slow and innocent else ""),
        {"kind": kind, "innocent": ", ".join(str(row["part"]) for row in innocent), "added_ms": added, "slow": ", ".join(slow),
         "explained": next((min(number(row["explains"]), 1.0) for row in rows if row["part"] == kind), None),
         "together": next((row["moves with agents"] for row in rows if row["part"] == kind), None)},
        (Table("Which part moved with the slow agents (1: in step, 0: unrelated); explains: share of the added time, at most all of it", table.drop(columns=["looks slow", "all", "apart"]),
               {"ratio": "ratio", "moves with agents": "ratio", "explains": "%"}),),
    )  # fmt: skip


def together(one: pd.DataFrame | None, other: pd.DataFrame | None) -> float:
    """Pearson's correlation of the logarithms of two series at the nearest times; NaN with fewer than 8 common points."""
    if one is None or other is None or one.empty or other.empty:
        return math.nan
    left = one.rename(columns={"value": "a"}).sort_values("time").dropna()
    right = other.rename(columns={"value": "b"}).sort_values("time").dropna()
    joined = pd.merge_asof(left, right, on="time", direction="nearest", tolerance=pd.Timedelta(minutes=5)).dropna()
    joined = joined[(joined["a"] > 0) & (joined["b"] > 0)]
    if len(joined) < 8:
        return math.nan
    a, b = np.log(joined["a"].to_numpy()), np.log(joined["b"].to_numpy())
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else math.nan


def _candidate(
    part: str, stats: Mapping[str, pd.DataFrame], yardstick: pd.DataFrame | None, added: float, window: Window
) -> dict[str, Any]:
    before, now = split(stats.get("p95"), window)
    share_before, share_now = split(stats.get("share"), window)
    explains = (share_now - share_before) / added if added > 0 else math.nan
    ratio, step = ratio_of(now, before), together(stats.get("p95", stats.get("share")), yardstick)
    return {
        "part": part, "before": amount(before, "ms"), "now": amount(now, "ms"), "ratio": ratio, "moves with agents": step, "explains": explains,
        "looks slow": ratio >= 1.25 or (part == "LLM" and now >= LIMIT_MS / 2) or (part == "database" and now >= 500),
    }  # fmt: skip


def _cpu_candidate(
    slow: list[str], fast: list[str], throttled: Finding, yardstick: pd.DataFrame | None, window: Window
) -> dict[str, Any]:
    row = {
        "part": "CPU",
        "before": "n/a",
        "now": "n/a",
        "ratio": math.nan,
        "moves with agents": math.nan,
        "explains": math.nan,
        "looks slow": False,
        "all": False,
        "apart": False,
    }
    if not throttled.is_known:
        return row
    now, before = throttled.figures["now"], throttled.figures["before"]
    mine = [deployment_of(one) for one in slow]
    others = [deployment_of(one) for one in fast]
    high = {
        one
        for one in (*mine, *others)
        if number(now.get(one)) >= THROTTLED
        and number(now.get(one)) - (0 if math.isnan(number(before.get(one))) else number(before.get(one))) >= 0.15
    }
    lead = max(mine, key=lambda one: number(now.get(one)) if one in now else -1.0, default="")
    series = next((one for pod, one in throttled.series["throttling"].items() if workload_of(pod) == lead), None)
    row |= {
        "before": amount(before.get(lead), "%"), "now": amount(now.get(lead), "%"), "ratio": ratio_of(number(now.get(lead)), number(before.get(lead))),
        "moves with agents": together(series, yardstick), "looks slow": bool(high), "all": bool(mine) and set(mine) <= high,
        "apart": bool(others) and not set(others) & high,
    }  # fmt: skip
    return row


def _chosen(rows: list[dict[str, Any]], slow: list[str], fast: list[str], *, known_cpu: bool) -> tuple[str, str]:
    """(part, why): the part that moved with the slow agents and explains most of the added time; "unknown" for none."""
    cpu = next(row for row in rows if row["part"] == "CPU")
    shared = [
        row
        for row in rows
        if row["part"] != "CPU" and row["ratio"] >= MOVED_RATIO and row["moves with agents"] >= _MOVED_TOGETHER
    ]
    shared.sort(key=lambda row: -number(row["explains"]) if math.isfinite(number(row["explains"])) else 0.0)
    best = shared[0] if shared else None
    explains = number(best["explains"]) if best else 0.0
    if cpu["all"] and (cpu["apart"] or not explains >= 0.5):
        return "CPU", f"Exactly the slow agents are throttled ({cpu['before']} of their CPU periods before, {cpu['now']} now)" + (
            f"; {names(fast)} use the same LLM, tools and database and are fast." if cpu["apart"] else ".")  # fmt: skip
    if best is not None and (explains >= 0.3 or len(shared) == 1):
        return best["part"], (f"Its p95 went from {best['before']} to {best['now']}, in step with the agents (correlation {amount(best['moves with agents'], 'ratio')}), "
                              f"and it explains {amount(min(explains, 1.0), '%')} of the time that was added to a decision.")  # fmt: skip
    return "unknown", "No part rose with them." + (
        "" if known_cpu else " CPU throttling is not known, so it remains a suspect."
    )


def _acquitted(row: Mapping[str, Any]) -> str:
    """Why a part that looks slow is not the cause."""
    if row["part"] == "CPU":
        return "CPU is throttled too, but not of exactly the agents that are slow."
    if not row["ratio"] >= MOVED_RATIO:
        return f"{row['part']} looks slow ({row['now']}), but was so before the agents were ({row['before']})."
    if not row["moves with agents"] >= _MOVED_TOGETHER:
        return f"{row['part']} became slower ({row['before']} to {row['now']}), but not when the agents did."
    return (
        f"{row['part']} became slower as well ({row['before']} to {row['now']}), which explains less of the added time."
    )


def _title_of(kind: str) -> str:
    return {
        "CPU": "the agents' own CPU limit",
        "database": "the database",
        "LLM": "the LLM gateway",
        "MCP tools": "an MCP server",
    }.get(kind, kind)
