"""Latency: how slow decisions are, agent by agent, and which part of a decision became slow with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Alert, Window
from runbook.errors import QueryFailed
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, selector
from runbook.steps.agents import deployment_of, workload_of
from runbook.steps.platform import names
from runbook.steps.values import number
from runbook.steps.verdicts import figures_of, kubectl, silence, unknown_reasons
from runbook.tables import amount, moment

LIMIT_MS = 5_000.0
_OVER_SHARE = 0.05
_MOVED_RATIO = 1.5
_MOVED_TOGETHER = 0.5
_THROTTLED = 0.25
_NAMES = ("agent_type", "agent_name", "agent")
_BY = "le, agent_type, agent_name, agent"
_MS, _SECONDS = "cryptofunk_agent_processing_duration_ms", "agent_decision_duration_seconds"
_PARTS = {
    "LLM": "cryptofunk_llm_request_duration_ms",
    "MCP tools": "cryptofunk_mcp_tool_call_duration_ms",
    "database": "cryptofunk_database_query_duration_ms",
}
_SLOW_LINE = re.compile(r"duration: (?P<ms>[0-9.]+) ms\s+(?:statement|execute [^:]*|parse [^:]*|bind [^:]*): (?P<statement>.+)", re.DOTALL)  # fmt: skip


def quantiles_expression() -> str:
    """PromQL: p50, p95 and p99 of decisions by agent in ms (label `stat`), whichever spelling is exported."""
    return " or ".join(
        _labelled(f"histogram_quantile({q}, sum by ({_BY}) (rate({metric}_bucket[5m]))){scale}", stat=f"p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
        for metric, scale in ((_MS, ""), (_SECONDS, " * 1000"))
    )


def means_expression() -> str:
    """PromQL: mean of decisions by agent in ms, and the share that took over 5 s (label `stat`)."""
    by = _BY.removeprefix("le, ")
    parts = []
    for metric, scale, bound in ((_MS, "", "5000(.0)?"), (_SECONDS, " * 1000", "5(.0)?")):
        count = f"sum by ({by}) (rate({metric}_count[5m]))"
        parts.append(_labelled(f"sum by ({by}) (rate({metric}_sum[5m])) / ({count} > 0){scale}", stat="mean"))
        below = f'sum by ({by}) (rate({metric}_bucket{{le=~"{bound}"}}[5m]))'
        parts.append(_labelled(f"1 - {below} / ({count} > 0)", stat="over"))
    return " or ".join(parts)


def parts_expression() -> str:
    """PromQL: p95 of LLM, MCP tools and database in ms, and their ms for each decision (labels `part`, `stat`)."""
    decisions = f"(sum(rate({_MS}_count[5m])) or sum(rate({_SECONDS}_count[5m])))"
    found = []
    for part, metric in _PARTS.items():
        found.append(
            _labelled(f"histogram_quantile(0.95, sum by (le) (rate({metric}_bucket[5m])))", part=part, stat="p95")
        )
        found.append(_labelled(f"sum(rate({metric}_sum[5m])) / ({decisions} > 0)", part=part, stat="share"))
    return " or ".join(found)


def throttling_expression(namespace: str) -> str:
    """PromQL: share of CPU periods in which a pod was throttled; without the count of periods, 10 a second."""
    where = selector(namespace=namespace)
    throttled = f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{where}[5m]))"
    return f"{throttled} / (sum by (pod) (rate(container_cpu_cfs_periods_total{where}[5m])) > 0) or {throttled} / 10"


def agents(metrics: Metrics, window: Window, agent_type: str = "", threshold_ms: float = LIMIT_MS) -> Finding:
    """Decision latency: p50, p95 and p99 by agent against the threshold, before the alert and now."""
    frame = _named(metrics.range(quantiles_expression(), window.start, window.as_of, series=21).frame)
    extra = _named(metrics.range(means_expression(), window.start, window.as_of, series=14).frame)
    if frame.empty:
        return Finding("latency.agents", Status.UNKNOWN, "Decision latency: no usable sample",
                       f"Neither {_MS} nor {_SECONDS} has decisions in the window.")  # fmt: skip
    series = _pivot(frame, extra)
    rows = [_latencies(agent, stats, window, threshold_ms) for agent, stats in series.items()]
    table = pd.DataFrame(rows).sort_values(["slow", "mean now"], ascending=False, ignore_index=True)
    slow = table[table["slow"] == "yes"]
    worst = table.iloc[0]
    capped = bool((table["p95 now"] >= LIMIT_MS).any())
    p95 = f"{'at least ' if worst['p95 now'] >= LIMIT_MS else ''}{amount(worst['p95 now'], 'ms')}"
    title = (
        f"{len(slow)} of {len(table)} agents {'is' if len(slow) == 1 else 'are'} slower than {amount(threshold_ms, 'ms')}: {names(list(slow['agent']))}; "
        f"{worst['agent']} has p95 {p95}"
        if len(slow)
        else f"No agent is slower than {amount(threshold_ms, 'ms')}: the slowest, {worst['agent']}, has p95 {p95}"
    )
    note = (
        " The histogram's last bucket ends at 5,000 ms, so p95 cannot read more than that: the mean and the share over 5 s say how bad it is."
        if capped
        else ""
    )
    asked = f" The alert names {agent_type}." if agent_type else ""
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
        (Table("Decision latency by agent: since 5 minutes before the alert (now), and the median before", table,
               {"p50 now": "ms", "p95 now": "ms", "p99 now": "ms", "p95 before": "ms", "mean now": "ms", "mean before": "ms", "over 5 s": "%"}),),
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
        rows.append({"part": part, "p95 before": before, "p95 now": now, "ratio": _ratio(now, before),
                     "per decision before": added_before, "per decision now": added_now})  # fmt: skip
    table = pd.DataFrame(rows).sort_values("ratio", ascending=False, ignore_index=True, na_position="last")
    missing = [part for part in _PARTS if part not in series]
    moved = table[table["ratio"] >= _MOVED_RATIO]
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
    hit = table[table["throttled now"] >= _THROTTLED]
    worst = table.iloc[0]
    return Finding(
        "latency.throttling",
        Status.WARNING if len(hit) else Status.OK,
        f"Throttled in a quarter of their CPU periods or more: {names(list(hit['deployment']))}; {worst['deployment']} in {amount(worst['throttled now'], '%')}"
        if len(hit)
        else f"No pod is throttled: at most {amount(worst['throttled now'], '%')} of CPU periods ({worst['deployment']})",
        "A throttled pod waits although the node may be idle: its own CPU limit holds it back. It then measures everything it calls as slower, too."
        if len(hit)
        else "",
        {"throttled": ", ".join(hit["deployment"]), "highest": number(worst["throttled now"]), "highest_before": number(worst["throttled before"]),
         "now": dict(zip(table["deployment"], table["throttled now"], strict=True)), "before": dict(zip(table["deployment"], table["throttled before"], strict=True))},
        (Table("Share of CPU periods throttled", table.head(12), {"throttled before": "%", "throttled now": "%"}),),
        series={"throttling": series},
    )  # fmt: skip


def bottleneck(seen: Finding, split_up: Finding, throttled: Finding, window: Window) -> Finding:
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
    kind, why = _chosen(rows, slow, fast, known_cpu=throttled.is_known)
    if not slow:
        kind, title = "none", "No agent is over the threshold, so there is no bottleneck to name"
        status = Status.OK
    else:
        title = {"unknown": "None of the four parts moved with the slow agents"}.get(
            kind, f"The bottleneck is {_title_of(kind)}"
        )
        status = Status.WARNING
    innocent = [row["part"] for row in rows if row["part"] != kind and row["looks slow"]]
    return Finding(
        "latency.bottleneck",
        status,
        title,
        why + (f" {names(innocent)} {'looks' if len(innocent) == 1 else 'look'} slow too, but did not rise with the agents, or explains too little of it." if slow and innocent else ""),
        {"kind": kind, "innocent": ", ".join(innocent), "added_ms": added, "slow": ", ".join(slow),
         "explained": next((row["explains"] for row in rows if row["part"] == kind), None),
         "together": next((row["moves with agents"] for row in rows if row["part"] == kind), None)},
        (Table("Which part moved with the slow agents (1: in step, 0: unrelated); explains: share of the added time", table.drop(columns=["looks slow"]),
               {"ratio": "ratio", "moves with agents": "ratio", "explains": "%"}),),
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
    ratio = _ratio(number(slowest["p95_now_ms"]), number(slowest["p95_before_ms"]))
    moved = ratio >= _MOVED_RATIO
    few = not number(slowest["calls_now"]) >= 5
    return Finding(
        "latency.models",
        Status.WARNING if moved and not few else Status.OK,
        f"llm_decisions records p95 {amount(slowest['p95_now_ms'], 'ms')} for {slowest['model']} since half an hour before the alert, {amount(slowest['p95_before_ms'], 'ms')} before",
        f"{amount(slowest['calls_now'])} calls, {amount(slowest['calls_before'])} before." + (" Too few to judge by." if few else ""),
        {"p95_ms": number(slowest["p95_now_ms"]), "p95_before_ms": number(slowest["p95_before_ms"]), "ratio": ratio, "model": slowest["model"], "few": few},
        (Table("LLM calls by model", frame, {"calls_before": "", "p95_before_ms": "ms", "calls_now": "", "p95_now_ms": "ms", "tokens_now": "",
                                             "cached_now": "%", "cost_now_usd": ""}),),
    )  # fmt: skip


def slow_queries(database: Database, window: Window) -> Finding:
    """Slow queries: the slowest statements by pg_stat_statements, or how to switch it on; and what runs now."""
    running = database.ask("latency/running").frame
    statements = _statements(database)
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
    if statements is None:
        return Finding(
            "latency.slow_queries", Status.WARNING, f"pg_stat_statements is off, so past slow queries are not counted; {now} now",
            "To switch it on: set shared_preload_libraries = 'pg_stat_statements' in postgresql.conf (or -c in the deployment's arguments), restart postgres, "
            "then CREATE EXTENSION pg_stat_statements; in the database cryptofunk. Until then the slow query log below is what there is.",
            {**figures, "available": False}, tuple(shown),
        )  # fmt: skip
    table = Table("Slowest statements since the statistics were reset, by mean time", statements,
                  {"calls": "", "mean_ms": "ms", "max_ms": "ms", "share_of_time": "%"})  # fmt: skip
    slow = statements[(statements["mean_ms"] >= 100) & (statements["calls"] >= 2)]
    top = slow.iloc[0] if len(slow) else None
    return Finding(
        "latency.slow_queries",
        Status.WARNING if top is not None or len(running) else Status.OK,
        f"{len(slow)} {'statement takes' if len(slow) == 1 else 'statements take'} over 100 ms on average; {now}",
        f"The slowest: {amount(top['mean_ms'], 'ms')} on average in {amount(top['calls'])} calls: {str(top['query'])[:200]}" if top is not None else "",
        {**figures, "available": True, "slow": len(slow), "statement": str(top["query"])[:300] if top is not None else "", "mean_ms": number(top["mean_ms"]) if top is not None else None},
        (table, *shown),
    )  # fmt: skip


def slow_log(cluster: Cluster, window: Window) -> Finding:
    """Slow query log: statements that postgres logged for their duration in the window, by statement."""
    frame = cluster.logs("postgres", window.start, window.as_of, tail=1000).frame
    rows = [
        {"statement": _shape(found["statement"]), "ms": float(found["ms"]), "time": time}
        for message, time in zip(frame["message"], frame["time"], strict=True)
        if (found := _SLOW_LINE.search(str(message)))
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


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentHighLatency: what to speed up, LLM, MCP tools, database or CPU, and why."""
    seen, cause = figures_of(findings, "latency.agents"), figures_of(findings, "latency.bottleneck")
    log, change = figures_of(findings, "latency.slow_log"), figures_of(findings, "platform.config_changes")
    rolled = figures_of(findings, "platform.rollouts")
    status, decision, summary = _choice(seen, cause, log)
    return Verdict(
        decision,
        summary,
        status,
        (*_reasons(findings, seen, cause, change, rolled), *unknown_reasons(findings)),
        tuple(_actions(cause, log, rolled, alert, namespace)),
        _checklist(findings),
    )


