"""AgentHighLatency: the decision, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import platform, sessions
from runbook.steps.latency import slow_statements
from runbook.steps.latency.bottleneck import cause
from runbook.steps.latency.breakdown import models, parts
from runbook.steps.latency.decisions import agents
from runbook.steps.latency.figures import (
    Bottleneck,
    Decisions,
    OwnLatency,
    Part,
    Parts,
    SlowLog,
    SlowQueries,
    Throttling,
)
from runbook.steps.latency.processor import throttling
from runbook.steps.latency.queries import slow_log, slow_queries
from runbook.steps.latency.subject import subject
from runbook.steps.shared.fleet import deployment_of
from runbook.steps.shared.quotas import raise_limit
from runbook.steps.shared.verdicts import kubectl, psql, silence, unknown_reasons
from runbook.words import amount, moment

_REMEDIES = {
    Part.CPU: ("raise the CPU limit", "CPU throttling slows"),
    Part.DATABASE: ("speed up the database", "Slow database queries hold up"),
    Part.LLM: ("use a faster model or relieve Bifrost", "The LLM gateway slows"),
    Part.MCP_TOOLS: ("repair the slow MCP server", "MCP tool calls slow"),
}
"""The decision for each bottleneck, and how its summary begins."""

_RUNNING = (
    "SELECT pid, now() - query_start AS age, wait_event_type, left(query, 120)"
    " FROM pg_stat_activity WHERE state <> 'idle' ORDER BY 2 DESC;"
)
_PLAN_NOTE = (
    "A sequential scan over a large table wants an index."
    " The plan holds for any values ($1, $2); PostgreSQL 16 or newer."
)


def decide(findings: Findings, alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentHighLatency: what to speed up, LLM, MCP tools, database or CPU, and why."""
    status, decision, summary = _own_first(findings, *_choice(findings))
    return Verdict(
        decision,
        summary,
        status,
        (*_reasons(findings), *unknown_reasons(findings)),
        (
            *_remedies(findings, namespace),
            Action("See CPU and memory now", kubectl(namespace, "top", "pods", "--sort-by=cpu")),
            silence(alert),
        ),
        _checklist(findings),
    )


def _own_first(findings: Findings, status: Status, decision: str, summary: str) -> tuple[Status, str, str]:
    """The same, of what the alert itself measures first, where that is not the agents' decisions."""
    own, asked = findings.get(OwnLatency), findings.of(subject)
    if own is None and (asked is None or asked.is_known):
        return status, decision, summary
    beside = f"Beside it: {summary.removeprefix('Healthy: ')}"
    if own is None:
        return Status.UNKNOWN, "measure what the alert is about by hand", f"{findings.title(subject)}. {beside}"
    if not own.is_slow:
        healthy = "Healthy: " if status is Status.OK else ""
        return status, decision, f"{healthy}{_own(own)}, within the {amount(own.limit_ms, 'ms')} of its rule. {beside}"
    parts_found = findings.get(Parts)
    moved = parts_found.moved if parts_found else ()
    with_it = f"; slower with it: {', '.join(moved)}" if moved else ""
    slow = f"Slow: {_own(own)}, over the {amount(own.limit_ms, 'ms')} of its rule{with_it}. {beside}"
    if status is Status.WARNING:
        return status, decision, slow
    remedy = _REMEDIES[moved[0]][0] if moved else f"look into {own.what} themselves"
    return Status.WARNING, remedy, slow


def _own(own: OwnLatency) -> str:
    least = "at least " if own.is_capped else ""
    return f"{own.what} take p95 {least}{amount(own.p95_ms, 'ms')}, {amount(own.p95_before_ms, 'ms')} before"


def _choice(findings: Findings) -> tuple[Status, str, str]:
    """(status, decision, summary)."""
    decisions = findings.get(Decisions)
    if decisions is None:
        summary = "The agents' latency is not known: Prometheus gave no usable sample of it."
        return Status.UNKNOWN, "find out how slow the agents are", summary
    threshold, slowest = amount(decisions.threshold_ms, "ms"), decisions.slowest
    if not decisions.slow:
        p95 = f"the slowest is {slowest.agent} with p95 {amount(slowest.p95_ms, 'ms')}"
        return Status.OK, "nothing to speed up", f"Healthy: no agent is over {threshold}; {p95}."
    mean, before = amount(slowest.mean_ms, "ms"), amount(slowest.mean_before_ms, "ms")
    slow = f"{', '.join(decisions.slow)} over {threshold} (mean of the slowest {mean}, {before} before)"
    bottleneck = findings.get(Bottleneck)
    if bottleneck is None or bottleneck.part is None:
        none = "none of LLM, MCP tools, database and CPU is known to have moved with it"
        return Status.WARNING, "look into the slow agents themselves", f"Slow: {slow}; {none}."
    decision, slows = _REMEDIES[bottleneck.part]
    sentence = f"{slows} {slow}"
    logged = findings.get(SlowLog)
    if bottleneck.part is Part.DATABASE and logged and logged.statement:
        sentence = f"{sentence}: {logged.statement[:120]}"
    return Status.WARNING, decision, f"{sentence}.{_acquittal(bottleneck)}"


