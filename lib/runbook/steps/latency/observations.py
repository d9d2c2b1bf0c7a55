"""Latency: how slow decisions are, agent by agent, and the parts that a decision is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.errors import SourceError
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.latency import slow_statements
from runbook.steps.latency.durations import LIMIT_MS, MOVED_RATIO, THROTTLED, ratio_of, split
from runbook.steps.latency.series import (
    MS,
    PARTS,
    SECONDS,
    by_agent,
    means_expression,
    named,
    parts_expression,
    quantiles_expression,
    throttling_expression,
)
from runbook.steps.shared.fleet import workload_of
from runbook.steps.shared.quotas import Limits, limits_of
from runbook.steps.shared.values import number, text
from runbook.words import amount, moment, names

_OVER_SHARE = 0.05


def agents(metrics: Metrics, window: Window, agent_type: str = "", threshold_ms: float = LIMIT_MS) -> Finding:
    """Decision latency: p50, p95 and p99 by agent against the threshold, before the alert and now."""
    frame, extra = (
        named(answer.frame)
        for answer in at_once(
            lambda: metrics.range(quantiles_expression(), window.start, window.as_of, series=21),
            lambda: metrics.range(means_expression(), window.start, window.as_of, series=14),
        )
    )
    if frame.empty:
        return Finding("latency.agents", Status.UNKNOWN, "Decision latency: no usable sample",
                       f"Neither {MS} nor {SECONDS} has decisions in the window.")  # fmt: skip
    series = by_agent(frame, extra)
    rows = [_latencies(agent, stats, window, threshold_ms) for agent, stats in series.items()]
    table = pd.DataFrame(rows).sort_values(["slow", "mean now"], ascending=False, ignore_index=True)
    slow = table[table["slow"] == "yes"]
    worst = table.iloc[0]
    capped = bool((table["p95 now"] >= LIMIT_MS).any())
    p95 = f"{'at least ' if worst['p95 now'] >= LIMIT_MS else ''}{amount(worst['p95 now'], 'ms')}"
    shown = table.drop(columns=["slow"]).rename(columns=lambda name: str(name).removesuffix(" now"))
    title = (
        f"{len(slow)} of {len(table)} agents {'is' if len(slow) == 1 else 'are'} slower than {amount(threshold_ms, 'ms')}: {names(list(slow['agent']), 7)}; "
        f"{worst['agent']} has p95 {p95}"
        if len(slow)
        else f"No agent is slower than {amount(threshold_ms, 'ms')}: the slowest, {worst['agent']}, has p95 {p95}"
    )
    note = (
        " The histogram's last bucket ends at 5,000 ms, so p95 cannot read more than that: the mean and the share over 5 s say how bad it is."
        if capped
        else ""
    )
    asked = f" The alert names {text(agent_type)}." if agent_type else ""
    return Finding(
        "latency.agents",
        Status.WARNING if len(slow) else Status.OK,
        title,
        f"Mean {amount(worst['mean now'], 'ms')} against {amount(worst['mean before'], 'ms')} before; {amount(worst['over 5 s'], '%')} of its decisions took over 5 s."
        f"{note}{asked}",
        {
            "slow": ", ".join(slow["agent"]), "fast": ", ".join(table.loc[table["slow"] == "no", "agent"]), "slowest": worst["agent"],
            "p95_ms": number(worst["p95 now"]), "p95_before_ms": number(worst["p95 before"]), "mean_ms": number(worst["mean now"]),
            "mean_before_ms": number(worst["mean before"]), "over_share": number(worst["over 5 s"]), "threshold_ms": threshold_ms, "capped": capped,
        },
        (Table("Decision latency by agent: since 5 minutes before the alert, and the median before", shown,
               {name: "%" if name == "over 5 s" else "ms" for name in shown.columns[1:]}),),
        series={"agents": series},
    )  # fmt: skip


def parts(metrics: Metrics, window: Window) -> Finding:
    """Parts of a decision: p95 of LLM, MCP tools and database, and what each adds to a decision."""
    frame = metrics.range(parts_expression(), window.start, window.as_of, series=6).frame.dropna(subset=["value"])
    if frame.empty:
        return Finding("latency.parts", Status.UNKNOWN, "Parts of a decision: no usable sample",
                       "LLM, MCP tools and database have no duration metric in the window.")  # fmt: skip
    series: dict[str, dict[str, pd.DataFrame]] = {}
    for (part, stat), one in frame.groupby(["part", "stat"], sort=False):
        series.setdefault(str(part), {})[str(stat)] = one[["time", "value"]].reset_index(drop=True)
    rows = []
    for part, stats in series.items():
        before, now = split(stats.get("p95"), window)
        added_before, added_now = split(stats.get("share"), window)
        rows.append({"part": part, "p95 before": before, "p95 now": now, "ratio": ratio_of(now, before),
                     "per decision before": added_before, "per decision now": added_now})  # fmt: skip
    table = pd.DataFrame(rows).sort_values("ratio", ascending=False, ignore_index=True, na_position="last")
    missing = [part for part in PARTS if part not in series]
    moved = table[table["ratio"] >= MOVED_RATIO]
    said = [
        f"{row['part']} p95 {amount(row['p95 before'], 'ms')} → {amount(row['p95 now'], 'ms')}"
        for row in table.to_dict("records")
    ]
    return Finding(
        "latency.parts",
        Status.WARNING if len(moved) else Status.UNKNOWN if missing else Status.OK,
        "; ".join(said),
        (f"Slower than before the alert by half or more: {names(list(moved['part']))}." if len(moved) else "None of them is slower by half than before the alert.")
        + (f" No metric of {names(missing)}." if missing else ""),
        {"moved": ", ".join(moved["part"]), "missing": ", ".join(missing)},
        (Table("Parts of a decision; per decision: all the time spent there, for each decision made", table,
               {"p95 before": "ms", "p95 now": "ms", "ratio": "ratio", "per decision before": "ms", "per decision now": "ms"}),),
        series={"parts": series},
    )  # fmt: skip


def throttling(metrics: Metrics, cluster: Cluster, window: Window) -> Finding:
    """CPU throttling: the share of CPU periods in which each pod wanted more than its limit."""
    frame = metrics.range(throttling_expression(cluster.namespace), window.start, window.as_of, series=20).frame
    frame = frame.dropna(subset=["value"])
    if frame.empty or "pod" not in frame:
        return Finding("latency.throttling", Status.UNKNOWN, "CPU throttling: no usable sample",
                       "container_cpu_cfs_throttled_periods_total has no sample: is cAdvisor scraped?")  # fmt: skip
    series = {str(pod): one[["time", "value"]].reset_index(drop=True) for pod, one in frame.groupby("pod")}
    rows = []
    for pod, one in series.items():
        before, now = split(one, window)
        rows.append({"deployment": workload_of(pod), "pod": pod, "throttled before": before, "throttled now": now})
    table = pd.DataFrame(rows).sort_values("throttled now", ascending=False, ignore_index=True, na_position="last")
    # Of several pods of a deployment, the one that is throttled most is meant.
    upwards = table.iloc[::-1]
    hit = table[table["throttled now"] >= THROTTLED].drop_duplicates("deployment")
    worst = table.iloc[0]
    limits, unread = _limits(cluster) if len(hit) else ({}, "")
    return Finding(
        "latency.throttling",
        Status.WARNING if len(hit) else Status.OK,
        f"Throttled in a quarter of their CPU periods or more: {names(list(hit['deployment']))}; {worst['deployment']} in {amount(worst['throttled now'], '%')}"
        if len(hit)
        else f"No pod is throttled: at most {amount(worst['throttled now'], '%')} of CPU periods ({worst['deployment']})",
        "A throttled pod waits although the node may be idle: its own CPU limit holds it back. It then measures everything it calls as slower, too."
        + (f"\nTheir limits are not known: {unread}" if unread else "")
        if len(hit)
        else "",
        {"throttled": ", ".join(hit["deployment"]), "limits": limits, "highest": number(worst["throttled now"]), "highest_before": number(worst["throttled before"]),
         "now": dict(zip(upwards["deployment"], upwards["throttled now"], strict=True)),
         "before": dict(zip(upwards["deployment"], upwards["throttled before"], strict=True))},
        (Table("Share of CPU periods throttled", table.head(12), {"throttled before": "%", "throttled now": "%"}),),
        series={"throttling": {workload_of(pod): series[pod] for pod in upwards["pod"]}},
    )  # fmt: skip


def models(database: Database, window: Window) -> Finding:
    """LLM decisions: latency, tokens, cache and cost by model in llm_decisions, before the alert and since."""
    frame = database.ask(
        "latency/models", start=window.start, since=window.starts_at - timedelta(minutes=30), as_of=window.as_of
    ).frame
    if frame.empty:
        return Finding(
            "latency.models",
            Status.UNKNOWN,
            "LLM decisions: none in the window",
            "llm_decisions has no row in the window.",
        )
    slowest = frame.iloc[0]
    ratio = ratio_of(number(slowest["p95_now_ms"]), number(slowest["p95_before_ms"]))
    moved = ratio >= MOVED_RATIO
    few = not number(slowest["calls_now"]) >= 5
    return Finding(
        "latency.models",
        Status.WARNING if moved and not few else Status.OK,
        f"Too few LLM decisions since half an hour before the alert to judge by; p95 before was {amount(slowest['p95_before_ms'], 'ms')}" if few
        else f"llm_decisions records p95 {amount(slowest['p95_now_ms'], 'ms')} for {text(slowest['model'])} since half an hour before the alert, {amount(slowest['p95_before_ms'], 'ms')} before",
        f"{amount(slowest['calls_now'])} calls, {amount(slowest['calls_before'])} before.",
        {"p95_ms": number(slowest["p95_now_ms"]), "p95_before_ms": number(slowest["p95_before_ms"]), "ratio": ratio, "model": slowest["model"], "few": few},
        (Table("LLM calls by model", frame, {"calls_before": "", "p95_before_ms": "ms", "calls_now": "", "p95_now_ms": "ms", "tokens_now": "",
                                             "cached_now": "%", "cost_now_usd": "USD"}),),
    )  # fmt: skip


def slow_queries(database: Database, window: Window, logged: Finding | None = None) -> Finding:
    """Slow queries: the slowest statements by pg_stat_statements, or how to switch it on; and what runs now.

    `logged` is slow_log's finding: where postgres logged slow statements, statistics without any do not acquit it.
    """
    running, statements = at_once(
        lambda: database.ask("latency/running").frame, lambda: slow_statements.counted(database)
    )
    longest = number(running["seconds"].iloc[0]) if len(running) else 0.0
    shown = (
        [Table("Running for over a second at the time of asking, the longest first", running, {"seconds": "s"})]
        if len(running)
        else []
    )
    now = (
        f"{len(running)} {'query runs' if len(running) == 1 else 'queries run'} for over a second"
        if len(running)
        else "no query runs for over a second"
    )
    figures: dict[str, Any] = {
        "running": len(running),
        "longest_seconds": longest,
        "waiting": int(running["waits_for"].astype(str).str.startswith("Lock").sum()) if len(running) else 0,
    }
    if not len(statements.columns):
        return Finding(
            "latency.slow_queries", Status.WARNING, f"pg_stat_statements is off, so past slow queries are not counted; {now} now",
            "To switch it on: set shared_preload_libraries = 'pg_stat_statements' in postgresql.conf (or -c in the deployment's arguments), restart postgres, "
            "then CREATE EXTENSION pg_stat_statements; in the database cryptofunk. Until then the slow query log is what there is.",
            {**figures, "available": False}, tuple(shown),
        )  # fmt: skip
    counted = statements["counted_since"].iloc[0] if len(statements) else None
    since = (
        f" since {moment(counted)}, when the statistics were reset"
        if counted is not None and not pd.isna(counted)
        else ""
    )
    late = bool(since) and counted > pd.Timestamp(window.starts_at)
    in_log = int(logged.figures.get("count", 0)) if logged is not None and logged.is_known else 0
    table = Table(f"Slowest statements by mean time, counted{since or ' since the statistics were reset'}", statements.drop(columns="counted_since"),
                  {"calls": "", "mean_ms": "ms", "max_ms": "ms", "share_of_time": "%"})  # fmt: skip
    slow = statements[(statements["mean_ms"] >= 100) & (statements["calls"] >= 2)]
    top = slow.iloc[0] if len(slow) else None
    return Finding(
        "latency.slow_queries",
        Status.WARNING if top is not None or len(running) or in_log or late else Status.OK,
        f"{len(slow) or 'No'} {'statements take' if len(slow) > 1 else 'statement takes'} over 100 ms on average{since}; {now}",
        f"The slowest: {amount(top['mean_ms'], 'ms')} on average in {amount(top['calls'])} calls: {str(top['query'])[:200]}" if top is not None
        else f"{'They count only from after the alert began' if late else 'An average hides single slow runs'}, and postgres' log has {in_log} slow statements: believe the log." if in_log
        else "They count only from after the alert began, so they do not show how it was then." if late else "",
        {**figures, "available": True, "slow": len(slow), "counted_since": counted, "statement": str(top["query"]) if top is not None else "", "mean_ms": number(top["mean_ms"]) if top is not None else None},
        (table, *shown),
    )  # fmt: skip


def slow_log(cluster: Cluster, window: Window) -> Finding:
    """Slow query log: statements that postgres logged for their duration in the window, by statement."""
    frame = cluster.logs("postgres", window.start, window.as_of, tail=1000).frame
    rows = [
        {"statement": slow_statements.shape(found["statement"]), "ms": float(found["ms"]), "time": time}
        for message, time in zip(frame["message"], frame["time"], strict=True)
        if (found := slow_statements.LOGGED.search(str(message)))
    ]
    if not rows:
        return Finding("latency.slow_log", Status.OK, "postgres logged no slow statement in the window",
                       "It does so only where log_min_duration_statement is set.", {"count": 0, "statement": ""})  # fmt: skip
    grouped = (
        pd.DataFrame(rows)
        .groupby("statement", as_index=False)
        .agg(times=("ms", "size"), median=("ms", "median"), slowest=("ms", "max"), total=("ms", "sum"), first=("time", "min"), last=("time", "max"))
        .sort_values("total", ascending=False, ignore_index=True)
        .head(15)
    )  # fmt: skip
    top = grouped.iloc[0]
    return Finding(
        "latency.slow_log",
        Status.WARNING,
        f"postgres logged {len(rows)} slow statements; most time went to one with a median of {amount(top['median'], 'ms')} ({top['times']}×)",
        f"Since {moment(top['first'])}: {top['statement'][:240]}",
        {"count": len(rows), "statement": top["statement"], "median_ms": float(top["median"]), "first_at": top["first"]},
        (Table("Slow statements in postgres' log (? stands for values)", grouped.drop(columns="total"),
               {"times": "", "median": "ms", "slowest": "ms", "first": "time", "last": "time"}),),
    )  # fmt: skip


def _latencies(agent: str, stats: Mapping[str, pd.DataFrame], window: Window, threshold_ms: float) -> dict[str, Any]:
    before, now = split(stats.get("p95"), window)
    mean_before, mean_now = split(stats.get("mean"), window)
    over = split(stats.get("over"), window)[1]
    # A histogram cannot read above its last bucket, so reaching the threshold counts as over it, and so does the share.
    slow = now >= threshold_ms * 0.999 or (threshold_ms == LIMIT_MS and over > _OVER_SHARE)
    return {
        "agent": agent, "slow": "yes" if slow else "no", "p50 now": split(stats.get("p50"), window)[1], "p95 now": now,
        "p99 now": split(stats.get("p99"), window)[1], "p95 before": before, "mean now": mean_now, "mean before": mean_before, "over 5 s": over,
    }  # fmt: skip


def _limits(cluster: Cluster) -> tuple[dict[str, Limits], str]:
    """(the limits by deployment, why they are not known): throttling is known without them."""
    try:
        return limits_of(cluster.pods().frame), ""
    except SourceError as error:
        return {}, str(error)
