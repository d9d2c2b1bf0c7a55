"""The bottleneck: which part of a decision became slow with the agents, and what to do about it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Alert, Window
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.steps.durations import LIMIT_MS, MOVED_RATIO, STATEMENT_LENGTH, THROTTLED, ratio_of, split
from runbook.steps.fleet import deployment_of, workload_of
from runbook.steps.platform import names
from runbook.steps.quotas import known_limits, raise_limit
from runbook.steps.values import number
from runbook.steps.verdicts import figures_of, kubectl, psql, silence, title_of, unknown_reasons
from runbook.tables import amount, moment

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
        "bottleneck.cause",
        status,
        title,
        why + (" " + " ".join(_acquitted(row) for row in innocent) if slow and innocent else ""),
        {"kind": kind, "innocent": ", ".join(str(row["part"]) for row in innocent), "added_ms": added, "slow": ", ".join(slow),
         "explained": next((min(number(row["explains"]), 1.0) for row in rows if row["part"] == kind), None),
         "together": next((row["moves with agents"] for row in rows if row["part"] == kind), None)},
        (Table("Which part moved with the slow agents (1: in step, 0: unrelated); explains: share of the added time, at most all of it", table.drop(columns=["looks slow", "all", "apart"]),
               {"ratio": "ratio", "moves with agents": "ratio", "explains": "%"}),),
    )  # fmt: skip


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentHighLatency: what to speed up, LLM, MCP tools, database or CPU, and why."""
    seen, cause = figures_of(findings, "latency.agents"), figures_of(findings, "bottleneck.cause")
    log, change = figures_of(findings, "latency.slow_log"), figures_of(findings, "platform.config_changes")
    rolled, counted = figures_of(findings, "platform.rollouts"), figures_of(findings, "latency.slow_queries")
    status, decision, summary = _choice(seen, cause, log)
    return Verdict(
        decision,
        summary,
        status,
        (*_reasons(findings, seen, cause, change, rolled), *unknown_reasons(findings)),
        tuple(
            _actions(
                cause,
                str(log.get("statement") or counted.get("statement") or ""),
                rolled,
                known_limits(findings),
                alert,
                namespace,
            )
        ),
        _checklist(findings),
    )


def _choice(seen: Mapping[str, Any], cause: Mapping[str, Any], log: Mapping[str, Any]) -> tuple[Status, str, str]:
    if not seen:
        return (
            Status.UNKNOWN,
            "find out how slow the agents are",
            "The agents' latency is not known: Prometheus gave no usable sample of it.",
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
    for name in ("latency.agents", "bottleneck.cause", "latency.parts", "latency.throttling", "latency.slow_log"):
        found = findings.get(name)
        if found is not None and found.is_known:
            yield f"{found.title}." + (f" {found.detail}" if name == "bottleneck.cause" else "")
    if seen.get("slow") and rolled.get("rolled_out"):
        yield f"Rolled out in the window: {rolled['rolled_out']}."
    if seen.get("slow") and change.get("count"):
        yield f"Last configuration change {moment(change['last_at'])}: {change['last']}."


def _actions(
    cause: Mapping[str, Any],
    statement: str,
    rolled: Mapping[str, Any],
    limits: Mapping[str, Mapping[str, Any]],
    alert: Alert,
    namespace: str,
) -> Iterator[Action]:
    slow = [deployment_of(one) for one in str(cause.get("slow", "")).split(", ") if one]
    match cause.get("kind"):
        case "CPU":
            for deployment in slow[:4]:
                yield from raise_limit(deployment, "cpu", limits, namespace, "Its own limit holds it back.")
                if deployment in str(rolled.get("rolled_out", "")).split(", "):
                    yield Action(f"Or take the last rollout of {deployment} back", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                                 "It was rolled out in the window.", changes=True)  # fmt: skip
        case "database":
            if plain := _explainable(statement):
                yield Action("Look at the plan of the slow query", psql(namespace, f"EXPLAIN (GENERIC_PLAN, VERBOSE) {plain};"),
                             "A sequential scan over a large table wants an index. The plan holds for any values ($1, $2); PostgreSQL 16 or newer.")  # fmt: skip
            yield Action("See what runs and what waits", psql(namespace, "SELECT pid, now() - query_start AS age, wait_event_type, left(query, 120) FROM pg_stat_activity WHERE state <> 'idle' ORDER BY 2 DESC;"))  # fmt: skip
            yield Action(
                "Refresh the planner's statistics",
                psql(namespace, "ANALYZE;"),
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
    title = partial(title_of, findings)
    return (
        ("Which agents were slow, and how much?", title("latency.agents")),
        ("Which part moved with them?", title("bottleneck.cause")),
        ("Was the LLM slow?", title("latency.models")),
        ("Was a query slow?", f"{title('latency.slow_queries')}; {title('latency.slow_log')}"),
        ("Were CPU limits too low?", title("latency.throttling")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("Were decisions lost?", title("sessions.activity")),
    )


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


def _explainable(statement: str) -> str:
    """`statement` with $n for values if it is one plain SELECT that may stand behind EXPLAIN in a command to copy; else empty.

    It comes from a log, so whatever could end the statement or reach psql's own commands rules it out. One that was cut
    off, or in which ? is an operator, would be a syntax error.
    """
    line = statement
    if (
        not line.isprintable()
        or re.search(r";|--|/\*|\\|\$(?!\d)|\?\s*[?|&]", line)
        or len(line) >= STATEMENT_LENGTH
        or not re.match(r"select\s", line, re.IGNORECASE)
    ):
        return ""
    used = count(max(map(int, re.findall(r"\$(\d+)", line)), default=0) + 1)
    # A typed literal (interval '5 min') is no place for a parameter; a cast of one is.
    typed = re.compile(r"(?:\b(interval|date|timestamptz|timestamp|time)\s+)?\?", re.IGNORECASE)
    return typed.sub(lambda found: f"${next(used)}" + (f"::{found[1]}" if found[1] else ""), line)