def _acquittal(bottleneck: Bottleneck) -> str:
    innocent = ", ".join(candidate.part for candidate in bottleneck.innocent)
    return f" {innocent} looks slow, but is not the cause." if innocent else ""


def _reasons(findings: Findings) -> Iterator[str]:
    why = findings.of(cause)
    if findings.get(OwnLatency) is not None:
        yield f"{findings.title(subject)}."
    for found in findings.known((agents, cause, parts, throttling, slow_log)):
        yield f"{found.title}. {found.detail}" if found is why else f"{found.title}."
    decisions = findings.get(Decisions)
    if decisions is None or not decisions.slow:
        return
    rolled, changes = findings.get(platform.Rollouts), findings.get(platform.ConfigChanges)
    if rolled and rolled.rollouts:
        yield f"Rolled out in the window: {', '.join(rolled.rolled_out)}."
    if changes and changes.last:
        yield f"Last configuration change {moment(changes.last.at)}: {changes.last.action or 'unknown'}."


def _remedies(findings: Findings, namespace: str) -> Iterator[Action]:
    """What helps against the bottleneck."""
    bottleneck = findings.get(Bottleneck)
    if bottleneck is None:
        return
    slow = [deployment_of(agent) for agent in bottleneck.slow]
    match bottleneck.part:
        case Part.CPU:
            for deployment in slow[:4]:
                yield from _more_cpu(findings, deployment, namespace)
        case Part.DATABASE:
            yield from _database_actions(findings, namespace)
        case Part.LLM:
            log = kubectl(namespace, "logs", "deployment/bifrost", "--tail=100")
            yield Action("Read Bifrost's log for latency", log, "Then check the provider's status page.")
            restart = kubectl(namespace, "rollout", "restart", "deployment/bifrost")
            only = "Only when its own pod is the slow part, not the provider."
            yield Action("Restart Bifrost", restart, only, changes=True)
        case Part.MCP_TOOLS:
            servers = ("-l", "app.kubernetes.io/component=mcp-server")
            log = kubectl(namespace, "logs", *servers, "--tail=100", "--prefix")
            yield Action("Read the MCP servers' logs", log)
        case None:
            for deployment in slow[:3]:
                log = kubectl(namespace, "logs", f"deployment/{deployment}", "--tail=100")
                yield Action(f"Read {deployment}'s log", log)


def _more_cpu(findings: Findings, deployment: str, namespace: str) -> Iterator[Action]:
    throttled = findings.get(Throttling)
    limits = throttled.limits if throttled else {}
    yield from raise_limit(deployment, "cpu", limits, namespace, "Its own limit holds it back.")
    rolled = findings.get(platform.Rollouts)
    if rolled and deployment in rolled.rolled_out:
        yield Action(
            f"Or take the last rollout of {deployment} back",
            kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
            "It was rolled out in the window.",
            changes=True,
        )


def _database_actions(findings: Findings, namespace: str) -> Iterator[Action]:
    plain = slow_statements.explainable(_slowest_statement(findings))
    if plain:
        explained = psql(namespace, f"EXPLAIN (GENERIC_PLAN, VERBOSE) {plain};")
        yield Action("Look at the plan of the slow query", explained, _PLAN_NOTE)
    yield Action("See what runs and what waits", psql(namespace, _RUNNING))
    cheap = "Cheap, and often enough after a large load."
    yield Action("Refresh the planner's statistics", psql(namespace, "ANALYZE;"), cheap, changes=True)


def _slowest_statement(findings: Findings) -> str:
    """The statement that postgres logged as slow, else the one counted as slow; empty for none."""
    logged: SlowLog = findings.get(SlowLog) or SlowLog(0)
    counted: SlowQueries = findings.get(SlowQueries) or SlowQueries()
    if logged.statement or counted.slowest is None:
        return logged.statement
    return counted.slowest.text


def _checklist(findings: Findings) -> tuple[tuple[str, str], ...]:
    title = findings.title
    return (
        ("Which agents were slow, and how much?", title(agents)),
        ("Which part moved with them?", title(cause)),
        ("Was the LLM slow?", title(models)),
        ("Was a query slow?", f"{title(slow_queries)}; {title(slow_log)}"),
        ("Were CPU limits too low?", title(throttling)),
        ("What changed before?", f"{title(platform.rollouts)}; {title(platform.config_changes)}"),
        ("Were decisions lost?", title(sessions.activity)),
    )