def _choice(seen: Mapping[str, Any], cause: Mapping[str, Any], log: Mapping[str, Any]) -> tuple[Status, str, str]:
    if not seen:
        return (
            Status.UNKNOWN,
            "find out how slow the agents are",
            "The agents' latency is not known: Prometheus gave no answer.",
        )
    if not seen["slow"]:
        return (
            Status.OK,
            "nothing to speed up",
            f"Healthy: no agent is over {amount(seen['threshold_ms'], 'ms')}; the slowest is {seen['slowest']} with p95 {amount(seen['p95_ms'], 'ms')}.",
        )
    slow = f"{seen['slow']} over {amount(seen['threshold_ms'], 'ms')} (mean of the slowest {amount(seen['mean_ms'], 'ms')}, {amount(seen['mean_before_ms'], 'ms')} before)"
    innocent = f" {cause['innocent']} looks slow, but is not the cause." if cause.get("innocent") else ""
    match cause.get("kind"):
        case "CPU":
            return Status.WARNING, "raise the CPU limit", f"CPU throttling slows {slow}.{innocent}"
        case "database":
            which = f": {log['statement'][:120]}" if log.get("statement") else ""
            return Status.WARNING, "speed up the database", f"Slow database queries hold up {slow}{which}.{innocent}"
        case "LLM":
            return Status.WARNING, "use a faster model or relieve Bifrost", f"The LLM gateway slows {slow}.{innocent}"
        case "MCP tools":
            return Status.WARNING, "repair the slow MCP server", f"MCP tool calls slow {slow}.{innocent}"
    return (
        Status.WARNING,
        "look into the slow agents themselves",
        f"Slow: {slow}; none of LLM, MCP tools, database and CPU is known to have moved with it.",
    )


