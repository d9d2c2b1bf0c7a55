"""AgentHighLatency: the decision, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.latency import slow_statements
from runbook.steps.shared.fleet import deployment_of
from runbook.steps.shared.quotas import Limits, raise_limit
from runbook.steps.shared.verdicts import figures_of, known, kubectl, psql, silence, title_of, unknown_reasons
from runbook.words import amount, moment


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentHighLatency: what to speed up, LLM, MCP tools, database or CPU, and why."""
    seen, cause = figures_of(findings, "latency.agents"), figures_of(findings, "latency.cause")
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
                figures_of(findings, "latency.throttling").get("limits", {}),
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
    names = ("latency.agents", "latency.cause", "latency.parts", "latency.throttling", "latency.slow_log")
    for found in known(findings, names):
        yield f"{found.title}." + (f" {found.detail}" if found.id == "latency.cause" else "")
    if seen.get("slow") and rolled.get("rolled_out"):
        yield f"Rolled out in the window: {rolled['rolled_out']}."
    if seen.get("slow") and change.get("count"):
        yield f"Last configuration change {moment(change['last_at'])}: {change['last']}."


def _actions(
    cause: Mapping[str, Any],
    statement: str,
    rolled: Mapping[str, Any],
    limits: Mapping[str, Limits],
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
            if plain := slow_statements.explainable(statement):
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
        ("Which part moved with them?", title("latency.cause")),
        ("Was the LLM slow?", title("latency.models")),
        ("Was a query slow?", f"{title('latency.slow_queries')}; {title('latency.slow_log')}"),
        ("Were CPU limits too low?", title("latency.throttling")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("Were decisions lost?", title("sessions.activity")),
    )