def _reasons(
    findings: Mapping[str, Finding],
    seen: Mapping[str, Any],
    cause: Mapping[str, Any],
    change: Mapping[str, Any],
    rolled: Mapping[str, Any],
) -> Iterator[str]:
    for name in ("latency.agents", "latency.bottleneck", "latency.parts", "latency.throttling", "latency.slow_log"):
        found = findings.get(name)
        if found is not None and found.is_known:
            yield f"{found.title}." + (f" {found.detail}" if name == "latency.bottleneck" else "")
    if seen.get("slow") and rolled.get("rolled_out"):
        yield f"Rolled out in the window: {rolled['rolled_out']}."
    if seen.get("slow") and change.get("count"):
        yield f"Last configuration change {moment(change['last_at'])}: {change['last']}."


def _actions(
    cause: Mapping[str, Any], log: Mapping[str, Any], rolled: Mapping[str, Any], alert: Alert, namespace: str
) -> Iterator[Action]:
    slow = [deployment_of(one) for one in str(cause.get("slow", "")).split(", ") if one]
    match cause.get("kind"):
        case "CPU":
            for deployment in slow[:4]:
                yield Action(f"Raise the CPU limit of {deployment}", kubectl(namespace, "set", "resources", f"deployment/{deployment}", "--limits=cpu=1"),
                             "Its own limit holds it back; this rolls the pod out anew.", changes=True)  # fmt: skip
                if deployment in str(rolled.get("rolled_out", "")).split(", "):
                    yield Action(f"Or take the last rollout of {deployment} back", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                                 "It was rolled out in the window.", changes=True)  # fmt: skip
        case "database":
            if statement := _explainable(str(log.get("statement", ""))):
                yield Action("Look at the plan of the slow query", _psql(namespace, f"EXPLAIN (COSTS, VERBOSE) {statement};"),
                             "A sequential scan over a large table wants an index. Put values in the place of ?.")  # fmt: skip
            yield Action("See what runs and what waits", _psql(namespace, "SELECT pid, now() - query_start AS age, wait_event_type, left(query, 120) FROM pg_stat_activity WHERE state <> 'idle' ORDER BY 2 DESC;"))  # fmt: skip
            yield Action(
                "Refresh the planner's statistics",
                _psql(namespace, "ANALYZE;"),
                "Cheap, and often enough after a large load.",
                changes=True,
            )
        case "LLM":
            yield Action(
                "Read Bifrost's log for latency",
                kubectl(namespace, "logs", "deployment/bifrost", "--tail=100"),
                "Then check the provider's status page.",
            )
            yield Action(
                "Restart Bifrost",
                kubectl(namespace, "rollout", "restart", "deployment/bifrost"),
                "Only when its own pod is the slow part, not the provider.",
                changes=True,
            )
        case "MCP tools":
            yield Action(
                "Read the MCP servers' logs",
                kubectl(namespace, "logs", "-l", "app.kubernetes.io/component=mcp-server", "--tail=100", "--prefix"),
            )
        case "unknown":
            for deployment in slow[:3]:
                yield Action(
                    f"Read {deployment}'s log", kubectl(namespace, "logs", f"deployment/{deployment}", "--tail=100")
                )
    yield Action("See CPU and memory now", kubectl(namespace, "top", "pods", "--sort-by=cpu"))
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    def title(name: str) -> str:
        found = findings.get(name)
        return found.title if found is not None else "not checked"

    return (
        ("Which agents were slow, and how much?", title("latency.agents")),
        ("Which part moved with them?", title("latency.bottleneck")),
        ("Was the LLM slow?", title("latency.models")),
        ("Was a query slow?", f"{title('latency.slow_queries')}; {title('latency.slow_log')}"),
        ("Were CPU limits too low?", title("latency.throttling")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("Were decisions lost?", title("sessions.activity")),
    )


def split(series: pd.DataFrame | None, window: Window) -> tuple[float, float]:
    """(median before the alert, median since 5 minutes before it); NaN where there is no sample.

    Before ends half an hour (at most a quarter of the lookback) ahead of the alert: what led to it is neither.
    """
    if series is None or series.empty:
        return math.nan, math.nan
    lead = min(timedelta(minutes=30), (window.starts_at - window.start) / 4)
    before = series[series["time"] < pd.Timestamp(window.starts_at - lead)]["value"].dropna()
    now = series[series["time"] >= pd.Timestamp(window.starts_at - timedelta(minutes=5))]["value"].dropna()
    return (float(before.median()) if len(before) else math.nan), (float(now.median()) if len(now) else math.nan)


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


def _candidate(
    part: str, stats: Mapping[str, pd.DataFrame], yardstick: pd.DataFrame | None, added: float, window: Window
) -> dict[str, Any]:
    before, now = split(stats.get("p95"), window)
    share_before, share_now = split(stats.get("share"), window)
    explains = (share_now - share_before) / added if added > 0 else math.nan
    ratio, step = _ratio(now, before), together(stats.get("share", stats.get("p95")), yardstick)
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
        if number(now.get(one)) >= _THROTTLED
        and number(now.get(one)) - (0 if math.isnan(number(before.get(one))) else number(before.get(one))) >= 0.15
    }
    lead = max(mine, key=lambda one: number(now.get(one)) if one in now else -1.0, default="")
    series = next((one for pod, one in throttled.series["throttling"].items() if workload_of(pod) == lead), None)
    row |= {
        "before": amount(before.get(lead), "%"), "now": amount(now.get(lead), "%"), "ratio": _ratio(number(now.get(lead)), number(before.get(lead))),
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
        if row["part"] != "CPU" and row["ratio"] >= _MOVED_RATIO and row["moves with agents"] >= _MOVED_TOGETHER
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


def _title_of(kind: str) -> str:
    return {
        "CPU": "the agents' own CPU limit",
        "database": "the database",
        "LLM": "the LLM gateway",
        "MCP tools": "an MCP server",
    }.get(kind, kind)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with its rows' agent, from whichever label says it, without NaN and infinite values."""
    frame = frame[np.isfinite(frame["value"])] if len(frame) else frame
    if frame.empty:
        return frame.assign(agent="")
    labels = [frame[name] for name in _NAMES if name in frame]
    agent = pd.Series("", index=frame.index, dtype="object")
    for label in labels:
        agent = agent.where(agent != "", label)
    return frame.assign(agent=agent.where(agent != "", "all agents"))


def _pivot(*frames: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """agent -> stat -> (time, value)."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for frame in frames:
        if len(frame):
            for (agent, stat), one in frame.groupby(["agent", "stat"], sort=False):
                found.setdefault(str(agent), {})[str(stat)] = one[["time", "value"]].reset_index(drop=True)
    return {agent: stats for agent, stats in found.items() if "p95" in stats}


def _statements(database: Database) -> pd.DataFrame | None:
    """The slowest statements; None where the extension is not there or not preloaded."""
    installed = database.ask("latency/extension").frame
    if installed.empty or not bool(installed["installed"].iloc[0]):
        return None
    try:
        return database.ask("latency/statements").frame
    except QueryFailed as error:
        if "shared_preload_libraries" in str(error):
            return None
        raise


def _labelled(expression: str, **labels: str) -> str:
    for name, value in labels.items():
        expression = f'label_replace({expression}, "{name}", "{value}", "", "")'
    return expression


def _ratio(now: float, before: float) -> float:
    return now / before if math.isfinite(before) and before > 0 else math.nan


def _shape(statement: str) -> str:
    """`statement` on one line with its literals as ?, so that repetitions group."""
    return re.sub(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b", "?", " ".join(statement.split()))[:400]


def _psql(namespace: str, statement: str) -> str:
    return f"kubectl exec -i -n {namespace} deployment/postgres -- psql -U postgres -d cryptofunk <<'SQL'\n{statement}\nSQL"


def _explainable(statement: str) -> str:
    """`statement` if it is one plain SELECT that may stand behind EXPLAIN in a command to copy; else empty.

    It comes from a log, so whatever could end the statement or reach psql's own commands rules it out.
    """
    plain = statement.isprintable() and not re.search(r";|--|/\*|\\|\$", statement)
    return statement if plain and re.match(r"select\s", statement, re.IGNORECASE) else ""
